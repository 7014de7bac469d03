"""``SegmentRequest``: what is to be segmented, read from the scene once and then independent of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...engine import Extent, InputError, SegmentSettings, Volume
from ...engine.images import AXES
from ...scene.points import points_from_markups
from ...scene.regions_of_interest import extent_from_roi
from ...scene.slices import last_used_slice_node, shown_slice
from ...scene.volumes import volume_from_node

SCOPES = ("slice", "range", "volume", "roi")
Position = tuple[float, float, float]  # world RAS, mm


@dataclass(frozen=True, eq=False)
class SegmentRequest:
    """One run of Segment.

    :param volume_node: the image in the scene.
    :param volume: what is segmented: the image, or the plane of an oblique view (K = 1), in world RAS.
    :param extent: the part of ``volume`` that is searched.
    :param place: for the user and the provenance, e.g. "Red: axial slice 12".
    :param inside, outside: points in world RAS, mm.
    :param valid: pixels of an oblique plane that lie inside the image, ``[1, J, I]``; None: all.
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
    valid: np.ndarray | None = None

    @property
    def has_points(self) -> bool:
        return bool(self.inside)

    @property
    def key(self) -> tuple:
        """Requests with equal keys have the same regions; only points, radius and what is shown may differ."""
        scalars = self.volume_node.GetImageData().GetPointData().GetScalars()
        matrix = tuple(np.round(self.volume.ijk_to_ras, 6).ravel())
        image = (self.volume_node.GetID(), scalars.GetMTime(), self.volume.size, matrix)
        return (*image, self.extent, self.axis, self.settings, self.device)

    def voxels(self, points: Sequence[Position]) -> list[tuple[int, int, int]]:
        """``points`` as voxels of ``volume``. Raises InputError for points outside it."""
        return [self.volume.voxel_at(point) for point in points]

    def with_settings(self, settings: SegmentSettings) -> SegmentRequest:
        """The same request with other settings."""
        return replace(self, settings=settings)

    def with_points(self, inside: Sequence, outside: Sequence, radius_mm: float | None) -> SegmentRequest:
        """The same request with other points; those that do not lie in a single slice are left out, see ``_on_slice``."""
        inside, outside = _on_slice(self, _positions(inside), _positions(outside))
        return replace(self, inside=inside, outside=outside, radius_mm=radius_mm or None)


def make_request(
    volume_node,
    scope: str = "volume",
    *,
    slice_node=None,
    last_view=None,
    slice_range: tuple[int, int] | None = None,
    axis: str = "auto",
    roi_node=None,
    inside=(),
    outside=(),
    radius_mm: float | None = None,
    settings: SegmentSettings | None = None,
    preset: str = "default",
    device: str = "auto",
) -> SegmentRequest:
    """The request for ``volume_node``; see the logic's ``segment`` for the parameters.

    :param inside, outside: markups nodes, or sequences of world RAS positions.
    :raises InputError: no volume, an unknown scope, slices or a box outside the image, points that cannot be used.
    """
    volume = volume_from_node(volume_node)
    if scope not in SCOPES:
        raise InputError(f"scope is {scope!r}; it must be one of {', '.join(SCOPES)}")
    valid = None
    if scope == "slice":
        node = slice_node if slice_node is not None else last_used_slice_node(volume_node, last_view)
        shown = shown_slice(node, volume_node)
        place = f"{node.GetLayoutName()}: {shown.describe()}"
        if shown.is_oblique:
            volume, valid, axis, extent = shown.plane, shown.valid, "z", shown.plane.extent
        else:
            axis, extent = shown.axis, shown.extent
    elif scope == "range":
        axis = volume.slice_axis(axis)
        last = volume.size[AXES.index(axis)] - 1
        first, last = slice_range if slice_range is not None else (0, last)
        extent = Extent.slab(volume, axis, int(first), int(last))
        place = f"slices {first} to {last} along {axis}"
    elif scope == "roi":
        extent, place = extent_from_roi(roi_node, volume), f"ROI {roi_node.GetName() if roi_node else ''}"
    else:
        extent, place = volume.extent, "whole volume"
    axis = volume.slice_axis(axis)
    request = SegmentRequest(volume_node, volume, extent, axis, place, settings or SegmentSettings(), preset, device, valid=valid)  # fmt: skip
    return request.with_points(inside, outside, radius_mm)


def _positions(points) -> list[Position]:
    if hasattr(points, "GetNumberOfControlPoints"):
        points = points_from_markups(points)
    positions = [tuple(float(v) for v in point) for point in (() if points is None else points)]
    for position in positions:
        if len(position) != 3 or not np.isfinite(position).all():
            raise InputError(f"point {position} is not a position; give three numbers R, A, S in mm")
    return positions


def _on_slice(request: SegmentRequest, inside: list[Position], outside: list[Position]) -> tuple[tuple, tuple]:
    """The points that can be used. In a single slice those of other slices do not count: the user scrolls on and keeps
    them; but some inside point must be here if there is any, and outside points need one."""
    across = AXES.index(request.axis)
    if request.extent.size[across] == 1:
        number = request.extent.start[across]

        def here(point):
            index = np.linalg.solve(request.volume.ijk_to_ras, (*point, 1.0))
            return number - 0.5 <= index[across] < number + 0.5

        found = tuple(p for p in inside if here(p))
        if inside and not found:
            raise InputError(
                f"no inside point lies in {request.place}; scroll to a slice with a point, place one here, or delete the "
                "points to search regions without them"
            )
        inside, outside = found, tuple(p for p in outside if here(p))
    if outside and not inside:
        raise InputError("there are only outside points; place at least one point inside the object")
    for point in (*inside, *outside):
        voxel = request.volume.voxel_at(point)
        if not request.extent.contains(voxel):
            where = ", ".join(f"{v:.1f}" for v in point)
            raise InputError(f"the point at {where} (RAS, mm) is outside {request.place}; move it inside or delete it")
    return tuple(inside), tuple(outside)
