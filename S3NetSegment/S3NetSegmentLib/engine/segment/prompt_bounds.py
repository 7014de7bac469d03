"""Where in a volume boxes allow the object to be, and on which slices prompts lie.

A box in a slice says how far the object reaches in that slice, and nothing of the slices beside it. Boxes on two axes that
cross each other, or a box in the volume, hold it in all three directions: the one in the volume strictly, those in slices with
some room, since a section through an object is seldom as large as the object.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..common.tuples import three
from ..images import AXES, Extent
from .prompts import Box, Prompts


def prompted_slices(prompts: Prompts, axis: str) -> dict[tuple[str, int], Prompts]:
    """(axis, index) -> the prompts on that slice, for each slice on which prompts say where the object is.

    A stroke that lies in one slice belongs to that one, a box in the volume to the two slices through its middle. A point
    belongs to a slice that is founded by another prompt, where it lies on one.

    :param axis: across the slices of all other points and strokes.
    """
    found: list[tuple[str, int]] = [(box.flat_axis, box.slice_index()) for box in prompts.boxes if box.flat_axis]
    for box in prompts.boxes:
        if box.flat_axis is None:
            found += _middle_slices(box, axis)
    for stroke in prompts.strokes:
        thin = [a for n, a in enumerate(AXES) if len({voxel[n] for voxel in stroke}) == 1]
        own = axis if axis in thin or not thin else thin[-1]
        found += [(own, voxel[AXES.index(own)]) for voxel in stroke]
    for point in prompts.inside:
        if not any(point[AXES.index(a)] == index for a, index in found):
            found.append((axis, point[AXES.index(axis)]))
    return {key: prompts.on_slice(*key) for key in dict.fromkeys(found)}


ROOM = 0.3  # of the length that sections show, on each side; 0 to 0.5 were compared on development volumes


def box_hulls(boxes: Sequence[Box], room: float = ROOM) -> list[Box]:
    """The boxes in the volume that together hold the object; none where ``boxes`` leave it open in some direction.

    Flat boxes on two axes that cross make one: along each axis it reaches as far as those that show that direction, and
    ``room`` times that length beyond. It may reach beyond the volume.
    """
    hulls = [box for box in boxes if box.flat_axis is None]
    for group in _crossing([box for box in boxes if box.flat_axis]):
        if len({box.flat_axis for box in group}) > 1:
            spans = [_span(group, n, room) for n in range(3)]
            hulls.append(Box(three(a for a, _ in spans), three(b for _, b in spans)))
        elif not all(any(_holds(hull, box) for hull in hulls) for box in group):
            return []
    return hulls


def allowed_voxels(boxes: Sequence[Box], extent: Extent) -> np.ndarray | None:
    """Voxels that :func:`box_hulls` allow, bool ``[K, J, I]`` over ``extent``; None: all."""
    hulls = box_hulls(boxes)
    if not hulls:
        return None
    allowed = np.zeros(extent.size[::-1], bool)
    for hull in hulls:
        corners = zip(hull.low[::-1], hull.high[::-1], extent.start[::-1], strict=True)
        allowed[tuple(slice(max(0, a - first), b - first + 1) for a, b, first in corners)] = True
    return allowed


def _middle_slices(box: Box, axis: str) -> list[tuple[str, int]]:
    """Across ``axis`` and across the other one along which the box is shortest: together they show all its sides."""
    other = min((a for a in AXES if a != axis), key=lambda a: box.size[AXES.index(a)])
    return [(a, box.centre[AXES.index(a)]) for a in (axis, other)]


def _span(boxes: Sequence[Box], n: int, room: float) -> tuple[int, int]:
    showing = [box for box in boxes if box.flat_axis != AXES[n]]
    first, last = min(box.low[n] for box in showing), max(box.high[n] for box in showing)
    more = round(room * (last - first + 1))
    return first - more, last + more


def _crossing(boxes: list[Box]) -> list[list[Box]]:
    """``boxes`` in groups that hang together."""
    groups: list[list[Box]] = []
    for box in boxes:
        touched = [group for group in groups if any(_meet(box, other) for other in group)]
        groups = [group for group in groups if group not in touched] + [[box, *(b for g in touched for b in g)]]
    return groups


def _meet(one: Box, other: Box) -> bool:
    return all(a <= d and c <= b for a, b, c, d in zip(one.low, one.high, other.low, other.high, strict=True))


def _holds(outer: Box, inner: Box) -> bool:
    return outer.contains(inner.low) and outer.contains(inner.high)
