"""Places in one volume at which a part of another one may lie, by likeness of coarse images at two scales: that of the part, and that
of all that the other volume shows around it, which alone tells a small vessel from whatever is as dark and round.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import fft, ndimage

from ...common.arrays import corners, three
from ...common.progress import Step, Steps
from ...images import AXES, Extent, Volume
from .picture import LEAST_OVERLAP, Picture, Scaled, mapped, rotation

_CELLS = 28  # cells of the grid along the longest side of what is searched,
_MOST_CELLS = 800_000  # and of the whole volume in which it is
_TURNS = (0.0, -15.0, 15.0, -30.0, 30.0)  # degrees in the slice plane
_SIZES = (1.0, 0.85, 1.18)
_UNUSUAL = 0.01  # correlation that a turned or resized start must gain over a plain one
_ELSEWHERE = 0.3  # and one whose place in the field of view is another by half of its diagonal
_PARTIAL = 0.3  # and one that shares nothing of what could be shared
_PLACES = 8  # that are worth comparing
_CONTEXT = 0.1  # of the searched part around it, by which it is told from what looks alike
_WIDER = 1.5  # times as long as that, in some direction, is what the whole volume shows, if it is worth looking at
_WIDE = 0.25  # what the likeness of all of it counts, against that of the part
_LOCAL = (0.5, 3.0, 3.0)  # cells (slice, row, column) over which brightness and contrast are evened out
_LOOKING = "Looking for the place in this volume"
_FLOOR = 0.05  # contrast below which nothing is evened out


@dataclass(frozen=True, eq=False)
class Place:
    """Where a part of one volume may lie in another one.

    :param to_support: 4x4, RAS of the query volume to RAS of the support volume.
    :param score: how alike the coarse images are there, less what is unusual about it; 1 for the same images.
    """

    to_support: np.ndarray
    score: float


def coarse_places(
    query: Scaled, support: Scaled, part: Extent, axis: str, only_moved: bool = False
) -> Steps[list[Place]]:
    """Places worth comparing, the likeliest first; the last one lays the middles of the volumes on each other.

    :param axis: the axis across the slices of ``support``, about which turns are tried.
    :param only_moved: neither turned nor resized ones, which takes a tenth of the time.
    """
    here, there = query.volume, support.volume
    part = _with_context(part, there)
    close = yield from _search(query, support, part)
    wide = None
    if max(whole / n for whole, n in zip(there.size, part.size, strict=True)) >= _WIDER:
        wide = yield from _search(query, support, there.extent)
    normal = there.ijk_to_ras[:3, AXES.index(axis)] / np.linalg.norm(there.ijk_to_ras[:3, AXES.index(axis)])
    plain = np.eye(4)
    plain[:3, 3] = there.ras_of((np.array(there.size) - 1) / 2) - here.ras_of((np.array(here.size) - 1) / 2)
    usual = close.middle - plain[:3, 3]  # where the part lies if both fields of view show the same
    reach = np.linalg.norm(np.array(here.size) * here.spacing) / 2
    usual_score = -1.0
    found: list[tuple[Place, np.ndarray]] = []  # with where it lies, RAS of the query volume
    hypotheses = [(0.0, 1.0)] if only_moved else list(product(_TURNS, _SIZES))
    for n, (turn, size) in enumerate(hypotheses):
        linear = rotation(normal, np.deg2rad(turn)) / size  # query RAS to support RAS, about the middle
        scores = yield from close.scores(linear, n / len(hypotheses))
        if wide is not None:
            around = yield from wide.scores(linear, n / len(hypotheses))
            around = _at_the_same_places(around, scores.shape, wide, close, linear)
            scores = np.where(scores > -1, (1 - _WIDE) * scores + _WIDE * around, -1)
        if turn == 0 and size == 1:
            cell = np.rint(close.cells_of(usual[:, None])[:, 0]).astype(int)
            if ((cell >= 0) & (cell < scores.shape)).all():
                usual_score = float(scores[tuple(cell)])
        for peak in _peaks(scores, 3):
            ras = close.ras_of(np.array(peak)[:, None])[:, 0]
            away = float(np.linalg.norm(ras - usual) / reach)
            penalty = _UNUSUAL * (abs(turn) / 15 + (size != 1)) + _ELSEWHERE * away
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = linear, close.middle - linear @ ras
            found.append((Place(matrix, float(scores[peak]) - penalty), ras))
    found.sort(key=lambda entry: -entry[0].score)
    chosen: list[tuple[Place, np.ndarray]] = []
    for entry in found:
        near = [other for other in chosen if np.linalg.norm(entry[1] - other[1]) < 3 * close.step]
        if len(near) < 2 and len(chosen) < _PLACES:
            chosen.append(entry)
    return [*(place for place, _ in chosen), Place(plain, usual_score)]


class _Search:
    """A part of a support volume that is searched in a query volume, both in cells of about ``step`` mm."""

    def __init__(self, target: Picture, source: Picture, step: float):
        self.step = step
        self.middle = (source.matrix @ (*((np.array(source.array.shape[::-1]) - 1) / 2), 1.0))[:3]  # RAS
        self._target = target
        self._channels = list(zip(_channels(source), _channels(target), strict=True))
        self._spectra: list[_Spectrum] = []

    def scores(self, linear: np.ndarray, done: float) -> Steps[np.ndarray]:
        """How alike both are with the middle of the part at each cell of the query volume and its edge, the part turned and
        resized by the inverse of ``linear``.

        :param done: for the steps of progress.
        """
        total = np.zeros(())
        for channel, (searched, image) in enumerate(self._channels):
            yield Step(done, _LOOKING)
            patch, weight = _patch(searched, image, self.middle, linear)
            if len(self._spectra) == channel:
                self._spectra.append(_Spectrum(image.array, [int(n * 1.8) + 4 for n in patch.shape]))
                yield Step(done, _LOOKING)
            total = total + self._spectra[channel].correlate(patch, weight) / len(self._channels)
        return total

    def ras_of(self, cells: np.ndarray) -> np.ndarray:
        """Places ``[3, n]`` of cells (k, j, i) of :meth:`scores`."""
        return mapped(self._target.matrix, (cells - self._edge)[::-1])

    def cells_of(self, ras: np.ndarray) -> np.ndarray:
        """Cells (k, j, i; fractional) of :meth:`scores` at places ``[3, n]``."""
        return mapped(np.linalg.inv(self._target.matrix), ras)[::-1] + self._edge

    @property
    def _edge(self) -> np.ndarray:
        return np.array(self._spectra[0].edge)[:, None]


def _search(query: Scaled, support: Scaled, part: Extent) -> Steps[_Search]:
    here, there = query.volume, support.volume
    step = float((np.array(part.size) * there.spacing).max() / _CELLS)
    # The finest scale at which neither volume has to be invented.
    while np.prod(np.ceil(np.array(here.size) * here.spacing / np.maximum(step, here.spacing))) > _MOST_CELLS:
        step *= 1.1
    target = yield from query.picture(here.extent, np.maximum(step, here.spacing))
    source = yield from support.picture(part, np.maximum(step, there.spacing) * 0.7)
    yield Step(0.0, _LOOKING)
    return _Search(target, source, step)


def _at_the_same_places(
    scores: np.ndarray, shape: tuple[int, ...], wide: _Search, close: _Search, linear: np.ndarray
) -> np.ndarray:
    """``scores`` of ``wide`` on the cells ``shape`` of ``close``: the same maps, told by where the other middle lies. 0 where
    nothing is known, since fields of view that share little are no evidence."""
    apart = np.linalg.solve(linear, wide.middle - close.middle)
    corner, opposite = (
        wide.cells_of(close.ras_of(c) + apart[:, None])[:, 0] for c in (np.zeros((3, 1)), np.ones((3, 1)))
    )
    known = np.maximum(scores, 0)  # both lattices lie along the axes of the query volume
    return ndimage.affine_transform(known, opposite - corner, corner, shape, order=1)


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
