"""A drawing in another volume, laid over this one: a part of the vote, never a fact.

The drawn part is found in the query volume by :mod:`alignment`, fitted by :mod:`deformation` if that makes the images
more alike without blowing up or crushing any segment, and sampled where it is asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from ...common.masks import box_around
from ...common.progress import Step, Steps, as_part_of
from ...common.tuples import three
from ...images import AXES, Extent, Volume
from ...images.intensity import IntensityScale
from ..drawings.soft_drawing import SoftDrawing
from ..frame import Frame
from ..registration.alignment import Alignment, align
from ..registration.coarse_alignment import coarse_alignments
from ..registration.deformation import deformed, warped
from ..registration.label_alignment import KnownLabels
from ..registration.picture import Picture, correlation, covered, likeness, moved, picture_of, voxel_size
from .fusion import fusion_weights
from .voter import Voter

DOUBTFUL = 0.5  # correlation of the aligned images below which a drawn slice in this volume is asked for
_MARGIN_MM = 8.0  # around the drawing, or so many of the thickest voxels:
_MARGIN_VOXELS = 1
_LEAST_VOLUME, _MOST_VOLUME = 0.6, 1.67  # of each segment, after the deformation against before
_PATCH_MM = 4.0  # around a voxel, in which images are compared
_KNOTS = 25  # of the intensity map between both volumes
_PRIOR_SHARE = 0.3  # in the vote, where no hidden drawn slice says how good it is
_VOXELS_AT_ONCE = 30_000  # sampled between two steps of progress
_TRUST = (0.35, 0.7)  # true over expected Dice, by the correlation of the aligned images (fitted to seven pairs)
_AGREED = 0.4  # the same, where several patients agree: this and the Dice of the one that agrees best (six hearts)
_UNLIKE = 0.6  # correlation below which a support volume may be mirrored
_MIRRORED = 0.15  # correlation that a mirrored support volume must gain before that is said
_UNDRAWN_SHARE = 0.6  # where nothing is drawn in the query volume


@dataclass(frozen=True, eq=False)
class Fitted:
    """One support volume fitted to the query volume.

    :param labels: uint8 ``[K, J, I]`` of the support volume, every slice filled in.
    :param region: the grid on which the deformation is known, in the query volume.
    :param field: displacements in voxels of ``region`` ``[3, K, J, I]`` (k, j, i); None: the affine map alone.
    :param difference: what both images differ by in ``region`` ``[K, J, I]``, 0 to about 1; None: not known.
    :param reliability: how well it predicts what others agree on or what is drawn in the query volume, 0 to 1.
    """

    support: Volume
    labels: np.ndarray
    alignment: Alignment
    region: Picture
    field: np.ndarray | None
    notes: list[str] = dataclasses.field(default_factory=list)
    difference: np.ndarray | None = None
    reliability: float = 1.0

    def sampled(self, query: Volume, index: np.ndarray, values: Sequence[int]) -> np.ndarray:
        """Share of each of ``values`` at voxels ``index`` ``[3, n]`` (i, j, k; fractional) of ``query``: ``[V, n]``."""
        place = _mapped(np.linalg.inv(self.region.matrix) @ query.ijk_to_ras, index)
        if self.field is not None:
            moved_by = [ndimage.map_coordinates(u, place[::-1], order=1, mode="nearest") for u in self.field[::-1]]
            place = place + np.stack(moved_by)
        place = _mapped(np.linalg.inv(self.support.ijk_to_ras) @ self.alignment.to_support @ self.region.matrix, place)
        box = box_around(self.labels > 0, margin=1)
        part, start = self.labels[box], np.array([[s.start] for s in box[::-1]])
        place = (place - start)[::-1]
        return np.stack([ndimage.map_coordinates((part == v).astype(np.float32), place, order=1) for v in values])

    def differences(self, query: Volume, index: np.ndarray) -> np.ndarray:
        """What both images differ by at voxels ``index`` of ``query``, ``[n]``; 1 where that is not known."""
        if self.difference is None:
            return np.ones(index.shape[1], np.float32)
        place = _mapped(np.linalg.inv(self.region.matrix) @ query.ijk_to_ras, index)
        return ndimage.map_coordinates(self.difference, place[::-1], order=1, mode="constant", cval=1.0)


def fit(
    query: Volume,
    query_scale: IntensityScale,
    support: Volume,
    support_scale: IntensityScale,
    labels: np.ndarray,
    axis: str,
    known: KnownLabels | None = None,
) -> Steps[Fitted]:
    """``support`` with its ``labels`` (all slices filled in) fitted to ``query``.

    :param axis: the axis across the slices of ``support``.
    :param known: labels that are known in ``query``; they count most for the place.
    """
    part = _surroundings(support, labels)
    aligning = align(query, query_scale, support, support_scale, part, axis, labels, known)
    alignment = yield from as_part_of(aligning, 0.0, 0.7)
    region = covered(query, alignment.to_support, support, part, 0.0) or query.extent
    fixed = yield from picture_of(query, query_scale, region, voxel_size(query, region))
    moving = yield from picture_of(support, support_scale, part, voxel_size(support, part))
    image, inside = moved(fixed, moving, alignment.to_support)
    notes = _notes(support, alignment, query_scale, support_scale)
    if alignment.correlation < _UNLIKE:
        notes += yield from _mirrored(query, query_scale, support, support_scale, part, axis, alignment.correlation)
    bare = Fitted(support, labels, alignment, fixed, None, notes)
    if np.count_nonzero(inside) < 100:
        return bare
    alike = torch.from_numpy(_same_intensities(image, fixed.array, inside))
    matching = deformed(alike, torch.from_numpy(fixed.array), fixed.spacing[::-1].tolist())
    moves = yield from as_part_of(matching, 0.7, 0.95)
    yield Step(0.95, "Matching the volumes")
    after = warped(alike[None], moves)[0].numpy()
    better = correlation(after[inside], fixed.array[inside]) > correlation(alike.numpy()[inside], fixed.array[inside])
    found = Fitted(support, labels, alignment, fixed, moves.numpy(), bare.notes)
    is_kept = better and _keeps_volumes(query, region, bare, found)
    difference = np.where(inside, np.abs((after if is_kept else alike.numpy()) - fixed.array), 1).astype(np.float32)
    return dataclasses.replace(found if is_kept else bare, difference=difference)


class Transferred(Voter):
    """The drawings of other volumes, laid over this one.

    :param values: label value of each class, ``values[0]`` = 0 for the background.
    :param blind: drawn slice of the query volume -> ``fitted`` as they would be without it; they say how good the part is.
    :param foretold: Dice with which ``blind`` predict all that is drawn in the query volume; None: nothing is.
    """

    name = "transferred"
    prior_share, undrawn_share = _PRIOR_SHARE, _UNDRAWN_SHARE
    knows_places = True

    def __init__(
        self,
        query: Volume,
        fitted: Sequence[Fitted],
        values: Sequence[int],
        blind: Mapping[int, Sequence[Fitted]] | None = None,
        foretold: float | None = None,
    ):
        self._query, self._fitted, self._values = query, tuple(fitted), tuple(values)
        self._blind, self.foretold = blind or {}, foretold
        self.notes = [note for one in fitted for note in one.notes]
        likest = max((one.alignment.correlation for one in self._fitted), default=0.0)
        self.trust = float(np.clip(_TRUST[0] + _TRUST[1] * likest, 0, 1))
        if len(self._fitted) > 2:  # where they disagree, the vote says so itself
            agreed = max(one.reliability for one in self._fitted)
            self.trust = max(self.trust, float(np.clip(_AGREED + agreed, 0, 1)))

    def masks(self, drawn: SoftDrawing, first: int, last: int, without: int | None = None) -> Steps[torch.Tensor]:
        """See :class:`Voter`."""
        frame = drawn.frame
        fitted = self._fitted if without is None else self._blind.get(without, self._fitted)
        height, width = frame.work_shape
        rows = frame.box.top + (np.arange(height) + 0.5) * frame.box.shape[0] / height - 0.5
        columns = frame.box.left + (np.arange(width) + 0.5) * frame.box.shape[1] / width - 0.5
        out = torch.empty(last - first + 1, len(self._values), height, width)
        batch = max(1, _VOXELS_AT_ONCE // (height * width))
        for start in range(first, last + 1, batch):
            yield Step((start - first) / len(out), "Laying the other drawing over")
            stop = min(start + batch, last + 1)
            grid = np.meshgrid(np.arange(start, stop), rows, columns, indexing="ij")
            index = self._index(frame.axis, [g.ravel() for g in grid])
            weights = self._weights(fitted, index, (stop - start, height, width), frame)
            shares = self._shares(fitted, index, weights).reshape(len(self._values), stop - start, height, width)
            out[start - first : stop - first] = torch.from_numpy(shares).transpose(0, 1)
        return out

    def projection(self, axis: str) -> np.ndarray:
        """Class image ``[H, W]`` of everything that is laid over, seen along ``axis``: where to look."""
        size = self._query.size
        across = AXES.index(axis)
        rest = [a for a in (2, 1, 0) if a != across]
        image = np.zeros([size[a] for a in rest], np.uint8)
        for one in self._fitted:
            matrix = np.linalg.inv(self._query.ijk_to_ras) @ np.linalg.inv(one.alignment.to_support)
            for c, value in enumerate(self._values[1:], 1):
                voxels = np.argwhere(one.labels == value)[:, ::-1].T
                place = np.rint(_mapped(matrix @ one.support.ijk_to_ras, voxels)).astype(int)
                inside = ((place >= 0) & (place < np.array(size)[:, None])).all(0)
                image[tuple(place[a, inside] for a in rest)] = c
        return ndimage.grey_closing(image, 3)

    def _index(self, axis: str, grid: list[np.ndarray]) -> np.ndarray:
        """Voxels (i, j, k) of (slice, row, column) along ``axis``."""
        order = [2 - AXES.index(axis)]
        order += [d for d in range(3) if d != order[0]]
        index = np.empty((3, grid[0].size))
        for values, dimension in zip(grid, order, strict=True):
            index[2 - dimension] = values
        return index

    def _weights(
        self, fitted: Sequence[Fitted], index: np.ndarray, shape: tuple[int, int, int], frame: Frame
    ) -> np.ndarray:
        """Weight of each support volume at voxels ``index``, ``[S, n]``: joint label fusion, see :mod:`.fusion`."""
        if len(fitted) == 1:
            return np.ones((1, index.shape[1]), np.float32)
        differences = np.stack([one.differences(self._query, index) for one in fitted]).reshape(-1, *shape)
        reliability = [one.reliability * max(0.05, one.alignment.correlation) for one in fitted]
        return fusion_weights(differences, reliability, (0.0, *(_PATCH_MM / np.array(frame.work_spacing[1:])))).reshape(
            -1, index.shape[1]
        )

    def _shares(self, fitted: Sequence[Fitted], index: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Class shares ``[C, n]`` at voxels ``index``: all support volumes by their ``weights`` ``[S, n]``."""
        total = np.zeros((len(self._values), index.shape[1]), np.float32)
        counted = np.zeros_like(total)
        for one, weight in zip(fitted, weights, strict=True):
            shown = [c for c, v in enumerate(self._values) if c and (one.labels == v).any()]
            total[shown] += weight * one.sampled(self._query, index, [self._values[c] for c in shown])
            counted[shown] += weight
        total /= np.maximum(counted, 1e-6)
        total[0] = np.clip(1 - total[1:].sum(0), 0, None)
        return total / total.sum(0)


def _surroundings(support: Volume, labels: np.ndarray) -> Extent:
    box = box_around(labels > 0)[::-1]
    start, stop = [], []
    for part, spacing, size in zip(box, support.spacing, support.size, strict=True):
        margin = max(_MARGIN_VOXELS, round(_MARGIN_MM / spacing))
        start.append(max(0, part.start - margin))
        stop.append(min(size, part.stop + margin))
    return Extent(tuple(start), tuple(stop))


def _same_intensities(image: np.ndarray, like: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """``image`` with the intensities of ``like``: equal percentiles inside."""
    q = np.linspace(1, 99, _KNOTS)
    own, other = np.percentile(image[inside], q), np.percentile(like[inside], q)
    return np.interp(image, np.maximum.accumulate(own + np.arange(_KNOTS) * 1e-6), other).astype(np.float32)


def _keeps_volumes(query: Volume, region: Extent, before: Fitted, after: Fitted) -> bool:
    values = [value for value in np.unique(before.labels).tolist() if value > 0]
    step = max(1, int((np.prod(region.size) / 200_000) ** (1 / 3)))
    grid = np.meshgrid(*(np.arange(a, b, step) for a, b in zip(region.start, region.stop, strict=True)), indexing="ij")
    index = np.stack([g.ravel() for g in grid])
    old, new = (one.sampled(query, index, values).sum(1) + 1 for one in (before, after))
    return bool(((new / old > _LEAST_VOLUME) & (new / old < _MOST_VOLUME)).all())


def _notes(support, alignment: Alignment, query_scale: IntensityScale, support_scale: IntensityScale) -> list[str]:
    notes = [f"in {support.name!r}, {note}" for note in support_scale.notes]
    names = {"ct": "CT", "grey": "a grey image that is no CT", "rgb": "a colour image"}
    if query_scale.kind != support_scale.kind:
        notes.append(
            f"{support.name!r}, in which was drawn, is {names[support_scale.kind]}, and this volume is "
            f"{names[query_scale.kind]}; a drawing from the same kind of image fits better"
        )
    if alignment.correlation < DOUBTFUL:
        notes.append(
            f"around the drawing {support.name!r} and this volume are little alike (correlation "
            f"{alignment.correlation:.2f}, {DOUBTFUL} or more is usual); check the answer and draw one slice in this volume"
        )
    return notes


def _mirrored(
    query: Volume, query_scale: IntensityScale, support: Volume, support_scale: IntensityScale, part: Extent, axis: str,
    plain: float,
) -> Steps[list[str]]:  # fmt: skip
    """A sentence if the images are clearly more alike when left and right of the support volume are exchanged.

    :param plain: their correlation as they are.
    """
    across = int(np.argmax(np.abs(support.ijk_to_ras[0, :3])))  # the axis nearest to left-right
    if AXES[across] == axis:
        return []
    turned = Volume(np.flip(support.array, 2 - across), support.ijk_to_ras, support.name)
    start, stop = list(part.start), list(part.stop)
    start[across], stop[across] = support.size[across] - stop[across], support.size[across] - start[across]
    other = Extent(three(start), three(stop))
    moving = yield from picture_of(turned, support_scale, other, voxel_size(turned, other))
    starts = yield from coarse_alignments(query, query_scale, turned, support_scale, other, axis)
    best = -1.0
    for matrix, _ in starts:
        region = covered(query, matrix, turned, other, 0.0)
        if region is not None:
            fixed = yield from picture_of(query, query_scale, region, voxel_size(query, region))
            best = max(best, likeness(fixed, moving, matrix))
    if best < max(plain + _MIRRORED, DOUBTFUL):
        return []
    text = (
        f"{support.name!r} looks mirrored, left against right: the images are more alike that way round (correlation {best:.2f} "
        f"against {plain:.2f}); check how it was exported, or whether the other side of the body is drawn"
    )
    return [text]


def _mapped(matrix: np.ndarray, index: np.ndarray) -> np.ndarray:
    return matrix[:3, :3] @ index + matrix[:3, 3:]
