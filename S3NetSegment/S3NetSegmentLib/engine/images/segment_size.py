"""How large a segment is, in the unit that suits its image: ml in a volume, an area or pixels in a picture.

A picture has no depth, so it has no volume. Files of photographs do not tell how large a pixel is either, and are read with
pixels of 1 mm; then a size is a number of pixels and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .segmentation import Segmentation

_SMALL_ML = 0.1  # below it mm³ are told: "0.00 ml" would mean nothing


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
