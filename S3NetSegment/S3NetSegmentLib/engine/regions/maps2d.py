"""Region maps of one slice from several sources: the opinions from which objects are made.

No single clustering finds every object, but the best of several is nearly always close. k-means at several numbers of
regions and smoothings gives regions of alike intensity, graph regions give connected areas with a border.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..settings import SegmentSettings
from .clustering import kmeans, nearest_centre
from .graph import graph_regions

# Standard deviation of the smoothing before k-means, in pixels of a slice of 256 pixels. Colour pictures (hair, pores,
# reflections) need more than slices of a scanner. The keys name the source wherever candidates are weighed.
KMEANS_BLURS = {"kmeans_fine": (1.0, 2.0), "kmeans_medium": (2.0, 4.0), "kmeans_coarse": (4.0, 7.0)}  # grey, colour
# k of the graph criterion in 8-bit steps (0 to 255 per channel) times pixels, and the smallest region in pixels of a
# slice of 40 000 pixels.
GRAPH_SCALES = {"grey": (50.0, 100.0, 300.0), "colour": (50.0, 100.0, 300.0)}
GRAPH_SMALLEST = (20, 40, 80)
_COLOUR_STEP = 1.0  # length in Lab/100 of an RGB difference of 1
_SMALLEST_SIDE = 160  # longest side up to which small slices are enlarged, pixels
_LARGEST_ZOOM = 4.0


def working_shape(
    shape: tuple[int, int], pixel_mm: tuple[float, float], work_size: int
) -> tuple[tuple[int, int], float]:
    """The grid on which regions of a slice are searched, and the side of its square pixels in mm.

    The longest side is brought down to ``work_size``; small slices are enlarged to 160 pixels, but at most four times.

    :param shape: rows and columns of the slice.
    :param pixel_mm: row and column distance, mm.
    """
    extent = [n * mm for n, mm in zip(shape, pixel_mm, strict=True)]
    fine = max(extent) / min(pixel_mm)  # longest side at the finer of the two resolutions, in pixels
    wanted = min(max(max(shape), min(_SMALLEST_SIDE, _LARGEST_ZOOM * fine)), work_size)
    pixel = max(extent) / wanted
    return tuple(max(1, min(work_size, round(e / pixel))) for e in extent), pixel


def slice_maps(
    features: np.ndarray, settings: SegmentSettings, rng: np.random.Generator
) -> dict[str, list[np.ndarray]]:
    """Label maps of one slice by source: ``kmeans_fine``, ``kmeans_medium``, ``kmeans_coarse`` (one map for each of
    ``settings.region_counts``) and ``graph`` (fine to coarse). Each map is uint16 ``[h, w]`` with labels from 0.

    :param features: float32 ``[h, w, C]``, see ``IntensityScale.apply``, on a grid of :func:`working_shape`.
    """
    colour = features.shape[2] == 3
    zoom = max(features.shape[:2]) / 256
    standard = standardised(features)
    maps = {}
    for name, blurs in KMEANS_BLURS.items():
        sigma = max(blurs[colour] * zoom, 0.5)
        smooth = ndimage.gaussian_filter(standard, (sigma, sigma, 0))
        flat = smooth.reshape(-1, features.shape[2])
        maps[name] = [
            nearest_centre(smooth, kmeans(flat, count, rng)).astype(np.uint16) for count in settings.region_counts
        ]
    maps["graph"] = graph_maps(features)
    return maps


def graph_maps(features: np.ndarray) -> list[np.ndarray]:
    """Graph regions of a slice, fine to coarse, see :func:`slice_maps`."""
    colour = features.shape[2] == 3
    step = (_COLOUR_STEP if colour else 1.0) / 255
    scales = tuple(k * step for k in GRAPH_SCALES["colour" if colour else "grey"])
    share = max(1.0, features.shape[0] * features.shape[1] / 40_000)
    return graph_regions(features, scales, tuple(int(n * share) for n in GRAPH_SMALLEST))


def standardised(features: np.ndarray) -> np.ndarray:
    """``features`` with mean 0 and standard deviation about 1 in each channel of this slice (float32 ``[h, w, C]``).
    The constant keeps noise in a nearly constant channel small."""
    flat = features.reshape(-1, features.shape[2])
    return ((features - flat.mean(0)) / (flat.std(0) + 0.04)).astype(np.float32)
