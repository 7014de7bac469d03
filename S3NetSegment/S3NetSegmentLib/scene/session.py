"""Tells a running job that the scene has moved on under it: a node removed, a volume changed, the scene closing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import slicer
import vtk

from .volumes import parent_key


class SceneWatch:
    """Calls ``callback(reason)`` once, when the first of ``nodes`` is removed or changed or the scene starts to close.

    ``reason`` is a sentence for the user. Of volumes, other voxels, another geometry or transform count as a change,
    a new name or display does not; of other nodes only the removal counts. None among the nodes is passed over.
    Ends by itself after the call, otherwise by :meth:`stop` or as a context manager.
    """

    def __init__(self, nodes: Iterable[slicer.vtkMRMLNode | None], callback: Callable[[str], object]):
        self._callback = callback
        self._observers: list[tuple[vtk.vtkObject, int]] = []
        self._nodes = [node for node in nodes if node is not None]
        self._states = {node.GetID(): volume_state(node) for node in self._nodes if node.IsA("vtkMRMLVolumeNode")}
        scenes = {node.GetScene().GetAddressAsString(""): node.GetScene() for node in self._nodes}
        for scene in scenes.values() or [slicer.mrmlScene]:
            self._observe(scene, slicer.vtkMRMLScene.StartCloseEvent, self._on_close)
            # VTK hands the removed node over only to a callback that says so.
            self._observe(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_removed)
        for node in self._nodes:
            if node.GetID() in self._states:
                self._observe(node, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, self._on_modified)
                self._observe(node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._on_modified)
                self._observe(node, vtk.vtkCommand.ModifiedEvent, self._on_modified)

    def stop(self) -> None:
        """Removes all observers; may be called more than once."""
        for observed, tag in self._observers:
            observed.RemoveObserver(tag)
        self._observers, self._nodes, self._states = [], [], {}

    def __enter__(self) -> SceneWatch:
        return self

    def __exit__(self, *exception) -> None:
        self.stop()

    def _observe(self, observed, event, method) -> None:
        self._observers.append((observed, observed.AddObserver(event, method)))

    def _tell(self, reason: str) -> None:
        callback = self._callback
        self.stop()  # first: the callback may well change the scene again
        callback(reason)

    def _on_close(self, scene, event) -> None:
        self._tell("the scene was closed")

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removed(self, scene, event, removed) -> None:
        if any(node is removed for node in self._nodes):
            self._tell(f"{removed.GetName()!r} was removed")

    def _on_modified(self, node, event) -> None:
        if node.GetID() in self._states and volume_state(node) != self._states[node.GetID()]:
            self._tell(f"volume {node.GetName()!r} was changed")


class SegmentsWatch:
    """Calls ``callback()`` at every change of the segments of one segmentation; ``voxels``: also of what is drawn."""

    def __init__(self, callback: Callable[[], object], voxels: bool):
        self._callback, self._voxels = callback, voxels
        self._segmentation: slicer.vtkSegmentation | None = None
        self._tags: list[int] = []

    @property
    def active(self) -> bool:
        return self._segmentation is not None

    def watch(self, segmentation_node) -> None:
        """Observes ``segmentation_node``; None: nothing."""
        segmentation = segmentation_node.GetSegmentation() if segmentation_node is not None else None
        if segmentation is self._segmentation:
            return
        self.stop()
        self._segmentation = segmentation
        if segmentation is not None:
            cls = slicer.vtkSegmentation
            events = [cls.SegmentAdded, cls.SegmentRemoved, cls.SegmentModified]
            events += [cls.SourceRepresentationModified] if self._voxels else []
            self._tags = [segmentation.AddObserver(event, self._changed) for event in events]

    def stop(self) -> None:
        if self._segmentation is not None:
            for tag in self._tags:
                self._segmentation.RemoveObserver(tag)
        self._segmentation, self._tags = None, []

    def _changed(self, _segmentation, _event) -> None:
        self._callback()


def volume_state(volume_node) -> tuple:
    """What makes the volume the one that the job was started on."""
    image = volume_node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    own = [matrix.GetElement(row, column) for row in range(3) for column in range(4)]
    return (
        image.GetAddressAsString("") if image else "",
        scalars.GetMTime() if scalars is not None else 0,
        image.GetMTime() if image else 0,
        own,
        parent_key(volume_node),
    )
