"""What the user points at, as markups in the scene: points, boxes and strokes.

Points are the control points of two lists, a box is an ROI, a stroke a curve. An attribute says which is which, and a node
reference which volume a box or stroke was drawn on; so they are saved with the scene.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import slicer
import vtk

from ..engine import Extent, InputError, Volume
from ..engine.common.arrays import corners, three
from ..engine.images.volume import AXES
from ..engine.segment.prompts import Box
from .removing import remove_node
from .slices import shown_slice
from .volumes import array_from_matrix, matrix_from_array, require_class, volume_from_node, world_from_parent

ATTRIBUTE = "S3NetSegment.Prompt"
INSIDE, OUTSIDE, BOX, STROKE, OUTSIDE_STROKE = "inside points", "outside points", "box", "stroke", "outside stroke"
_VOLUME = "S3NetSegment.PromptVolume"  # role of the node reference
_DIRECTIONS = "S3NetSegment.PromptDirections"  # attribute of a stroke in an oblique view
_COLORS = {INSIDE: (0.1, 0.8, 0.2), OUTSIDE: (0.9, 0.2, 0.2), BOX: (0.2, 0.8, 1.0), STROKE: (0.1, 0.8, 0.2), OUTSIDE_STROKE: (0.9, 0.2, 0.2)}  # fmt: skip
_CLASSES = {
    INSIDE: ("vtkMRMLMarkupsFiducialNode", "Inside points"),
    OUTSIDE: ("vtkMRMLMarkupsFiducialNode", "Outside points"),
    BOX: ("vtkMRMLMarkupsROINode", "Box"),
    STROKE: ("vtkMRMLMarkupsCurveNode", "Stroke"),
    OUTSIDE_STROKE: ("vtkMRMLMarkupsCurveNode", "Outside stroke"),
}
_ALIGNED = 0.1  # degrees
_STEP = 0.5  # voxels between two samples of a stroke


@dataclass(frozen=True, eq=False)
class ViewPlane:
    """The slice that a view shows, to draw on.

    :param grid: the volume, or the sampled plane of an oblique view, in world RAS.
    :param axis, index: the slice of ``grid``.
    :param valid: the pixels ``[1, J, I]`` of an oblique plane that lie in the image; None: all.
    """

    grid: Volume
    axis: str
    index: int
    valid: np.ndarray | None = None

    def project(self, ras: Sequence[float]) -> tuple[float, float, float]:
        """The place on the middle of the slice, world RAS."""
        index = self.grid.index_of(ras)
        index[AXES.index(self.axis)] = self.index
        return three(float(v) for v in self.grid.ras_of(index))


def view_plane(slice_node, volume_node) -> ViewPlane:
    """What can be drawn on in a slice view. InputError where the view does not cut the volume."""
    shown = shown_slice(slice_node, volume_node)
    if shown.place is None:
        return ViewPlane(shown.plane, "z", 0, shown.valid)
    return ViewPlane(volume_from_node(volume_node), *shown.place)


def make_prompt(kind: str, volume_node=None, plane: ViewPlane | None = None):
    """A new markups node of ``kind`` for ``volume_node``, which is drawn on ``plane``; it is still empty."""
    class_name, name = _CLASSES[kind]
    lists = kind in (INSIDE, OUTSIDE)
    node = slicer.mrmlScene.AddNewNodeByClass(class_name, name if lists else _free_name(name))
    node.SetAttribute(ATTRIBUTE, kind)
    if volume_node is not None:
        node.SetNodeReferenceID(_VOLUME, volume_node.GetID())
    node.CreateDefaultDisplayNodes()
    node.SetControlPointLabelFormat("-%d" if kind == OUTSIDE else "+%d" if kind == INSIDE else "")
    if kind in (STROKE, OUTSIDE_STROKE):
        node.SetCurveTypeToLinear()
        if plane is not None and plane.valid is not None:
            directions = plane.grid.ijk_to_ras[:3, :3] / plane.grid.spacing
            node.SetAttribute(_DIRECTIONS, " ".join(map(repr, directions.ravel().tolist())))
    _show(node.GetDisplayNode(), kind)
    return node


def make_rectangle():
    """An ROI that only shows the box that is being dragged: no prompt, and not saved with the scene."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Drawing")
    node.SetSaveWithScene(False)
    node.CreateDefaultDisplayNodes()
    node.SetControlPointLabelFormat("")
    _show(node.GetDisplayNode(), BOX)
    return node


def _free_name(name: str) -> str:
    """ "Box", "Box 2", ...: the first that no other box has. Slicer would go on counting after what was removed."""
    taken = {node.GetName() for node in prompt_nodes()}
    return next(n for n in itertools.chain((name,), (f"{name} {m}" for m in itertools.count(2))) if n not in taken)


def _show(display, kind: str) -> None:
    if display is None:
        return
    display.SetSelectedColor(*_COLORS[kind])
    display.SetColor(*_COLORS[kind])
    if kind in (INSIDE, OUTSIDE):
        display.SetGlyphScale(1.8)
        display.SetTextScale(2.5)
        return
    display.SetPropertiesLabelVisibility(False)
    display.SetVisibility3D(False)  # it is flat
    if kind == BOX:
        display.SetFillVisibility(False)  # the image is to be seen
        display.SetHandlesInteractive(True)
        display.SetTranslationHandleVisibility(False)
        display.SetRotationHandleVisibility(False)
        display.SetScaleHandleVisibility(True)
    else:
        display.SetGlyphScale(0.6)
        display.SetPointLabelsVisibility(False)


def prompt_nodes(*kinds: str) -> list:
    """The boxes and strokes of the scene, or the nodes of ``kinds``, in the order in which they were drawn."""
    kinds = kinds or (BOX, STROKE, OUTSIDE_STROKE)
    nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsNode")
    return [node for node in nodes if node.GetAttribute(ATTRIBUTE) in kinds]


def kind_of(node) -> str:
    """What the node is; "" for markups that are not a prompt."""
    return node.GetAttribute(ATTRIBUTE) or ""


def volume_of(node):
    """The volume that a box or stroke was drawn on, or None: it is removed, or nobody has said."""
    return node.GetNodeReference(_VOLUME)


# -- boxes


def stretch_box(node, plane: ViewPlane, one: Sequence[float], other: Sequence[float]) -> None:
    """Makes ROI ``node`` the rectangle between two places on ``plane`` (world RAS): all voxels that it touches, one voxel
    thick."""
    ends = np.stack([plane.grid.index_of(ras) for ras in (one, other)])
    across, size = AXES.index(plane.axis), np.array(plane.grid.size)
    ends[:, across] = plane.index
    low, high = (np.clip(np.floor(v + 0.5), 0, size - 1) for v in (ends.min(0), ends.max(0)))
    columns = plane.grid.ijk_to_ras[:3, :3]
    matrix = np.eye(4)
    matrix[:3, :3] = columns / np.linalg.norm(columns, axis=0)
    if np.linalg.det(matrix[:3, :3]) < 0:  # a box has no handedness, but its node wants a rotation
        matrix[:3, 0] *= -1
    matrix[:3, 3] = plane.grid.ras_of((low + high) / 2)
    set_box(node, matrix, (high - low + 1) * np.array(plane.grid.spacing))


def set_box(node, matrix: np.ndarray, size: Sequence[float]) -> None:
    """Places an ROI: ``matrix`` (4, 4) from its own axes to the world, ``size`` in mm."""
    modifying = node.StartModify()
    parent_from_world = np.linalg.inv(world_from_parent(node))
    node.SetAndObserveObjectToNodeMatrix(matrix_from_array(parent_from_world @ matrix))
    node.SetSize(*(float(v) for v in size))
    node.EndModify(modifying)


def box_of(node, grid: Volume) -> Box | None:
    """The voxels of ``grid`` that a box touches. None for one that was drawn on an oblique plane and not on this grid: its
    sides say nothing here.

    :raises InputError: an ROI without a size or beside the image.
    """
    if kind_of(node) == BOX and not is_along(node, grid):
        return None
    extent = extent_from_roi(node, grid)
    return Box(extent.start, tuple(n - 1 for n in extent.stop))


def is_along(node, grid: Volume) -> bool:
    """Whether the sides of an ROI lie along the axes of ``grid``."""
    return turned_by(node, grid) < _ALIGNED


def turned_by(node, grid: Volume) -> float:
    """Degrees by which an ROI is turned against the axes of ``grid``: the largest angle between one of these and the side that
    is nearest to it."""
    world = world_of(node)[:3, :3]
    world = world / np.linalg.norm(world, axis=0)
    columns = grid.ijk_to_ras[:3, :3] / np.linalg.norm(grid.ijk_to_ras[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(columns.T @ world).max(axis=1), 0, 1))).max())


# -- strokes


def stroke_voxels(positions: Sequence[Sequence[float]], grid: Volume) -> tuple[tuple[int, int, int], ...]:
    """The voxels of ``grid`` along the line through ``positions`` (world RAS), in order; what lies beside the image is left
    out."""
    index = np.stack([grid.index_of(ras) for ras in positions]) if len(positions) else np.empty((0, 3))
    samples = [index[:1]]
    for a, b in itertools.pairwise(index):
        count = max(int(np.ceil(np.abs(b - a).max() / _STEP)), 1)
        samples.append(a + (b - a) * np.linspace(0, 1, count + 1)[1:, None])
    voxels = np.floor(np.concatenate(samples) + 0.5).astype(int)
    there = ((voxels >= 0) & (voxels < grid.size)).all(axis=1)
    return tuple(dict.fromkeys(three(map(int, voxel)) for voxel in voxels[there]))


def stroke_directions(stroke) -> np.ndarray | None:
    """Unit columns right, up and normal ``[3, 3]`` (world RAS) of the oblique view that a curve was drawn in; None for any other."""
    text = stroke.GetAttribute(_DIRECTIONS) if hasattr(stroke, "GetAttribute") else None
    return np.array(text.split(), float).reshape(3, 3) if text else None


# -- all of them


def centre_of(node) -> tuple[float, float, float]:
    """A place to look at, world RAS: the middle of a box, the middle control point of a stroke."""
    if kind_of(node) == BOX:
        return tuple(node.GetCenterWorld())
    points = points_from_markups(node)
    return three(float(v) for v in points[len(points) // 2]) if points else (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PromptsState:
    """All prompts of the scene at one time, to come back to."""

    points: tuple[tuple[str, tuple], ...]  # (node id, positions) of the two lists
    drawn: tuple[tuple, ...]  # (node id, kind, volume id, what _content tells)
    names: tuple[str, ...] = field(default=(), compare=False)  # of what is drawn


def prompts_state() -> PromptsState:
    """The state of all prompts now."""
    return PromptsState(
        tuple((node.GetID(), _positions(node)) for node in prompt_nodes(INSIDE, OUTSIDE) if _positions(node)),
        tuple((n.GetID(), kind_of(n), _id(volume_of(n)), _content(n)) for n in prompt_nodes()),
        tuple(n.GetName() for n in prompt_nodes()),
    )


def restore_prompts(state: PromptsState) -> None:
    """Brings all prompts to an earlier state. What was removed since then comes back as a new node."""
    scene, points = slicer.mrmlScene, dict(state.points)
    for node in prompt_nodes(INSIDE, OUTSIDE):
        if _positions(node) != points.get(node.GetID(), ()):
            _set_positions(node, points.get(node.GetID(), ()))
    known = {node_id for node_id, *_ in state.drawn}
    for node in prompt_nodes():
        if node.GetID() not in known:
            remove_node(node)
    for (node_id, kind, volume_id, content), name in zip(state.drawn, state.names, strict=True):
        node = scene.GetNodeByID(node_id)
        if node is None or kind_of(node) != kind:
            node = make_prompt(kind, scene.GetNodeByID(volume_id) if volume_id else None)
            node.SetName(name)
        if _content(node) != content:
            if kind == BOX:
                set_box(node, np.array(content[0]).reshape(4, 4), content[1])
            else:
                _set_positions(node, content[0])
                node.SetAttribute(_DIRECTIONS, content[1])


def _content(node) -> tuple:
    """Matrix (16 values, world) and size of a box; positions of a stroke, and the directions of its oblique view."""
    if kind_of(node) != BOX:
        return _positions(node), node.GetAttribute(_DIRECTIONS)
    try:
        world = world_of(node)
    except InputError:
        world = array_from_matrix(node.GetObjectToNodeMatrix())
    return tuple(np.round(world, 6).ravel().tolist()), tuple(round(v, 6) for v in node.GetSize())


def _positions(node) -> tuple:
    return tuple(tuple(round(float(v), 6) for v in point) for point in points_from_markups(node))


def _set_positions(node, positions) -> None:
    modifying = node.StartModify()
    node.RemoveAllControlPoints()
    for position in positions:
        add_point(node, position)
    node.EndModify(modifying)


def _id(node) -> str:
    return node.GetID() if node is not None else ""


def points_from_markups(markups_node: slicer.vtkMRMLMarkupsNode | None) -> list[np.ndarray]:
    """Positions (world RAS, mm) of all placed control points, in order; points being placed or missing are left out."""
    if markups_node is None:
        return []
    points = []
    for n in range(markups_node.GetNumberOfControlPoints()):
        if markups_node.GetNthControlPointPositionStatus(n) == slicer.vtkMRMLMarkupsNode.PositionDefined:
            position = [0.0] * 3
            markups_node.GetNthControlPointPositionWorld(n, position)
            points.append(np.array(position))
    return points


def add_point(markups_node: slicer.vtkMRMLMarkupsNode, ras: Sequence[float]) -> int:
    """Adds a control point at ``ras`` (world, mm); returns its index."""
    return markups_node.AddControlPointWorld(vtk.vtkVector3d(*(float(v) for v in ras)))


def extent_from_roi(roi_node: slicer.vtkMRMLMarkupsROINode, volume: Volume) -> Extent:
    """The voxels of ``volume`` (in world RAS) that the box touches; of a turned box, those of its bounding box in IJK.

    :raises InputError: no box, a box without a size, under a non-linear transform, or beside the volume.
    """
    if roi_node is None:
        raise InputError("no ROI is selected; draw or select a box")
    require_class(roi_node, "vtkMRMLMarkupsROINode", "ROI")
    world = world_of(roi_node)
    size = np.array(roi_node.GetSize())
    if roi_node.GetNumberOfControlPoints() == 0 or not (size > 0).all():
        raise InputError(f"ROI {roi_node.GetName()!r} has no size yet; draw the box in the views")
    to_index = np.linalg.solve(volume.ijk_to_ras, world)
    index = corners(-size / 2, size / 2) @ to_index[:3, :3].T + to_index[:3, 3]
    # A side that lies on the border of a voxel does not touch it.
    start = np.maximum(np.floor(index.min(0) + 0.5 + 1e-4).astype(int), 0)
    stop = np.minimum(np.ceil(index.max(0) + 0.5 - 1e-4).astype(int), volume.size)
    if (start >= stop).any():
        raise InputError(f"ROI {roi_node.GetName()!r} lies beside {volume.name!r}; move the box onto the image")
    return Extent(three(start.tolist()), three(stop.tolist()))


def world_of(roi_node) -> np.ndarray:
    """4x4, from the axes of an ROI to the world. InputError under a non-linear transform."""
    return world_from_parent(roi_node) @ array_from_matrix(roi_node.GetObjectToNodeMatrix())
