"""``Segmentation``: named, coloured segments on the grid of an image, overlaps allowed; and how large a segment is, in ml in a volume, an
area or pixels in a picture."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..common.errors import InputError

_UNNAMED = re.compile(r"Segment \d+")
LARGEST_LABEL = 65535  # in memory and in files
_SMALL_ML = 0.1  # below it mm³ are reported: "0.00 ml" would mean nothing


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


def name_key(name: str) -> str:
    """Equal for names that mean the same segment: capitals, blanks and how accents are stored do not count."""
    return " ".join(unicodedata.normalize("NFC", name).split()).casefold()


def put_in_layer(layers: list[np.ndarray], mask: np.ndarray, value: int, dtype=np.uint8) -> int:
    """Writes ``value`` where ``mask`` is into the first of ``layers`` that is free there, which is added (as ``dtype``) if none
    is; returns its number."""
    layer = next((n for n, labels in enumerate(layers) if not labels[mask].any()), len(layers))
    if layer == len(layers):
        layers.append(np.zeros(mask.shape, dtype))
    layers[layer][mask] = value
    return layer


def distinct_values(values: Sequence[int]) -> list[int]:
    """``values`` of segments as they are; 1, 2, ... in their order where two share one, or one is 0, the value of nothing."""
    return list(values) if len({0, *values}) > len(values) else list(range(1, len(values) + 1))


def label_type(highest: int) -> type[np.unsignedinteger]:
    """The type of labels 0 to ``highest``, at most :data:`LARGEST_LABEL`, in memory and in files."""
    return np.uint8 if highest < 256 else np.uint16


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

    def on_larger_grid(self, start: Sequence[int], shape: tuple[int, ...], ijk_to_ras: np.ndarray) -> Segmentation:
        """The same segments on a grid ``shape`` (k, j, i) with ``ijk_to_ras``, in which this one begins at voxel ``start``
        (i, j, k)."""
        layers = self.layers
        if layers[0].shape != tuple(shape):
            box = tuple(slice(s, s + n) for s, n in zip(start[::-1], layers[0].shape, strict=True))
            layers = [np.zeros(shape, layer.dtype) for layer in self.layers]
            for whole, layer in zip(layers, self.layers, strict=True):
                whole[box] = layer
        return Segmentation(layers, self.segments, np.array(ijk_to_ras, float))

    def flattened(self, own_values: bool = False) -> np.ndarray:
        """One label map ``[K, J, I]`` (uint8 or uint16) with values 1, 2, ... in segment order; where segments overlap
        the later one is kept.

        :param own_values: with the values of the segments, unless two share one.
        """
        values = [segment.value if own_values else number for number, segment in enumerate(self.segments, 1)]
        values = distinct_values(values)
        out = np.zeros(self.layers[0].shape, label_type(max(values, default=0)))
        for value, segment in zip(values, self.segments, strict=True):
            out[self.mask(segment)] = value
        return out


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether an array ``[K, J, I]`` of this shape has no depth: one voxel along an axis."""
    return 1 in shape[:3]


def is_without_pixel_size(shape: tuple[int, ...], ijk_to_ras: np.ndarray) -> bool:
    """Whether it is a picture whose pixels are 1 mm only because its file says nothing about them."""
    spacing = np.linalg.norm(np.asarray(ijk_to_ras, float)[:3, :3], axis=0)
    return is_picture(shape) and bool(np.abs(spacing - 1).max() < 1e-6)


def segment_size(voxels: int, shape: tuple[int, ...], ijk_to_ras: np.ndarray) -> dict:
    """The size of ``voxels`` voxels of a grid ``shape`` (k, j, i): {"voxels", "volume_ml", "area_mm2"}.

    The volume is None in a picture; the area is None in a volume, and in a picture without a pixel size.
    """
    axes = np.asarray(ijk_to_ras, float)[:3, :3]
    volume = area = None
    if not is_picture(shape):
        volume = round(float(voxels * abs(np.linalg.det(axes)) / 1000), 6)
    elif not is_without_pixel_size(shape, ijk_to_ras):
        across = max(a for a in range(3) if shape[2 - a] == 1)
        first, second = (axes[:, a] for a in range(3) if a != across)
        area = round(float(voxels * np.linalg.norm(np.cross(first, second))), 6)
    return {"voxels": int(voxels), "volume_ml": volume, "area_mm2": area}


def shown_size(size: Mapping) -> str:
    """A size for people, from what :func:`segment_size` gives: "12.30 ml", "5.2 mm³", "3,224 pixels (19.7 cm²)"."""
    voxels, volume, area = size["voxels"], size["volume_ml"], size.get("area_mm2")
    if volume is not None:
        small = 0 < volume < _SMALL_ML
        return f"{1000 * volume:,.3g} mm³" if small else f"{volume:,.2f} ml"
    pixels = f"{voxels:,} pixel{'' if voxels == 1 else 's'}"
    if area is None or not voxels:
        return pixels
    return f"{pixels} ({f'{area / 100:,.1f} cm²' if area >= 1000 else f'{area:,.3g} mm²'})"


def size_table(segments: list[Mapping]) -> list[str]:
    """One line of text for each segment (a mapping with a "name" and its size): the name and the size, aligned."""
    names, sizes = [s["name"] for s in segments], [shown_size(s) for s in segments]
    width, wide = (max(map(len, texts), default=0) for texts in (names, sizes))
    return [f"  {name:<{width}}  {size:>{wide}}" for name, size in zip(names, sizes, strict=True)]


def sizes(segmentation: Segmentation) -> list[dict]:
    """:func:`segment_size` of each segment, in their order."""
    shape = segmentation.layers[0].shape
    return [
        segment_size(int(np.count_nonzero(segmentation.mask(s))), shape, segmentation.ijk_to_ras)
        for s in segmentation.segments
    ]
