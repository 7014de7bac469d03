"""k-means: canonical, seeded, right on separated clusters; regions with margin and stability."""

import numpy as np
import pytest

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.segment.regions.clustering import ClusterLabels, kmeans, nearest_centre


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
