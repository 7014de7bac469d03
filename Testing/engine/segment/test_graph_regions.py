"""Graph regions against the paper's own loop, written out plainly, and their properties."""

import numpy as np
import pytest
from scipy import ndimage

from S3NetSegmentLib.engine.segment.regions.graph import graph_regions


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
