"""Candidate masks at a click and without one, and the bit stacks that treat many masks at once."""

import numpy as np
import pytest
from scipy import ndimage

from S3NetSegmentLib.engine.segment.objects import candidates
from S3NetSegmentLib.engine.segment.objects.candidates import candidates_at, central_candidates


def disk(shape, centre, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def maps_of(*masks):
    return {f"source{n}": [mask.astype(np.uint16)] for n, mask in enumerate(masks)}


def test_the_candidate_is_the_connected_part_under_the_click():
    near, far = disk((60, 80), (30, 20), 10), disk((60, 80), (30, 60), 10)
    masks = candidates_at(maps_of(near | far), (30, 20)).masks
    assert np.array_equal(masks[0], near)


def test_equal_masks_come_once_with_the_votes_of_all_maps():
    mask = disk((50, 50), (25, 25), 12)
    found = candidates_at(
        {"a": [mask.astype(np.uint8), (mask * 3).astype(np.uint8)], "b": [mask.astype(np.uint8)]}, (25, 25)
    )
    whole = [n for n, m in enumerate(found.masks) if np.array_equal(m, mask)]
    assert len(whole) == 1
    assert found.votes[whole[0]].tolist() == [4, 2]  # as it is, and with nothing to cut


def test_small_holes_are_filled_and_large_ones_stay():
    mask = disk((80, 80), (40, 40), 30)
    small, large = disk((80, 80), (30, 40), 2), disk((80, 80), (52, 40), 10)
    masks = candidates_at(maps_of(mask & ~small & ~large), (40, 20)).masks
    assert masks[0][30, 40] and not masks[0][52, 40]


def test_a_thin_bridge_is_cut_in_one_candidate_and_kept_in_another():
    left, right = disk((60, 100), (30, 25), 15), disk((60, 100), (30, 75), 15)
    bridge = np.zeros((60, 100), bool)
    bridge[29:31, 30:70] = True
    found = candidates_at(maps_of(left | right | bridge), (30, 25))
    assert any(mask[30, 75] for mask in found.masks)
    cut = found.masks[found.cut]
    assert cut.shape[0] == 1 and not cut[0][30, 75] and cut[0][30, 25]
    assert (cut[0] & left).sum() > 0.95 * left.sum()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 3)])
def test_tiny_slices_have_a_candidate(shape):
    found = candidates_at({"a": [np.zeros(shape, np.uint8)]}, (0, 0))
    assert found.masks.shape[1:] == shape and found.masks.any((1, 2)).all()


def test_the_central_candidate_is_the_component_in_the_middle_and_not_the_background():
    mask = disk((60, 80), (32, 45), 14)
    found = central_candidates(maps_of(mask, ~mask))
    assert len(found.masks) == 1 and np.array_equal(found.masks[0], mask)


def test_there_is_no_central_candidate_where_everything_touches_the_frame():
    halves = np.zeros((40, 40), np.uint8)
    halves[:, 20:] = 1
    assert central_candidates({"a": [halves]}) is None


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
