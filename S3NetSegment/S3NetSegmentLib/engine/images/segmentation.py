"""``Segmentation``: named, coloured segments on the grid of an image, overlaps allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..common.errors import InputError

_UNNAMED = re.compile(r"Segment \d+")


@dataclass(frozen=True)
class Segment:
    """One segment: the voxels of ``Segmentation.layers[layer]`` that equal ``value``.

    :param color: red, green, blue, each 0 to 1.
    :param terminology: Slicer's serialized terminology entry, or "".
    :param tags: further segment tags (provenance), kept by Slicer in ``.seg.nrrd``.
    """

    name: str
    color: tuple[float, float, float]
    value: int
    layer: int = 0
    terminology: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_unnamed(self) -> bool:
        """Whether the name is only what reading a label map gives: "Segment 3"."""
        return _UNNAMED.fullmatch(self.name) is not None


def put_in_layer(layers: list[np.ndarray], mask: np.ndarray, value: int, dtype=np.uint8) -> int:
    """Writes ``value`` where ``mask`` is into the first of ``layers`` that is free there, which is added (as ``dtype``) if none
    is; returns its number."""
    layer = next((n for n, labels in enumerate(layers) if not labels[mask].any()), len(layers))
    if layer == len(layers):
        layers.append(np.zeros(mask.shape, dtype))
    layers[layer][mask] = value
    return layer


@dataclass(eq=False)
class Segmentation:
    """Segments on the grid of an image.

    :param layers: label arrays ``[K, J, I]``, integers, 0 = nothing. Segments of one layer cannot overlap.
    :param segments: in the order shown to the user.
    :param ijk_to_ras: 4x4, as in :class:`Volume`.
    :param other_matrices: as in :class:`Volume`.
    """

    layers: list[np.ndarray]
    segments: list[Segment]
    ijk_to_ras: np.ndarray
    other_matrices: tuple[np.ndarray, ...] = field(default=(), kw_only=True)

    def __post_init__(self):
        shapes = {layer.shape for layer in self.layers}
        if len(shapes) != 1 or len(next(iter(shapes))) != 3:
            raise InputError(f"the layers of a segmentation must share one [K, J, I] shape; got {sorted(shapes)}")
        for segment in self.segments:
            if not 0 <= segment.layer < len(self.layers):
                raise InputError(f"segment {segment.name!r} is in layer {segment.layer}; there are {len(self.layers)}")
            if segment.value <= 0:
                raise InputError(f"segment {segment.name!r} has label value {segment.value}; it must be above 0")

    def mask(self, segment: Segment) -> np.ndarray:
        """The voxels of ``segment``, bool ``[K, J, I]``."""
        return self.layers[segment.layer] == segment.value

    def flattened(self) -> np.ndarray:
        """One label map ``[K, J, I]`` (uint8 or uint16) with values 1, 2, ... in segment order; where segments overlap
        the later one is kept."""
        dtype = np.uint8 if len(self.segments) < 256 else np.uint16
        out = np.zeros(self.layers[0].shape, dtype)
        for number, segment in enumerate(self.segments, 1):
            out[self.mask(segment)] = number
        return out
