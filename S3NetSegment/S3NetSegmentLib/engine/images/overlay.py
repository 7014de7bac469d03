"""Pictures of a result: one slice of the image with the segments drawn on it, upright and with its true proportions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..common.arrays import two
from ..common.errors import InputError
from .array_order import ArrayOrder
from .intensity import intensity_scale
from .resample import resized
from .segmentation import Segmentation
from .volume import AXES, Volume, slices_first

_SOFT_TISSUE = (-160.0, 240.0)  # Hounsfield units shown from black to white
_THINNEST = 0.125  # a picture is at least this part of its long side wide or high


@dataclass(frozen=True)
class _View:
    """How the slices of a volume across ``axis`` are shown, as Slicer does: from its usual ``order``, in which axes run to the left, to
    posterior and upwards."""

    order: ArrayOrder
    axis: str  # of the order

    def picture(self, array: np.ndarray, index: int) -> np.ndarray:
        """Slice ``index`` (of the order) of ``array`` ``[K, J, I, ...]`` as ``[rows, columns, ...]``."""
        plane = slices_first(self.order.array(array), self.axis)[index]
        return plane if self.axis == "z" else plane[::-1]  # superior up

    def place(self, ijk: np.ndarray) -> tuple[float, float]:
        """Position of voxel index ``ijk`` of the volume in the picture as parts (0 to 1) of its height and width."""
        parts = zip(AXES, self.order.voxel(ijk), self.order.back.size, strict=True)
        right, down = ((index + 0.5) / size for axis, index, size in parts if axis != self.axis)
        return down if self.axis == "z" else 1 - down, right


def draw_overlay(
    volume: Volume,
    segmentation: Segmentation | None = None,
    *,
    axis: str = "z",
    index: int | None = None,
    size: int = 512,
    outline: int = 2,
    fill: float = 0.3,
    points: Sequence[Sequence[float]] = (),
    not_points: Sequence[Sequence[float]] = (),
    boxes: Sequence[tuple[Sequence[int], Sequence[int]]] = (),
    strokes: Sequence[Sequence[Sequence[int]]] = (),
) -> np.ndarray:
    """One slice of ``volume`` with the segments of ``segmentation`` on it, uint8 ``[H, W, 3]``.

    Laid out as Slicer shows it (patient's right at the left, anterior or superior up), with square millimetres. CT is
    shown in a soft-tissue window, other grey images between their 0.5 and 99.5 percentile, colours as they are.

    :param segmentation: on the grid of ``volume``; None draws the image alone.
    :param axis: "x", "y" or "z", the volume axis across the slice, or "auto" (:meth:`Volume.slice_axis`).
    :param index: slice along ``axis``; None takes the one of :func:`best_slice`.
    :param size: long side of the picture in pixels.
    :param outline: width of the outlines in pixels, 0 for none.
    :param fill: opacity of the areas, 0 to 1.
    :param points, not_points: positions (RAS, mm) marked by a plus or minus, where they lie in the slice.
    :param boxes: lowest and highest voxel (i, j, k) of rectangles drawn in the slice. ``strokes``: voxels of lines in it.
    :raises InputError: an axis or slice that the volume does not have, or another grid.
    """
    axis = volume.slice_axis(axis)
    across = AXES.index(axis)
    if segmentation is not None and segmentation.layers[0].shape != volume.array.shape[:3]:
        raise InputError(
            f"the segmentation has {segmentation.layers[0].shape[::-1]} voxels, image {volume.name!r} {volume.size}; "
            "draw it on the image it belongs to"
        )
    if size < 16:
        raise InputError(f"size of the picture is {size}; it must be at least 16 pixels")
    if index is None:
        index = best_slice(volume, segmentation, axis)
    elif not 0 <= index < volume.size[across]:
        raise InputError(f"slice is {index}; along {axis} the image has slices 0 to {volume.size[across] - 1}")
    view_axis, shown = volume.order.slice(axis, index)
    view, shape = _View(volume.order, view_axis), _picture_shape(volume.ordered, view_axis, size)
    picture = resized(_shown(volume, view.picture(volume.array, shown)), shape)
    if segmentation is not None:
        drawn = []
        for segment in segmentation.segments:
            mask = _zoomed_mask(view.picture(segmentation.layers[segment.layer], shown) == segment.value, shape)
            if mask is not None:
                color = np.array(segment.color, np.float32)
                picture[mask] = (1 - fill) * picture[mask] + fill * color
                drawn.append((mask, color))
        for mask, color in drawn:  # outlines last, so that no area covers them
            picture[_outline(mask, outline)] = color
    for low, high in boxes:
        first, second = (view.place(np.add(corner, shift)) for corner, shift in ((low, -0.5), (high, 0.5)))
        _frame(picture, *(np.multiply(place, shape) for place in (first, second)))
    for voxel in (v for stroke in strokes for v in stroke):
        down, right = (int(p * n) for p, n in zip(view.place(np.array(voxel)), shape, strict=True))
        picture[max(down - 1, 0) : down + 1, max(right - 1, 0) : right + 1] = 1
    for places, sign in ((points, "+"), (not_points, "-")):
        for ras in places:
            ijk = volume.index_of(ras)
            if round(float(ijk[across])) == index:
                row, column = view.place(ijk)
                _mark(picture, row * shape[0] - 0.5, column * shape[1] - 0.5, sign)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _frame(picture: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
    """Draws a white rectangle with a dark line inside; ``one``, ``other``: opposite corners (row, column)."""
    limits = np.array(picture.shape[:2]) - 1
    top, left = np.clip(np.rint(np.minimum(one, other)).astype(int), 0, limits)
    bottom, right = np.clip(np.rint(np.maximum(one, other)).astype(int) - 1, 0, limits)
    for inset, grey in ((1, 0.0), (0, 1.0)):
        t, lft, b, r = top + inset, left + inset, max(bottom - inset, 0), max(right - inset, 0)
        if t <= b and lft <= r:
            picture[[t, b], lft : r + 1] = picture[t : b + 1, lft] = picture[t : b + 1, r] = grey


def best_slice(volume: Volume, segmentation: Segmentation | None, axis: str = "z") -> int:
    """The slice along ``axis`` with the most labelled voxels, the middle one if there are none."""
    across = AXES.index(volume.slice_axis(axis))
    count = volume.size[across]
    if segmentation is None:
        return count // 2
    others = tuple(a for a in range(3) if a != 2 - across)
    area = sum(np.count_nonzero(layer, axis=others) for layer in segmentation.layers)
    if not area.any():
        return count // 2
    best = np.flatnonzero(area == area.max())
    return int(best[len(best) // 2])  # of equally full ones the middle one


def montage(pictures: Sequence[np.ndarray], columns: int, gap: int = 4) -> np.ndarray:
    """Pictures uint8 ``[H, W, 3]`` (or grey ``[H, W]``) of any sizes side by side, ``columns`` to a row, on white;
    each centred in its cell."""
    if not pictures or columns < 1:
        raise InputError(f"a montage needs pictures and columns; got {len(pictures)} pictures, {columns} columns")
    pictures = [np.repeat(p[..., None], 3, -1) if p.ndim == 2 else p for p in pictures]
    columns = min(columns, len(pictures))
    rows = [pictures[n : n + columns] for n in range(0, len(pictures), columns)]
    heights = [max(p.shape[0] for p in row) for row in rows]
    widths = [max(p.shape[1] for p in pictures[c::columns]) for c in range(columns)]
    out = np.full((sum(heights) + gap * (len(rows) - 1), sum(widths) + gap * (columns - 1), 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            top = sum(heights[:r]) + gap * r + (heights[r] - picture.shape[0]) // 2
            left = sum(widths[:c]) + gap * c + (widths[c] - picture.shape[1]) // 2
            out[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return out


def _picture_shape(volume: Volume, axis: str, size: int) -> tuple[int, int]:
    """Rows and columns of a picture of a slice across ``axis`` of ``volume``, which is in the usual order."""
    extents = np.multiply(volume.size, volume.spacing)[[a for a in (2, 1, 0) if AXES[a] != axis]]
    # A slice of few thin rows would be a line: such a picture is stretched to something that can be seen.
    return two(int(max(round(size * part), 1)) for part in np.maximum(extents / extents.max(), _THINNEST))


def _shown(volume: Volume, plane: np.ndarray) -> np.ndarray:
    """Brightness or colours of a slice, float32 ``[H, W, 3]``, 0 to 1."""
    try:
        scale = intensity_scale(volume)
    except InputError:  # constant, or nothing finite: a flat grey
        return np.full((*plane.shape[:2], 3), 0.5, np.float32)
    low, high = _SOFT_TISSUE if scale.kind == "ct" else (scale.low, scale.high)
    shown = np.clip((scale.relative(plane) - np.float32(low)) / np.float32(high - low), 0, 1)
    return shown if volume.is_rgb else np.repeat(shown[..., None], 3, -1)


def _zoomed_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    """``mask`` at the size of the picture with smooth edges; None if it is empty. Something always remains of it."""
    if not mask.any():
        return None
    soft = resized(mask, shape)
    return soft > min(0.5, 0.5 * float(soft.max()))


def _outline(mask: np.ndarray, width: int) -> np.ndarray:
    if width < 1:
        return np.zeros_like(mask)
    cross = ndimage.generate_binary_structure(2, 1)
    # The edge of the picture is not an edge of the object.
    return mask & ~ndimage.binary_erosion(mask, cross, iterations=width, border_value=1)


def _mark(picture: np.ndarray, row: float, column: float, sign: str) -> None:
    """Draws a white plus or minus with a black rim at (row, column), in pixels."""
    arm, half = max(5.0, max(picture.shape) / 60), max(1.0, max(picture.shape) / 400)
    down, right = np.ogrid[: picture.shape[0], : picture.shape[1]]
    down, right = np.abs(down - row), np.abs(right - column)
    for rim, color in ((1.5, 0.0), (0.0, 1.0)):
        bar = (right <= arm + rim) & (down <= half + rim)
        if sign == "+":
            bar = bar | ((down <= arm + rim) & (right <= half + rim))
        picture[bar] = color
