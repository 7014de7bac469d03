"""Label maps of a slice from all sources, and the grid on which they are searched."""

import numpy as np
import pytest

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.segment.regions import slice_maps, working_shape
from S3NetSegmentLib.engine.segment.regions.maps import watershed_regions
from S3NetSegmentLib.engine.segment.settings import SegmentSettings


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((192, 256), (1.0, 1.0), (192, 256)),
        ((1024, 768), (1.0, 1.0), (256, 192)),  # shrunk to the working size
        ((100, 200), (2.0, 1.0), (200, 200)),  # square pixels of the finer side
        ((35, 50), (1.0, 1.0), (112, 160)),  # small slices are enlarged
        ((10, 12), (0.5, 0.5), (40, 48)),  # but at most four times
        ((1, 1), (3.0, 3.0), (4, 4)),
        ((2, 900), (1.0, 1.0), (1, 256)),
        ((30, 30), (12.0, 1.0), (360, 30)),  # long pixels: the fine direction is kept
        ((512, 40), (0.7, 5.0), (256, 143)),  # thick slices cut across: as large as any slice
        ((30, 30), (1000.0, 1.0), (1024, 1)),  # within reason
    ],
)
def test_the_working_grid_has_square_pixels_and_a_bounded_size(shape, spacing, expected):
    assert working_shape(shape, spacing, 256) == expected


@pytest.mark.parametrize("ratio", [2, 7, 30])
def test_long_pixels_never_make_the_grid_larger_than_a_square_one(ratio):
    rows, columns = working_shape((200, 300), (float(ratio), 1.0), 256)
    assert rows * columns <= 257**2 and rows * 300 / columns / 200 == pytest.approx(ratio, rel=0.05)


def test_the_working_size_bounds_also_the_enlarged():
    assert max(working_shape((35, 50), (1.0, 1.0), 64)) == 64


@pytest.mark.parametrize("channels", [1, 3])
def test_every_source_gives_maps_of_the_slice_from_label_0(channels):
    features = np.random.default_rng(0).random((60, 75, channels), np.float32)
    settings = SegmentSettings(region_counts=(2, 5))
    maps = run_to_end(slice_maps(features, (1.0, 1.0), settings, np.random.default_rng(0)))
    assert list(maps) == ["kmeans_fine", "kmeans_medium", "kmeans_coarse", "graph", "watershed"]
    for labels in (m for source in maps.values() for m in source):
        assert labels.shape == (60, 75) and labels.dtype == np.uint16 and labels.min() == 0
    assert [m.max() + 1 for m in maps["kmeans_fine"]] == [2, 5]


def test_two_basins_of_a_ridge_are_two_watershed_regions():
    features = np.zeros((40, 60, 1), np.float32)
    features[:, 30:] = 1
    (labels,) = watershed_regions(features, (0.1,))
    assert labels[20, 5] != labels[20, 55]
    assert (labels[:, :26] == labels[20, 5]).all() and (labels[:, 34:] == labels[20, 55]).all()


def test_a_long_slice_is_not_blurred_as_much_as_it_is_long():
    features = np.zeros((600, 30, 1), np.float32)
    features[:, 13:17] = 1
    settings = SegmentSettings(region_counts=(2,))
    (labels,) = run_to_end(slice_maps(features, (1.0, 1.0), settings, np.random.default_rng(0)))["kmeans_medium"]
    assert 4 <= (labels[300] == labels[300, 15]).sum() <= 6
