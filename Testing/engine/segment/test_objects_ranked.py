"""The ladder of candidates, the choice among them and the ranker's networks."""

import numpy as np
import pytest

from S3NetSegmentLib.engine.segment.objects.ranked import (
    WEIGHTS,
    Ranker,
    default_ranker,
    dice_matrix,
    rank,
    save_rankers,
    shared_counts,
)
from S3NetSegmentLib.engine.segment.objects.slice_features import NAMES


def squares(*sides):
    masks = np.zeros((len(sides), 40, 40), bool)
    for mask, side in zip(masks, sides, strict=True):
        mask[:side, :side] = True
    return masks


def test_overlaps_are_those_of_the_definition():
    masks = np.random.default_rng(0).random((7, 11, 13)) < 0.5
    shared = np.array([[(a & b).sum() for b in masks] for a in masks])
    assert np.array_equal(shared_counts(masks), shared)
    areas = masks.sum((1, 2))
    assert dice_matrix(masks) == pytest.approx(2 * shared / (areas[:, None] + areas))


def test_the_ladder_goes_from_small_to_large_and_the_best_score_is_chosen():
    ranked = rank(squares(30, 10, 20), np.array([0.1, 0.2, 0.9]))
    assert [mask.sum() for mask in ranked.masks] == [100, 400, 900]
    assert ranked.best == 1 and ranked.scores.tolist() == [0.2, 0.9, 0.1]


def test_of_nearly_equal_masks_only_the_best_is_a_step():
    masks = squares(30, 30, 12)
    masks[1, 29, 29] = False
    ranked = rank(masks, np.array([0.5, 0.8, 0.0]))
    assert len(ranked.masks) == 2 and not ranked.masks[1][29, 29]


def test_alternatives_are_clearly_different_and_begin_with_the_choice():
    masks = squares(30, 29, 20, 19, 10, 5)
    ranked = rank(masks, np.array([5.0, 4.9, 3.0, 2.9, 1.0, 0.0]))
    assert [ranked.masks[i].sum() for i in ranked.alternatives] == [900, 400, 100]
    assert ranked.alternatives[0] == ranked.best


def test_with_certainty_many_alike_opinions_outweigh_one_lonely_best():
    masks = np.concatenate([squares(8), squares(26, 28, 30)])
    scores = np.array([1.0, 0.6, 0.7, 0.6])
    assert rank(masks, scores).masks[rank(masks, scores).best].sum() == 64
    chosen = rank(masks, scores, certainty=1.0)
    assert chosen.masks[chosen.best].sum() == 28**2
    sure = rank(masks, scores, certainty=50.0)
    assert sure.masks[sure.best].sum() == 64


def test_one_candidate_is_a_ladder_of_one_step():
    ranked = rank(squares(4), np.array([-3.0]), certainty=1.0)
    assert len(ranked.masks) == 1 and ranked.best == 0 and ranked.alternatives == (0,)


def random_ranker(seed):
    rng = np.random.default_rng(seed)
    sizes = [(len(NAMES), 6), (6, 6), (6, 1)]
    layers = [(rng.normal(size=(3, a, b)) / np.sqrt(a), rng.normal(size=(3, b))) for a, b in sizes]
    return Ranker(NAMES, rng.normal(size=len(NAMES)), np.ones(len(NAMES)), layers, {"seed": seed})


def test_scores_are_the_mean_log_probabilities_of_the_networks():
    torch = pytest.importorskip("torch")
    ranker = random_ranker(0)
    table = np.random.default_rng(1).normal(size=(9, len(NAMES)))
    inputs = torch.tensor(np.clip(table - ranker.centre, -4, 4), dtype=torch.float64)
    expected = 0
    for n in range(3):
        hidden = inputs
        for number, (weights, biases) in enumerate(ranker.layers):
            hidden = hidden @ torch.tensor(weights[n], dtype=torch.float64) + torch.tensor(biases[n])
            hidden = torch.nn.functional.gelu(hidden) if number < 2 else hidden
        expected = expected + hidden[:, 0].log_softmax(0) / 3
    assert ranker.score(table) == pytest.approx(expected.numpy(), abs=1e-4)


def test_rankers_of_several_kinds_share_a_file(tmp_path):
    first, second = random_ranker(0), random_ranker(1)
    save_rankers({"grey": first, "colour": second}, tmp_path / "r.npz")
    table = np.random.default_rng(1).normal(size=(5, len(NAMES)))
    for kind, ranker in (("grey", first), ("colour", second)):
        loaded = Ranker.load(tmp_path / "r.npz", kind)
        assert loaded.names == NAMES and loaded.about == ranker.about
        assert loaded.score(table) == pytest.approx(ranker.score(table), abs=0.05)


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_the_shipped_ranker_fits_the_features_and_says_where_it_comes_from(kind):
    ranker = default_ranker(kind)
    assert ranker.names == NAMES
    assert "synthetic" in ranker.about["source"]
    assert WEIGHTS.stat().st_size < 200_000
    assert np.isfinite(ranker.score(np.zeros((4, len(NAMES)), np.float32))).all()
