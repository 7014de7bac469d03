"""What a user points at: points, boxes and strokes, all in voxels of the whole volume; and how far an object may reach by them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..common.arrays import three
from ..common.errors import InputError
from ..images import AXES, Extent
from ..images.array_order import ArrayOrder

T = TypeVar("T")
Voxel = tuple[int, int, int]  # (i, j, k) in the whole volume
Stroke = tuple[Voxel, ...]
SliceKey = tuple[str, int]  # axis across a slice, and its number in the whole volume


@dataclass(frozen=True)
class Box:
    """A box around an object: ``low`` and ``high`` are its corners, both included, ``low <= high`` on each axis.

    A box that is one voxel thick on exactly one axis is a rectangle in a slice; any other is a box in the volume.
    """

    low: Voxel
    high: Voxel

    def __post_init__(self):
        if any(a > b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError(f"box {self}: the lower corner lies above the upper one; see Box.between")

    @classmethod
    def between(cls, one: Sequence[int], other: Sequence[int]) -> Box:
        """The box of any two opposite corners (i, j, k)."""
        corners = list(zip(map(int, one), map(int, other), strict=True))
        return cls(three(map(min, corners)), three(map(max, corners)))

    def __str__(self) -> str:
        return ",".join(map(str, (*self.low, *self.high)))

    @property
    def flat_axis(self) -> str | None:
        """The axis across the slice that the box lies in ("x", "y", "z"); None for a box in the volume."""
        thin = [axis for axis, a, b in zip(AXES, self.low, self.high, strict=True) if a == b]
        return thin[0] if len(thin) == 1 else None

    @property
    def size(self) -> Voxel:
        """Number of voxels along (i, j, k)."""
        return three(b - a + 1 for a, b in zip(self.low, self.high, strict=True))

    @property
    def centre(self) -> Voxel:
        """The voxel in the middle."""
        return three((a + b) // 2 for a, b in zip(self.low, self.high, strict=True))

    def slice_index(self) -> int:
        """The slice that a flat box lies in. ValueError for a box in the volume."""
        if self.flat_axis is None:
            raise ValueError(f"box {self} lies in no single slice")
        return self.low[AXES.index(self.flat_axis)]

    def contains(self, voxel: Sequence[int]) -> bool:
        return all(a <= v <= b for a, v, b in zip(self.low, voxel, self.high, strict=True))

    @property
    def voxels(self) -> int:
        """How many there are."""
        return math.prod(self.size)

    def common(self, other: Box) -> int:
        """How many voxels lie in both boxes."""
        sides = (
            min(b, d) - max(a, c) + 1 for a, b, c, d in zip(self.low, self.high, other.low, other.high, strict=True)
        )
        return math.prod(max(0, side) for side in sides)

    def covers(self, extent: Extent) -> bool:
        """Whether every voxel of ``extent`` lies in the box."""
        return self.contains(extent.start) and self.contains([n - 1 for n in extent.stop])

    def meets(self, extent: Extent) -> bool:
        """Whether any voxel of ``extent`` lies in the box."""
        return all(
            a < stop and b >= start
            for a, b, start, stop in zip(self.low, self.high, extent.start, extent.stop, strict=True)
        )

    def beyond(self, size: Sequence[int], slack: int = 0) -> bool:
        """Whether it reaches more than ``slack`` voxels beyond an image of ``size`` voxels along (i, j, k)."""
        return any(a < -slack or b >= n + slack for a, b, n in zip(self.low, self.high, size, strict=True))

    def clipped(self, extent: Extent) -> Box:
        """The part of the box that lies in ``extent``.

        :raises InputError: nothing of it lies there, or it is only a line or a point.
        """
        last = tuple(n - 1 for n in extent.stop)
        low = three(map(max, self.low, extent.start))
        high = three(map(min, self.high, last))
        shown = f"box {self} (voxels i,j,k,i,j,k, both corners included)"
        if not self.meets(extent):
            raise InputError(
                f"{shown} lies outside the searched part, which is {extent.start} to {last}; draw it inside, or search a "
                "larger part"
            )
        if sum(a == b for a, b in zip(low, high, strict=True)) > 1:
            only = (
                "" if (low, high) == (self.low, self.high) else f" within the searched part, {extent.start} to {last},"
            )
            raise InputError(
                f"{shown}{only} has no area: it must be at least two voxels long on two axes. Draw it around the object, or "
                "place a point inside"
            )
        return Box(low, high)

    def on_slice(self, axis: str, index: int) -> Box | None:
        """The flat box that slice ``index`` across ``axis`` cuts out; None where it misses the box or meets only a line."""
        a = AXES.index(axis)
        if not self.low[a] <= index <= self.high[a] or self.flat_axis not in (None, axis):
            return None
        low, high = list(self.low), list(self.high)
        low[a] = high[a] = index
        return Box(three(low), three(high))


@dataclass(frozen=True)
class Prompts:
    """All that was pointed at for one object.

    :param inside, outside: points in and out of the object.
    :param boxes: each holds the object, or one part of it.
    :param strokes, outside_strokes: lines through the object, and through what does not belong to it.
    :param planes: what was pointed at in oblique planes.
    """

    inside: tuple[Voxel, ...] = ()
    outside: tuple[Voxel, ...] = ()
    boxes: tuple[Box, ...] = ()
    strokes: tuple[Stroke, ...] = ()
    outside_strokes: tuple[Stroke, ...] = ()
    planes: tuple[PromptedPlane, ...] = ()

    @property
    def find_something(self) -> bool:
        """Whether they say where the object is: points, boxes or strokes that are not only outside."""
        return bool(self.inside or self.boxes or self.strokes or self.planes)

    @property
    def inside_voxels(self) -> tuple[Voxel, ...]:
        """The voxels that belong to the object: points and strokes."""
        return (*self.inside, *itertools.chain.from_iterable(self.strokes))

    @property
    def outside_voxels(self) -> tuple[Voxel, ...]:
        """The voxels that do not: points and strokes outside."""
        return (*self.outside, *itertools.chain.from_iterable(self.outside_strokes))

    def checked(self, extent: Extent) -> Prompts:
        """The same with strokes of one voxel as points, and the boxes clipped to ``extent``.

        :raises InputError: nothing says where the object is, something lies outside ``extent``, or the same voxel is
            marked inside and outside.
        """
        if not self.find_something:
            raise InputError(
                "an object needs at least one point, box or stroke that says where it is; add one, or ask for regions only"
            )
        inside, strokes = _lines_alone(self.inside, self.strokes)
        outside, outside_strokes = _lines_alone(self.outside, self.outside_strokes)
        prompts = Prompts(
            inside, outside, tuple(b.clipped(extent) for b in self.boxes), strokes, outside_strokes, self.planes
        )
        for voxel in (*prompts.inside_voxels, *prompts.outside_voxels):
            require_inside(voxel, extent)
        both = set(prompts.inside_voxels) & set(prompts.outside_voxels)
        if both:
            raise InputError(f"point {min(both)} (voxel i, j, k) is marked inside and outside at once; remove one")
        return prompts

    def in_order(self, order: ArrayOrder) -> Prompts:
        """The same in another order of the volume's axes."""

        def turned(voxels: Sequence[Voxel]) -> tuple[Voxel, ...]:
            return tuple(map(order.voxel, voxels))

        boxes = (Box.between(order.voxel(box.low), order.voxel(box.high)) for box in self.boxes)
        return Prompts(
            turned(self.inside), turned(self.outside), tuple(boxes),
            tuple(map(turned, self.strokes)), tuple(map(turned, self.outside_strokes)), self.planes,
        )  # fmt: skip

    def on_slice(self, axis: str, index: int) -> Prompts:
        """Those that lie on slice ``index`` across ``axis``: of a stroke its voxels there, of a box in the volume the
        rectangle that the slice cuts out."""
        a = AXES.index(axis)

        def there(voxels: Sequence[Voxel]) -> tuple[Voxel, ...]:
            return tuple(v for v in voxels if v[a] == index)

        def strokes_there(strokes: Sequence[Stroke]) -> tuple[Stroke, ...]:
            return tuple(part for part in map(there, strokes) if part)

        boxes = (box.on_slice(axis, index) for box in self.boxes)
        return Prompts(
            there(self.inside), there(self.outside), tuple(b for b in boxes if b is not None),
            strokes_there(self.strokes), strokes_there(self.outside_strokes),
        )  # fmt: skip


@dataclass(frozen=True)
class Crossing:
    """What the answers in other slices show where they cross a slice: voxels ``inside`` and ``outside`` the object."""

    inside: tuple[Voxel, ...]
    outside: tuple[Voxel, ...]

    def in_order(self, order: ArrayOrder) -> Crossing:
        """The same in another order of the volume's axes."""
        return Crossing(tuple(map(order.voxel, self.inside)), tuple(map(order.voxel, self.outside)))


@dataclass(frozen=True)
class PromptedPlane:
    """What was pointed at in an oblique plane.

    :param view: 4x4, row by row: orthonormal columns right, up and normal, and a point of the plane, patient millimetres.
    :param prompts: pixels (i, j, 0) of the cut that :func:`~..images.planes.sampled_plane` makes of it.
    """

    view: tuple[float, ...]
    prompts: Prompts

    @property
    def matrix(self) -> np.ndarray:
        return np.array(self.view).reshape(4, 4)


def require_inside(voxel: Sequence[int], extent: Extent) -> None:
    """InputError if ``voxel`` (i, j, k) does not lie in ``extent``."""
    if not extent.contains(voxel):
        last = tuple(n - 1 for n in extent.stop)
        raise InputError(
            f"point {tuple(voxel)} (voxel i, j, k) is outside the searched part, which is {extent.start} to {last}; "
            "place it inside, or search a larger part"
        )


def line_through(corners: Sequence[Voxel]) -> Stroke:
    """The voxels of straight lines from each corner to the next."""
    voxels = list(corners[:1])
    for start, end in itertools.pairwise(corners):
        count = max(abs(b - a) for a, b in zip(start, end, strict=True))
        voxels += [
            three(round(a + (b - a) * n / count) for a, b in zip(start, end, strict=True)) for n in range(1, count + 1)
        ]
    return tuple(voxels)


def _lines_alone(points: Sequence[Voxel], strokes: Sequence[Stroke]) -> tuple[tuple[Voxel, ...], tuple[Stroke, ...]]:
    """Points and strokes, where strokes of one voxel have become points and empty ones are gone."""
    single = [stroke[0] for stroke in strokes if stroke and len(set(stroke)) == 1]
    return tuple(dict.fromkeys((*points, *single))), tuple(s for s in strokes if len(set(s)) > 1)


def prompted_slices(prompts: Prompts, axis: str, order: ArrayOrder) -> dict[SliceKey | PromptedPlane, Prompts]:
    """(axis, index) -> the prompts on that slice, for each slice on which prompts say where the object is, and then the oblique
    planes.

    A stroke that lies in one slice belongs to that one, a box in the volume to the two slices through its middle. A point
    belongs to a slice that is founded by another prompt, where it lies on one.

    :param axis: across the slices of all other points and strokes.
    :param order: :attr:`Volume.order`, in which it is decided what is equally good.
    """
    keys = _founded(prompts.in_order(order), order.axis(axis))
    found: dict[SliceKey | PromptedPlane, Prompts] = {
        key: prompts.on_slice(*key) for key in dict.fromkeys(order.back.slice(*key) for key in keys)
    }
    return {**found, **{plane: plane.prompts for plane in prompts.planes}}


def _founded(prompts: Prompts, axis: str) -> list[tuple[str, int]]:
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
    return found


ROOM = 0.3  # of the length that sections show, on each side; 0 to 0.5 were compared on development volumes


def box_hulls(boxes: Sequence[Box], room: float = ROOM) -> list[Box]:
    """The boxes in the volume that together hold the object; none where ``boxes`` leave it open in some direction.

    Flat boxes on two axes that cross make one: along each axis it reaches as far as those that show that direction, and
    ``room`` times that length beyond. It may reach beyond the volume.
    """
    hulls = [box for box in boxes if box.flat_axis is None]
    for group in in_groups((box for box in boxes if box.flat_axis), Box.common):
        if len({box.flat_axis for box in group}) > 1:
            spans = [_span(group, n, room) for n in range(3)]
            hulls.append(Box(three(a for a, _ in spans), three(b for _, b in spans)))
        elif not all(any(hull.common(box) == box.voxels for hull in hulls) for box in group):
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


def in_groups(items: Iterable[T], touch: Callable[[T, T], object]) -> list[list[T]]:
    """``items`` in groups whose members hang together by touching each other."""
    groups: list[list[T]] = []
    for one in items:
        touched = [group for group in groups if any(touch(one, other) for other in group)]
        groups = [group for group in groups if group not in touched] + [[one, *(o for group in touched for o in group)]]
    return groups


def beyond_note(text: str, size: Sequence[int]) -> str:
    """What the user should know of a box, written ``text``, that reaches beyond the image: a digit too many looks like that."""
    return f"box {text} reaches beyond the image, which has {' x '.join(map(str, size))} voxels; only the part inside counts"
