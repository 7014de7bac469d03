"""All that is drawn for one volume, layer by layer: segments of different layers may overlap and are answered one layer after
the other, on the same grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...images import Volume
from .drawing import Drawing, drawing_of
from .overlaps import Pairs, drawn_together
from .support import DrawnPlane, DrawnSlice, SupportVolume
from .target import DrawnSizes

Item = DrawnSlice | DrawnPlane | SupportVolume


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
