"""Segments that overlap, e.g. an organ and a lesion inside it: each is answered whole."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from few_shot_scenes import Scene, scene

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.few_shot import frame as frames
from S3NetSegmentLib.engine.few_shot.drawings.overlaps import OTHER, CodedLabels, Layers, overlapping, separated
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotSettings, SupportVolume
from S3NetSegmentLib.engine.few_shot.voters import grown

ORGAN, LESION, KIDNEY = 1, 2, 3
SLICES = (4, 8, 12)
FAST = FewShotSettings(appearance_steps=60, work_voxels=20_000, leave_one_out=False)


def nested() -> tuple[Scene, dict[int, np.ndarray]]:
    """An organ with a brighter lesion inside, a kidney beside it, and the mask of each."""
    z, y, x = np.mgrid[:17, :40, :44]
    ball = ((z - 8) * 1.5) ** 2 + (y - 20) ** 2 + (x - 15) ** 2
    masks = {
        ORGAN: ball < 11**2,
        LESION: ball < 6**2,
        KIDNEY: ((z - 8) * 1.2) ** 2 + (y - 20) ** 2 + (x - 34) ** 2 < 7**2,
    }
    truth = np.zeros(z.shape, np.uint8)
    for value in (ORGAN, LESION, KIDNEY):
        truth[masks[value]] = value
    return scene(truth, {0: 40, ORGAN: 100, LESION: 150, KIDNEY: 75}, noise=4), masks


def drawn_in_layers(masks, slices=SLICES) -> list[DrawnSlice]:
    pairs = set().union(*(overlapping({v: m[z] for v, m in masks.items()}) for z in slices))
    layers = Layers.of(list(masks), pairs)
    return [
        DrawnSlice("z", z, labels, layer=n)
        for z in slices
        for n, labels in enumerate(layers.label_maps({v: m[z] for v, m in masks.items()}, masks[ORGAN][z].shape))
    ]


def mask(answer, value):
    return np.any([layer == value for layer in answer.layers], 0)


def dice(a, b, drawn=SLICES):
    a, b = np.delete(a, drawn, 0), np.delete(b, drawn, 0)
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def answered():
    image, masks = nested()
    few_shot = FewShot(image.volume, FAST)
    few_shot.set_support(drawn_in_layers(masks))
    return run_to_end(few_shot.propagate()), masks


def test_an_organ_and_the_lesion_inside_it_are_both_whole(answered):
    answer, masks = answered
    assert len(answer.layers) == 2
    for value, truth in masks.items():
        np.testing.assert_array_equal(mask(answer, value)[list(SLICES)], truth[list(SLICES)])
        assert dice(mask(answer, value), truth) > 0.85, value
    assert (mask(answer, LESION) & mask(answer, ORGAN)).sum() > 0.9 * mask(answer, LESION).sum()


def test_what_does_not_overlap_where_it_is_drawn_does_not_overlap_in_the_answer(answered):
    answer, _ = answered
    assert not (mask(answer, KIDNEY) & (mask(answer, ORGAN) | mask(answer, LESION))).any()


def test_expected_dice_confidence_and_next_slices_are_about_all_segments(answered):
    answer, masks = answered
    assert set(answer.expected_dice) == {ORGAN, LESION, KIDNEY}
    for value, truth in masks.items():
        assert abs(answer.expected_dice[value] - dice(mask(answer, value), truth)) < 0.25
    assert (answer.confidence[list(SLICES)] == 1).all() and 0 < answer.confidence.min() < 1
    numbers = [z for z, _ in answer.next_slices]
    assert len(numbers) == len(set(numbers)) and not set(numbers) & set(SLICES)
    assert sum(answer.mix.values()) == pytest.approx(1)


def test_the_layers_share_the_grid_the_registration_and_the_ways_through_the_image(monkeypatch):
    image, masks = nested()
    once = dataclasses.replace(FAST, regrow=0.0)  # the ways of a second GrowCut are its own
    made, searched = [], []
    new, search = frames.Frame.__init__, grown.nearest_seeds
    monkeypatch.setattr(frames.Frame, "__init__", lambda self, *a: (made.append(a[3]), new(self, *a))[1])
    monkeypatch.setattr(grown, "nearest_seeds", lambda *a: (searched.append(1), search(*a))[1])
    few_shot = FewShot(image.volume, once)
    few_shot.set_support([item for item in drawn_in_layers(masks) if item.layer == 0])
    run_to_end(few_shot.propagate())
    alone = len(searched)
    few_shot = FewShot(image.volume, once)
    made.clear(), searched.clear()
    few_shot.set_support(drawn_in_layers(masks))
    run_to_end(few_shot.propagate())
    assert len(made) == 1 and len(searched) == alone


def test_overlapping_drawings_in_another_volume_are_both_taken_over():
    image, masks = nested()
    pairs = overlapping(masks)
    layers = Layers.of(list(masks), pairs)
    others = [
        SupportVolume(image.volume, labels, "z", layer=n)
        for n, labels in enumerate(layers.label_maps(masks, masks[ORGAN].shape))
    ]
    few_shot = FewShot(image.volume, FAST)
    few_shot.set_support(others)
    answer = run_to_end(few_shot.propagate())
    for value in (ORGAN, LESION):
        assert dice(mask(answer, value), masks[value], ()) > 0.8


@pytest.mark.parametrize(
    ("values", "pairs", "count"),
    [
        ([1, 2, 3], [], 1),
        ([1, 2, 3], [(1, 2)], 2),
        ([1, 2, 3, 4], [(1, 2), (2, 3), (3, 4)], 2),
        ([1, 2, 3, 4, 5, 6], [(a, b) for a in (1, 3, 5) for b in (2, 4, 6) if b != a + 1], 2),  # greedy by order takes 3
        ([1, 2, 3], [(1, 2), (2, 3), (1, 3)], 3),
    ],
)  # fmt: skip
def test_as_few_layers_as_possible_are_made_and_nothing_overlaps_in_one(values, pairs, count):
    layers = Layers.of(values, pairs)
    assert len(layers.members) == count and set(layers.homes) == set(values)
    for members in layers.members:
        assert not {tuple(sorted(pair)) for pair in combinations(members, 2)} & {tuple(sorted(pair)) for pair in pairs}
    for value, home in layers.homes.items():
        assert home == next(n for n, members in enumerate(layers.members) if value in members)


def test_where_answers_meet_the_surer_one_keeps_the_voxel_unless_they_may_overlap():
    one, other = np.array([1, 1, 1, 3], np.uint8), np.array([2, 2, 4, 4], np.uint8)
    sure, surer = np.array([0.9, 0.6, 0.5, 0.7], np.float32), np.array([0.8, 0.8, 0.9, 0.7], np.float32)
    separated([one, other], [sure, surer], {(1, 2)})
    assert one.tolist() == [1, 1, 0, 3] and other.tolist() == [2, 2, 4, 0]


def test_label_maps_over_each_other_are_told_apart_again():
    rng = np.random.default_rng(1)
    maps = [
        rng.choice([0, 0, 5, 9, OTHER], (6, 7, 8)).astype(np.uint8),
        rng.choice([0, 0, 200], (6, 7, 8)).astype(np.uint8),
    ]
    coded = CodedLabels.of(maps)
    for value, labels in ((5, maps[0]), (9, maps[0]), (200, maps[1])):
        np.testing.assert_array_equal(coded.label_map({value}) == value, labels == value)
        assert coded.counts()[value] == (labels == value).sum()
    assert coded.overlaps() == {(v, 200): int(((maps[0] == v) & (maps[1] == 200)).sum()) for v in (5, 9)}
    np.testing.assert_array_equal(coded.codes > 0, (maps[0] > 0) | (maps[1] > 0))
