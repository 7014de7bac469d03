"""An answer of Few-shot as a preview beside the user's segments, until it is accepted into them or rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from ...engine import Segment
from ..drawings.lattices import LabelBox
from ..drawings.support_set import SupportSlice
from ..segmentation.editing_rules import RESPECTFUL, EditingRules
from ..segmentation.labelmaps import BINARY, oriented_image
from ..segmentation.reading import segment_look
from ..transforms import world_from_parent
from ..volumes import volume_from_node
from .accepted_answer import AcceptedAnswer
from .few_shot_writing import AnsweredSlices, write_few_shot
from .preview_node import add_preview_node, remove_preview_node

_FILL, _OUTLINE = 0.25, 0.9  # weaker than the user's own segments, with a clear border


class FewShotPreview:
    """The answer on ``volume_node`` as a segmentation of its own, which is not saved with the scene.

    Attributes: ``node``, the preview's segmentation node, which the user may have removed; ``segmentation_node``, where an
    accepted answer goes; ``notes``, what :meth:`accept` had to leave out.

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
        self._answer = AnsweredSlices(volume_from_node(volume_node), support, 1 + max(self._layers.values(), default=0))
        self.notes: list[str] = []
        looks = [segment_look(self._looks_from, segment_id, value) for value, segment_id in self._segments.items()]
        self.node = self._make_node(looks)

    @property
    def is_shown(self) -> bool:
        """Whether the preview's node is still in the scene."""
        return self.node is not None and self.node.GetScene() is not None

    @property
    def labels(self) -> np.ndarray:
        """The answer so far as one label map, see :attr:`AnsweredSlices.labels`; uint8 ``[K, J, I]``, 0 on the drawn slices."""
        return self._answer.labels

    @property
    def axis(self) -> str | None:
        """The axis across the answered slices; None before the first answer."""
        return self._answer.axis

    @property
    def answered(self) -> list[int]:
        """The slices along ``axis`` that have an answer, drawn ones left out."""
        return self._answer.numbers

    def show(
        self,
        layers: np.ndarray | Sequence[np.ndarray],
        axis: str,
        slices: tuple[int, int] | None = None,
        support: Sequence[SupportSlice] | None = None,
    ) -> None:
        """Shows an answer or, with ``slices``, a part of it beside what is shown; see :meth:`AnsweredSlices.take`."""
        self._answer.take(layers, axis, slices, support)
        self._refresh()

    def protect(self, support: Sequence[SupportSlice]) -> None:
        """Takes ``support`` for the drawn slices by now; they are neither shown nor changed."""
        self._answer.protect(support)
        self._refresh()

    def accept(
        self,
        save_undo: Callable[[object], object] | None = None,
        tags: Mapping[str, str] | None = None,
        rules: EditingRules = RESPECTFUL,
    ) -> AcceptedAnswer:
        """Writes the answer into the user's segments, see :func:`write_few_shot`, and removes the preview."""
        written = write_few_shot(
            self._answer, self._segments, self.volume_node, self.segmentation_node, self._looks_from,
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
            remove_preview_node(self.node)
        self.node = None

    # -- inside

    def _refresh(self) -> None:
        if self.is_shown:
            for image, labels in zip(self._images, self._answer.layers, strict=True):
                scalars = image.GetPointData().GetScalars()
                vtk_to_numpy(scalars).reshape(labels.shape)[...] = labels
                scalars.Modified()
                image.Modified()

    def _make_node(self, looks: Iterable[Segment]) -> slicer.vtkMRMLSegmentationNode:
        node = add_preview_node(self.volume_node, "few-shot preview", _FILL, _OUTLINE)
        segmentation = node.GetSegmentation()
        lattice = np.linalg.inv(world_from_parent(node)) @ self._answer.geometry.ijk_to_ras
        # The segments of a layer share one image with a label value each, so a new answer is one write.
        self._images = [oriented_image(LabelBox(labels), lattice) for labels in self._answer.layers]
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
