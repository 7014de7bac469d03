"""Previews of answers in the views: segments of a node of their own, which goes again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from ...engine import Extent, Segment, Volume
from ...engine.images import AXES
from ...engine.images.colors import label_colors
from ...engine.segment.planes import grid_of
from ...engine.segment.prompts import PromptedPlane, SliceKey
from ..drawings.support_set import SupportPlane, SupportSlice
from ..removing import remove_node
from ..segmentation.labelmaps import BINARY, LabelBox, oriented_image
from ..segmentation.reading import segment_look
from ..segmentation.segment_edit import segment_edit
from ..segmentation.segment_slices import RESPECTFUL, EditingRules
from ..volumes import place_beside, volume_from_node, world_from_parent
from .accepted_answer import AcceptedAnswer
from .few_shot_writing import AnsweredSlices, write_few_shot

_SIGHT_FILL, _SIGHT_OUTLINE = 0.4, 1.0
_FILL, _OUTLINE = 0.25, 0.9  # weaker than the user's own segments, with a clear border


def add_preview_node(volume_node, what: str, fill: float, outline: float) -> slicer.vtkMRMLSegmentationNode:
    """An empty one on the grid of ``volume_node``.

    :param what: the end of its name, e.g. "few-shot preview".
    :param fill, outline: opacities in the slice views, 0 to 1.
    """
    scene = volume_node.GetScene()
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(scene.GenerateUniqueName(f"{volume_node.GetName()} {what}"))
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)  # else it could be selected as the segmentation to work on
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetOpacity2DFill(fill)
    display.SetOpacity2DOutline(outline)
    place_beside(node, volume_node)
    node.GetSegmentation().SetSourceRepresentationName(BINARY)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    return node


class FirstSightNode:
    """A segmentation of its own, which is not saved with the scene and looks like the segment that the answer goes to. That
    segment itself is hidden in the slice views meanwhile: what it held before is not the answer.

    :param segmentation_node, segment_id: where the answer goes; None and "": nowhere yet.
    """

    def __init__(self, volume_node, segmentation_node=None, segment_id: str = ""):
        self.node = add_preview_node(volume_node, "first sight", _SIGHT_FILL, _SIGHT_OUTLINE)
        self._volume_node = volume_node
        there = (
            segmentation_node is not None and segment_id and segmentation_node.GetSegmentation().GetSegment(segment_id)
        )
        self._look = segment_look(segmentation_node, segment_id) if there else Segment("Object", label_colors(1)[0], 1)
        self._hidden = _Hidden(segmentation_node, segment_id) if there else None

    def show(self, drawn: Mapping[SliceKey | PromptedPlane, np.ndarray], volume: Volume, extent: Extent) -> None:
        """Shows the answers ``drawn`` and no others: (axis, index in ``volume``) -> bool ``[rows, columns]`` over ``extent``, and
        oblique plane -> bool ``[rows, columns]`` of its cut."""
        if self.node.GetScene() is None:  # the user has removed it
            return
        with segment_edit(self.node, self._volume_node) as edit:
            for segment_id in self.node.GetSegmentation().GetSegmentIDs():
                edit.delete_segment(segment_id)
            new = None
            for key, plane in drawn.items():
                if isinstance(key, PromptedPlane):
                    mask, grid = plane[None], grid_of(key, volume)
                else:
                    mask, grid = np.expand_dims(plane, 2 - AXES.index(key[0])), volume.cropped(extent.slice_at(*key))
                if new is None:
                    new = edit.add_segment(self._look, mask, grid)
                else:
                    edit.add(new, mask, grid)

    def remove(self) -> None:
        """Takes it away; the scene is as it was."""
        if self._hidden is not None:
            self._hidden.show()
        remove_node(self.node)


class _Hidden:
    """A segment that the slice views do not show until :meth:`show`."""

    def __init__(self, segmentation_node, segment_id: str):
        self._node, self._id, self._before = segmentation_node, segment_id, None
        display = segmentation_node.GetDisplayNode()
        if display is not None:
            self._before = (
                display.GetSegmentVisibility2DFill(segment_id),
                display.GetSegmentVisibility2DOutline(segment_id),
            )
            self._set(False, False)

    def show(self) -> None:
        if self._before is not None and self._node.GetDisplayNode() is not None and self._node.GetScene() is not None:
            self._set(*self._before)

    def _set(self, fill: bool, outline: bool) -> None:
        if self._node.GetSegmentation().GetSegment(self._id) is not None:
            display = self._node.GetDisplayNode()
            display.SetSegmentVisibility2DFill(self._id, fill)
            display.SetSegmentVisibility2DOutline(self._id, outline)


class FewShotPreview:
    """The answer on ``volume_node`` as a segmentation of its own, which is not saved with the scene.

    Attributes: ``node``, the preview's segmentation node, which the user may have removed; ``answer``, what it shows;
    ``segmentation_node``, where an accepted answer goes; ``notes``, what :meth:`accept` had to leave out.

    :param segmentation_node: takes the accepted answer; None: a new segmentation.
    :param segments: label value -> segment id in ``looks_from``, from which names, colours and terminology are copied.
    :param support: the drawn slices of ``volume_node``; they are not shown and never changed.
    :param looks_from: the segmentation that was drawn, see :func:`write_few_shot`; None: ``segmentation_node``.
    :param layers: label value -> layer of the answer that it is in; values that are not there are in layer 0.
    :raises InputError: a volume that cannot be segmented, a segment that is not there.
    """

    def __init__(
        self,
        segmentation_node,
        volume_node,
        segments: Mapping[int, str],
        support: Sequence[SupportSlice] = (),
        looks_from=None,
        layers: Mapping[int, int] | None = None,
    ):
        self.segmentation_node, self.volume_node = segmentation_node, volume_node
        self._looks_from = segmentation_node if looks_from is None else looks_from
        self._segments = dict(segments)
        self._layers = dict(layers or {})
        self.answer = AnsweredSlices(volume_from_node(volume_node), support, 1 + max(self._layers.values(), default=0))
        self.notes: list[str] = []
        looks = [segment_look(self._looks_from, segment_id, value) for value, segment_id in self._segments.items()]
        self.node = self._make_node(looks)

    @property
    def is_shown(self) -> bool:
        """Whether the preview's node is still in the scene."""
        return self.node is not None and self.node.GetScene() is not None

    def show(
        self,
        layers: np.ndarray | Sequence[np.ndarray],
        axis: str,
        slices: tuple[int, int] | None = None,
        support: Sequence[SupportSlice] | None = None,
        plane: SupportPlane | None = None,
    ) -> None:
        """Shows an answer or, with ``slices``, a part of it beside what is shown; see :meth:`AnsweredSlices.take`."""
        self.answer.take(layers, axis, slices, support, plane)
        self._refresh()

    def protect(self, support: Sequence[SupportSlice]) -> None:
        """Takes ``support`` for the drawn slices by now; they are neither shown nor changed."""
        self.answer.protect(support)
        self._refresh()

    def accept(
        self,
        save_undo: Callable[[object], object] | None = None,
        tags: Mapping[str, str] | None = None,
        rules: EditingRules = RESPECTFUL,
    ) -> AcceptedAnswer:
        """Writes the answer into the user's segments, see :func:`write_few_shot`, and removes the preview."""
        written = write_few_shot(
            self.answer, self._segments, self.volume_node, self.segmentation_node, self._looks_from,
            save_undo, tags, rules,
        )  # fmt: skip
        self.segmentation_node, self.notes = written.node, written.notes
        self.reject()
        return written.accepted

    def reject(self) -> None:
        """Removes the preview; the user's segments stay as they are."""
        if self.is_shown:
            for image in self._images:
                image.Initialize()  # else Slicer takes the segments out of it one by one, which is slow
            remove_node(self.node)
        self.node = None

    # -- inside

    def _refresh(self) -> None:
        if self.is_shown:
            for image, labels in zip(self._images, self.answer.layers, strict=True):
                scalars = image.GetPointData().GetScalars()
                vtk_to_numpy(scalars).reshape(labels.shape)[...] = labels
                scalars.Modified()
                image.Modified()

    def _make_node(self, looks: Iterable[Segment]) -> slicer.vtkMRMLSegmentationNode:
        node = add_preview_node(self.volume_node, "few-shot preview", _FILL, _OUTLINE)
        segmentation = node.GetSegmentation()
        lattice = np.linalg.inv(world_from_parent(node)) @ self.answer.geometry.ijk_to_ras
        # The segments of a layer share one image with a label value each, so a new answer is one write.
        self._images = [oriented_image(LabelBox(labels), lattice) for labels in self.answer.layers]
        for look in looks:
            segment = slicer.vtkSegment()
            segment.SetName(look.name)
            segment.SetColor(*look.color)
            segment.SetLabelValue(look.value)
            if look.terminology:
                segment.SetTag(segment.GetTerminologyEntryTagName(), look.terminology)
            segment.AddRepresentation(BINARY, self._images[self._layers.get(look.value, 0)])
            segmentation.AddSegment(segment, self._segments[look.value])
        return node
