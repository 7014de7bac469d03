"""Prompts in oblique planes: the image there, which voxels an answer there tells of, and how far boxes in crossing planes let an
object reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..common.errors import InputError
from ..few_shot.drawings.support import DrawnPlane, DrawnVoxels, on_volume
from ..images import AXES, Extent, Volume
from ..images.planes import plane_grid, sampled_plane
from .prompts import ROOM, Box, PromptedPlane, Prompts, SliceKey, allowed_voxels, in_groups

# Cosine of the angle between two planes, above which neither says where the object ends in the other.
_CROSSING = np.cos(np.radians(45))


def cut_of(plane: PromptedPlane, volume: Volume) -> Volume:
    """The image in ``plane``, K = 1. InputError for a plane that misses ``volume``."""
    found = sampled_plane(volume, plane.matrix)
    if found is None:
        raise _misses(volume)
    return found[0]


def grid_of(plane: PromptedPlane, volume: Volume) -> Volume:
    """The same without an image, which is not sampled: of its array only the shape counts."""
    found = plane_grid(volume, plane.matrix)
    if found is None:
        raise _misses(volume)
    matrix, shape = found
    return Volume(np.broadcast_to(np.uint8(0), (1, *shape)), matrix, volume.name)


def drawn_plane(plane: PromptedPlane, mask: np.ndarray, volume: Volume) -> DrawnPlane:
    """An answer in ``plane``, bool ``[rows, columns]``, as a drawing."""
    return DrawnPlane(mask.astype(np.uint8), grid_of(plane, volume).ijk_to_ras)


def closed_pixels(plane: PromptedPlane, volume: Volume, extent: Extent, excluded: np.ndarray | None) -> np.ndarray:
    """Pixels ``[rows, columns]`` of a cut that the object cannot have: beside ``extent``, or ``excluded`` there (bool ``[K, J, I]``
    over ``extent``)."""
    grid = grid_of(plane, volume)
    j, i = np.indices(grid.array.shape[1:])
    to_voxel = np.linalg.solve(volume.cropped(extent).ijk_to_ras, grid.ijk_to_ras)
    place = to_voxel[:3, 0, None, None] * i + to_voxel[:3, 1, None, None] * j + to_voxel[:3, 3, None, None]
    place = np.floor(place + 0.5).astype(int)
    there = np.all((place >= 0) & (place < np.array(extent.size)[:, None, None]), axis=0)
    if excluded is not None:
        there[there] = ~excluded[tuple(place[::-1, there])]
    return ~there


@dataclass(frozen=True, eq=False)
class AnsweredVoxels:
    """The voxels of a slice, or those that an oblique plane passes through, and which of them belong to the object.

    :param index: three arrays, their indices k, j, i over the extent, which broadcast to the shape of ``inside`` (bool).
    """

    index: tuple[np.ndarray, ...]
    inside: np.ndarray

    @classmethod
    def of(cls, key: SliceKey | PromptedPlane, mask: np.ndarray, volume: Volume, extent: Extent) -> AnsweredVoxels:
        """Those of the answer ``mask`` (bool ``[rows, columns]``) to ``key``. InputError for a plane beside ``extent``."""
        if isinstance(key, PromptedPlane):
            found = on_volume(drawn_plane(key, mask, volume), volume.cropped(extent), 0.0)
            if isinstance(found, DrawnVoxels):
                return cls(tuple(found.index.T), found.labels > 0)
            across, number, mask = 2 - AXES.index(found.axis), found.index, found.labels > 0
        else:
            across, number = 2 - AXES.index(key[0]), key[1] - extent.start[AXES.index(key[0])]
        index: list[np.ndarray] = list(np.ogrid[tuple(slice(n) for n in mask.shape)])
        index.insert(across, np.array(number))
        return cls(tuple(index), mask)


def allowed_by(prompts: Prompts, volume: Volume, extent: Extent) -> np.ndarray | None:
    """Where boxes let the object be, bool ``[K, J, I]`` over ``extent``; None: everywhere.

    As :func:`allowed_voxels`; boxes in planes of any orientation that cross bound it along their sides, as far as any of them
    reaches there, and the same room beyond.
    """
    if not any(plane.prompts.boxes for plane in prompts.planes):
        return allowed_voxels(prompts.boxes, extent)
    flat = [box for box in prompts.boxes if box.flat_axis]
    rectangles = [_Rectangle(box, volume.ijk_to_ras) for box in flat]
    rectangles += [
        _Rectangle(b, grid_of(plane, volume).ijk_to_ras) for plane in prompts.planes for b in plane.prompts.boxes
    ]
    allowed = allowed_voxels([box for box in prompts.boxes if not box.flat_axis], extent)
    allowed = np.zeros(extent.size[::-1], bool) if allowed is None else allowed
    to_mm = volume.cropped(extent).ijk_to_ras
    for group in in_groups(rectangles, _Rectangle.crosses):
        normals = np.stack([rectangle.normal for rectangle in group])
        if np.abs(normals @ normals.T).min() > _CROSSING:
            return None
        limits = [_limits(side, group) for rectangle in group for side in rectangle.sides]
        for k, plane in enumerate(allowed):  # one after the other: a volume of places would be large
            plane |= _between(limits, to_mm, k, plane.shape)
    return allowed


class _Rectangle:
    """A flat box: its corners ``[4, 3]`` (the outer edges), unit ``sides`` and ``normal``, world RAS.

    :param matrix: 4x4 from the voxels of ``box`` to world RAS.
    """

    def __init__(self, box: Box, matrix: np.ndarray):
        assert box.flat_axis is not None
        across = AXES.index(box.flat_axis)
        low, high = np.array(box.low) - 0.5, np.array(box.high) + 0.5
        low[across] = high[across] = box.low[across]
        first, second = (a for a in range(3) if a != across)
        corners = np.tile(low, (4, 1))
        corners[1:3, first], corners[2:, second] = high[first], high[second]
        self.corners = corners @ matrix[:3, :3].T + matrix[:3, 3]
        sides = matrix[:3, [first, second]].T
        self.sides = sides / np.linalg.norm(sides, axis=1, keepdims=True)
        normal = np.cross(*self.sides)
        self.normal = normal / np.linalg.norm(normal)

    def crosses(self, other: _Rectangle) -> bool:
        """Whether their hulls along the axes of the patient meet."""
        return bool(
            (self.corners.min(0) <= other.corners.max(0)).all() and (other.corners.min(0) <= self.corners.max(0)).all()
        )


def _limits(side: np.ndarray, group: Sequence[_Rectangle]) -> tuple[np.ndarray, float, float]:
    """A direction, and how far along it the object may reach, mm."""
    reach = np.concatenate([rectangle.corners for rectangle in group]) @ side
    room = ROOM * float(np.ptp(reach))
    return side, float(reach.min()) - room, float(reach.max()) + room


def _between(
    limits: Sequence[tuple[np.ndarray, float, float]], to_mm: np.ndarray, k: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Voxels ``[J, I]`` of layer ``k`` that lie within all limits."""
    inside = np.ones(shape, bool)
    for side, low, high in limits:
        along = side @ to_mm[:3]  # of i, j, k, 1
        place = along[0] * np.arange(shape[1]) + (along[1] * np.arange(shape[0]) + along[2] * k + along[3])[:, None]
        inside &= (place >= low) & (place <= high)
    return inside


def _misses(volume: Volume) -> InputError:
    return InputError(
        f"an oblique plane with points, boxes or strokes misses image {volume.name!r}; remove them, or draw on the image"
    )
