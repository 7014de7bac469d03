"""Labels on a grid of their own: where they lie in an image, and which of its slices they make drawn ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...common.arrays import corners
from ...common.errors import InputError
from ...images import AXES, Volume
from .support import DrawnPlane, drawn_slices, mixed_slices

_EXACT = 0.1  # voxels by which a grid may be off and still count as the image's own
_STRAIGHT = 0.5  # voxels by which a grid may tilt over its length and still count as parallel to the image
_SAME = 0.01  # voxels by which grids may differ without a word


@dataclass(frozen=True, eq=False)
class PlacedLabels:
    """Labels in an image.

    :param labels: ``[K, J, I]`` on the image's grid, of the type that they came in. Where the grids differ only the drawn slices are filled.
    :param axis: the axis of the image across the drawn slices.
    :param drawn: their numbers, ascending; none where the labels are oblique to the image.
    :param planes: the drawn slices as planes, where the labels are oblique to the image; or those across other axes than ``axis``.
    :param moved: whether the labels had to be brought onto another grid.
    :param outside: share of the labelled voxels that lie outside the image, 0 to 1.
    """

    labels: np.ndarray
    axis: str
    drawn: list[int]
    planes: list[DrawnPlane] = field(default_factory=list)
    moved: bool = False
    outside: float = 0.0


def placed_labels(
    labels: np.ndarray, ijk_to_ras: np.ndarray, image: Volume, axis: str = "auto", drawn: Sequence[int] | None = None
) -> PlacedLabels:
    """``labels`` brought onto the grid of ``image``, each voxel from the nearest one.

    Where the labels lie on a grid parallel to the image's, each drawn slice goes to the nearest slice of the image. Where
    they are oblique and nobody names the drawn slices, they become planes.

    :param labels: ``[K, J, I]``, whole numbers above 0; 0 = nothing.
    :param ijk_to_ras: 4x4, voxel of the labels to patient mm.
    :param axis: axis of the image across the drawn slices; "auto": that along which the fewest hold labels.
    :param drawn: numbers of drawn slices of the image, also empty ones; None: the slices that hold labels.
    :raises InputError: no labels, or none in the image; a slice that the image does not have.
    """
    if not labels.any():
        raise InputError("nothing is drawn: the labels are empty; draw a segment on at least one slice")
    to_image = np.linalg.solve(image.ijk_to_ras, np.asarray(ijk_to_ras, float))
    order, skew = along_axes(to_image, labels.shape[::-1], image.size)
    unasked = drawn is None and axis == "auto"
    if skew >= _STRAIGHT:
        placed = _oblique(labels, ijk_to_ras, to_image, image, axis, drawn)
    elif unasked and grid_difference(labels.shape, ijk_to_ras, image) and (mixed := mixed_slices(labels)):
        placed = _as_planes(labels, mixed, ijk_to_ras, to_image, image)
    else:
        placed = _parallel(labels, to_image, order, skew < _EXACT, image, axis, drawn)
    if not placed.labels.any() and not placed.planes:
        if drawn is not None and placed.outside < 1:
            raise InputError(
                f"nothing is drawn on slice {', '.join(map(str, drawn))} along {placed.axis} of image {image.name!r}; name "
                "at least one slice that holds labels"
            )
        raise InputError(
            f"the labels lie outside image {image.name!r}; {_box('they cover', labels.shape, ijk_to_ras)}, "
            f"{_box('the image', image.array.shape, image.ijk_to_ras)}. Draw on this image, or name the image that they "
            "belong to"
        )
    return placed


def along_axes(to_image: np.ndarray, size: Sequence[int], image_size: Sequence[int]) -> tuple[list[int], float]:
    """For each axis of the image the axis of the labels that runs along it, and the voxels by which it leaves it."""
    linear = to_image[:3, :3]
    order = [int(a) for a in np.argmax(np.abs(linear) / np.linalg.norm(linear, axis=0), axis=1)]
    if sorted(order) != [0, 1, 2]:
        return [0, 1, 2], np.inf
    reach = np.minimum(np.array(size, float), 2 * max(image_size))
    return order, max(abs(linear[b, a]) * reach[a] for b in range(3) for a in range(3) if a != order[b])


def _parallel(labels, to_image, order, straight: bool, image: Volume, axis: str, drawn) -> PlacedLabels:
    oriented = labels.transpose([2 - order[b] for b in (2, 1, 0)])  # [K, J, I] along the axes of the image
    middle = (np.array(labels.shape[::-1]) - 1) / 2
    centre = to_image[:3] @ (*middle, 1.0)
    steps = np.array([to_image[b, a] for b, a in enumerate(order)])
    starts = centre - steps * middle[order]  # place in the image of the first voxel along each axis
    sizes = np.array(oriented.shape[::-1])
    inside = [_rounded(s + d * np.arange(n)) for s, d, n in zip(starts, steps, sizes, strict=True)]
    inside = [(p >= 0) & (p < n) for p, n in zip(inside, image.size, strict=True)]
    outside = 1 - np.count_nonzero(oriented[np.ix_(*inside[::-1])]) / np.count_nonzero(oriented)
    shifted = np.abs(starts - np.rint(starts)).max() > _EXACT or (np.abs(np.abs(steps) - 1) * sizes).max() > _EXACT
    exact = straight and not shifted
    sources = [_rounded((np.arange(n) - s) / d) for n, s, d in zip(image.size, starts, steps, strict=True)]
    if exact or drawn is not None:
        placed = _taken(oriented, sources, image)
        if exact and drawn is None and not placed.any():
            return PlacedLabels(placed, "z", [], outside=1.0)
        mixed = mixed_slices(placed) if exact and drawn is None and axis == "auto" else {}
        if mixed:
            return _across_several_axes(placed, mixed, image, outside)
        axis, drawn = drawn_slices(placed, axis, drawn)
        return PlacedLabels(_only(placed, axis, drawn), axis, drawn, moved=not exact, outside=outside)
    axis, own = drawn_slices(oriented, axis)
    across = AXES.index(axis)
    places = starts[across] + steps[across] * np.array(own)
    nearest: dict[int, int] = {}
    for k, place in zip(own, places, strict=True):
        z = int(_rounded(place))
        if 0 <= z < image.size[across] and (
            z not in nearest or abs(place - z) < abs(starts[across] + steps[across] * nearest[z] - z)
        ):
            nearest[z] = k
    sources[across] = np.full(image.size[across], -1)
    sources[across][list(nearest)] = list(nearest.values())
    placed = _taken(oriented, sources, image)
    return PlacedLabels(placed, axis, sorted(nearest), moved=True, outside=outside)


def _across_several_axes(
    placed: np.ndarray, mixed: dict[str, list[int]], image: Volume, outside: float
) -> PlacedLabels:
    """Slices across the axis that most of them lie across, and those across the others as planes."""
    axis = max(mixed, key=lambda a: (len(mixed[a]), a == image.slice_axis()))
    planes = [_slice_as_plane(placed, image.ijk_to_ras, AXES.index(a), k) for a in mixed if a != axis for k in mixed[a]]
    return PlacedLabels(_only(placed, axis, mixed[axis]), axis, mixed[axis], planes, outside=outside)


def _slice_as_plane(labels: np.ndarray, ijk_to_ras: np.ndarray, across: int, number: int) -> DrawnPlane:
    column, row = (a for a in range(3) if a != across)  # arrays are [K, J, I]: the higher axis is the rows
    matrix = np.eye(4)
    matrix[:3] = np.asarray(ijk_to_ras, float)[:3][:, [column, row, across, 3]]
    matrix[:3, 3] += number * matrix[:3, 2]
    return DrawnPlane(np.take(labels, number, 2 - across), matrix)


def _taken(oriented: np.ndarray, sources: list[np.ndarray], image: Volume) -> np.ndarray:
    """``oriented[sources]`` along each axis (x, y, z), 0 where a source lies outside; ``[K, J, I]``."""
    out = np.zeros(image.array.shape[:3], oriented.dtype)
    valid = [(s >= 0) & (s < n) for s, n in zip(sources[::-1], oriented.shape, strict=True)]
    out[np.ix_(*valid)] = oriented[np.ix_(*[s[v] for s, v in zip(sources[::-1], valid, strict=True)])]
    return out


def _oblique(labels, ijk_to_ras, to_image, image: Volume, axis: str, drawn) -> PlacedLabels:
    if drawn is not None:
        placed = resampled_labels(labels, ijk_to_ras, image)
        axis, drawn = drawn_slices(placed, axis, drawn)
        return PlacedLabels(
            _only(placed, axis, drawn), axis, drawn, moved=True, outside=_outside(labels, to_image, image)
        )
    own_axis = axis
    if axis != "auto":
        directions = to_image[:3, :3] / np.linalg.norm(to_image[:3, :3], axis=0)
        own_axis = AXES[int(np.argmax(np.abs(directions[AXES.index(axis)])))]
    own_axis, own = drawn_slices(labels, own_axis)
    return _as_planes(labels, {own_axis: own}, ijk_to_ras, to_image, image)


def _as_planes(labels, slices: dict[str, list[int]], ijk_to_ras, to_image, image: Volume) -> PlacedLabels:
    """``slices`` of the labels (axis -> numbers) as planes of the image."""
    planes = [_slice_as_plane(labels, ijk_to_ras, AXES.index(a), k) for a, own in slices.items() for k in own]
    outside = _outside(labels, to_image, image)
    across = AXES.index(max(slices, key=lambda a: len(slices[a])))
    axis = AXES[int(np.argmax(np.abs(to_image[:3, across])))]
    nothing = np.zeros(image.array.shape[:3], labels.dtype)
    return PlacedLabels(nothing, axis, [], planes if outside < 1 else [], moved=True, outside=outside)


def resampled_labels(labels: np.ndarray, ijk_to_ras: np.ndarray, image: Volume) -> np.ndarray:
    """All of ``labels`` on the grid of ``image``, each voxel from the nearest one; ``[K, J, I]``."""
    to_labels = np.linalg.solve(np.asarray(ijk_to_ras, float), image.ijk_to_ras)
    out = np.zeros(image.array.shape[:3], labels.dtype)
    rows, columns = np.mgrid[: out.shape[1], : out.shape[2]]
    in_plane = (
        to_labels[:3, 0, None, None] * columns + to_labels[:3, 1, None, None] * rows + to_labels[:3, 3, None, None]
    )
    size = np.array(labels.shape[::-1])[:, None, None]
    for k, plane in enumerate(out):
        index = _rounded(in_plane + k * to_labels[:3, 2, None, None])
        valid = ((index >= 0) & (index < size)).all(0)
        i, j, k_labels = index[:, valid]
        plane[valid] = labels[k_labels, j, i]
    return out


def _outside(labels: np.ndarray, to_image: np.ndarray, image: Volume) -> float:
    """Share of the labelled voxels whose centres lie outside the image."""
    ijk = np.argwhere(labels)[:, ::-1]
    place = _rounded(ijk @ to_image[:3, :3].T + to_image[:3, 3])
    return 1 - float(((place >= 0) & (place < image.size)).all(1).mean())


def _only(labels: np.ndarray, axis: str, drawn: Sequence[int]) -> np.ndarray:
    """``labels`` without what lies on other slices than ``drawn``."""
    out = np.zeros_like(labels)
    index = (slice(None),) * (2 - AXES.index(axis)) + (list(drawn),)
    out[index] = labels[index]
    return out


def _rounded(values) -> np.ndarray:
    # Far outside (a grid of wrong units) is outside, not an overflow.
    return np.floor(np.clip(values, -1e9, 1e9) + 0.5).astype(np.int64)


def _box(what: str, shape: Sequence[int], matrix: np.ndarray) -> str:
    ends = corners((-0.5,) * 3, np.array(shape[2::-1]) - 0.5)
    places = np.asarray(matrix, float)[:3] @ np.c_[ends, np.ones(8)].T
    sides = [f"{n} {a:.0f} to {b:.0f}" for n, a, b in zip("RAS", places.min(1), places.max(1), strict=True)]
    return f"{what} {', '.join(sides)} mm"


def grid_difference(shape: tuple[int, int, int], ijk_to_ras: np.ndarray, image: Volume) -> str:
    """What is different about the grid of labels of ``shape`` ``[K, J, I]``; "" where each of its voxels is one of ``image``.

    The axes may be in another order or reversed, and the grid may be a part of the image's. One of the same size in another
    place is no part of it: one of the two was read, or saved, with another matrix.
    """
    size, matrix = np.array(shape[::-1]), np.asarray(ijk_to_ras, float)
    to_image = np.linalg.solve(image.ijk_to_ras, matrix)
    order, skew = along_axes(to_image, size.tolist(), image.size)
    found = []
    own = np.linalg.norm(matrix[:3, :3], axis=0)[order]
    if (np.abs(own / image.spacing - 1) * size[order] >= _SAME).any():
        found.append(f"its voxels are {_millimetres(own)} mm, those of the image {_millimetres(image.spacing)} mm")
    if skew >= _SAME:
        found.append(f"it is turned by {_angle(matrix, image.ijk_to_ras, order):.2g} degrees")
    if found:
        return ", and ".join(found)
    steps = np.array([to_image[b, a] for b, a in enumerate(order)])
    first = to_image[:3, 3] + sum(to_image[:3, a] * (size[a] - 1) for b, a in enumerate(order) if steps[b] < 0)
    beyond = first + size[order] - image.size  # voxels on the far side
    between = first - np.rint(first)
    if tuple(size[order]) == image.size and np.abs(first).max() >= _SAME:
        return f"it lies {_shift(image, first)} beside it, though it has the same size"
    if np.abs(between).max() >= _SAME:
        return f"its voxels lie {_shift(image, between)} beside those of the image"
    if (first < -0.5).any() or (beyond > 0.5).any():
        return f"it has {_voxels(size[order])} voxels and reaches beyond the image with {_voxels(image.size)}"
    return ""


def _shift(image: Volume, voxels: np.ndarray) -> str:
    """A shift of ``voxels`` (i, j, k) in words, e.g. "7.8 mm (R 6, A -4, S 3)"."""
    ras = image.ijk_to_ras[:3, :3] @ voxels
    parts = ", ".join(f"{name} {value:.3g}" for name, value in zip("RAS", np.round(ras, 3) + 0.0, strict=True))
    return f"{np.linalg.norm(ras):.3g} mm ({parts})"


def _angle(one: np.ndarray, other: np.ndarray, order: list[int]) -> float:
    """The largest angle in degrees between an axis of ``other`` and the axis of ``one`` that runs along it."""
    a, b = one[:3, :3][:, order], other[:3, :3]
    cosine = np.abs((a * b).sum(0)) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1)).max()))


def _millimetres(values) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _voxels(values) -> str:
    return " x ".join(str(int(value)) for value in values)
