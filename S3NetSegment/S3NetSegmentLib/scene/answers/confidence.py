"""Confidence of a result as a volume; over the image only the places that are unsure are tinted."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from scipy import ndimage

from ...engine import InputError, Volume
from ...engine.common.arrays import three
from ..segmentation.labelmaps import vtk_copy
from ..slices import shown_slice, slice_nodes
from ..volumes import matrix_from_array, place_beside, volume_from_node, world_from_parent

_ROLE = "S3NetSegment.Confidence"
_IMAGE = "S3NetSegment.ConfidenceOf"  # role of the reference to the image
UNSURE = 0.5  # confidence below which a place is tinted
_COLORS = "vtkMRMLColorTableNodeIron"
_COLORED = (-0.35, 0.75)  # what its black and its white stand for: 0 is red, UNSURE is yellow
_OVERLAY_OPACITY = 0.6
_AROUND = 5  # voxels along a side of the squares whose mean says where a slice is least sure
_LOWEST_SHOWN = 0.001  # exactly 0 means: nothing was assigned here
_SURE_BACKGROUND = 0.95  # background at least so sure is not coloured: it would hide the image


class ConfidenceOverlay:
    """The confidence of an answer as a volume that is laid over its image, ``volume_node``. Its display tints what is less sure than
    :data:`UNSURE`, from yellow to red; the voxels hold all values. Those of exactly 0 are transparent.

    :param of: what it is of, for its name, e.g. "few-shot confidence".
    """

    def __init__(self, volume_node, of: str = "confidence"):
        self.volume_node, self.name = volume_node, f"{volume_node.GetName()} {of}"

    def show(self, array: np.ndarray, geometry: Volume) -> slicer.vtkMRMLScalarVolumeNode:
        """Shows ``array`` (0 to 1, ``[K, J, I]``) on the grid of ``geometry``, in all slice views that show the image. A node of this
        name made here before for the same image is updated in place; it lies under the image's transform and beside it.

        :raises InputError: ``array`` does not fit ``geometry``.
        """
        if array.shape != geometry.array.shape[:3]:
            raise InputError(f"confidence of shape {array.shape} does not fit the grid {geometry.array.shape[:3]}")
        node = self._node()
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", self.name)
            node.SetAttribute(_ROLE, "1")
            _set_display(node)
        with slicer.util.NodeModify(node):
            node.SetNodeReferenceID(_IMAGE, self.volume_node.GetID())
            place_beside(node, self.volume_node)
            local = np.linalg.inv(world_from_parent(node)) @ geometry.ijk_to_ras
            image = vtk.vtkImageData()
            image.SetDimensions(array.shape[::-1])
            image.GetPointData().SetScalars(vtk_copy(array, np.float32))
            node.SetAndObserveImageData(image)
            node.SetIJKToRASMatrix(matrix_from_array(local))
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if view.GetBackgroundVolumeID() == self.volume_node.GetID():
                view.SetForegroundVolumeID(node.GetID())
                view.SetForegroundOpacity(_OVERLAY_OPACITY)
        return node

    def hide(self) -> None:
        """Takes it out of the slice views; its volume stays."""
        ids = {node.GetID() for node in self._all()}
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if view.GetForegroundVolumeID() in ids:
                view.SetForegroundVolumeID(None)

    def least_sure_place(self, slice_node) -> tuple[float, float, float]:
        """The place (world RAS) where it is lowest in the slice that ``slice_node`` shows.

        :raises InputError: it was never shown, the view does not cut it, or nothing in its slice is unsure.
        """
        node = self._node()
        if node is None:
            raise InputError("there is no confidence to look at; show it first")
        shown = shown_slice(slice_node, node)
        if shown.is_oblique:
            part, known = shown.plane, shown.valid
        else:
            part = volume_from_node(node).cropped(shown.extent)
            known = np.ones(part.array.shape, bool)
        assert part is not None and known is not None  # a slice that is shown has samples
        known = known & (part.array >= _LOWEST_SHOWN)
        if not (known & (part.array < UNSURE)).any():
            raise InputError("no place of this slice is unsure; scroll to another one")
        across = tuple(1 if n == 1 else _AROUND for n in part.array.shape)
        values = np.where(known, part.array, 1.0)
        mean = np.where(known & (values < UNSURE), ndimage.uniform_filter(values, across, mode="nearest"), np.inf)
        k, j, i = np.unravel_index(int(np.argmin(mean)), mean.shape)
        return three(float(v) for v in part.ras_of((i, j, k)))

    def _node(self):
        """That of this image: several may have one name."""
        images = (None, self.volume_node)  # earlier versions did not say whose it is
        return next((node for node in self._all() if node.GetNodeReference(_IMAGE) in images), None)

    def _all(self) -> list:
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return [node for node in nodes if node.GetName() == self.name and node.GetAttribute(_ROLE)]


def show_place(ras) -> None:
    """Marks a place with Slicer's crosshair, and brings it into all slice views."""
    crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*ras)
        crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowSmallBasic)
    for node in slice_nodes():
        jump = node.JumpSliceByOffsetting if _sees(node, ras) else node.JumpSliceByCentering
        jump(*ras)


def _sees(slice_node, ras) -> bool:
    """Whether the place lies within the field of view."""
    inverse = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(slice_node.GetXYToRAS(), inverse)
    x, y = inverse.MultiplyPoint((*ras, 1.0))[:2]
    width, height = slice_node.GetDimensions()[:2]
    return 0 <= x < width and 0 <= y < height


def doubtful_part(confidence: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """``confidence`` (0 to 1) on the segments and where the background is doubtful; 0, which is clear, elsewhere.

    For the overlay of an answer of Few-shot. Both arrays ``[K, J, I]``; the result is float32.
    """
    shown = np.zeros(labels.shape, np.float32)
    for out, sure, plane in zip(shown, confidence, labels, strict=True):  # whole volumes of masks would be large
        np.maximum(sure, _LOWEST_SHOWN, out=out, where=(plane > 0) | (sure < _SURE_BACKGROUND), casting="same_kind")
    return shown


def _set_display(node) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if slicer.mrmlScene.GetNodeByID(_COLORS) is not None:
        display.SetAndObserveColorNodeID(_COLORS)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*_COLORED)
    display.AutoThresholdOff()
    display.SetThreshold(_LOWEST_SHOWN, UNSURE)
    display.ApplyThresholdOn()
