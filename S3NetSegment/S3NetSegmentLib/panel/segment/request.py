"""``SegmentRequest``: what is to be segmented, read from the scene once and then independent of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from slicer.i18n import tr as _

from ...engine import Extent, InputError, SegmentSettings, Volume
from ...engine.images import AXES
from ...engine.segment.prompts import Box, Prompts, Stroke, prompted_slices
from ...scene.oblique_prompts import ObliquePlanes
from ...scene.prompts import box_of, extent_from_roi, is_along, points_from_markups, stroke_voxels, volume_of
from ...scene.slices import last_used_slice_node, shown_slice, slice_place
from ...scene.volumes import volume_from_node

SCOPES = ("slice", "range", "volume", "roi")
Position = tuple[float, float, float]  # world RAS, mm


@dataclass(frozen=True)
class Pointed:
    """What the user points at, in the scene.

    :param inside, outside: markups nodes, or sequences of world RAS positions.
    :param boxes: ROI nodes; boxes of the engine, or six numbers i,j,k,i,j,k, in voxels of the volume.
    :param strokes, outside_strokes: curve nodes, or sequences of world RAS positions, one for each stroke.
    :param radius_mm: rough radius of the object; None or 0: not given.
    """

    inside: object = ()
    outside: object = ()
    boxes: Sequence = ()
    strokes: Sequence = ()
    outside_strokes: Sequence = ()
    radius_mm: float | None = None


@dataclass(frozen=True, eq=False)
class SegmentRequest:
    """One run of Segment.

    :param volume_node: the image in the scene.
    :param volume: what is segmented: the image, or the plane of an oblique view (K = 1), in world RAS.
    :param extent: the part of ``volume`` that is searched.
    :param place: for the user and the provenance, e.g. "Red: axial slice 12".
    :param inside, outside: points in world RAS, mm.
    :param prompts: all that was pointed at, in voxels of ``volume``.
    :param valid: pixels of an oblique plane that lie inside the image, ``[1, J, I]``; None: all.
    :param excluded: bool ``[K, J, I]`` over the extent: what belongs to other segments; None: nothing.
    :param notes: what the user should know about the inputs.
    """

    volume_node: object
    volume: Volume
    extent: Extent
    axis: str
    place: str
    settings: SegmentSettings
    preset: str = "default"
    device: str = "auto"
    inside: tuple[Position, ...] = ()
    outside: tuple[Position, ...] = ()
    radius_mm: float | None = None
    prompts: Prompts = field(default_factory=Prompts)
    valid: np.ndarray | None = None
    excluded: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def has_prompts(self) -> bool:
        """Whether one object is asked for, by a point, a box or a stroke."""
        return self.prompts.find_something

    @property
    def geometry(self) -> Volume:
        """The searched part, in world RAS."""
        return self.volume.cropped(self.extent)

    @property
    def key(self) -> tuple:
        """Requests with equal keys have the same regions; only points, radius and what is shown may differ."""
        scalars = self.volume_node.GetImageData().GetPointData().GetScalars()
        matrix = tuple(np.round(self.volume.ijk_to_ras, 6).ravel())
        image = (self.volume_node.GetID(), scalars.GetMTime(), self.volume.size, matrix)
        return (*image, self.extent, self.axis, self.settings, self.device)

    def with_prompts(self, pointed: Pointed) -> SegmentRequest:
        """The same request with other points, boxes and strokes. In a single slice those of other slices do not count.

        :raises InputError: what cannot be used, saying why.
        """
        inside, outside = _positions(pointed.inside), _positions(pointed.outside)
        _require_own(pointed.boxes, self.volume_node)
        if self.flat:
            drawn = self._drawn(pointed.boxes, pointed.strokes, pointed.outside_strokes)
            drawn, elsewhere = drawn.on_slice(self.axis, self.extent.start[AXES.index(self.axis)]), inside
        else:
            drawn, elsewhere = self._in_volume(pointed, inside, outside)
        asked = any((inside, pointed.boxes, pointed.strokes))
        inside, outside = _on_slice(self, inside, outside, asked, drawn)
        alone = tuple(place for place in inside if place in elsewhere)  # not on an oblique plane, where it is answered
        prompts = replace(drawn, inside=self._voxels(alone), outside=self._voxels(outside))
        if prompts.find_something:
            prompts = prompts.checked(self.extent)  # before a long search
        return replace(self, inside=inside, outside=outside, prompts=prompts, radius_mm=pointed.radius_mm or None)

    @property
    def flat(self) -> bool:
        return self.extent.size[AXES.index(self.axis)] == 1

    def keeping_out(self, excluded: np.ndarray | None) -> SegmentRequest:
        """The same request, where ``excluded`` (see the class) is not part of the answer.

        :raises InputError: all that a point, box or stroke marks lies in there.
        """
        if excluded is None or not excluded.any() or not self.has_prompts:
            return replace(self, excluded=None)
        start = np.array(self.extent.start)
        marks = [("point", (voxel,)) for voxel in self.prompts.inside] + [("stroke", s) for s in self.prompts.strokes]
        for what, voxels in marks:
            i, j, k = (np.array(voxels) - start).T
            if excluded[k, j, i].all():
                raise InputError(_taken(what))
        for box in self.prompts.boxes:
            low, high = np.array(box.low) - start, np.array(box.high) - start + 1
            if excluded[tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))].all():
                raise InputError(_taken("box"))
        return replace(self, excluded=excluded)

    def _in_volume(
        self, pointed: Pointed, inside: list[Position], outside: list[Position]
    ) -> tuple[Prompts, list[Position]]:
        """Boxes and strokes, those of oblique views in their planes, and the points ``inside`` that count elsewhere."""
        planes = ObliquePlanes(self.volume, pointed.boxes, pointed.strokes, pointed.outside_strokes, inside, outside)
        drawn = self._drawn(planes.boxes, planes.strokes, planes.outside_strokes)
        slices = [(AXES.index(axis), index) for axis, index in prompted_slices(drawn, self.axis, self.volume.order)]

        def counts(place: Position) -> bool:
            return place in planes.inside or any(self.volume.voxel_at(place)[a] == index for a, index in slices)

        return replace(drawn, planes=planes.found()), [place for place in inside if counts(place)]

    def _drawn(self, boxes: Sequence, strokes: Sequence, outside_strokes: Sequence) -> Prompts:
        kinds = [tuple(self._stroke(stroke) for stroke in of_kind) for of_kind in (strokes, outside_strokes)]
        return Prompts(boxes=_boxes(self, boxes), strokes=kinds[0], outside_strokes=kinds[1])

    def _stroke(self, stroke) -> Stroke:
        voxels = stroke_voxels(_positions(stroke), self.volume)
        if not voxels:
            raise InputError(
                _("a stroke lies beside image {name!r}; draw it on the image or remove it").format(
                    name=self.volume.name
                )
            )
        return voxels

    def _voxels(self, points: Sequence[Position]) -> tuple[tuple[int, int, int], ...]:
        return tuple(self.volume.voxel_at(point) for point in points)


def make_request(
    volume_node,
    scope: str = "volume",
    *,
    slice_node=None,
    last_view=None,
    plane: tuple[str, int] | None = None,
    slice_range: tuple[int, int] | None = None,
    axis: str = "auto",
    roi_node=None,
    pointed: Pointed | None = None,
    settings: SegmentSettings | None = None,
    preset: str = "default",
    device: str = "auto",
) -> SegmentRequest:
    """The request for ``volume_node``; see the logic's ``segment`` for the parameters.

    :param plane: axis and index of a slice of the volume, for scope "slice"; None: what ``slice_node`` shows.
    :param pointed: what the user points at; None: nothing.
    :raises InputError: no volume, an unknown scope, slices or a box outside the image, points that cannot be used.
    """
    volume = volume_from_node(volume_node)
    if scope not in SCOPES:
        raise InputError(
            _("scope is {scope!r}; it must be one of {SCOPES}").format(scope=scope, SCOPES=", ".join(SCOPES))
        )
    valid = None
    if scope == "slice" and plane is not None:
        axis, index = plane
        extent, place = Extent.slab(volume, axis, index, index), slice_place(volume, axis, index)
    elif scope == "slice":
        node = slice_node if slice_node is not None else last_used_slice_node(volume_node, last_view)
        shown = shown_slice(node, volume_node)
        place = f"{node.GetLayoutName()}: {shown.describe()}"  # no translation
        if shown.is_oblique:
            volume, valid, axis, extent = shown.plane, shown.valid, "z", shown.plane.extent
        else:
            axis, extent = shown.axis, shown.extent
    elif scope == "range":
        axis = volume.slice_axis(axis)
        last = volume.size[AXES.index(axis)] - 1
        first, last = slice_range if slice_range is not None else (0, last)
        extent = Extent.slab(volume, axis, int(first), int(last))
        place = f"slices {first} to {last} along {axis}"  # no translation
    elif scope == "roi":
        extent, place = (
            extent_from_roi(roi_node, volume),
            f"ROI {roi_node.GetName() if roi_node else ''}",
        )  # no translation
    else:
        extent, place = volume.extent, "whole volume"  # no translation
    axis = volume.slice_axis(axis)
    notes: tuple[str, ...] = ()
    if scope == "roi" and not is_along(roi_node, volume):
        notes = (_("ROI {roi!r} is turned against the image: the whole box of voxels around it is searched").format(roi=roi_node.GetName()),)  # fmt: skip
    request = SegmentRequest(volume_node, volume, extent, axis, place, settings or SegmentSettings(), preset, device, valid=valid, notes=notes)  # fmt: skip
    return request.with_prompts(pointed or Pointed())


def _positions(points) -> list[Position]:
    if hasattr(points, "GetNumberOfControlPoints"):
        points = points_from_markups(points)
    positions = [tuple(float(v) for v in point) for point in (() if points is None else points)]
    for position in positions:
        if len(position) != 3 or not np.isfinite(position).all():
            raise InputError(
                _("point {position} is not a position; give three numbers R, A, S in mm").format(position=position)
            )
    return positions


def _require_own(boxes: Sequence, volume_node) -> None:
    """InputError for a box that was drawn on another volume."""
    for box in boxes:
        if hasattr(box, "GetObjectToNodeMatrix") and volume_of(box) not in (None, volume_node):
            raise InputError(drawn_elsewhere(box, volume_node))


def _boxes(request: SegmentRequest, boxes: Sequence) -> tuple[Box, ...]:
    """Boxes in voxels of the request's volume; in a single slice those that were drawn on other oblique planes do not count."""
    found = []
    for box in boxes:
        if not hasattr(box, "GetObjectToNodeMatrix"):
            found.append(box if isinstance(box, Box) else Box.between(box[:3], box[3:]))
            continue
        on_plane = request.valid is not None
        try:
            found.append(box_of(box, request.volume))
        except InputError:
            if not on_plane:  # of planes there are many: the box may lie on another one
                raise
    return tuple(box for box in found if box is not None)


def drawn_elsewhere(box, volume_node) -> str:
    """Why a box cannot be used with this volume."""
    other = volume_of(box).GetName()
    return _(
        "{box!r} was drawn on {other!r}, not on {volume_node!r}; select {other!r}, or draw a box on this volume"
    ).format(box=box.GetName(), other=other, volume_node=volume_node.GetName())


def _taken(what: str) -> str:
    return _(
        "the {what} lies in another visible segment, which keeps its voxels; hide that segment, or "
        "switch off 'Keep out of other segments'"
    ).format(what=what)


def _on_slice(
    request: SegmentRequest, inside: list[Position], outside: list[Position], asked: bool, drawn: Prompts
) -> tuple[tuple, tuple]:
    """The points that can be used. In a single slice those of other slices do not count: the user scrolls on and keeps
    them; but something that says where the object is must be here if there is any, and what lies outside needs it.

    :param asked: whether anything says where the object is, here or elsewhere.
    :param drawn: boxes and strokes that are here.
    """
    if request.flat:
        across = AXES.index(request.axis)
        number = request.extent.start[across]

        def here(point):
            return number - 0.5 <= request.volume.index_of(point)[across] < number + 0.5

        inside, outside = ([p for p in points if here(p)] for points in (inside, outside))
    found = bool(inside) or drawn.find_something
    if asked and not found:
        raise InputError(
            _(
                "no point, box or stroke lies in {place}; scroll to a slice with one, draw one here, or "
                "remove them to search regions without them"
            ).format(place=request.place)
        )
    if (outside or drawn.outside_strokes) and not found:
        raise InputError(_("there are only outside points; place at least one point or box where the object is"))
    for point in (*inside, *outside):
        voxel = request.volume.voxel_at(point)
        if not request.extent.contains(voxel):
            where = ", ".join(f"{v:.1f}" for v in point)
            raise InputError(
                _("the point at {where} (RAS, mm) is outside {place}; move it inside or delete it").format(
                    where=where, place=request.place
                )
            )
    return tuple(inside), tuple(outside)
