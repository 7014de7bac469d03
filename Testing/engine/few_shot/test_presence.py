"""Segments end where the image says so, and where the user draws an empty slice."""

import dataclasses

import numpy as np
import torch
from few_shot_scenes import egg, slab, tube

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.few_shot.drawings.drawing import SoftSlice
from S3NetSegmentLib.engine.few_shot.frame import Box, Frame
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotSettings
from S3NetSegmentLib.engine.few_shot.vote.presence import presence
from S3NetSegmentLib.engine.few_shot.voters.propagated import carry
from S3NetSegmentLib.engine.images.intensity import intensity_scale


def presences(scene, first, beyond):
    """Presence of background and segment on slices ``beyond`` of a drawing on slice ``first``."""
    frame = Frame(scene.volume, intensity_scale(scene.volume), "z", Box(0, 40, 0, 40), (40, 40))
    mask = torch.from_numpy((scene.truth[first] == 1).astype(np.float32))
    start = torch.stack((1 - mask, mask))
    low, high = min(first, *beyond), max(first, *beyond)
    drawn = {first: SoftSlice(start, torch.ones(40, 40))}
    masks = run_to_end(carry(frame, drawn, low, high, None, 0.0, 0.5))[[z - low for z in beyond]]
    return presence(frame, start, first, beyond, masks, masks, 0.5)


def test_presence_falls_where_a_body_ends_and_stays_where_it_goes_on():
    ended, going_on = presences(egg(), 14, range(15, 24)), presences(tube(drift=0), 5, range(6, 15))
    assert (ended[:, 0] == 1).all() and (going_on[:, 0] == 1).all()  # the background is everywhere
    assert ended[6:, 1].max() < 0.35 < 0.5 < going_on[:4, 1].min()
    assert ended[-1, 1] < 0.5 * ended[0, 1]


def test_a_body_ends_where_its_outline_is_gone_though_its_place_looks_much_alike():
    ended, going_on = presences(slab(last=5), 3, range(4, 10)), presences(slab(last=9), 3, range(4, 10))
    assert ended[:2, 1].min() > 0.9 and ended[2:, 1].max() < 0.5  # slices 4 and 5 still hold it
    assert going_on[:, 1].min() > 0.9


def test_presence_is_found_downwards_as_upwards_and_for_some_slices_as_for_all():
    body = egg(first=6, last=17)
    turned = dataclasses.replace(body, truth=body.truth[::-1].copy())
    turned = dataclasses.replace(turned, volume=dataclasses.replace(body.volume, array=body.volume.array[::-1].copy()))
    up, down = presences(body, 14, range(15, 24)), presences(turned, 9, range(8, -1, -1))
    assert torch.allclose(up, down, atol=0.05)
    assert torch.allclose(presences(body, 14, range(18, 24)), up[3:], atol=1e-4)


def test_a_class_that_is_not_drawn_on_the_outermost_slice_is_not_judged():
    body = egg()
    assert (presences(body, 20, range(21, 24))[:, 1] == 1).all()


def propagated(scene, slices, **settings):
    product = FewShot(scene.volume, FewShotSettings(appearance_steps=20, **settings), "z")
    product.set_support(slices)
    return run_to_end(product.propagate()).labels


def test_an_ended_body_is_not_continued_to_the_end_of_the_volume():
    body = egg()
    labels = propagated(body, body.drawn(12))
    assert body.dice(labels) > 0.85
    beyond = [z for z in range(24) if not body.truth[z].any()]
    assert np.count_nonzero(labels[beyond]) < 0.1 * np.count_nonzero(labels)


def test_an_answer_is_cut_where_the_outline_is_gone_and_not_where_it_goes_on():
    ended, whole = slab(last=5), slab(last=9)
    assert ended.dice(propagated(ended, ended.drawn(3))) > 0.9
    assert whole.dice(propagated(whole, whole.drawn(3))) > 0.9


def test_without_presence_more_of_it_is_found_beyond_its_end():
    body = egg(background=80)
    beyond = [z for z in range(24) if not body.truth[z].any()]
    with_ends, without = (
        np.count_nonzero(propagated(body, body.drawn(10, 13), presence=p)[beyond]) for p in (1.0, 0.0)
    )
    assert with_ends < without


def test_an_empty_drawn_slice_ends_the_segment_there():
    long = tube(depth=20, drift=0)
    empty = DrawnSlice("z", 13, np.zeros((40, 40), np.uint8))
    free, ended = (propagated(long, [*long.drawn(6), *more]) for more in ([], [empty]))
    assert free[15].any()
    assert not ended[13:].any() and long.dice(ended, slices=slice(0, 9)) > 0.85
