"""The vote: how much each part counts, by how well it predicts hidden drawn slices; the vote at the image's own resolution; and where
segments end."""

import dataclasses

import numpy as np
import pytest
import torch
from few_shot_scenes import egg, slab, tube
from scipy import ndimage

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.common.progress import Step
from S3NetSegmentLib.engine.few_shot.drawings.drawing import SoftSlice
from S3NetSegmentLib.engine.few_shot.frame import Box, Frame
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotSettings
from S3NetSegmentLib.engine.few_shot.vote import decision as module
from S3NetSegmentLib.engine.few_shot.vote.decision import (
    COMPACT_MIXES,
    Vote,
    arbitrated,
    class_dice,
    doubt_of_carrying,
    looks_scattered,
    mean_dice,
    normalised,
    prior_mix,
    side_with_grown,
    weighted_mix,
)
from S3NetSegmentLib.engine.few_shot.vote.presence import presence
from S3NetSegmentLib.engine.few_shot.voters.propagated import carry
from S3NetSegmentLib.engine.few_shot.voters.voter import Voter
from S3NetSegmentLib.engine.images.intensity import intensity_scale

DEPTH, SIZE, CLASSES = 10, 40, 3


def square(start, stop, size=20):
    mask = torch.zeros(size, size)
    mask[start:stop, start:stop] = 1
    return torch.stack((1 - mask, mask))


def hidden(**parts):
    """One hidden slice on which a square is drawn, and what the parts say."""
    everything = {name: square(5, 15) for name in ("carried", "registered", "grown", "appearance")} | parts
    return [(everything, square(5, 15).argmax(0))]


def test_what_predicts_hidden_slices_best_counts_most():
    wrong = square(0, 4)
    good = run_to_end(weighted_mix(prior_mix(False, 1.0), COMPACT_MIXES, hidden(grown=wrong, registered=wrong), 20.0))
    assert good["carried"] > 0.7
    other = run_to_end(
        weighted_mix(prior_mix(False, 1.0), COMPACT_MIXES, hidden(carried=wrong, registered=wrong), 20.0)
    )
    assert other["grown"] > 0.7


def test_shares_sum_to_one_and_without_softness_all_mixes_count_alike():
    mix = run_to_end(weighted_mix(prior_mix(False, 2.0), COMPACT_MIXES, hidden(grown=square(0, 4)), 0.0))
    assert sum(mix.values()) == pytest.approx(1) and mix["grown"] > 0.2


def test_where_no_hidden_slice_holds_a_segment_the_prior_mix_is_used():
    parts = {name: square(5, 15) for name in ("carried", "registered", "grown", "appearance")}
    empty = [(parts, torch.zeros(20, 20, dtype=torch.long))]
    assert run_to_end(weighted_mix(prior_mix(False, 3.0), COMPACT_MIXES, empty, 20.0)) == normalised(
        prior_mix(False, 3.0)
    )


def test_thick_slices_count_carrying_more_and_scattered_targets_are_not_carried():
    assert normalised(prior_mix(False, 4.0))["carried"] > normalised(prior_mix(False, 1.0))["carried"]
    assert "carried" not in prior_mix(True, 1.0)


def test_a_target_looks_scattered_when_carrying_fails_and_appearance_helps():
    wrong = square(0, 4)
    unsure = 0.6 * wrong + 0.4 * square(5, 15)
    assert looks_scattered(hidden(carried=wrong, registered=wrong, grown=unsure))
    assert not looks_scattered(hidden())


def test_dice_is_of_the_drawn_classes_only():
    drawn = torch.tensor([[0, 1, 1, 3]])
    assert class_dice(torch.tensor([[2, 1, 0, 3]]), drawn) == [pytest.approx(2 / 3), 1.0]
    assert mean_dice({"carried": 1}, []) != mean_dice({"carried": 1}, [])  # no slice, no score: NaN


def test_appearance_sides_with_the_part_that_it_agrees_with_where_they_differ():
    carried, grown = square(5, 15).argmax(0)[None], square(3, 17).argmax(0)[None]
    for seen, expected in ((grown, 1.0), (carried, 0.0)):
        logs = torch.nn.functional.one_hot(seen, 2).permute(0, 3, 1, 2).float()
        assert side_with_grown(logs, carried, grown) == expected
    assert side_with_grown(logs, carried, carried) == 0  # nothing to decide


def test_the_more_appearance_sides_with_growcut_the_less_is_carried():
    prior = prior_mix(False, 3.0)
    mixes = [arbitrated(prior, doubt_of_carrying(side)) for side in (0.2, 0.41, 0.6)]
    shares = [mix.get("carried", 0.0) for mix in mixes]
    assert shares[0] == pytest.approx(0.75) and shares[0] > shares[1] > shares[2] == 0
    assert all(sum(mix.values()) == pytest.approx(1) for mix in mixes)


def test_a_new_voter_needs_a_name_and_masks_alone():
    class Oracle(Voter):
        name, prior_share = "oracle", 0.9

        def masks(self, drawn, first, last, without=None):
            yield Step(1.0, "Knowing")
            found = torch.zeros(last - first + 1, drawn.classes, *drawn.frame.work_shape)
            found[:, 1] = 1.0
            return found

    image = tube()
    product = FewShot(image.volume, FewShotSettings(appearance_steps=20))
    product.set_support(image.drawn(4))
    plain = run_to_end(product.propagate((5, 5), quick=True))
    product._maker.voters = lambda layer, quick: iter_of([Oracle()])
    found = run_to_end(product.propagate((5, 5), quick=True))
    assert found.mix["oracle"] == pytest.approx(0.9) and "oracle" not in plain.mix
    assert np.count_nonzero(found.labels[5]) > 3 * np.count_nonzero(plain.labels[5])


def iter_of(result):
    """Steps of progress, none of them, with this result."""
    yield from ()
    return result


@pytest.fixture(scope="module")
def frame():
    volume = tube(depth=DEPTH).volume
    height, width = volume.array.shape[1:]
    return Frame(volume, intensity_scale(volume), "z", Box(0, height, 0, width), (20, 24))


def shares(frame, seed=0):
    """Soft masks with a body in the middle, and GrowCut's classes."""
    z, y, x = np.ogrid[:DEPTH, :20, :24]
    one = np.exp(-((z - 5) ** 2 + (y - 9) ** 2 + (x - 10) ** 2) / 12)
    two = np.exp(-((z - 3) ** 2 + (y - 12) ** 2 + (x - 16) ** 2) / 9)
    soft = torch.from_numpy(np.stack((np.clip(1 - one - two, 0, 1), one, two), 1).astype(np.float32)) * 0.5
    grown = np.zeros((DEPTH, *frame.box.shape), np.uint8)
    grown[2:8, 12:26, 10:17], grown[2:8, 12:26, 17:26] = 1, 2
    noise = np.random.default_rng(seed).random(grown.shape)
    grown = np.where(noise > 0.95, 2, grown).astype(np.uint8)
    return soft, grown


def vote(frame, again=None, first=0):
    soft, grown = shares(frame)
    found = Vote(frame, first, first + DEPTH - 1, soft, grown, 0.5, 1.0, torch.ones(DEPTH, CLASSES))
    if again is not None:
        found.add_second(again, 0.4)
    return found


def by_definition(frame, again=None):
    """Class shares ``[n, C, H, W]``, from whole arrays."""
    soft, grown = shares(frame)
    across = 0.7 * frame.spacing[1] / frame.spacing[0]

    def one_hot(labels):
        masks = np.stack([labels == c for c in range(CLASSES)], 1).astype(np.float64)
        return ndimage.gaussian_filter(masks, (across, 0, 0.7, 0.7), mode="nearest", truncate=3.0)

    whole = tuple(slice(0, n) for n in frame.box.shape)
    total = frame.enlarged(soft, whole).numpy() + 0.5 * one_hot(grown)
    total[:, 0] += np.clip(1 - total.sum(1), 0, None)
    return total if again is None else 0.6 * total + 0.4 * one_hot(again)


def test_decisions_are_those_of_the_definition(frame):
    again = np.roll(shares(frame)[1], 3, 2)
    classes, sureness, sums = run_to_end(vote(frame, again).decisions())
    expected = by_definition(frame, again)
    expected = expected / expected.sum(1, keepdims=True)
    differ = classes != expected.argmax(1)
    margin = np.sort(expected, 1)
    assert not (differ & (margin[:, -1] - margin[:, -2] > 1e-4)).any()
    filled = classes > 0
    assert filled.any() and sureness[filled] == pytest.approx(expected.max(1)[filled], abs=1e-4)
    for c in (1, 2):
        assert sums[:, 1, c].numpy() == pytest.approx((classes == c).sum((1, 2)))
        assert sums[:, 0, c].numpy() == pytest.approx((expected[:, c] * (classes == c)).sum((1, 2)), abs=1e-2)


def small_vote(frame):
    """A vote that knows a small body only, and nothing beside it."""
    soft = torch.zeros(DEPTH, CLASSES, *frame.work_shape)
    soft[3:7, 1, 8:11, 9:12] = 0.5
    grown = np.zeros((DEPTH, *frame.box.shape), np.uint8)
    grown[3:7, 16:20, 14:18] = 1
    return Vote(frame, 0, DEPTH - 1, soft, grown, 0.5, 1.0, torch.ones(DEPTH, CLASSES))


def test_what_comes_after_the_sure_voxels_may_lie_beyond_what_was_voted_on_before(frame):
    again = np.zeros((DEPTH, *frame.box.shape), np.uint8)
    again[1:9, 2:34, 2:40] = 2
    wanted, asked = small_vote(frame), small_vote(frame)
    run_to_end(asked.sure_voxels(0.45))  # keeps some of what it computed
    for one in (wanted, asked):
        one.add_second(again, 0.6)
    expected, found = run_to_end(wanted.decisions()), run_to_end(asked.decisions())
    assert (found[0] == expected[0]).all() and (found[0] == 2).any()
    assert found[1] == pytest.approx(expected[1], abs=1e-5)


def test_what_was_seen_of_a_class_is_half_of_what_counts_for_it(frame):
    height, width = frame.box.shape
    part = slice(2, 6), slice(4, height - 4), slice(6, width - 2)
    likely = np.random.default_rng(0).random([s.stop - s.start for s in part], np.float32)
    plain, asked = small_vote(frame), small_vote(frame)
    before, sure, _ = run_to_end(plain.decisions())
    asked.add_seen(1, part, likely)
    classes, sureness, _ = run_to_end(asked.decisions())
    seen = np.zeros(classes.shape, np.float32)
    seen[part] = likely
    share = np.where(before == 1, sure, 1 - sure)  # nothing speaks for class 2
    expected = (share + seen) / 2
    assert 50 < (expected > 0.5).sum() < (before == 1).sum()
    assert np.maximum(expected, 1 - expected) == pytest.approx(sureness, abs=1e-3)
    assert ((classes == 1) == (expected > 0.5))[abs(expected - 0.5) > 1e-3].all()


def test_sure_voxels_are_those_of_the_blurred_vote(frame):
    across = 0.7 * frame.spacing[1] / frame.spacing[0]
    blurred = ndimage.gaussian_filter(by_definition(frame), (across, 0, 0.7, 0.7), mode="nearest", truncate=3.0)
    best, total = blurred.max(1), blurred.sum(1)
    expected = np.where(best > 0.45 * total, blurred.argmax(1) + 1, 0)
    close = np.abs(best - 0.45 * total) < 1e-4
    found = run_to_end(vote(frame).sure_voxels(0.45))
    assert ((found == expected) | close).mean() > 0.999
    assert {0, 1, 2, 3} == set(np.unique(found))


def test_where_memory_keeps_no_vote_the_answer_is_the_same(frame, monkeypatch):
    kept, again = vote(frame), vote(frame)
    run_to_end(kept.sure_voxels(0.8))
    monkeypatch.setattr(module, "_VALUES_KEPT", 0)
    run_to_end(again.sure_voxels(0.8))
    for one, other in zip(run_to_end(kept.decisions()), run_to_end(again.decisions()), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_each_slice_is_blurred_once_in_a_pass(frame, monkeypatch):
    calls = []
    plain = module.ndimage.gaussian_filter1d
    monkeypatch.setattr(module.ndimage, "gaussian_filter1d", lambda *a, **k: calls.append(1) or plain(*a, **k))
    run_to_end(vote(frame).decisions())
    assert len(calls) <= 2 * DEPTH  # rows and columns of GrowCut's classes


def test_a_second_growcut_beyond_the_vote_is_seen(frame):
    again = np.zeros((DEPTH, *frame.box.shape), np.uint8)
    again[4:6, -6:, -6:] = 2
    found = vote(frame)
    run_to_end(found.sure_voxels(0.8))
    found.add_second(again, 0.9)
    assert (run_to_end(found.decisions())[0][4:6, -3:, -3:] == 2).all()


def test_an_empty_vote_is_all_background(frame):
    soft = torch.zeros(DEPTH, CLASSES, 20, 24)
    soft[:, 0] = 1
    empty = Vote(frame, 0, DEPTH - 1, soft, None, 0.0, 1.0, torch.ones(DEPTH, CLASSES))
    classes, sureness, sums = run_to_end(empty.decisions())
    assert not classes.any() and (sureness == 1).all() and not sums.any()
    assert (run_to_end(empty.sure_voxels(0.8)) == 1).all()


def presences(scene, first, beyond):
    """Presence of background and segment on slices ``beyond`` of a drawing on slice ``first``."""
    frame = Frame(scene.volume, intensity_scale(scene.volume), "z", Box(0, 40, 0, 40), (40, 40))
    mask = torch.from_numpy((scene.truth[first] == 1).astype(np.float32))
    start = torch.stack((1 - mask, mask))
    low, high = min(first, *beyond), max(first, *beyond)
    drawn = {first: SoftSlice(start, torch.ones(40, 40))}
    masks = run_to_end(carry(frame, drawn, low, high, None, 0.0, 0.5))[[z - low for z in beyond]]
    return run_to_end(presence(frame, start, first, beyond, masks, masks, 0.5))


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
