"""What the user points at in oblique views, as prompts in oblique planes of the volume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..engine import Volume
from ..engine.common.arrays import three
from ..engine.segment.planes import grid_of
from ..engine.segment.prompts import PromptedPlane, Prompts
from .prompts import BOX, box_of, is_along, kind_of, points_from_markups, stroke_directions, stroke_voxels, world_of

Place = Sequence[float]  # world RAS, mm


def drawn_obliquely(node, volume: Volume) -> bool:
    """Whether a box or stroke was drawn in a view that is oblique to the slices of ``volume``."""
    if hasattr(node, "GetObjectToNodeMatrix"):
        return kind_of(node) == BOX and not is_along(node, volume)
    return stroke_directions(node) is not None


@dataclass
class ObliquePlanes:
    """The oblique planes that boxes and strokes of ``volume`` lie on, and what is pointed at in them.

    Attributes: ``boxes``, ``strokes``, ``outside_strokes``, ``inside``: what is left, which lies on none.

    :param boxes: ROI nodes, or anything else, which is left. ``strokes``, ``outside_strokes``: curve nodes, or sequences of places,
        which are left.
    :param inside, outside: points. One that lies on a plane of a box or stroke belongs to it.
    """

    volume: Volume
    boxes: Iterable
    strokes: Iterable
    outside_strokes: Iterable
    inside: Iterable[Place]
    outside: Iterable[Place]
    _planes: list[_Plane] = field(default_factory=list)

    def __post_init__(self):
        self.boxes = [box for box in self.boxes if not self._takes_box(box)]
        self.strokes = [stroke for stroke in self.strokes if not self._takes_stroke(stroke, "strokes")]
        self.outside_strokes = [s for s in self.outside_strokes if not self._takes_stroke(s, "outside_strokes")]
        self.inside = [place for place in self.inside if not self._takes_point(place, "inside")]
        for place in self.outside:
            self._takes_point(place, "outside")

    def found(self) -> tuple[PromptedPlane, ...]:
        """The planes on which something says where the object is."""
        return tuple(PromptedPlane(plane.view, plane.prompts()) for plane in self._planes)

    def _takes_box(self, node) -> bool:
        if not drawn_obliquely(node, self.volume):
            return False
        world = world_of(node)
        plane = self._plane(world[:3, :3], world[:3, 3], new=True)
        assert plane is not None
        plane.held["boxes"].append(box_of(node, plane.grid))
        return True

    def _takes_stroke(self, stroke, kind: str) -> bool:
        directions = stroke_directions(stroke)
        places = [three(map(float, place)) for place in points_from_markups(stroke)] if directions is not None else []
        if directions is None or not places:
            return False
        # What lies outside says something only where something says what lies inside.
        plane = self._plane(directions, np.mean(places, 0), new=kind == "strokes")
        voxels = stroke_voxels(places, plane.grid) if plane is not None else ()
        if plane is not None and voxels:
            plane.held[kind].append(voxels)
        return bool(voxels)

    def _takes_point(self, place: Place, kind: str) -> bool:
        plane = next((plane for plane in self._planes if plane.holds(place)), None)
        if plane is not None:
            plane.held[kind].append(plane.grid.voxel_at(place))
        return plane is not None

    def _plane(self, directions: np.ndarray, place: np.ndarray, new: bool) -> _Plane | None:
        """The one through ``place`` with these columns right, up and normal (of any length). ``new``: it is made where it is missing.

        :raises InputError: it misses the volume.
        """
        directions = directions / np.linalg.norm(directions, axis=0)
        middle = self.volume.ras_of((np.array(self.volume.size) - 1) / 2)
        view = np.eye(4)
        view[:3, :3] = directions
        # Not the place itself, which moves with the sides of a box: the plane stays the same.
        view[:3, 3] = middle + directions[:, 2] * (directions[:, 2] @ (place - middle))
        known = next((plane for plane in self._planes if plane.is_along(view)), None)
        if known is None and new:
            numbers = tuple(view.round(9).ravel().tolist())
            known = _Plane(numbers, grid_of(PromptedPlane(numbers, Prompts()), self.volume))
            self._planes.append(known)
        return known


@dataclass
class _Plane:
    """:param grid: one slice of pixels in world RAS, without their values."""

    view: tuple[float, ...]
    grid: Volume
    held: dict[str, list] = field(
        default_factory=lambda: {kind: [] for kind in ("inside", "outside", "boxes", "strokes", "outside_strokes")}
    )

    def prompts(self) -> Prompts:
        return Prompts(**{kind: tuple(those) for kind, those in self.held.items()})

    def holds(self, place: Place | np.ndarray) -> bool:
        index = self.grid.index_of(place)
        return bool(
            abs(index[2]) < 0.5 and self.grid.extent.contains([int(v) for v in np.floor(index[:2] + 0.5)] + [0])
        )

    def is_along(self, view: np.ndarray) -> bool:
        """Whether ``view`` shows the same plane, also turned in it by right angles."""
        columns = self.grid.ijk_to_ras[:3, :3] / self.grid.spacing
        turned = np.abs(columns.T @ view[:3, :3]).max(1)
        return bool(
            (turned > np.cos(np.radians(0.1))).all()
            and abs(columns[:, 2] @ view[:3, 2]) > 0.5
            and self.holds(view[:3, 3])
        )
