"""Slice views: which one is in use, and what it shows of a volume, oblique planes included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import slicer

from ..engine import Extent, InputError, Volume
from ..engine.images.planes import plane_grid, sampled_plane
from ..engine.images.volume import AXES
from .volumes import array_from_matrix, volume_from_node

_PARALLEL = np.sin(np.radians(0.1))  # Slicer, too, takes a view within 0.1 degrees of an axis as along it
_DIRECTIONS = ("sagittal", "coronal", "axial")  # of a normal along R, A, S
_TIE = 1e-6  # a view exactly between two slices shows the upper one, whatever the rounding error


@dataclass(frozen=True, eq=False)
class ShownSlice:
    """The cut of a slice view through a volume.

    Along a volume axis: ``axis`` ("x", "y", "z") and ``index`` (0-based array index) are set, ``extent`` is that slice.
    Oblique: these are None, and ``grid``, ``plane`` and ``valid`` are set.

    :param direction: "axial", "sagittal" or "coronal", the nearest one.
    :param grid: matrix (pixel to world RAS) and (rows, columns) of ``plane``, known without sampling the volume.
    """

    axis: str | None
    index: int | None
    extent: Extent | None
    direction: str
    grid: tuple[np.ndarray, tuple[int, int]] | None = None
    _sample: Callable[[], tuple[Volume, np.ndarray]] | None = None

    @cached_property
    def _sampled(self) -> tuple[Volume | None, np.ndarray | None]:
        # Only when it is asked for: a panel that just names the slice should not sample the volume.
        return (None, None) if self._sample is None else self._sample()

    @property
    def plane(self) -> Volume | None:
        """An oblique cut as one-slice Volume in world RAS: K = 1, third column as long as one voxel is thick across the
        plane. Raises InputError if it only grazes the volume."""
        return self._sampled[0]

    @property
    def valid(self) -> np.ndarray | None:
        """The pixels ``[1, J, I]`` of ``plane`` inside the volume; the others hold the volume's minimum."""
        return self._sampled[1]

    @property
    def is_oblique(self) -> bool:
        return self.axis is None

    @property
    def place(self) -> tuple[str, int] | None:
        """Axis and index; None for an oblique cut."""
        return None if self.axis is None or self.index is None else (self.axis, self.index)

    def describe(self) -> str:
        """For the user, e.g. "axial slice 12"; counted from 0 as the array index is."""
        return f"oblique slice (near {self.direction})" if self.is_oblique else f"{self.direction} slice {self.index}"


def shown_slice(slice_node: slicer.vtkMRMLSliceNode, volume_node: slicer.vtkMRMLVolumeNode) -> ShownSlice:
    """The slice of ``volume_node`` that ``slice_node`` shows, exact for any voxel directions and linear transforms.

    :raises InputError: the view's plane does not cut the volume, or the volume cannot be segmented.
    """
    volume = volume_from_node(volume_node)
    plane = array_from_matrix(slice_node.GetSliceToRAS())
    plane[:3, :3] /= np.linalg.norm(plane[:3, :3], axis=0)
    normal = plane[:3, 2]
    direction = _DIRECTIONS[int(np.argmax(np.abs(normal)))]
    steps = normal @ volume.ijk_to_ras[:3, :3]  # mm along the normal for one voxel along i, j, k
    tilts = np.abs(steps) / volume.spacing
    center = (np.array(volume.size) - 1) / 2
    # Signed distance, in mm, of the plane from the volume's centre.
    distance = float(normal @ (plane[:3, 3] - volume.ras_of(center)))
    for a, axis in enumerate(AXES):
        if all(tilts[b] < _PARALLEL for b in range(3) if b != a):
            index = int(np.floor(center[a] + distance / steps[a] + 0.5 + _TIE))
            if not 0 <= index < volume.size[a]:
                raise _misses(slice_node, volume)
            return ShownSlice(axis, index, Extent.slab(volume, axis, index, index), direction)
    problem = _misses(slice_node, volume)
    grid = plane_grid(volume, plane)
    if grid is None:
        raise problem

    def sample():
        sampled = sampled_plane(volume, plane)
        if sampled is None:
            raise problem
        return sampled

    return ShownSlice(None, None, None, direction, grid, sample)


def slice_normal(volume: Volume, axis: str) -> np.ndarray:
    """Unit normal of the slices across ``axis``, RAS."""
    row = np.linalg.inv(volume.ijk_to_ras[:3, :3])[AXES.index(axis)]
    return row / np.linalg.norm(row)


def slice_name(volume: Volume, axis: str, index: int) -> str:
    """For the user, e.g. "axial 12": slice ``index`` across ``axis`` of ``volume``, by the nearest patient direction."""
    return f"{_DIRECTIONS[int(np.argmax(np.abs(slice_normal(volume, axis))))]} {index}"


def slice_place(volume: Volume, axis: str, index: int) -> str:
    """For the user, e.g. "axial slice 12"."""
    return " slice ".join(slice_name(volume, axis, index).split())


def shows_volume(slice_node: slicer.vtkMRMLSliceNode, volume_node: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether the view has ``volume_node`` as its background or foreground."""
    layout, volume_id = slice_node.GetLayoutName(), volume_node.GetID()
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    composite = next((c for c in composites if c.GetLayoutName() == layout), None)
    return composite is not None and volume_id in (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())


def last_used_slice_node(
    volume_node: slicer.vtkMRMLVolumeNode, last_view: LastSliceView | None = None
) -> slicer.vtkMRMLSliceNode:
    """The slice view that the user last pointed at, if it shows ``volume_node``; otherwise the first one that does.

    Views of the present layout come before hidden ones.

    :raises InputError: no slice view shows the volume.
    """
    if volume_node is None:
        raise InputError("no volume is selected; load or select one")
    pointed = last_view.node if last_view is not None else _node_under_cursor(slicer.mrmlScene)
    if pointed is not None and shows_volume(pointed, volume_node):
        return pointed
    showing = [node for node in slice_nodes() if shows_volume(node, volume_node)]
    if not showing:
        raise InputError(f"no slice view shows {volume_node.GetName()!r}; show it in a slice view (the eye in the Data module)")  # fmt: skip
    return next((node for node in showing if node.IsMappedInLayout()), showing[0])


class LastSliceView:
    """Remembers the slice view that the cursor was last in, also after it has left for the panel.

    Attribute ``node``: the vtkMRMLSliceNode, or None. :meth:`stop` ends the watch.
    """

    def __init__(self, scene: slicer.vtkMRMLScene | None = None):
        self._scene = scene or slicer.mrmlScene
        self._id = None
        self._crosshair = self._scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
        self._observer = None
        if self._crosshair is not None:
            event = slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent
            self._observer = self._crosshair.AddObserver(event, self._moved)
            self._moved()

    @property
    def node(self) -> slicer.vtkMRMLSliceNode | None:
        return self._scene.GetNodeByID(self._id) if self._id else None

    def stop(self) -> None:
        if self._observer is not None:
            self._crosshair.RemoveObserver(self._observer)
        self._observer = None

    def _moved(self, caller=None, event=None):
        node = _node_under_cursor(self._scene)
        if node is not None:
            self._id = node.GetID()


def _node_under_cursor(scene):
    crosshair = scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    return crosshair.GetCursorPositionXYZ([0.0] * 3) if crosshair is not None else None


def slice_nodes() -> list[slicer.vtkMRMLSliceNode]:
    """All slice views of the scene, also those that the layout does not show."""
    return slicer.util.getNodesByClass("vtkMRMLSliceNode")


def _misses(slice_node, volume: Volume) -> InputError:
    return InputError(
        f"the {slice_node.GetLayoutName()} view does not cut {volume.name!r}; scroll to the volume or choose another view"
    )
