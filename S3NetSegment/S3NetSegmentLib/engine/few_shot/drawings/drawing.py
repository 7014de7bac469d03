"""All that is drawn in one volume, as seen along one axis: whole slices, and single voxels known from other planes; in layers where
segments overlap; and the same on the working grid of a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
import torch

from ...common.arrays import LimitedCache, two
from ...common.errors import InputError
from ...images import AXES, Volume
from ...images.volume import slices_first
from ..frame import Box, DrawnSizes, Frame
from .overlaps import Pairs, drawn_together
from .support import DrawnPlane, DrawnSlice, DrawnVoxels, SupportVolume, near_drawing, on_volume

UNKNOWN = 0  # in arrays of known voxels; background is 1, class c is c + 1
Item = DrawnSlice | DrawnPlane | SupportVolume


@dataclass(frozen=True, eq=False)
class KnownSlice:
    """What is known of one slice: uint8 ``[H, W]``, 0 unknown, 1 background, c + 1 class c; ``digest`` names the content."""

    known: np.ndarray
    complete: bool

    @cached_property
    def digest(self) -> bytes:
        return blake2b(np.ascontiguousarray(self.known).tobytes(), digest_size=12).digest()

    @property
    def classes(self) -> np.ndarray:
        """Class of each pixel; unknown ones count as background."""
        return np.maximum(self.known, 1) - 1


class Drawing:
    """The drawn slices of ``volume``, seen along ``axis``.

    Attributes: ``axis``, ``values`` (label value of each class, ``values[0]`` = 0 for the background), ``slices`` (number
    along the axis -> KnownSlice, ascending), ``crossing`` (drawn slices along the other axes), ``notes``.

    :param slices: checked drawn slices. Where two drawings of one slice are given, the later one counts.
    :param axis: "auto": the axis with most drawn slices that hold labels, of equals the volume's own slice axis.
    :param ring: mm around a partial drawing that count as background.
    :param voxels: drawings on planes that are no slices of the volume.
    :param elsewhere: further label values, which are drawn in other volumes.
    :raises InputError: nothing is drawn here or elsewhere.
    """

    def __init__(
        self,
        volume: Volume,
        slices: Sequence[DrawnSlice],
        axis: str,
        ring: float,
        voxels: Sequence[DrawnVoxels] = (),
        elsewhere: Iterable[int] = (),
    ):
        own: list[DrawnSlice | DrawnVoxels] = [*slices, *voxels]
        drawn = {int(v) for one in own for v in np.unique(one.labels)}
        values = sorted((drawn | set(elsewhere)) - {0})
        if not values:
            raise InputError("nothing is drawn; draw at least one segment on at least one slice")
        self.volume, self.values = volume, (0, *values)
        self.axis = _main_axis(volume, own) if axis == "auto" else volume.slice_axis(axis)
        self._lut = np.zeros(256, np.uint8)
        self._lut[list(self.values)] = np.arange(len(self.values), dtype=np.uint8)
        self._ring = ring
        along = {s.index: self._known(s) for s in slices if s.axis == self.axis}
        self.slices = dict(sorted(along.items()))
        self.crossing = [(s.axis, s.index, self._known(s)) for s in slices if s.axis != self.axis]
        self._voxels = [(tuple(v.index.T), self._lut[v.labels] + np.uint8(1)) for v in voxels]

    @property
    def classes(self) -> int:
        """Number of classes, the background included."""
        return len(self.values)

    @cached_property
    def sizes(self) -> DrawnSizes:
        """How large what is drawn is in the slices, and whether it is scattered."""
        return DrawnSizes.of(self.projections())

    @property
    def digest(self) -> bytes:
        """Names the content: equal for equal drawings."""
        content = blake2b(repr((self.axis, self.values)).encode(), digest_size=12)
        for z, drawn in self.slices.items():
            content.update(repr((z, drawn.complete)).encode() + drawn.digest)
        for axis, index, drawn in self.crossing:
            content.update(repr((axis, index)).encode() + drawn.digest)
        for place, known in self._voxels:
            content.update(np.ascontiguousarray(place).tobytes() + known.tobytes())
        return content.digest()

    @property
    def whole(self) -> Box:
        """The box of whole slices."""
        height, width = slices_first(self.volume.array, self.axis).shape[1:3]
        return Box(0, height, 0, width)

    def projections(self) -> list[np.ndarray]:
        """Labelled pixels as class images ``[H, W]`` along the axis: one for each drawn slice, one for all other drawings."""
        images = [drawn.classes for drawn in self.slices.values()]
        if self.crossing or self._voxels:
            images.append(self.known_voxels(self.whole, crossing_only=True).max(0))
            images[-1] = np.maximum(images[-1], 1) - 1
        return images

    def known_voxels(self, box: Box, crossing_only: bool = False) -> np.ndarray:
        """What is known inside ``box``: uint8 ``[Z, H, W]`` in the values of :class:`KnownSlice`."""
        shape = self.volume.array.shape[:3]
        if self.crossing or self._voxels:
            whole = np.zeros(shape, np.uint8)
            for place, values in self._voxels:
                whole[place] = values
            for axis, index, drawn in self.crossing:
                plane = slices_first(whole, axis)[index]
                np.copyto(plane, drawn.known, where=drawn.known > 0)
            known = slices_first(whole, self.axis)[(slice(None), *box.index)].copy()
        else:
            known = np.zeros((shape[2 - AXES.index(self.axis)], *box.shape), np.uint8)
        if not crossing_only:
            for z, drawn in self.slices.items():
                part = drawn.known[box.index]
                np.copyto(known[z], part, where=part > 0)
        return known

    def _known(self, drawn: DrawnSlice) -> KnownSlice:
        known = self._lut[drawn.labels] + np.uint8(1)
        if not drawn.complete:
            spacing = [s for a, s in zip(AXES[::-1], self.volume.spacing[::-1], strict=True) if a != drawn.axis]
            known[~near_drawing(drawn.labels, two(spacing), self._ring)] = UNKNOWN
        return KnownSlice(known, drawn.complete)


def drawing_of(
    volume: Volume,
    drawings: Sequence[DrawnSlice | DrawnPlane],
    axis: str = "auto",
    ring: float = 0.0,
    elsewhere: Iterable[int] = (),
) -> Drawing:
    """``drawings`` on slices and planes of ``volume`` as its :class:`Drawing`; parameters and errors as there, and InputError
    for a drawing that does not fit ``volume``."""
    slices, voxels = [], []
    for drawn in drawings:
        here = on_volume(drawn, volume, ring) if isinstance(drawn, DrawnPlane) else drawn
        if isinstance(here, DrawnVoxels):
            voxels.append(here)
        else:
            slices.append(here.checked(volume))
    return Drawing(volume, slices, axis, ring, voxels, elsewhere)


def _main_axis(volume: Volume, slices: Sequence[DrawnSlice | DrawnVoxels]) -> str:
    count = {a: sum(1 for s in slices if s.axis == a and s.labels.any()) for a in AXES}
    usual = volume.slice_axis()
    return max(AXES, key=lambda a: (count[a], a == usual, a))


@dataclass(frozen=True, eq=False)
class SupportLayer:
    """What is drawn in one layer: in the volume itself, and in others."""

    drawing: Drawing
    others: list[SupportVolume]


@dataclass(frozen=True, eq=False)
class LayeredSupport:
    """
    :param layers: at least one; each has values that are at home in it.
    :param homes: label value -> number in ``layers``: the first one that it is drawn in. In later ones it is only what
        those segments must not be.
    :param overlap: pairs of values that overlap where they are drawn.
    """

    layers: list[SupportLayer]
    homes: dict[int, int]
    overlap: Pairs

    @classmethod
    def of(cls, volume: Volume, items: Sequence[Item], axis: str, ring: float) -> LayeredSupport:
        """The layers of ``items``, all seen along the same axis.

        :raises InputError: nothing is drawn, or a drawing that does not fit ``volume``.
        """
        items = [item.checked() if isinstance(item, SupportVolume) else item for item in items]
        numbers = sorted({item.layer for item in items}) or [0]
        if axis == "auto" and len(numbers) > 1:
            axis = _layer(volume, items, axis, ring).drawing.axis
        layers: list[SupportLayer] = []
        homes: dict[int, int] = {}
        for number in numbers:
            own = [item for item in items if item.layer == number]
            new = {int(v) for item in own for v in np.unique(item.labels) if v} - set(homes)
            if not new and len(numbers) > 1:
                continue  # e.g. a segment that is drawn on other slices only
            layers.append(_layer(volume, own, axis, ring))
            homes.update(dict.fromkeys(new, len(layers) - 1))
        if not layers:
            layers = [_layer(volume, items, axis, ring)]  # which says that nothing is drawn
        return cls(layers, homes, _overlap(items) if len(layers) > 1 else set())

    @cached_property
    def projections(self) -> list[np.ndarray]:
        """See :meth:`Drawing.projections`, of all layers."""
        return [image for layer in self.layers for image in layer.drawing.projections()]

    @cached_property
    def sizes(self) -> DrawnSizes:
        """The smallest of all layers: each is worked on on the same grid."""
        sizes = [layer.drawing.sizes for layer in self.layers]
        thickness, side = min(s.thickness for s in sizes), min(s.side for s in sizes)
        return DrawnSizes(thickness, side, all(s.scattered for s in sizes))

    @property
    def others(self) -> list[SupportVolume]:
        return [other for layer in self.layers for other in layer.others]


def _layer(volume: Volume, items: Sequence[Item], axis: str, ring: float) -> SupportLayer:
    others = [item for item in items if isinstance(item, SupportVolume)]
    here = [item for item in items if not isinstance(item, SupportVolume)]
    elsewhere = {int(v) for other in others for v in np.unique(other.labels)}
    return SupportLayer(drawing_of(volume, here, axis, ring, elsewhere), others)


def _overlap(items: Sequence[Item]) -> Pairs:
    """The values that are drawn over each other in the same place in different layers."""
    places: dict[tuple, list[np.ndarray]] = {}
    for item in items:
        if isinstance(item, SupportVolume):
            place: tuple = ("volume", id(item.volume))
        elif isinstance(item, DrawnPlane):
            place = ("plane", np.asarray(item.plane_to_ras, float).tobytes(), np.shape(item.labels))
        else:
            place = ("slice", item.axis, int(item.index), np.shape(item.labels))
        places.setdefault(place, []).append(np.asarray(item.labels))
    return set().union(*(drawn_together(maps) for maps in places.values()))


@dataclass(frozen=True, eq=False)
class SoftSlice:
    """What is drawn on one slice of the working grid.

    :param masks: ``[C, h, w]``, class memberships; the background where nothing is known.
    :param known: ``[h, w]``, 0 to 1; 1 everywhere for a complete drawing.
    """

    masks: torch.Tensor
    known: torch.Tensor

    @property
    def complete(self) -> bool:
        """Whether all of the slice is known; up to the rounding of averages over pixels."""
        return bool(self.known.min() > 1 - 1e-4)


class SoftDrawing:
    """What is known in ``frame``. Attributes: ``slices``, the drawn ones (number -> SoftSlice); ``thickness`` of the segments
    in pixels.

    :param known: what is known of all voxels, uint8 ``[Z, H, W]`` (see :mod:`drawing`); holds the drawn slices too.
    :param kept: what earlier answers in this frame left; the voters fill it.
    """

    def __init__(self, frame: Frame, drawing: Drawing, known: np.ndarray, kept: LimitedCache):
        self.frame, self.known, self.kept, self.classes = frame, known, kept, drawing.classes
        self.slices = {z: self._soft(known[z]) for z in drawing.slices}
        self.thickness = drawing.sizes.thickness if np.isfinite(drawing.sizes.thickness) else 3.0

    def complete(self, without: int | None = None) -> list[int]:
        """The slices of which all is known, but for the hidden one."""
        return [z for z, drawn in self.slices.items() if drawn.complete and z != without]

    def between(self, first: int, last: int, without: int | None, beyond: int | None = None) -> tuple[int, int]:
        """From the complete drawn slice at or before ``first`` to that at or after ``last``; where there is none, ``beyond``
        slices further, or (None) to the slices that hold any drawing."""
        complete = self.complete(without)
        others = [z for z in self.slices if z != without]
        low = min([first, *others]) if beyond is None else max(0, first - beyond)
        high = max([last, *others]) if beyond is None else min(self.frame.depth - 1, last + beyond)
        return (
            max((z for z in complete if z <= first), default=low),
            min((z for z in complete if z >= last), default=high),
        )

    def _soft(self, known: np.ndarray) -> SoftSlice:
        """One slice of known values ``[H, W]`` on the working grid."""
        masks = np.stack([np.maximum(known, 1) == c + 1 for c in range(self.classes)])
        both = self.frame.shrunk_masks(np.concatenate((masks, (known > 0)[None])))
        return SoftSlice(both[:-1].contiguous(), both[-1])
