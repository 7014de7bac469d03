"""A volume as a graph of small regions ("supervoxels"): what each one holds and how its borders to the others look.

Every later question about a volume (merging, candidates, their features) is answered on this graph of some ten thousand
nodes instead of millions of voxels. All sums are additive, so what holds for supervoxels holds for any union of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ...common.arrays import three
from ...common.progress import Step, Steps, as_part_of
from .volume_merging import merge_tree, summed_by_key

MOST_REGIONS = 40_000
_SIGMA = 0.5  # smoothing before the gradient, in units of the smallest voxel side
_DEPTH = 0.03  # basins shallower than this (in standard deviations of the volume per voxel) are not told apart
_BLOCK = 90_000  # voxels flooded at once: about 0.1 s
_WEAK = 0.5  # a border voxel is weak if its gradient is below this multiple of the mean gradient


class Columns:
    """Where the columns of ``RegionGraph.inside`` are; those of several channels depend on their number."""

    VOLUME, SURFACE, GRADIENT, LENGTH, WEAK = range(5)
    FACES = slice(5, 8)
    PLACE = slice(8, 17)
    SQUARES = 17

    def __init__(self, channels: int):
        self.sums, self.outward, self.beyond = (slice(18 + n * channels, 18 + (n + 1) * channels) for n in range(3))


@dataclass(frozen=True, eq=False)
class RegionGraph:
    """Supervoxels of a volume and the borders between them. Lengths in mm, intensities in standard deviations.

    :param labels: uint16 ``[k, j, i]``, 0 to ``count`` - 1.
    :param standard: float32 ``[k, j, i, C]``, the volume with mean 0 and deviation about 1 in each channel, smoothed.
    :param inside: ``[n, 18 + 3 C]`` of each region alone, see :class:`Columns`: its volume (mm3) and surface (mm2); over
        the borders to other regions the integrals of the gradient, of the step's length and of weak area; the area on
        the volume's own border along k, j, i; integrals of z, y, x, zz, yy, xx, zy, zx, yx (mm); of the squared
        intensities, the intensities, the outward step, and over the borders the mean intensity of the other side.
    :param low, high: ``[n, 3]`` first and last index along each axis.
    :param first, second: ``[E]`` regions on both sides of each border, first < second.
    :param borders: ``[E, 4 + C]``: area, integrals of gradient, step's length and weak area, and area times the sum of
        both sides' mean intensities.
    """

    labels: np.ndarray
    standard: np.ndarray
    spacing: tuple[float, float, float]
    inside: np.ndarray
    low: np.ndarray
    high: np.ndarray
    first: np.ndarray
    second: np.ndarray
    borders: np.ndarray
    mean_gradient: float

    @property
    def count(self) -> int:
        return len(self.inside)

    @property
    def columns(self) -> Columns:
        return Columns(self.standard.shape[-1])

    @property
    def volume(self) -> np.ndarray:
        return self.inside[:, Columns.VOLUME]

    @property
    def mean(self) -> np.ndarray:
        """Mean intensity of each region, ``[n, C]``."""
        return self.inside[:, self.columns.sums] / self.volume[:, None]


def union_sums(inside: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """What ``RegionGraph.inside`` is for a region, for unions of regions: from the sums over their regions ``[n, A]``
    and over the borders between two regions of the same union, ``[n, B]``."""
    channels = inner.shape[1] - 4
    out = inside.copy()
    out[:, Columns.SURFACE : Columns.WEAK + 1] -= 2 * inner[:, :4]
    out[:, Columns(channels).beyond] -= inner[:, 4:]
    return out


def region_graph(features: np.ndarray, spacing: tuple[float, float, float]) -> Steps[RegionGraph]:
    """The graph of a volume, as a generator of progress steps.

    Supervoxels are the basins of the gradient (watershed, F. Meyer 1994), flooded block by block so that no step takes
    long; the artificial borders between blocks are weak and vanish with the first merges.

    :param features: float32 ``[k, j, i, C]``. ``spacing``: mm between voxels along k, j, i.
    """
    yield Step(0.0, "Smoothing")
    flat = features.reshape(-1, features.shape[-1])
    deviation = flat.std(0, dtype=np.float64) + 0.04
    standard = ((features - flat.mean(0, dtype=np.float64)) / deviation).astype(np.float32)
    standard = ndimage.gaussian_filter(standard, (*blur_in_voxels(_SIGMA, spacing), 0))
    yield Step(0.05, "Smoothing")
    gradient = _gradient(standard, spacing)
    labels = yield from as_part_of(_basins(gradient), 0.1, 0.5)
    yield Step(0.5, "Measuring borders")
    graph = yield from as_part_of(_measured(labels, standard, gradient, spacing), 0.5, 0.9)
    if graph.count > MOST_REGIONS:
        tree = yield from as_part_of(merge_tree(graph, "border"), 0.9, 0.95)
        graph = yield from as_part_of(_measured(tree.cut(MOST_REGIONS)[labels], standard, gradient, spacing), 0.95, 1.0)
    return graph


def blur_in_voxels(sigma: float, spacing: tuple[float, float, float]) -> list[float]:
    """Standard deviations along each axis, in voxels, of a blur by ``sigma`` times the smallest voxel side; across
    slices much thicker than that none at all."""
    voxels = [sigma * min(spacing) / s for s in spacing]
    return [v if v > 0.25 else 0.0 for v in voxels]


def _gradient(standard: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Length of the gradient per voxel. Steps across thick slices count less, but not in proportion to the distance:
    a border between two slices is as sharp as one inside a slice."""
    total = np.zeros(standard.shape[:3], np.float32)
    for axis, mm in enumerate(spacing):
        if standard.shape[axis] > 1:
            weight = np.float32(min(spacing) / mm)
            for channel in np.moveaxis(standard, -1, 0):
                total += weight * np.square(np.gradient(channel, axis=axis))
    return np.sqrt(total)


def _basins(gradient: np.ndarray) -> Steps[np.ndarray]:
    """Watershed basins, int32 ``[k, j, i]``, numbered from 0."""
    labels = np.empty(gradient.shape, np.int32)
    blocks = [np.s_[a, b, c] for a, b, c in _block_slices(gradient.shape)]
    count = 0
    for number, block in enumerate(blocks):
        yield Step(number / len(blocks), "Searching small regions")
        image = sitk.GetImageFromArray(np.ascontiguousarray(gradient[block]))
        basins = sitk.GetArrayFromImage(sitk.MorphologicalWatershed(image, _DEPTH, False, False))
        labels[block] = basins.astype(np.int32) + (count - 1)
        count += int(basins.max())
    return labels


def _block_slices(shape: tuple[int, ...]) -> list[tuple[slice, slice, slice]]:
    """The volume in blocks of at most about ``_BLOCK`` voxels and about equal sides."""
    side = 1
    while np.prod([min(n, side + 1) for n in shape]) <= _BLOCK and side < max(shape):
        side += 1
    parts = []
    for n in shape:
        cuts = np.linspace(0, n, max(1, round(n / side)) + 1).astype(int)
        parts.append([slice(int(a), int(b)) for a, b in pairwise(cuts)])
    return [(a, b, c) for a in parts[0] for b in parts[1] for c in parts[2]]


def _measured(
    labels: np.ndarray, standard: np.ndarray, gradient: np.ndarray, spacing: tuple[float, float, float]
) -> Steps[RegionGraph]:
    count, channels = int(labels.max()) + 1, standard.shape[-1]
    names = labels.ravel()
    voxel = float(np.prod(spacing))
    mean_gradient = float(gradient.mean(dtype=np.float64)) + 1e-6
    columns = Columns(channels)
    inside = np.zeros((count, 18 + 3 * channels))

    yield Step(0.0, "Measuring regions")
    inside[:, Columns.VOLUME] = np.bincount(names, minlength=count) * voxel
    for number, channel in enumerate(np.moveaxis(standard, -1, 0)):
        inside[:, columns.sums.start + number] = np.bincount(names, channel.ravel(), minlength=count) * voxel
    yield Step(0.05, "Measuring regions")
    inside[:, Columns.SQUARES] = np.bincount(names, np.square(standard).sum(-1).ravel(), minlength=count) * voxel
    yield Step(0.1, "Measuring regions")
    place, low, high = yield from as_part_of(_places(labels, names, count, spacing), 0.1, 0.4)
    inside[:, Columns.PLACE] = place * voxel
    for axis in range(3):
        ends = np.moveaxis(labels, axis, 0)[[0, -1]]
        inside[:, Columns.FACES.start + axis] = np.bincount(ends.ravel(), minlength=count) * (voxel / spacing[axis])
    edges = []
    for axis in range(3):
        if labels.shape[axis] > 1:
            found = _borders_along(labels, standard, gradient, axis, voxel / spacing[axis], mean_gradient, count)
            edges.append((yield from as_part_of(found, 0.4 + 0.15 * axis, 0.55 + 0.15 * axis)))
    yield Step(0.85, "Measuring borders")
    keys = np.concatenate([k for k, _ in edges] or [np.zeros(0, np.int64)])
    found = np.concatenate([c for _, c in edges] or [np.zeros((0, 4 + channels))])
    keys, found = summed_by_key(keys, found)
    first, second = (keys // count).astype(np.int32), (keys % count).astype(np.int32)
    mean = inside[:, columns.sums] / inside[:, :1]
    inside[:, Columns.SURFACE] = inside[:, Columns.FACES].sum(1)
    for end, other, sign in ((first, second, 1), (second, first, -1)):
        for column in range(4):
            inside[:, Columns.SURFACE + column] += np.bincount(end, found[:, column], minlength=count)
        for channel in range(channels):
            step = sign * found[:, 4 + channel]
            inside[:, columns.outward.start + channel] += np.bincount(end, step, minlength=count)
            level = found[:, 0] * mean[other, channel]
            inside[:, columns.beyond.start + channel] += np.bincount(end, level, minlength=count)
    borders = np.concatenate((found[:, :4], found[:, :1] * (mean[first] + mean[second])), 1)
    dtype = np.uint16 if count <= 65536 else np.int32
    return RegionGraph(
        labels.astype(dtype), standard, three(spacing), inside, low, high, first, second, borders, mean_gradient
    )


def _places(labels, names, count, spacing):
    """Sums of coordinates and of their products (mm), first and last index along each axis, per region."""
    sums = np.zeros((count, 9))
    low, high = np.zeros((count, 3), np.int32), np.zeros((count, 3), np.int32)
    grids = np.ogrid[tuple(slice(0, n) for n in labels.shape)]
    coordinates = [
        np.broadcast_to((g * s).astype(np.float32), labels.shape) for g, s in zip(grids, spacing, strict=True)
    ]
    for axis in range(3):
        yield Step(axis / 6, "Measuring regions")
        sums[:, axis] = np.bincount(names, coordinates[axis].ravel(), minlength=count)
        sums[:, 3 + axis] = np.bincount(names, np.square(coordinates[axis]).ravel(), minlength=count)
        yield Step((axis + 0.3) / 6, "Measuring regions")
        planes = np.moveaxis(labels, axis, 0)
        for index in range(len(planes)):
            high[planes[index].ravel(), axis] = index
        yield Step((axis + 0.6) / 6, "Measuring regions")
        for index in range(len(planes) - 1, -1, -1):
            low[planes[index].ravel(), axis] = index
    for column, (a, b) in enumerate(((0, 1), (0, 2), (1, 2)), 6):
        yield Step((column - 3) / 6, "Measuring regions")
        sums[:, column] = np.bincount(names, (coordinates[a] * coordinates[b]).ravel(), minlength=count)
    return sums, low, high


def _borders_along(labels, standard, gradient, axis, area, mean_gradient, count):
    """Borders between neighbours along one axis: key first * count + second; area, integrals of the gradient, of the
    step's length and of weak area, and of the step from first to second."""
    yield Step(0.0, "Measuring borders")
    names, slopes, values = np.moveaxis(labels, axis, 0), np.moveaxis(gradient, axis, 0), np.moveaxis(standard, axis, 0)
    at = np.nonzero(names[:-1] != names[1:])
    beyond = (at[0] + 1, *at[1:])
    a, b = names[at].astype(np.int64), names[beyond].astype(np.int64)
    yield Step(0.25, "Measuring borders")
    slope = np.maximum(slopes[at], slopes[beyond])
    # The step is taken over three voxels, since a border is blurred by about one.
    further = (np.minimum(at[0] + 2, len(names) - 1), *at[1:])
    nearer = (np.maximum(at[0] - 1, 0), *at[1:])
    step = values[further] - values[nearer]
    yield Step(0.5, "Measuring borders")
    length = np.sqrt(np.square(step).sum(-1))
    step[a > b] *= -1
    columns = np.concatenate(
        (np.stack((np.ones_like(slope), slope, length, slope < _WEAK * mean_gradient), 1), step), 1
    )
    columns *= np.float32(area)
    yield Step(0.75, "Measuring borders")
    return summed_by_key(np.minimum(a, b) * count + np.maximum(a, b), columns)
