"""``SegmentResult``: an answer as segments in the scene, and the changes to it, each one undo step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.common.provenance import facts_of
from ...scene.answers.confidence import hide_overlay, show_overlay
from ...scene.answers.provenance import segment_fact
from ...scene.segmentation.reading import given_or_new
from ...scene.segmentation.segment_edit import SegmentEdit, segment_edit
from .answer import SegmentAnswer


class SegmentResult:
    """The segments of one answer. Making it writes them; an error leaves the scene as it was.

    An object goes into the segment ``object_id``, or into a new one. Only voxels of the searched part are replaced, so
    an object can be put together slice by slice. Regions replace those of an earlier run on the same volume, as long as
    these still have their names: a region that the user has renamed is theirs.

    Attributes: ``answer``, ``node`` (the segmentation), ``object_id`` ("" without an object), ``region_ids``.
    """

    def __init__(
        self,
        answer: SegmentAnswer,
        node=None,
        object_id: str = "",
        save_undo: Callable[[object], object] | None = None,
    ):
        """
        :param node: segmentation to write to; None makes a new one.
        :param save_undo: called with the segmentation node before each change.
        """
        self.answer, self._save_undo = answer, save_undo
        self._stamp = None
        with given_or_new(node, answer.request.volume_node) as self.node:
            self.object_id = object_id if self._may_hold_object(object_id) else ""
            self.region_ids = self._earlier_regions() if not answer.is_object else []
            with self._edit() as edit:
                self._stage_object(edit)
                if not answer.is_object:
                    self._stage_regions(edit)
        self._stamp = self._object_stamp()

    def update(self, undoable: bool = True) -> None:
        """Writes the answer again after its granularity, alternative or number of regions was changed.

        :param undoable: False while one gesture, e.g. dragging the slider, goes on.
        """
        with self._edit(undoable) as edit:
            self._stage_object(edit)
            if not self.answer.is_object:
                self._stage_regions(edit)
        self._stamp = self._object_stamp()

    def update_points(self, before: np.ndarray | None, undoable: bool = True) -> None:
        """Writes the answer after its points were changed. ``before``: its object mask until then. What the user has
        painted into the segment in the meantime stays. ``undoable``: see :meth:`update`."""
        after = self.answer.object_mask()
        painted = self._stamp is not None and self._stamp != self._object_stamp()
        if before is None or after is None or not painted or not self._has_object():
            self.update(undoable)
            return
        with self._edit(undoable) as edit:
            edit.add(self.object_id, after & ~before, self.answer.geometry)
            edit.remove(self.object_id, before & ~after, self.answer.geometry)
            edit.set_tags(self.object_id, self.answer.tags("object"))

    def pick(self, ras, drop: bool = False) -> None:
        """Adds the region at world position ``ras`` to the object, or removes it. InputError outside the searched part."""
        mask = self.answer.region_at(ras)
        with self._edit() as edit:
            if self._has_object():
                (edit.remove if drop else edit.add)(self.object_id, mask, self.answer.geometry)
                edit.set_tags(self.object_id, self.answer.tags("object"))
            elif drop:
                raise InputError(
                    _("there is no object yet to remove a region from; click without Ctrl or Shift to add one")
                )
            else:
                self.object_id = edit.add_segment(self.answer.object_segment(), mask, self.answer.geometry)

    def show_confidence(self):
        """The confidence of the answer as a volume node over the image."""
        volume_node = self.answer.request.volume_node
        return show_overlay(self.answer.confidence(), self.answer.geometry, _confidence_name(volume_node), volume_node)

    @property
    def confidence_overlay(self) -> tuple[str, object]:
        """Name of the confidence volume, and the volume node that it lies over."""
        volume_node = self.answer.request.volume_node
        return _confidence_name(volume_node), volume_node

    def hide_confidence(self) -> None:
        """Takes the confidence out of the views that show it over the image."""
        hide_overlay(_confidence_name(self.answer.request.volume_node), self.node.GetScene())

    # -- inside

    def _edit(self, undoable: bool = True):
        save = (lambda: self._save_undo(self.node)) if undoable and self._save_undo is not None else None
        return segment_edit(self.node, self.answer.request.volume_node, save)

    def _stage_object(self, edit: SegmentEdit) -> None:
        mask = self.answer.object_mask()
        if mask is None:
            return
        if self._has_object():
            edit.replace(self.object_id, mask, self.answer.geometry)
            edit.set_tags(self.object_id, self.answer.tags("object"))
        else:
            self.object_id = edit.add_segment(self.answer.object_segment(), mask, self.answer.geometry)

    def _stage_regions(self, edit: SegmentEdit) -> None:
        labels, segments = self.answer.region_labels(), self.answer.region_segments()
        kept = [i for i in self.region_ids if self.node.GetSegmentation().GetSegment(i) is not None]
        if not kept:
            self.region_ids = edit.add_layer(segments, labels, self.answer.geometry)
            return
        for segment, segment_id in zip(segments, kept, strict=False):
            edit.replace(segment_id, labels == segment.value, self.answer.geometry)
            edit.set_tags(segment_id, self.answer.tags("region"))
        for segment in segments[len(kept) :]:
            kept.append(edit.add_segment(segment, labels == segment.value, self.answer.geometry))
        for segment_id in kept[len(segments) :]:
            edit.delete_segment(segment_id)
        self.region_ids = kept[: len(segments)]

    def _has_object(self) -> bool:
        return bool(self.object_id) and self.node.GetSegmentation().GetSegment(self.object_id) is not None

    def _may_hold_object(self, segment_id: str) -> bool:
        """An object found without prompts must not overwrite what prompts or the user's hand have made."""
        if not segment_id or self.node.GetSegmentation().GetSegment(segment_id) is None:
            return False
        if self.answer.is_object:
            return True
        role, *prompts = (segment_fact(self.node, segment_id, fact) for fact in ("Role", "Points", "Boxes", "Strokes"))
        return role == "object" and not any(prompts)

    def _earlier_regions(self) -> list[str]:
        segmentation, found = self.node.GetSegmentation(), []
        image = facts_of(self.answer.tags("region"))["Image"]
        for segment_id in segmentation.GetSegmentIDs():
            if (
                segment_fact(self.node, segment_id, "Role") == "region"
                and segment_fact(self.node, segment_id, "Image") == image
                and segmentation.GetSegment(segment_id).GetName() == f"Region {len(found) + 1}"  # no translation
            ):
                found.append(segment_id)
        return found

    def _object_stamp(self):
        """Changes whenever somebody writes to the object's segment."""
        if not self._has_object():
            return None
        image = self.node.GetBinaryLabelmapInternalRepresentation(self.object_id)
        return None if image is None else (image.GetAddressAsString(""), image.GetMTime())


def _confidence_name(volume_node) -> str:
    return f"{volume_node.GetName()} confidence"  # no translation
