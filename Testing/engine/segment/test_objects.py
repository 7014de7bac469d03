"""Candidate masks at a click and without one, what is measured of them, on shapes where it is known, and their ranking."""

import numpy as np
import pytest
from ranker_files import save_rankers
from scipy import ndimage

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.segment.objects import candidates
from S3NetSegmentLib.engine.segment.objects.candidates import Candidates, candidate_steps, central_steps, small_parts
from S3NetSegmentLib.engine.segment.objects.ranked import (
    WEIGHTS,
    Ranker,
    best_first,
    default_ranker,
    dice_matrix,
    rank,
    shared_counts,
)
from S3NetSegmentLib.engine.segment.objects.slice_features import (
    COLUMN,
    NAMES,
    SliceStatistics,
    contrast_inside,
    measure,
)


def disk(shape, centre, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def maps_of(*masks):
    return {f"source{n}": [mask.astype(np.uint16)] for n, mask in enumerate(masks)}


def at(maps, point):
    return run_to_end(candidate_steps(maps, point))


def test_the_candidate_is_the_connected_part_under_the_click():
    near, far = disk((60, 80), (30, 20), 10), disk((60, 80), (30, 60), 10)
    masks = at(maps_of(near | far), (30, 20)).masks
    assert np.array_equal(masks[0], near)


def test_equal_masks_come_once_with_the_votes_of_all_maps():
    mask = disk((50, 50), (25, 25), 12)
    found = at({"a": [mask.astype(np.uint8), (mask * 3).astype(np.uint8)], "b": [mask.astype(np.uint8)]}, (25, 25))
    whole = [n for n, m in enumerate(found.masks) if np.array_equal(m, mask)]
    assert len(whole) == 1
    assert found.votes[whole[0]].tolist() == [4, 2]  # as it is, and with nothing to cut


def test_small_holes_are_filled_and_large_ones_stay():
    mask = disk((80, 80), (40, 40), 30)
    small, large = disk((80, 80), (30, 40), 2), disk((80, 80), (52, 40), 10)
    masks = at(maps_of(mask & ~small & ~large), (40, 20)).masks
    assert masks[0][30, 40] and not masks[0][52, 40]


def test_a_thin_bridge_is_cut_in_one_candidate_and_kept_in_another():
    left, right = disk((60, 100), (30, 25), 15), disk((60, 100), (30, 75), 15)
    bridge = np.zeros((60, 100), bool)
    bridge[29:31, 30:70] = True
    found = at(maps_of(left | right | bridge), (30, 25))
    assert any(mask[30, 75] for mask in found.masks)
    cut = found.masks[found.cut]
    assert cut.shape[0] == 1 and not cut[0][30, 75] and cut[0][30, 25]
    assert (cut[0] & left).sum() > 0.95 * left.sum()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 3)])
def test_tiny_slices_have_a_candidate(shape):
    found = at({"a": [np.zeros(shape, np.uint8)]}, (0, 0))
    assert found.masks.shape[1:] == shape and found.masks.any((1, 2)).all()


def test_the_central_candidate_is_the_component_in_the_middle_and_not_the_background():
    mask = disk((60, 80), (32, 45), 14)
    found = run_to_end(central_steps(maps_of(mask, ~mask)))
    assert len(found.masks) == 1 and np.array_equal(found.masks[0], mask)


def test_there_is_no_central_candidate_where_everything_touches_the_frame():
    halves = np.zeros((40, 40), np.uint8)
    halves[:, 20:] = 1
    assert run_to_end(central_steps({"a": [halves]})) is None


@pytest.mark.parametrize("count", [1, 5, 64])
def test_a_stack_gives_back_its_masks(count):
    masks = np.random.default_rng(0).random((count, 13, 17)) < 0.4
    masks[:, 0, 0] = True  # none empty
    stack = candidates.stacked(masks)
    for n in range(count):
        assert np.array_equal(candidates.layer(stack, n), masks[n])


@pytest.mark.parametrize("diagonal", [False, True])
def test_stacks_grow_and_shrink_as_single_masks_do(diagonal):
    masks = ndimage.gaussian_filter(np.random.default_rng(1).random((20, 31, 29)), (0, 2, 2)) > 0.5
    stack = candidates.stacked(masks)
    structure = np.ones((3, 3), bool) if diagonal else ndimage.generate_binary_structure(2, 1)
    grown, shrunk = candidates.dilated(stack, diagonal), candidates.eroded(stack, diagonal)
    for n, mask in enumerate(masks):
        assert np.array_equal(candidates.layer(grown, n), ndimage.binary_dilation(mask, structure))
        assert np.array_equal(candidates.layer(shrunk, n), ndimage.binary_erosion(mask, structure))


def disk_of(radius, centre=(60, 60), shape=(120, 120)):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def measured(masks, picture, point=None, votes=None):
    masks = np.stack(masks)
    votes = np.eye(len(masks), dtype=np.int32) if votes is None else np.asarray(votes)
    candidates = Candidates(masks, votes, np.zeros(len(masks), bool))
    partition = np.zeros(picture.shape[:2], np.uint16)
    return measure(candidates, SliceStatistics(picture, partition), dice_matrix(masks), point)


def column(table, name):
    return table[:, COLUMN[name]]


def test_holes_are_filled_as_scipy_does_it():
    rng = np.random.default_rng(4)
    for share in (0.3, 0.6, 0.9):
        mask = rng.random((40, 50)) < share
        assert np.array_equal(candidates.without_holes(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_alone_is_the_contrast_among_all_that_is_measured(channels):
    picture = np.random.default_rng(5).normal(0, 1, (120, 120, channels)).astype(np.float32)
    picture[disk_of(25)] += 2
    masks = [disk_of(radius, (50 + radius, 60)) for radius in range(2, 27)] * 3  # more than are measured at once
    found = contrast_inside(np.stack(masks), SliceStatistics(picture, np.zeros((120, 120), np.uint16)))
    np.testing.assert_allclose(found, column(measured(masks, picture), "contrast_inside"), rtol=1e-3)


@pytest.fixture
def bright_disk():
    picture = np.zeros((120, 120, 1), np.float32)
    picture[disk_of(25)] = 2.0
    return picture


def test_size_and_shape_of_a_disk_and_a_bar(bright_disk):
    bar = np.zeros((120, 120), bool)
    bar[55:65, 10:110] = True
    table = measured([disk_of(25), bar], bright_disk)
    assert np.exp(column(table, "log_area"))[0] == pytest.approx(disk_of(25).mean())
    assert column(table, "compactness")[0] > 0.85 > 0.5 > column(table, "compactness")[1]
    assert abs(column(table, "log_elongation")[0]) < 0.01
    assert column(table, "log_elongation")[1] == pytest.approx(np.log(10), abs=0.05)
    assert column(table, "inscribed")[0] == pytest.approx(1, abs=0.1)
    assert column(table, "extent")[1] == pytest.approx(1)


def test_contrast_is_the_step_at_the_border(bright_disk):
    table = measured([disk_of(25), disk_of(12), disk_of(40)], bright_disk)
    assert column(table, "contrast")[0] == pytest.approx(2, abs=0.15)
    assert column(table, "contrast")[1] == pytest.approx(0, abs=0.05)
    assert column(table, "edge_strength").argmax() == 0
    assert column(table, "hand_to_best")[0] == 0


def test_the_click_is_deep_in_the_middle_and_shallow_at_the_border(bright_disk):
    middle = measured([disk_of(25)], bright_disk, (60, 60))[0]
    border = measured([disk_of(25)], bright_disk, (60, 84))[0]
    assert middle[COLUMN["click_depth"]] > 0.9 and border[COLUMN["click_depth"]] < 0.15
    assert middle[COLUMN["click_offset"]] < 0.05 and border[COLUMN["click_offset"]] == pytest.approx(0.96, abs=0.05)


def test_agreement_of_sources_is_counted(bright_disk):
    masks = [disk_of(25), disk_of(24), disk_of(5)]
    table = measured(masks, bright_disk, votes=[[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    overlap = dice_matrix(np.stack(masks))
    assert column(table, "consensus")[0] == pytest.approx((overlap[0, 1] + overlap[0, 2]) / 2, abs=1e-5)
    assert column(table, "consensus")[2] < column(table, "consensus")[0]
    assert column(table, "vote_share")[0] == pytest.approx(2 / 3)


def test_an_object_over_the_frame_is_not_plausible(bright_disk):
    edge = disk_of(30, centre=(0, 60))
    table = measured([disk_of(25), ~disk_of(25)], bright_disk, votes=[[1, 1], [1, 1]])
    assert column(table, "log_hand")[0] > column(table, "log_hand")[1] + 2
    assert measured([edge], bright_disk)[0, COLUMN["frame_share"]] > 0.1


def test_colour_turns_the_axes_but_not_the_contrast():
    masks = [disk_of(25), disk_of(15)]
    grey = np.zeros((120, 120, 1), np.float32)
    grey[masks[0]] = 1.5
    colour = np.zeros((120, 120, 3), np.float32)
    colour[masks[0]] = np.array([0.9, -1.0, 0.6]) / np.linalg.norm([0.9, -1.0, 0.6]) * 1.5
    first, second = measured(masks, grey), measured(masks, colour)
    for name in ("contrast", "contrast_inside", "contrast_ring", "fisher", "deviation_inside"):
        assert column(first, name) == pytest.approx(column(second, name), rel=0.02, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (64, 64)])
def test_the_whole_constant_slice_has_finite_features(shape):
    table = measured([np.ones(shape, bool)], np.zeros((*shape, 3), np.float32), (0, 0))
    assert table.shape == (1, len(NAMES)) and np.isfinite(table).all()


def test_more_candidates_than_bits_are_measured_as_fewer_are(bright_disk):
    masks = [disk_of(5 + n / 4) for n in range(90)]
    many = measured(masks, bright_disk, (60, 60))
    one = measured(masks[80:81], bright_disk, (60, 60))
    for name in ("log_area", "contrast", "inscribed", "click_depth"):
        assert many[80, COLUMN[name]] == pytest.approx(one[0, COLUMN[name]], abs=1e-5)


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


def test_with_certainty_similar_opinions_outweigh_one_lonely_best():
    masks = np.concatenate([squares(8), squares(22, 25, 28)])
    scores = np.array([1.0, 0.6, 0.7, 0.6])
    assert rank(masks, scores).masks[rank(masks, scores).best].sum() == 64
    chosen = rank(masks, scores, certainty=1.0)
    assert chosen.masks[chosen.best].sum() == 25**2
    sure = rank(masks, scores, certainty=50.0)
    assert sure.masks[sure.best].sum() == 64


def test_how_often_the_same_was_found_does_not_count():
    masks = np.concatenate([squares(8), squares(27, 28, 29)])
    chosen = rank(masks, np.array([1.0, 0.6, 0.6, 0.6]), certainty=1.0)
    assert chosen.masks[chosen.best].sum() == 64
    chance = 1 / (1 + np.exp(-0.4))
    assert chosen.worth[chosen.best] == pytest.approx(chance + (1 - chance) * 2 * 64 / (64 + 27**2), abs=0.01)


def test_what_must_not_be_chosen_takes_no_place_of_another():
    overlap = np.array([[1.0, 0.98, 0.7], [0.98, 1.0, 0.75], [0.7, 0.75, 1.0]])
    # The middle one is nearly the first, and agrees best with all; but it holds a point that was marked outside.
    assert best_first(np.array([0.0, -np.inf, 0.0]), overlap, certainty=1.0) == [0, 2]
    assert best_first(np.zeros(3), overlap, certainty=1.0)[0] == 1


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


def test_parts_far_smaller_than_the_largest_one_are_small():
    mask = np.zeros((6, 20, 20), bool)
    mask[1:5, 2:12, 2:12] = mask[1:3, 15:18, 15:18] = mask[4, 14:19, 3:10] = True
    expected = mask.copy()
    expected[:, :13, :13] = False
    assert (small_parts(mask, 0.15, corners=True) == expected).all()
    assert not small_parts(mask, 0.02).any() and not small_parts(np.zeros_like(mask), 0.15).any()
    touching = np.eye(9, dtype=bool)
    touching[:4, :4] = True
    assert small_parts(touching, 0.15).sum() == 5 and not small_parts(touching, 0.15, corners=True).any()
