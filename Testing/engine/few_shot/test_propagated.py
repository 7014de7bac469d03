"""SoftSlice masks are carried between and beyond the drawn slices."""

import numpy as np
import pytest
import torch
from few_shot_scenes import Scene, tube

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.few_shot.drawings.drawing import SoftSlice
from S3NetSegmentLib.engine.few_shot.frame import Box, Frame
from S3NetSegmentLib.engine.few_shot.voters.propagated import carry
from S3NetSegmentLib.engine.images.intensity import intensity_scale


def frame_of(scene: Scene) -> Frame:
    height, width = scene.truth.shape[1:]
    return Frame(scene.volume, intensity_scale(scene.volume), "z", Box(0, height, 0, width), (height, width))


def drawn_on(scene: Scene, *indices: int, known=None) -> dict[int, SoftSlice]:
    whole = torch.ones(scene.truth.shape[1:]) if known is None else known
    found = {}
    for z in indices:
        mask = torch.from_numpy((scene.truth[z] == 1).astype(np.float32))
        found[z] = SoftSlice(torch.stack((1 - mask, mask)), whole)
    return found


def carried(scene, drawn, first, last, evidence=None, weight=0.05, blur=0.5):
    return run_to_end(carry(frame_of(scene), drawn, first, last, evidence, weight, blur))


def test_between_two_drawn_slices_the_mask_follows_the_body():
    scene = tube()
    masks = carried(scene, drawn_on(scene, 2, 13), 0, 15)
    assert masks.shape == (16, 2, 40, 40)
    labels = masks.argmax(1).numpy()
    assert min(dice(labels[z], scene.truth[z]) for z in range(16)) > 0.85
    # The tube moves by 6 pixels between them, so that a copy of the nearest drawn slice is worse.
    assert dice(labels[7], scene.truth[7]) > dice(scene.truth[2], scene.truth[7]) + 0.1


def dice(a, b):
    return 2 * np.count_nonzero((a > 0) & (b > 0)) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_beyond_a_single_drawn_slice_it_is_carried_in_both_directions():
    scene = tube()
    labels = carried(scene, drawn_on(scene, 8), 0, 15).argmax(1).numpy()
    assert dice(labels[1], scene.truth[1]) > 0.8 and dice(labels[14], scene.truth[14]) > 0.8


def test_drawn_slices_are_themselves_and_memberships_sum_to_one():
    scene = tube()
    drawn = drawn_on(scene, 3, 9)
    masks = carried(scene, drawn, 0, 15)
    for z in (3, 9):
        assert torch.allclose(masks[z], drawn[z].masks, atol=2e-3)
    assert torch.allclose(masks.sum(1), torch.ones(16, 40, 40), atol=1e-4)


@pytest.mark.parametrize("wanted", [(5, 5), (0, 2), (11, 15)])
def test_a_few_slices_are_the_same_as_those_of_the_whole_volume(wanted):
    scene = tube()
    first, last = wanted
    whole = carried(scene, drawn_on(scene, 3, 10), 0, 15)
    part = carried(scene, drawn_on(scene, 3, 10), first, last)
    assert torch.allclose(part, whole[first : last + 1], atol=1e-5)


def test_an_empty_drawn_slice_stops_what_is_carried():
    scene = tube()
    empty = torch.zeros(2, 40, 40)
    empty[0] = 1
    drawn = drawn_on(scene, 4) | {9: SoftSlice(empty, torch.ones(40, 40))}
    masks = carried(scene, drawn, 0, 15)
    assert not masks[9:, 1].any() and masks[6, 1].sum() > 50


def test_of_a_partial_drawing_only_the_known_part_replaces_what_is_carried():
    scene = tube(drift=0)
    left = torch.zeros(40, 40)
    left[:, :20] = 1
    nothing = torch.zeros(2, 40, 40)
    nothing[0] = 1
    drawn = drawn_on(scene, 4) | {8: SoftSlice(nothing, left)}
    mask = carried(scene, drawn, 0, 15)[8, 1]
    assert not mask[:, :20].any() and mask[:, 20:].sum() > 20


def test_evidence_moves_an_uncertain_edge():
    scene = tube(drift=0)
    against = torch.zeros(16, 2, 40, 40)
    against[:, 1] = -60.0
    plain, pushed = (
        carried(scene, drawn_on(scene, 2), 0, 15, evidence) for evidence in (torch.zeros_like(against), against)
    )
    assert pushed[12, 1].sum() < 0.5 * plain[12, 1].sum()
