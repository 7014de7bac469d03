"""Region maps of a slice or of a volume from several sources: the opinions from which objects are made.

No single clustering finds every object, but the best of several is nearly always close. k-means at several numbers of
regions and smoothings gives regions of alike intensity; graph regions and watershed basins give connected areas with a border, and
in a volume the graph of small regions, merged step by step under several ideas of a border, gives nested connected parts.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ...common.arrays import three
from ...common.progress import Step, Steps, as_part_of
from ...images.resample import resized
from ..settings import SegmentSettings
from .clustering import kmeans, nearest_centre
from .graph import graph_region_steps, graph_regions
from .volume_graph import RegionGraph, blur_in_voxels, region_graph
from .volume_merging import KINDS, MergeTree, merge_tree

# Standard deviation of the smoothing before k-means, in pixels of a slice of 256 pixels. Colour pictures (hair, pores,
# reflections) need more than slices of a scanner. The keys name the source wherever candidates are weighed.
KMEANS_BLURS = {"kmeans_fine": (1.0, 2.0), "kmeans_medium": (2.0, 4.0), "kmeans_coarse": (4.0, 7.0)}  # grey, colour
# The k of the graph criterion, in deviations of the slice times pixels; the smallest region in pixels of a slice of
# 40 000 pixels. The second half is searched on a grid of half the resolution, where faint borders stand out of the noise.
GRAPH_SCALES, GRAPH_SMALLEST = (1.0, 2.0, 5.0), (20, 40, 80)
COARSE_GRAPH_SCALES, COARSE_GRAPH_SMALLEST = (0.5, 1.0, 2.5), (5, 10, 20)
# Watershed, also at half the resolution: borders lower than this (gradient magnitude) do not part regions.
WATERSHED_LEVELS = (0.05, 0.1, 0.2, 0.4)
_SMALLEST_SIDE = 160  # longest side up to which small slices are enlarged, pixels
_LARGEST_ZOOM = 4.0
_LONGEST = 4
_LONG_SIDE = 1.5  # of a slice, over the root of its area: what is longer is not blurred more
MOST_VOXELS = 2_000_000
# Standard deviation of the smoothing before k-means, in units of the smallest voxel side.
VOLUME_KMEANS_BLURS = {"kmeans_fine": 0.7, "kmeans_medium": 1.5, "kmeans_coarse": 3.0}
_SAMPLES = 6000


def working_shape(shape: tuple[int, int], spacing: tuple[float, float], work_size: int) -> tuple[int, int]:
    """Rows and columns of the grid of (nearly) square pixels on which regions of a slice are searched.

    The longest side is brought down to ``work_size``; small slices are enlarged to 160 pixels, but at most four times.
    Where pixels are much longer than wide, so that the slice is long in mm, it gets more, up to four times that in a grid
    of at most ``work_size`` squared: the fine direction is not made coarser than the number of its pixels asks for.

    :param shape: rows and columns of the slice.
    :param spacing: distance of rows and of columns, mm.
    """
    lengths = [n * mm for n, mm in zip(shape, spacing, strict=True)]
    fine = max(lengths) / min(spacing)  # the longest side in pixels of the finer of the two resolutions
    wanted = min(max(max(shape), min(_SMALLEST_SIDE, _LARGEST_ZOOM * fine)), work_size)
    kept = fine * min(1.0, work_size / max(shape))
    room = work_size * np.sqrt(max(lengths) / min(lengths))
    pixel = max(lengths) / max(wanted, min(kept, room, _LONGEST * work_size))
    return tuple(max(1, round(length / pixel)) for length in lengths)


def slice_maps(
    features: np.ndarray, spacing: tuple[float, float], settings: SegmentSettings, rng: np.random.Generator
) -> Steps[dict[str, list[np.ndarray]]]:
    """Label maps of one slice by source: ``kmeans_fine``, ``kmeans_medium``, ``kmeans_coarse`` (one map for each of
    ``settings.region_counts``), ``graph`` and ``watershed`` (fine to coarse). Each map is uint16 ``[h, w]`` with labels from 0.

    :param features: float32 ``[h, w, C]``, see ``IntensityScale.apply``, on a grid of :func:`working_shape`.
    :param spacing: distance of rows and of columns of that grid, mm.
    """
    colour = features.shape[2] == 3
    sides = [n * mm for n, mm in zip(features.shape, spacing, strict=False)]
    length = min(max(sides), _LONG_SIDE * np.sqrt(sides[0] * sides[1]))
    standard = standardised(features)
    maps = {}
    for number, (name, blurs) in enumerate(KMEANS_BLURS.items()):
        yield Step(0.4 * number / len(KMEANS_BLURS), "Searching regions: k-means")
        sigma = [max(blurs[colour] * length / 256 / mm, 0.5) for mm in spacing]
        smooth = ndimage.gaussian_filter(standard, (*sigma, 0))
        flat = smooth.reshape(-1, features.shape[2])
        maps[name] = [
            nearest_centre(smooth, kmeans(flat, count, rng)).astype(np.uint16) for count in settings.region_counts
        ]
    half = resized(standard, tuple((n + 1) // 2 for n in features.shape[:2]))
    fine = graph_region_steps(standard, GRAPH_SCALES, _smallest(GRAPH_SMALLEST, standard))
    coarse = graph_region_steps(half, COARSE_GRAPH_SCALES, _smallest(COARSE_GRAPH_SMALLEST, features))
    maps["graph"] = yield from as_part_of(fine, 0.4, 0.8)
    halves = yield from as_part_of(coarse, 0.8, 0.95)
    maps["graph"] += [_enlarged(labels, features.shape[:2]) for labels in halves]
    maps["watershed"] = [_enlarged(labels, features.shape[:2]) for labels in watershed_regions(half, WATERSHED_LEVELS)]
    return maps


def fine_graph_maps(standard: np.ndarray) -> list[np.ndarray]:
    """Graph regions of a standardised slice ``[h, w, C]`` at its full resolution, fine to coarse."""
    return graph_regions(standard, GRAPH_SCALES, _smallest(GRAPH_SMALLEST, standard))


def standardised(features: np.ndarray) -> np.ndarray:
    """``features`` with mean 0 and standard deviation about 1 in each channel of this slice (float32 ``[h, w, C]``).
    The constant keeps noise in a nearly constant channel small."""
    flat = features.reshape(-1, features.shape[2])
    return ((features - flat.mean(0)) / (flat.std(0) + 0.04)).astype(np.float32)


def watershed_regions(standard: np.ndarray, levels: tuple[float, ...]) -> list[np.ndarray]:
    """Basins of the gradient magnitude (Gaussian derivative, 1 pixel) of ``standard`` ``[h, w, C]`` that are deeper than
    each of ``levels``; label maps ``[h, w]``, uint16 from 0."""
    gradient = np.sqrt(sum(ndimage.gaussian_gradient_magnitude(c, 1.0) ** 2 for c in np.moveaxis(standard, 2, 0)))
    image = sitk.GetImageFromArray(gradient.astype(np.float32))
    basins = [sitk.MorphologicalWatershed(image, level, False, True) for level in levels]
    return [(sitk.GetArrayFromImage(b) - 1).astype(np.uint16) for b in basins]


def _smallest(sizes: tuple[int, ...], features: np.ndarray) -> tuple[int, ...]:
    share = max(1.0, features.shape[0] * features.shape[1] / 40_000)
    return tuple(int(n * share) for n in sizes)


def _enlarged(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.arange(n) * m // n for n, m in zip(shape, labels.shape, strict=True))
    return labels[rows][:, columns]


class VolumeMaps(dict):
    """Label maps ``[k, j, i]`` by source, and the graph of small regions with its merge trees by kind."""

    graph: RegionGraph
    trees: dict[str, MergeTree]


def volume_working_shape(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], most_voxels: int = MOST_VOXELS
) -> tuple[int, int, int]:
    """The grid on which regions of a volume are searched: at most ``most_voxels``, no axis finer than the image's.

    The finest axes are coarsened first, down to equal voxel sides; thick slices are kept as they are as long as the
    others can give way.

    :param shape: samples along k, j, i. ``spacing``: mm between them.
    """
    size, mm = np.array(shape, np.float64), np.array(spacing, np.float64)
    if size.prod() <= most_voxels:
        return three(int(n) for n in shape)
    low, high = mm.min(), (size * mm).max()
    for _ in range(60):  # bisection on the common voxel side
        side = np.sqrt(low * high)
        if _coarsened(size, mm, side).prod() > most_voxels:
            low = side
        else:
            high = side
    return three(int(n) for n in _coarsened(size, mm, high))


def volume_maps(
    features: np.ndarray, spacing: tuple[float, float, float], settings: SegmentSettings, rng: np.random.Generator
) -> Steps[VolumeMaps]:
    """Label maps of a volume by source, as a generator of progress steps: ``kmeans_fine``, ``kmeans_medium``,
    ``kmeans_coarse`` (uint8, one map for each of ``settings.region_counts``) and ``supervoxels`` (one map, uint16);
    with them the graph of the supervoxels and its merge trees.

    :param features: float32 ``[k, j, i]`` or ``[k, j, i, C]`` on a grid of :func:`volume_working_shape`.
    :param spacing: mm between voxels along k, j, i.
    """
    features = features if features.ndim == 4 else features[..., None]
    maps = VolumeMaps()
    total = len(VOLUME_KMEANS_BLURS) * len(settings.region_counts)
    for name, blur in VOLUME_KMEANS_BLURS.items():
        yield Step(0.4 * len(maps) / len(VOLUME_KMEANS_BLURS), "Clustering")
        smooth = ndimage.gaussian_filter(features, (*blur_in_voxels(blur, spacing), 0))
        sample = _sample(smooth, rng)
        maps[name] = []
        for count in settings.region_counts:
            done = len(settings.region_counts) * (len(maps) - 1) + len(maps[name])
            yield Step(0.4 * done / total, "Clustering")
            maps[name].append(nearest_centre(smooth, kmeans(sample, count, rng)))
    maps.graph = yield from as_part_of(region_graph(features, spacing), 0.4, 0.85)
    maps["supervoxels"] = [maps.graph.labels]
    maps.trees = yield from as_part_of(merge_trees(maps.graph), 0.85, 1.0)
    return maps


def merge_trees(graph: RegionGraph) -> Steps[dict[str, MergeTree]]:
    """The merge tree of each kind."""
    trees = {}
    for number, kind in enumerate(KINDS):
        trees[kind] = yield from as_part_of(merge_tree(graph, kind), number / len(KINDS), (number + 1) / len(KINDS))
    return trees


def _coarsened(size: np.ndarray, spacing: np.ndarray, side: float) -> np.ndarray:
    """Samples along each axis when none is finer than ``side`` mm."""
    return np.maximum(1, np.floor(size * np.minimum(1, spacing / side) + 1e-9))


def _sample(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    flat = features.reshape(-1, features.shape[-1])
    if len(flat) <= _SAMPLES:
        return flat
    return flat[np.sort(rng.choice(len(flat), _SAMPLES, replace=False))]
