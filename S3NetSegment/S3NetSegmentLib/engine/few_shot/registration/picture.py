"""Boxes of volumes as pictures for registration: how alike two of them are under an affine map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import fft, ndimage

from ...common.arrays import corners, three
from ...common.progress import Step, Steps
from ...images import AXES, Extent, Volume
from ...images.intensity import IntensityScale
from ...images.resample import shrunk_features

LEAST_OVERLAP = 0.5  # of what two pictures could share: with less they cannot be compared
_VOXELS = 250_000  # of a picture
_CELLS = 28  # cells of the grid along the longest side of the searched part
_TURNS = (0.0, -15.0, 15.0, -30.0, 30.0)  # degrees in the slice plane
_SIZES = (1.0, 0.85, 1.18)
_UNUSUAL = 0.01  # correlation that a turned or resized start must gain over a plain one
_ELSEWHERE = 0.3  # and one whose place in the field of view is another by half of its diagonal
_PARTIAL = 0.3  # and one that shares nothing of what could be shared
_STARTS = 3
_CONTEXT = 0.1  # of the searched part around it, by which it is told from what looks alike
_LOCAL = (0.5, 3.0, 3.0)  # cells (slice, row, column) over which brightness and contrast are evened out
_LOOKING = "Looking for the place in this volume"
_FLOOR = 0.05  # contrast below which nothing is evened out
_NOISE = 0.003  # variance below which a neighbourhood has no structure that could be compared


@dataclass(frozen=True, eq=False)
class Picture:
    """A box of a volume for registration: one intensity per voxel, float32 ``[K, J, I]`` about 0 to 1, and its matrix
    from voxels (i, j, k, 1) to RAS."""

    array: np.ndarray
    matrix: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        return np.linalg.norm(self.matrix[:3, :3], axis=0)

    def sampled(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Intensities at voxels ``index`` ``[3, ...]`` (i, j, k; fractional), and whether they are inside."""
        size = np.array(self.array.shape[::-1]).reshape(3, *(1,) * (index.ndim - 1))
        inside = np.all((index >= -0.5) & (index <= size - 0.5), 0)
        return ndimage.map_coordinates(self.array, index[::-1], order=1, mode="nearest"), inside


@dataclass(frozen=True, eq=False)
class Scaled:
    """A volume and the scale of its intensities."""

    volume: Volume
    scale: IntensityScale

    def picture(self, extent: Extent, cell: np.ndarray | None = None) -> Steps[Picture]:
        """The part ``extent`` in voxels of about ``cell`` mm (i, j, k), never finer than its own; None: of at most _VOXELS."""
        part = self.volume.cropped(extent)
        cell = _voxel_size(part) if cell is None else cell
        shape = [max(1, round(n * s / max(c, s))) for n, s, c in zip(part.size, part.spacing, cell, strict=True)]
        array = (yield from shrunk_features(part.array, self.scale, shape[::-1]))[..., 0]
        factors = np.array(part.size) / shape
        matrix = np.array(part.ijk_to_ras)
        matrix[:3, 3] = part.ras_of((factors - 1) / 2)
        matrix[:3, :3] *= factors
        return Picture(np.ascontiguousarray(array), matrix)


def _voxel_size(part: Volume) -> np.ndarray:
    """Voxel size of a picture of ``part`` with at most _VOXELS: the finest axes are shrunk first."""
    cell = np.array(part.spacing)
    sides = np.array(part.size) * cell
    while np.prod(np.ceil(sides / cell)) > _VOXELS:
        finest = cell <= cell.min() * 1.1
        cell = np.where(finest, cell.min() * 1.15, cell)
    return cell


def covered(query: Volume, to_support: np.ndarray, support: Volume, part: Extent, margin: float) -> Extent | None:
    """The box of ``query`` that ``part`` of ``support`` covers, ``margin`` of its size larger; None if it is outside."""
    matrix = np.linalg.inv(query.ijk_to_ras) @ np.linalg.inv(to_support) @ support.ijk_to_ras
    ijk = corners(np.array(part.start) - 0.5, np.array(part.stop) - 0.5) @ matrix[:3, :3].T + matrix[:3, 3]
    low, high = ijk.min(0), ijk.max(0)
    extra = margin * (high - low) + 1
    start = np.clip(np.floor(low - extra + 0.5), 0, query.size).astype(int)
    stop = np.clip(np.ceil(high + extra + 0.5), 0, query.size).astype(int)
    return Extent(tuple(start.tolist()), tuple(stop.tolist())) if (stop > start).all() else None


def mapped(matrix: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Places ``[3, n]`` under a 4x4 ``matrix``."""
    return matrix[:3, :3] @ index + matrix[:3, 3:]


def likeness(fixed: Picture, moving: Picture, to_support: np.ndarray) -> float:
    """Correlation of both pictures where they overlap under ``to_support`` (RAS to RAS); -1 for hardly any overlap."""
    values, inside = moved(fixed, moving, to_support)
    size = moving.array.size * np.prod(moving.spacing) / np.prod(fixed.spacing)  # in voxels of ``fixed``
    if inside.sum() < max(50, LEAST_OVERLAP / 2 * min(size, fixed.array.size)):
        return -1.0
    return correlation(values[inside], fixed.array[inside])


def moved(fixed: Picture, moving: Picture, to_support: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``moving`` on the grid of ``fixed``, and where it reaches."""
    matrix = np.linalg.inv(moving.matrix) @ to_support @ fixed.matrix
    grid = np.indices(fixed.array.shape[::-1], np.float32).transpose(0, 3, 2, 1).reshape(3, -1)
    index = matrix[:3, :3].astype(np.float32) @ grid + matrix[:3, 3:].astype(np.float32)
    return moving.sampled(index.reshape(3, *fixed.array.shape))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt(max((a * a).sum() * (b * b).sum(), 1e-12)))


def local_likeness(a: np.ndarray, b: np.ndarray, inside: np.ndarray, reach: Sequence[float]) -> np.ndarray:
    """Correlation of two images ``[K, J, I]`` around each voxel, -1 to 1, near 0 where one has nothing but noise.

    :param inside: bool; other voxels do not count. ``reach``: standard deviations of the neighbourhood, voxels (k, j, i); from
        twice the size of the images on it is all of them.
    """
    # A wider one differs by 1e-8, and takes the longer the wider it is.
    reach = np.minimum(reach, 2 * np.array(a.shape))
    share = ndimage.gaussian_filter(inside.astype(np.float32), reach) + 1e-6

    def mean(image: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(np.where(inside, image, 0), reach) / share

    mean_a, mean_b = mean(a), mean(b)
    spread = [np.maximum(mean(x * x) - m**2, 0) + _NOISE for x, m in ((a, mean_a), (b, mean_b))]
    return (mean(a * b) - mean_a * mean_b) / np.sqrt(spread[0] * spread[1])


def coarse_alignments(query: Scaled, support: Scaled, part: Extent, axis: str) -> Steps[list[np.ndarray]]:
    """Maps (RAS to RAS) worth comparing, the likeliest first; the last one lays the middles of the volumes on each other."""
    here, there = query.volume, support.volume
    part = _with_context(part, there)
    step = (np.array(part.size) * there.spacing).max() / _CELLS
    # The finest scale at which neither volume has to be invented.
    target = yield from query.picture(here.extent, np.maximum(step, here.spacing))
    source = yield from support.picture(part, np.maximum(step, there.spacing) * 0.7)
    targets = _channels(target)
    yield Step(0.0, _LOOKING)
    sources = _channels(source)
    spectra: list[_Spectrum] = []
    middle = (source.matrix @ (*((np.array(source.array.shape[::-1]) - 1) / 2), 1.0))[:3]
    normal = there.ijk_to_ras[:3, AXES.index(axis)] / np.linalg.norm(there.ijk_to_ras[:3, AXES.index(axis)])
    plain = np.eye(4)
    plain[:3, 3] = there.ras_of((np.array(there.size) - 1) / 2) - here.ras_of((np.array(here.size) - 1) / 2)
    usual = middle - plain[:3, 3]  # where the part lies if both fields of view show the same
    reach = np.linalg.norm(np.array(here.size) * here.spacing) / 2
    found = []
    hypotheses = list(product(_TURNS, _SIZES))
    for n, (turn, size) in enumerate(hypotheses):
        linear = rotation(normal, np.deg2rad(turn)) / size  # query RAS to support RAS, about the middle
        scores = np.zeros(())
        for channel, (searched, image) in enumerate(zip(sources, targets, strict=True)):
            yield Step(n / len(hypotheses), _LOOKING)
            patch, weight = _patch(searched, image, middle, linear)
            if len(spectra) == channel:
                spectra.append(_Spectrum(image.array, [int(n * 1.8) + 4 for n in patch.shape]))
                yield Step(n / len(hypotheses), _LOOKING)
            scores = scores + spectra[channel].correlate(patch, weight) / len(targets)
        edge = spectra[0].edge
        for place in _peaks(scores, 3):
            ras = (target.matrix @ (*(p - e for p, e in zip(place[::-1], edge[::-1], strict=True)), 1.0))[:3]
            away = np.linalg.norm(ras - usual) / reach
            penalty = _UNUSUAL * (abs(turn) / 15 + (size != 1)) + _ELSEWHERE * away
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = linear, middle - linear @ ras
            found.append((float(scores[place]) - penalty, ras, matrix))
    found.sort(key=lambda entry: -entry[0])
    chosen: list[tuple] = []  # score, place, matrix
    for entry in found:
        near = [other for other in chosen if np.linalg.norm(entry[1] - other[1]) < 3 * step]
        if len(near) < 2 and len(chosen) < _STARTS:
            chosen.append(entry)
    return [*(matrix for _, _, matrix in chosen), plain]


def _with_context(part: Extent, volume: Volume) -> Extent:
    more = [round(_CONTEXT * n) for n in part.size]
    start = [max(0, a - m) for a, m in zip(part.start, more, strict=True)]
    stop = [min(n, b + m) for b, m, n in zip(part.stop, more, volume.size, strict=True)]
    return Extent(three(start), three(stop))


def _channels(picture: Picture) -> list[Picture]:
    """The intensities, and the same with brightness and contrast evened out: what a structure looks like among its
    neighbours, however bright the coil or the scanner made it."""
    array = picture.array
    mean = ndimage.gaussian_filter(array, _LOCAL)
    spread = np.sqrt(np.clip(ndimage.gaussian_filter(array * array, _LOCAL) - mean * mean, 0, None))
    even = ((array - mean) / (spread + _FLOOR)).astype(np.float32)
    return [picture, Picture(np.ascontiguousarray(even), picture.matrix)]


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    x, y, z = axis
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def _patch(source: Picture, target: Picture, middle: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``source`` on the lattice of ``target``, an odd number of cells around ``middle``, and 1 where it reaches."""
    to_ras = linear @ target.matrix[:3, :3]
    ends = corners((-0.5,) * 3, (0.5,) * 3) * source.array.shape[::-1]
    cells = np.abs(ends @ source.matrix[:3, :3].T @ np.linalg.inv(to_ras).T).max(0)
    half = np.ceil(cells).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-h, h + 1) for h in half[::-1]), indexing="ij")[::-1]).reshape(3, -1)
    ras = to_ras @ grid + middle[:, None]
    index = np.linalg.inv(source.matrix)[:3, :3] @ (ras - source.matrix[:3, 3:])
    values, inside = source.sampled(index)
    shape = tuple(2 * half[::-1] + 1)
    return values.reshape(shape), inside.reshape(shape).astype(np.float32)


class _Spectrum:
    """A volume that patches are searched in; its transforms are made once."""

    def __init__(self, image: np.ndarray, largest: list[int]):
        self.edge = [n // 2 for n in largest]  # voxels that the middle of a patch may lie outside of the image
        self._image_shape = image.shape
        self._size = [n + 2 * e for n, e in zip(image.shape, self.edge, strict=True)]
        # Nothing lies beyond the image, so that a transform of this size already keeps all places apart.
        self._shape = [fft.next_fast_len(n + m, real=True) for n, m in zip(image.shape, largest, strict=True)]
        image = (image - image.mean()).astype(np.float32)
        self._spectra = [fft.rfftn(plane, self._shape) for plane in (np.ones_like(image), image, image**2)]

    def correlate(self, patch: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Masked normalised cross-correlation with the middle of ``patch`` on each voxel of the image and its edge."""
        patch = ((patch - np.average(patch, weights=weight)) * weight).astype(np.float32)
        spectra = [np.conj(fft.rfftn(x, self._shape)) for x in (weight, patch, patch**2)]
        ones, image, squares = self._spectra
        pairs = ((ones, spectra[0]), (image, spectra[0]), (squares, spectra[0]), (ones, spectra[1]), (ones, spectra[2]),
                 (image, spectra[1]))  # fmt: skip
        count, fixed, fixed2, moving, moving2, both = (self._valid(a * b, patch.shape) for a, b in pairs)
        count = np.maximum(count, 1e-3)
        above = both - fixed * moving / count
        below = np.sqrt(np.clip(fixed2 - fixed**2 / count, 0, None) * np.clip(moving2 - moving**2 / count, 0, None))
        most = weight.mean() * np.prod([min(n, m) for n, m in zip(patch.shape, self._image_shape, strict=True)])
        good = (count >= LEAST_OVERLAP * most) & (below > 1e-3 * below.max())
        partial = np.clip(1 - count / most, 0, 1)
        return np.where(good, above / np.maximum(below, 1e-9) - _PARTIAL * partial, -1.0)

    def _valid(self, spectrum: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
        whole = fft.irfftn(spectrum, self._shape)
        rolled = np.roll(whole, [e + n // 2 for e, n in zip(self.edge, patch, strict=True)], axis=(0, 1, 2))
        return rolled[tuple(slice(0, n) for n in self._size)]


def _peaks(scores: np.ndarray, count: int) -> list[tuple[int, ...]]:
    top = (ndimage.maximum_filter(scores, 5) == scores) & (scores > -1)
    places = np.argwhere(top)
    order = np.argsort(-scores[top], kind="stable")[:count]
    return [tuple(int(v) for v in places[n]) for n in order]
