"""Simple methods that Segment is measured against: each makes one label map of a slice on the working grid.

Felzenszwalb's regions come from scikit-image where it is installed, otherwise from the engine's own implementation of
the same criterion.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from S3NetSegmentLib.engine.segment.regions.clustering import kmeans, nearest_centre
from S3NetSegmentLib.engine.segment.regions.graph import graph_regions
from S3NetSegmentLib.engine.segment.regions.maps import standardised

try:
    from skimage.segmentation import felzenszwalb as skimage_felzenszwalb
except ImportError:
    skimage_felzenszwalb = None

LabelMaker = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # features [h, w, C] -> labels [h, w]
_EIGHT = np.ones((3, 3), bool)


def methods() -> dict[str, LabelMaker]:
    """The baselines by name. Those that draw random numbers are listed in :data:`STOCHASTIC`."""
    return {
        "k-means 2": lambda features, rng: _kmeans_labels(features, 2, rng),
        "k-means 3": lambda features, rng: _kmeans_labels(features, 3, rng),
        "SLIC + k-means 8": _slic_kmeans,
        "Otsu 3": _otsu,
        felzenszwalb_name(): lambda features, rng: _felzenszwalb(features),
    }


STOCHASTIC = ("k-means 2", "k-means 3", "SLIC + k-means 8")


def felzenszwalb_name() -> str:
    origin = "scikit-image" if skimage_felzenszwalb is not None else "own, scikit-image not installed"
    return f"Felzenszwalb 100 ({origin})"


def clicked_region(labels: np.ndarray, point: tuple[int, int]) -> np.ndarray:
    """The 8-connected part of the label at ``point``, holes below 5 % of it filled."""
    parts, _ = ndimage.label(labels == labels[point], _EIGHT)
    mask = parts == parts[point]
    holes, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    small = np.bincount(holes.ravel(), minlength=count + 1) <= 0.05 * mask.sum()
    small[0] = False
    return mask | small[holes]


def central_region(labels: np.ndarray) -> np.ndarray:
    """The largest component, weighted towards the centre, that touches at most 3 % of the frame, with components of its
    label from 15 % of its size on, holes filled ("rule B"); nothing where every component touches the frame."""
    height, width = labels.shape
    rows, columns = np.mgrid[:height, :width]
    weight = np.exp(-(((rows / height - 0.5) * 3) ** 2 + ((columns / width - 0.5) * 3) ** 2) / 2)
    frame = np.zeros(labels.shape, bool)
    frame[[0, -1]] = frame[:, [0, -1]] = True
    best, best_weight = np.zeros(labels.shape, bool), 0.0
    for label in np.unique(labels):
        parts, count = ndimage.label(labels == label, _EIGHT)
        numbers = np.arange(1, count + 1)
        free = ndimage.sum_labels(frame, parts, numbers) <= 0.03 * frame.sum()
        weights = np.where(free, ndimage.sum_labels(weight, parts, numbers), 0)
        if weights.max() > best_weight:
            areas = ndimage.sum_labels(np.ones_like(weight), parts, numbers)
            kept = numbers[free & (areas >= 0.15 * areas[weights.argmax()])]
            best, best_weight = ndimage.binary_fill_holes(np.isin(parts, kept)), weights.max()
    return best


def merged(labels: np.ndarray, features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``labels`` brought down to at most ``count`` by k-means of the regions' mean features."""
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    if labels.max() < count:
        return labels
    means = _region_means(labels, features)
    return nearest_centre(means, kmeans(means, count, rng))[labels]


def _kmeans_labels(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    sigma = 2.0 if features.shape[2] == 3 else 1.0
    smooth = ndimage.gaussian_filter(standardised(features), (sigma, sigma, 0))
    return nearest_centre(smooth, kmeans(smooth.reshape(-1, smooth.shape[2]), count, rng))


def _slic_kmeans(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = sitk.GetImageFromArray((100 * features).astype(np.float32), isVector=True)
    side = max(4, round(np.sqrt(features.shape[0] * features.shape[1] / 400)))
    superpixels = sitk.GetArrayFromImage(sitk.SLIC(image, [side, side], 10.0)).astype(np.int64)
    return merged(superpixels, features, 8, rng)


def _otsu(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    lightness = ndimage.gaussian_filter(features[..., 0], 2.0)
    if lightness.max() - lightness.min() < 1e-6:
        return np.zeros(lightness.shape, np.uint8)
    return sitk.GetArrayFromImage(sitk.OtsuMultipleThresholds(sitk.GetImageFromArray(lightness), 2))


def _felzenszwalb(features: np.ndarray) -> np.ndarray:
    smallest = int(40 * max(1.0, features.shape[0] * features.shape[1] / 40_000))
    if skimage_felzenszwalb is None:
        return graph_regions(features, (100 / 255,), (smallest,))[0]
    return skimage_felzenszwalb(features.astype(np.float64), scale=100, sigma=0.8, min_size=smallest, channel_axis=-1)


def _region_means(labels: np.ndarray, features: np.ndarray) -> np.ndarray:
    flat = labels.ravel()
    sizes = np.maximum(np.bincount(flat), 1)
    columns = [np.bincount(flat, weights=c.ravel()) / sizes for c in np.moveaxis(features, 2, 0)]
    return np.stack(columns, 1).astype(np.float32)
