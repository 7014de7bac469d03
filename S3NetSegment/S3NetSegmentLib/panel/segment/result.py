"""``SegmentResult``: an answer as segments in the scene, and the changes to it, each one undo step; ``SegmentRun``: the steps
of one run; ``FirstSight``: the slices with prompts, answered and shown first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.common.progress import Step, Steps, as_part_of
from ...engine.common.provenance import facts_of
from ...engine.segment.prompts import PromptedPlane, Prompts
from ...scene.answers.confidence import ConfidenceOverlay
from ...scene.answers.preview import FirstSightNode
from ...scene.answers.provenance import segment_fact
from ...scene.segmentation.reading import given_or_new
from ...scene.segmentation.segment_edit import SegmentEdit, segment_edit
from .answer import SegmentAnswer, default_count, object_steps
from .request import SegmentRequest

_KEPT = 12  # slices whose regions are remembered
_SIGHT = 0.1  # of a run in a volume, until its slices are answered


class SegmentResult:
    """The segments of one answer. Making it writes them; an error leaves the scene as it was.

    An object goes into the segment ``object_id``, or into a new one. Only voxels of the searched part are replaced, so
    an object can be put together slice by slice. Regions replace those of an earlier run on the same volume, as long as
    these still have their names: a region that the user has renamed is theirs.

    Attributes: ``answer``, ``node`` (the segmentation), ``object_id`` ("" without an object), ``region_ids``, ``overlay`` (of its
    confidence).
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
        self._stamp, self.overlay = None, ConfidenceOverlay(answer.request.volume_node)
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

    def show_confidence(self) -> None:
        self.overlay.show(self.answer.confidence(), self.answer.geometry)

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
        names = ("Role", "Points", "Boxes", "Strokes")  # no translation
        role, *prompts = (segment_fact(self.node, segment_id, name) for name in names)
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


class FirstSight:
    """Remembers the regions of the slices that were searched, so that a box whose sides are dragged is followed at once.

    :param find_regions: the engine's; None: imported when it is first needed.
    :param target: ``(segmentation node or None, segment id)``, where the answer goes.
    """

    def __init__(self, find_regions: Callable | None, target: Callable[[], tuple]):
        self._find_regions, self._target = find_regions, target
        self._regions: dict[tuple, object] = {}  # (key of the request, slice or plane) -> its regions
        self._node: FirstSightNode | None = None

    def steps(self, request: SegmentRequest) -> Steps[dict]:
        """The object in each slice and plane with prompts, see ``engine.segment.carry.draw_prompts``."""
        from ...engine.segment.carry import draw_prompts

        def remembered(place, search):
            key = (request.key, _image_of(place))
            if key not in self._regions:
                found = yield from search
                kept = [(k, v) for k, v in self._regions.items() if k[0] == request.key]
                self._regions = {**dict(kept[-(_KEPT - 1) :]), key: found}
            return self._regions[key]

        return draw_prompts(
            request.volume, request.prompts, extent=request.extent, axis=request.axis, settings=request.settings,
            device=request.device, excluded=request.excluded, find_regions=self._find_regions, remember=remembered,
        )  # fmt: skip

    def follow(self, request: SegmentRequest) -> bool:
        """Shows at once what ``request`` means in its slices and planes, if their regions are known; returns whether they are."""
        from ...engine.common.progress import run_to_end
        from ...engine.segment.prompts import prompted_slices

        checked = request.prompts.checked(request.extent)
        places = prompted_slices(checked, request.axis, request.volume.order)
        if not all((request.key, _image_of(place)) in self._regions for place in places):
            return False
        self.show(request, run_to_end(self.steps(request)))
        return True

    def show(self, request: SegmentRequest, drawn: dict) -> None:
        """Shows the answers in the slices until :meth:`remove`."""
        if self._node is None:
            self._node = FirstSightNode(request.volume_node, *self._target())
        self._node.show(drawn, request.volume, request.extent)

    def remove(self) -> None:
        node, self._node = self._node, None
        if node is not None:
            node.remove()

    def forget(self) -> None:
        """Takes away what is shown, and forgets the regions."""
        self.remove()
        self._regions = {}


def _image_of(place):
    """What regions are searched in: a slice, or an oblique plane, whatever is pointed at there."""
    return place.view if isinstance(place, PromptedPlane) else place


class SegmentRun:
    """Searches regions, and the object that is asked for among them; in a volume the slices that were pointed at are answered
    and shown first. Other prompts do not begin the search anew.

    Attributes: ``request``, what is asked for now; ``choice``, the object once it is found (else None).

    :param regions: those that are known already.
    :param count: number of regions that is wanted; None: the usual one. ``confidence``: whether that is wanted, too.
    """

    def __init__(
        self,
        request: SegmentRequest,
        sight: FirstSight,
        find_regions: Callable | None = None,
        regions=None,
        count: int | None = None,
        confidence: bool = False,
    ):
        self.request, self.regions, self.choice = request, regions, None
        self._sight, self._find_regions, self._count, self._confidence = sight, find_regions, count, confidence
        self._search = None
        self._reached = 0.0
        self._anew = False

    def ask(self, request: SegmentRequest) -> bool:
        """Asks with other prompts from now on; returns whether this run can answer them."""
        if not (request.has_prompts and self.request.has_prompts and request.key == self.request.key):
            return False
        self.request, self._anew = request, True
        return True

    def steps(self) -> Steps[None]:
        """The work; ``regions`` and ``choice`` are there afterwards."""
        while True:
            try:
                self._anew = False
                yield from self._once(self.request)
                return
            except _OtherPrompts:
                continue

    def _once(self, request: SegmentRequest) -> Steps[None]:
        drawn = None
        if shows_slices(request):
            start = self._reached
            drawn = yield from self._until_asked(as_part_of(self._sight.steps(request), start, max(start, _SIGHT)))
            self._sight.show(request, drawn)
        # The object of boxes and strokes in a volume takes as long as its regions.
        share = 0.5 if takes_long(request) else 0.8 if self._confidence else 0.95
        if self.regions is None:
            self._search = self._search or self._searched(request, share)
            self.regions = yield from self._until_asked(self._search)
        start = min(self._reached, 0.95)
        if not request.has_prompts:
            self.choice = yield from as_part_of(self.regions.main_steps(), start, 0.95)
            yield Step(0.95, _("Outlining the regions"))
            self.regions.labels(self._known_count)
        else:
            self.choice = yield from self._until_asked(
                as_part_of(object_steps(self.regions, request, drawn), start, 0.95)
            )
        if self._confidence:
            # The regions remember it.
            steps = self.regions.confidence_steps(count=self._known_count)
            yield from self._until_asked(as_part_of(steps, 0.95, 1.0))

    @property
    def _known_count(self) -> int:
        counts = self.regions.counts
        return self._count if self._count in counts else default_count(counts)

    def _searched(self, request: SegmentRequest, share: float) -> Steps:
        # Inside the generator: importing the engine is a step of the work, not of the click.
        find_regions = self._find_regions
        if find_regions is None:
            from ...engine.segment.find_regions import find_regions
        search = find_regions(
            request.volume, extent=request.extent, axis=request.axis, settings=request.settings, device=request.device
        )
        return (yield from as_part_of(search, self._reached, share))

    def _until_asked(self, steps: Steps) -> Steps:
        """Passes ``steps`` on until other prompts come. A search of regions goes on where it was."""
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            self._reached = max(self._reached, step.fraction)
            yield step
            if self._anew:
                raise _OtherPrompts


class _OtherPrompts(Exception):
    """The user points at something else meanwhile."""


def takes_long(request: SegmentRequest, known: SegmentRequest | None = None) -> bool:
    """Whether the object is not answered at once, but searched for in a volume: always but for further points.

    :param known: what is answered already.
    """
    prompts = request.prompts
    further = known is not None and prompts.inside[:1] == known.prompts.inside[:1]
    return not request.flat and request.has_prompts and bool(_drawn(prompts) or not further)


def shows_slices(request: SegmentRequest) -> bool:
    """Whether the answer in slices is shown before that in the volume. Not for points alone: what a point means in a slice
    and in the volume is searched in different ways, and where the object is small they often mean different objects."""
    return not request.flat and _drawn(request.prompts)


def _drawn(prompts: Prompts) -> bool:
    """Whether more than points says where the object is."""
    return bool(prompts.boxes or prompts.strokes or prompts.planes)


def same_answer(request: SegmentRequest, known: SegmentRequest) -> bool:
    """Whether nothing that the object depends on differs."""
    asked = [(r.prompts, r.inside, r.outside, r.radius_mm) for r in (request, known)]
    one, other = request.excluded, known.excluded
    return asked[0] == asked[1] and (
        one is other or (one is not None and other is not None and np.array_equal(one, other))
    )
