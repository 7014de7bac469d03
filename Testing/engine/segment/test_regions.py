"""Label maps of a slice from all sources: k-means (canonical, seeded, right on separated clusters), and graph regions against the
paper's own loop, written out plainly."""

import numpy as np
import pytest
from scipy import ndimage

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.segment.regions import slice_maps, working_shape
from S3NetSegmentLib.engine.segment.regions.clustering import ClusterLabels, kmeans, nearest_centre
from S3NetSegmentLib.engine.segment.regions.graph import graph_regions
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


@pytest.mark.parametrize("channels", [1, 3])
def test_separated_clusters_are_found_in_canonical_order(channels):
    rng = np.random.default_rng(0)
    true = np.sort(rng.permutation(5)[:, None] * 10.0 + rng.normal(size=(5, channels)), 0)
    features = (true[rng.integers(0, 5, 4000)] + rng.normal(0, 0.3, (4000, channels))).astype(np.float32)
    centres = kmeans(features, 5, np.random.default_rng(1))
    assert np.allclose(centres, true, atol=0.1)
    assert (np.diff(centres[:, 0]) > 0).all()


def test_the_seed_alone_decides_the_result():
    features = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    first = kmeans(features, 4, np.random.default_rng(7))
    np.random.seed(99)  # noqa: NPY002 - the global generator must not matter
    assert np.array_equal(first, kmeans(features, 4, np.random.default_rng(7)))


def test_more_clusters_than_values_do_not_fail():
    centres = kmeans(np.array([[1.0], [1.0], [2.0]], np.float32), 5, np.random.default_rng(0))
    assert centres.shape == (5, 1) and set(np.unique(centres)) <= {1.0, 2.0}


@pytest.mark.parametrize("channels", [1, 2])
def test_the_nearest_centre_is_the_nearest(channels):
    rng = np.random.default_rng(0)
    features, centres = rng.normal(size=(40, 50, channels)), rng.normal(size=(6, channels))
    brute = ((features[..., None, :] - centres) ** 2).sum(-1).argmin(-1)
    assert np.array_equal(nearest_centre(features.astype(np.float32), centres.astype(np.float32)), brute)


def disk_picture():
    y, x = np.mgrid[:64, :96]
    picture = np.where((y - 30) ** 2 + (x - 50) ** 2 < 300, 0.8, 0.2).astype(np.float32)[..., None]
    return picture + np.random.default_rng(0).normal(0, 0.02, picture.shape).astype(np.float32)


def test_margin_and_stability_fall_at_borders_and_not_inside():
    labels = ClusterLabels(disk_picture(), (1.0, 1.0), (2,), np.random.default_rng(0))
    margin, stability = labels.margin(2), run_to_end(labels.stability(2, np.random.default_rng(1)))
    assert labels.labels(2)[30, 50] == 1 and labels.labels(2)[5, 5] == 0
    for quantity in (margin, stability):
        assert quantity.dtype == np.float32 and 0 <= quantity.min() and quantity.max() <= 1
        assert quantity[30, 50] > 0.9
    border = np.abs(np.hypot(*(np.mgrid[:64, :96] - np.array([30, 50])[:, None, None])) - 300**0.5) < 1
    assert margin[border].mean() < 0.7 * margin[30, 50]
    assert stability[border].mean() < stability[25:35, 45:55].mean()


def test_regions_of_a_volume_are_shared_by_its_slices():
    volume = np.stack([disk_picture()] * 5)
    labels = ClusterLabels(volume, (5.0, 1.0, 1.0), (2, 3), np.random.default_rng(0)).labels(2)
    assert labels.shape == (5, 64, 96) and (labels[:, 30, 50] == 1).all() and (labels[:, 5, 5] == 0).all()


def plain_graph_regions(features, scale, smallest, sigma):
    """The algorithm of Felzenszwalb and Huttenlocher (2004), edge by edge."""
    height, width = features.shape[:2]
    smooth = ndimage.gaussian_filter(features, (sigma, sigma, 0)) if sigma else features
    edges = []
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    step = np.sqrt(((smooth[y, x] - smooth[y + dy, x + dx]) ** 2).sum())
                    edges.append((np.float32(step), y * width + x, (y + dy) * width + x + dx))
    edges.sort(key=lambda e: e[0])
    root, size, inner = list(range(height * width)), [1] * (height * width), [0.0] * (height * width)

    def find(a):
        while root[a] != a:
            a = root[a]
        return a

    for wanted in ("criterion", "size"):
        for step, a, b in edges:
            a, b = find(a), find(b)
            if wanted == "criterion":
                joins = step <= min(inner[a] + scale / size[a], inner[b] + scale / size[b])
            else:
                joins = min(size[a], size[b]) < smallest
            if a != b and joins:
                root[b], inner[a] = a, max(float(step), inner[a], inner[b])
                size[a] += size[b]
    return np.array([find(a) for a in range(height * width)]).reshape(height, width)


def same_partition(first, second):
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1).shape[1]
    return pairs == np.unique(first).size == np.unique(second).size


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("scale", "smallest", "sigma"), [(0.3, 1, 0.0), (1.5, 12, 0.8), (2.5, 40, 0.8)])
def test_the_regions_are_those_of_the_papers_loop(seed, channels, scale, smallest, sigma):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((34, 41, channels)), (3, 3, 0)) * 8
    features = (smooth + 0.05 * rng.standard_normal(smooth.shape)).astype(np.float32)
    (labels,) = graph_regions(features, (scale,), (smallest,), sigma=sigma)
    assert labels.max() > 0
    assert same_partition(labels, plain_graph_regions(features, scale, smallest, sigma))


def test_two_flat_halves_are_two_regions():
    features = np.zeros((20, 30, 1), np.float32)
    features[:, 15:] = 1
    (labels,) = graph_regions(features, (0.5,), (5,), sigma=0)
    assert labels.max() == 1
    assert (labels[:, :15] == labels[0, 0]).all() and (labels[:, 15:] == labels[0, 29]).all()


def test_no_region_is_below_the_smallest_size():
    features = np.random.default_rng(0).random((40, 50, 1), np.float32)
    for labels, smallest in zip(graph_regions(features, (0.05, 0.2), (25, 60)), (25, 60), strict=True):
        assert np.bincount(labels.ravel()).min() >= smallest


def test_every_region_is_connected_and_numbered_without_gaps():
    features = ndimage.gaussian_filter(np.random.default_rng(1).random((48, 40, 1), np.float32), (2, 2, 0))
    (labels,) = graph_regions(features, (0.02,), (10,))
    assert labels.dtype == np.uint16
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    for label in range(labels.max() + 1):
        assert ndimage.label(labels == label, np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 2)])
def test_tiny_and_constant_slices_are_one_region(shape):
    (labels,) = graph_regions(np.full((*shape, 3), 0.4, np.float32), (1.0,), (20,))
    assert labels.shape == shape and labels.max() == 0
