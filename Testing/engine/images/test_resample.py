"""Working grids: features, masks and labels to another grid of the same field of view and back."""

import numpy as np
import pytest

from S3NetSegmentLib.engine import Volume, run_to_end
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.images.resample import (
    axis_weights,
    bounding_box,
    labels_to_grid,
    mask_to_grid,
    resized,
    shrunk_features,
)


@pytest.mark.parametrize("size, new_size", [(10, 4), (4, 10), (7, 7), (1, 5), (5, 1), (300, 299)])
def test_weights_sum_to_one_and_keep_a_linear_ramp(size, new_size):
    weights = axis_weights(size, new_size)
    assert np.allclose(weights.sum(1), 1, atol=1e-5)
    ramp = (np.arange(size) + 0.5) / size
    expected = (np.arange(new_size) + 0.5) / new_size
    inner = slice(1, -1) if new_size > size else slice(None)  # beyond the outer sample centres the value is held
    held = np.clip(expected, ramp[0], ramp[-1])
    # Cells cut in two count by their share, which displaces the mean by a fraction of a cell.
    assert np.allclose((weights @ ramp)[inner], held[inner], atol=1e-5 if new_size >= size else 0.1 / new_size)


def test_features_made_slice_by_slice_equal_those_of_the_whole_array():
    rng = np.random.default_rng(0)
    volume = Volume(rng.integers(0, 1000, (13, 20, 31)).astype(np.int16), np.eye(4))
    scale = intensity_scale(volume)
    shape = (6, 20, 11)
    steps = run_to_end(shrunk_features(volume.array, scale, shape))
    assert np.allclose(steps, resized(scale.apply(volume.array), shape), atol=1e-5)


@pytest.mark.parametrize("shape", [(20, 30), (50, 80), (13, 90), (40, 60)])
def test_a_disk_keeps_its_relative_area_and_place_on_another_grid(shape):
    y, x = np.mgrid[:40, :60]
    mask = (y - 18) ** 2 + (x - 33) ** 2 < 100
    moved = mask_to_grid(mask, shape)
    assert moved.dtype == bool and moved.shape == shape
    assert abs(moved.mean() / mask.mean() - 1) < 0.1
    centre = [(i.mean() + 0.5) / n for i, n in zip(np.nonzero(moved), shape, strict=True)]
    assert np.allclose(centre, [(18.5) / 40, 33.5 / 60], atol=0.03)


def test_a_mask_enlarged_by_boxes_equals_the_plain_way():
    rng = np.random.default_rng(1)
    mask = np.zeros((12, 17, 9), bool)
    mask[3:8, 2:11, 4:9] = rng.random((5, 9, 5)) > 0.4
    shape = (25, 40, 13)
    assert np.array_equal(mask_to_grid(mask, shape), resized(mask, shape) > 0.5)


def test_an_empty_mask_stays_empty_and_a_full_one_full():
    assert not mask_to_grid(np.zeros((4, 5), bool), (9, 9)).any()
    assert mask_to_grid(np.ones((4, 5), bool), (9, 9)).all()


def test_labels_keep_their_values_and_stripes_their_borders():
    labels = np.repeat(np.array([[0, 3, 7, 3]], np.uint8), 4, 0)
    larger = labels_to_grid(labels, (8, 8))
    assert np.array_equal(larger, np.repeat(np.array([[0, 0, 3, 3, 7, 7, 3, 3]], np.uint8), 8, 0))
    assert np.array_equal(labels_to_grid(larger, (4, 4)), labels)


def test_the_bounding_box_is_tight_or_none():
    mask = np.zeros((5, 6, 7), bool)
    assert bounding_box(mask) is None
    mask[2, 1:4, 6] = True
    assert bounding_box(mask) == (slice(2, 3), slice(1, 4), slice(6, 7))
