"""A drawn volume fitted to another one: aligned, then deformed if that makes the images more alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from ...common.arrays import box_around, three
from ...common.progress import Step, Steps, as_part_of
from ...images import AXES, Extent, Volume
from .alignment import Alignment, align
from .deformation import MATCHING, deformed, same_intensities, warped
from .known_labels import KnownLabels, mean_dice
from .picture import Picture, Scaled, correlation, covered, mapped, moved
from .places import coarse_places

DOUBTFUL = 0.5  # correlation of the aligned images below which a drawn slice in this volume is asked for
_MARGIN_MM = 8.0  # around the drawing, or so many of the thickest voxels:
_MARGIN_VOXELS = 1
# How many times as large or as small a deformation may make a segment. Between patients hearts change much in size, and
# tighter limits were wrong more often than right; where nothing is alike, as of an inverted image, segments are blown up.
_BLOWN_UP = 5.0
_LITTLE = 0.02  # of all segments together: what is hardly there may grow
_SAMPLES = 200_000  # voxels at which segments are measured
_UNLIKE = 0.8  # correlation below which a support volume may be mirrored or turned round
# What the likeness of the coarse images, all that is around included, must gain the other way round before that is said. Of 74 pairs
# of hearts, hippocampi and CT that are the right way round none gained more than .06; turned hearts gain about as much in the middle.
_LIKELIER = 0.08
_EXPORTED = "check how it was exported, and whether a transform turns it"
# Directions that are exchanged (0: left and right, 1: front and back, 2: feet and head): what that is called, what to do.
_WAYS = {
    (0,): (
        "mirrored, left against right",
        "check how it was exported, or whether the other side of the body is drawn",
    ),
    (2,): ("upside down", _EXPORTED),
    (0, 1): ("turned round, with front and back exchanged", _EXPORTED),
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """One support volume fitted to the query volume.

    :param labels: uint8 ``[K, J, I]`` of the support volume, every slice filled in.
    :param region: the grid on which the deformation is known, in the query volume.
    :param field: displacements in voxels of ``region`` ``[3, K, J, I]`` (k, j, i); None: the affine map alone.
    :param difference: what both images differ by in ``region`` ``[K, J, I]``, 0 to about 1; None: not known.
    :param reliability: how well it predicts what others agree on or what is drawn in the query volume, 0 to 1.
    :param expected: label value -> Dice that is expected of ``labels`` themselves, where slices of them were filled in.
    """

    support: Volume
    labels: np.ndarray
    alignment: Alignment
    region: Picture
    field: np.ndarray | None
    notes: list[str] = dataclasses.field(default_factory=list)
    difference: np.ndarray | None = None
    reliability: float = 1.0
    expected: Mapping[int, float] = dataclasses.field(default_factory=dict)

    def sampled(self, query: Volume, index: np.ndarray, values: Sequence[int]) -> np.ndarray:
        """Share of each of ``values`` at voxels ``index`` ``[3, n]`` (i, j, k; fractional) of ``query``: ``[V, n]``."""
        place = mapped(np.linalg.inv(self.region.matrix) @ query.ijk_to_ras, index)
        if self.field is not None:
            moved_by = [ndimage.map_coordinates(u, place[::-1], order=1, mode="nearest") for u in self.field[::-1]]
            place = place + np.stack(moved_by)
        place = mapped(np.linalg.inv(self.support.ijk_to_ras) @ self.alignment.to_support @ self.region.matrix, place)
        box = box_around(self.labels > 0, margin=1)
        part, start = self.labels[box], np.array([[s.start] for s in box[::-1]])
        place = (place - start)[::-1]
        return np.stack([ndimage.map_coordinates((part == v).astype(np.float32), place, order=1) for v in values])

    def labels_at(self, query: Volume, index: np.ndarray) -> np.ndarray:
        """The label ``[n]`` at voxels ``index`` ``[3, n]`` of ``query``, 0 for the background."""
        values = [int(v) for v in np.unique(self.labels) if v]
        shares = self.sampled(query, index, values)
        shares = np.concatenate(((1 - shares.sum(0))[None], shares))
        return np.array([0, *values], np.uint8)[shares.argmax(0)]

    def differences(self, query: Volume, index: np.ndarray) -> np.ndarray:
        """What both images differ by at voxels ``index`` of ``query``, ``[n]``; 1 where that is not known."""
        if self.difference is None:
            return np.ones(index.shape[1], np.float32)
        place = mapped(np.linalg.inv(self.region.matrix) @ query.ijk_to_ras, index)
        return ndimage.map_coordinates(self.difference, place[::-1], order=1, mode="constant", cval=1.0)


def fit(
    query: Scaled, support: Scaled, labels: np.ndarray, axis: str, known: KnownLabels | None = None
) -> Steps[Fitted]:
    """``support`` with its ``labels`` (all slices filled in) fitted to ``query``.

    :param axis: the axis across the slices of ``support``.
    :param known: labels that are known in ``query``; they count most for the place.
    """
    here, there = query.volume, support.volume
    part = _surroundings(there, labels)
    alignment = yield from as_part_of(align(query, support, part, axis, labels, known), 0.0, 0.7)
    region = covered(here, alignment.to_support, there, part, 0.0) or here.extent
    fixed = yield from query.picture(region)
    moving = yield from support.picture(part)
    yield Step(0.7, MATCHING)
    image, inside = moved(fixed, moving, alignment.to_support)
    notes = _notes(query, support, alignment)
    if alignment.correlation < _UNLIKE:
        telling = _turned(query, support, part, axis)
        notes += yield from as_part_of(telling, 0.7, 0.7)
    bare = Fitted(there, labels, alignment, fixed, None, notes)
    if np.count_nonzero(inside) < 100:
        return bare
    alike = torch.from_numpy(same_intensities(image, fixed.array, inside))
    matching = deformed(alike, torch.from_numpy(fixed.array), fixed.spacing[::-1].tolist())
    moves = yield from as_part_of(matching, 0.7, 0.95)
    yield Step(0.95, MATCHING)
    after = warped(alike[None], moves)[0].numpy()
    found = Fitted(there, labels, alignment, fixed, moves.numpy(), bare.notes)
    better = correlation(after[inside], fixed.array[inside]) > correlation(alike.numpy()[inside], fixed.array[inside])
    yield Step(0.98, MATCHING)
    better = better and not _is_blown_up(here, region, bare, found)
    if known is not None:  # a drawing beside what it names would be pulled back there
        told, before = (mean_dice(one.labels_at(here, known.index), known.values) for one in (found, bare))
        better = better and told >= before
    difference = np.where(inside, np.abs((after if better else alike.numpy()) - fixed.array), 1).astype(np.float32)
    return dataclasses.replace(found if better else bare, difference=difference)


def _is_blown_up(query: Volume, region: Extent, before: Fitted, after: Fitted) -> bool:
    """Whether a segment of ``after`` in ``region`` is many times as large or as small as that of ``before``."""
    values = [int(v) for v in np.unique(before.labels) if v]
    step = max(1, round((np.prod(region.size) / _SAMPLES) ** (1 / 3)))
    places = np.meshgrid(
        *(np.arange(a, b, step) for a, b in zip(region.start, region.stop, strict=True)), indexing="ij"
    )
    index = np.stack([place.ravel() for place in places]).astype(float)
    old, new = (one.sampled(query, index, values).sum(1) for one in (before, after))
    little = 1 + _LITTLE * old.sum()
    return bool((np.abs(np.log((new + little) / (old + little))) > np.log(_BLOWN_UP)).any())


def _surroundings(support: Volume, labels: np.ndarray) -> Extent:
    box = box_around(labels > 0)[::-1]
    start, stop = [], []
    for part, spacing, size in zip(box, support.spacing, support.size, strict=True):
        margin = max(_MARGIN_VOXELS, round(_MARGIN_MM / spacing))
        start.append(max(0, part.start - margin))
        stop.append(min(size, part.stop + margin))
    return Extent(tuple(start), tuple(stop))


def _notes(query: Scaled, support: Scaled, alignment: Alignment) -> list[str]:
    name, own, other = repr(support.volume.name), support.scale.kind, query.scale.kind
    notes = [f"in {name}, {note}" for note in support.scale.notes]
    names = {"ct": "CT", "grey": "a grey image that is no CT", "rgb": "a colour image"}
    if own != other:
        notes.append(
            f"{name}, in which was drawn, is {names[own]}, and this volume is {names[other]}; a drawing from the same kind of "
            "image fits better"
        )
    if 1 in support.volume.size and 1 not in query.volume.size:
        notes.append(
            f"{name}, in which was drawn, has one slice, so nothing is known beyond the slice that it is laid on; draw one slice in this "
            "volume, or draw in the volume that the slice comes from"
        )
    if alignment.correlation < DOUBTFUL:
        notes.append(
            f"around the drawing {name} and this volume are little alike (correlation "
            f"{alignment.correlation:.2f}, {DOUBTFUL} or more is usual); check the answer and draw one slice in this volume"
        )
    return notes


def _turned(query: Scaled, support: Scaled, part: Extent, axis: str) -> Steps[list[str]]:
    """A sentence if the images are clearly more alike when the support volume is mirrored, upside down or turned round."""
    volume = support.volume

    def likeliest(turned: Scaled, its_part: Extent) -> Steps[float]:
        places = yield from coarse_places(query, turned, its_part, axis, only_moved=True)
        return max(place.score for place in places)

    plain = yield from likeliest(support, part)
    best, best_way = plain + _LIKELIER, None
    for directions in _WAYS:
        across = [volume.order.axes[d] for d in directions]
        if directions == (0,) and AXES[across[0]] == axis:
            continue
        array, start, stop = volume.array, list(part.start), list(part.stop)
        for a in across:
            array = np.flip(array, 2 - a)
            start[a], stop[a] = volume.size[a] - stop[a], volume.size[a] - start[a]
        turned = Scaled(Volume(array, volume.ijk_to_ras, volume.name), support.scale)
        score = yield from likeliest(turned, Extent(three(start), three(stop)))
        if score >= best:
            best, best_way = score, directions
    if best_way is None:
        return []
    called, check = _WAYS[best_way]
    text = (
        f"{volume.name!r} looks {called}: the images as a whole are more alike that way round ({best:.2f} against "
        f"{plain:.2f}, 1 for the same); {check}"
    )
    return [text]
