"""Region maps of a volume from several sources: the opinions from which objects are made.

k-means at several numbers of regions and smoothings gives regions of alike intensity; the graph of small regions, merged
step by step under several ideas of a border, gives nested connected parts.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...common.progress import Step, Steps, as_part_of
from ...common.tuples import three
from ..settings import SegmentSettings
from .clustering import kmeans, nearest_centre
from .volume_graph import RegionGraph, blur_in_voxels, region_graph
from .volume_merging import KINDS, MergeTree, merge_tree

MOST_VOXELS = 2_000_000
# Standard deviation of the smoothing before k-means, in units of the smallest voxel side.
KMEANS_BLURS = {"kmeans_fine": 0.7, "kmeans_medium": 1.5, "kmeans_coarse": 3.0}
_SAMPLES = 6000


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
    total = len(KMEANS_BLURS) * len(settings.region_counts)
    for name, blur in KMEANS_BLURS.items():
        yield Step(0.4 * len(maps) / len(KMEANS_BLURS), "Clustering")
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
