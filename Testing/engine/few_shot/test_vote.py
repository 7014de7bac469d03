"""The vote: how much each part counts, by how well it predicts hidden drawn slices."""

import numpy as np
import pytest
import torch
from few_shot_scenes import tube

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.common.progress import Step
from S3NetSegmentLib.engine.few_shot.method import FewShot, FewShotSettings
from S3NetSegmentLib.engine.few_shot.vote.decision import (
    COMPACT_MIXES,
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
from S3NetSegmentLib.engine.few_shot.voters.voter import Voter


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
    good = weighted_mix(prior_mix(False, 1.0), COMPACT_MIXES, hidden(grown=wrong, registered=wrong), 20.0)
    assert good["carried"] > 0.7
    other = weighted_mix(prior_mix(False, 1.0), COMPACT_MIXES, hidden(carried=wrong, registered=wrong), 20.0)
    assert other["grown"] > 0.7


def test_shares_sum_to_one_and_without_softness_all_mixes_count_alike():
    mix = weighted_mix(prior_mix(False, 2.0), COMPACT_MIXES, hidden(grown=square(0, 4)), 0.0)
    assert sum(mix.values()) == pytest.approx(1) and mix["grown"] > 0.2


def test_where_no_hidden_slice_holds_a_segment_the_prior_mix_is_used():
    parts = {name: square(5, 15) for name in ("carried", "registered", "grown", "appearance")}
    empty = [(parts, torch.zeros(20, 20, dtype=torch.long))]
    assert weighted_mix(prior_mix(False, 3.0), COMPACT_MIXES, empty, 20.0) == normalised(prior_mix(False, 3.0))


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
