"""``SegmentController``: runs Segment step by step and keeps the live result; knows no widgets."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from ...engine import InputError, Segmentation
from ...engine.common.progress import Steps
from ...scene.answers.confidence import ConfidenceOverlay
from ...scene.session import SceneWatch
from ..run import Controller, Listener, tell
from .answer import SegmentAnswer
from .frames import object_in_frames
from .request import Pointed, SegmentRequest
from .result import FirstSight, SegmentResult, SegmentRun, same_answer, shows_slices, takes_long


class SegmentController(Controller):
    """Runs Segment, and applies every later change to the live result.

    The scene is written once, at the end of a run; until then a volume shows the answer in the slices that were pointed at,
    which goes again if the run does not come to its end. A run is dropped when its volume goes or changes or the scene
    closes; a live result is let go then, too, its segments stay.

    Attributes: ``result``, the live :class:`SegmentResult` or None.
    """

    def __init__(
        self,
        listener: Listener,
        save_undo: Callable[[object], object] | None = None,
        find_regions: Callable | None = None,
    ):
        """
        :param find_regions: the engine's by default, imported at the first run.
        """
        super().__init__(listener, _("Segment was stopped: {reason}."), self._ended)
        self._save_undo, self._find_regions = save_undo, find_regions
        self.result: SegmentResult | None = None
        self._cached = None  # (request key, regions) of the last run
        self._result_watch = None
        self._asked: SegmentRun | None = None  # the run whose prompts may still change
        self._target = (None, "", None, None, False)
        self.outdated = False  # the image has changed, or a node went, so that the live result was let go
        self.sight = FirstSight(find_regions, self._answered_segment)

    @property
    def overlay(self) -> ConfidenceOverlay | None:
        return self.result.overlay if self.result is not None else None

    # -- a run

    def start(
        self,
        request: SegmentRequest,
        node=None,
        object_id: str = "",
        count: int | None = None,
        granularity: int | None = None,
        confidence: bool = False,
    ) -> None:
        """Runs ``request`` and writes its answer to ``node`` (None: a new segmentation), segment ``object_id``.

        Regions that are known already are not searched again. ``count`` and ``granularity`` as in SegmentAnswer.
        """
        if self.running:
            return
        self._target = (node, object_id, count, granularity, confidence)
        known = self._cached[1] if self._cached is not None and self._cached[0] == request.key else None
        if known is not None and not takes_long(request):
            self._run.finish(lambda: self._answered(request, known))
            return
        self._ask(
            SegmentRun(request, self.sight, self._find_regions, known, count, confidence),
            lambda run: self._answered(run.request, run.regions, run.choice),
        )

    def ask_instead(self, request: SegmentRequest) -> bool:
        """Lets the run that goes on answer ``request``, which has other prompts; returns whether it can."""
        return self._asked is not None and self.running and self._asked.ask(request)

    def _ask(self, run: SegmentRun, then: Callable[[SegmentRun], list[str] | None]) -> None:
        self._asked = run
        self._run.start(run.steps(), lambda _: then(run), [run.request.volume_node])

    def show_confidence(self) -> None:
        if self.result is None or self.running:
            return
        answer = self.result.answer
        self.work_on(
            answer.regions.confidence_steps(count=answer.count),
            lambda _: self.change(lambda result: result.show_confidence()),
        )

    def work_on(self, steps: Steps, then: Callable[[object], object]) -> None:
        """Does ``steps`` for the live result, which does not change meanwhile, and gives what they return to ``then``."""
        if self.result is None or self.running:
            return

        def done(found) -> None:
            then(found)

        self._run.start(steps, done, [self.result.answer.request.volume_node])

    def in_frames(self, answer: SegmentAnswer) -> Steps[list[Segmentation]]:
        """The object of ``answer`` in every frame of the sequence that its volume shows one of."""
        return object_in_frames(answer.request, self._find_regions, answer)

    def _answered(self, request: SegmentRequest, regions, choice=None) -> list[str]:
        node, object_id, count, granularity, confidence = self._target
        if node is not None and (node.GetScene() is None):
            node, object_id = None, ""  # removed meanwhile
        answer = SegmentAnswer(request, regions, count if count in regions.counts else None, granularity, choice)
        result = SegmentResult(answer, node, object_id, self._save_undo)
        if confidence:
            result.show_confidence()
        self._cached = (request.key, regions)
        self._keep(result)
        notes = [*request.notes, *regions.notes]
        if answer.is_object or answer.choice is not None:
            return notes
        none = _(
            "{count} regions were found, and no single main object. Point at the object that you want, "
            "or pick regions by clicking."
        )
        return [*notes, none.format(count=answer.count)]

    def _ended(self, _done: bool) -> None:
        self._asked = None
        self.sight.remove()

    def _answered_segment(self) -> tuple:
        """The segment that the answer will go to: (segmentation node or None, segment id)."""
        if self.result is not None and self.result.answer.is_object:
            return self.result.node, self.result.object_id
        node, object_id = self._target[:2]
        return (node, object_id) if node is not None and node.GetScene() is not None else (None, "")

    # -- the live result

    def change(self, action: Callable[[SegmentResult], object]) -> bool:
        """Does ``action`` with the live result; errors go to the listener. Returns whether it was done."""
        if self.result is None or self.running:
            return False
        try:
            action(self.result)
        except Exception as error:
            tell(self._listener, error)
            return False
        self._listener.state_changed()
        return True

    def change_prompts(self, pointed: Pointed, excluded=None, undoable: bool = True) -> bool:
        """Brings other prompts or another radius into the live object. Returns whether that changes it; a change that takes
        long is a run, which ends later.

        :param excluded: ``excluded(request)``: what belongs to other segments, or None.
        :param undoable: False where the state before is saved already.
        """
        if self.result is None or not self.result.answer.is_object or self.running:
            return False
        known = self.result.answer.request
        try:
            request = known.with_prompts(pointed)
            if excluded is not None:
                request = request.keeping_out(excluded(request))
            if same_answer(request, known):
                return False
        except InputError as error:
            tell(self._listener, error)
            return False
        if takes_long(request, known):
            run = SegmentRun(request, self.sight, regions=self.result.answer.regions)
            self._ask(run, lambda run: self._write(self.result, run.request, run.choice))
            return True
        return self.change(lambda result: self._write(result, request, undoable=undoable))

    def move_prompts(self, pointed: Pointed, undoable: bool) -> bool:
        """While a side of a box or a point is dragged: the object in a slice follows at once, that in a volume in the slices
        with prompts alone. The listener hears nothing of it. Returns whether anything was written to the segment.

        :param undoable: whether this is the first change of the drag.
        """
        known = self._asked.request if self._asked is not None else None
        if known is None and self.result is not None and self.result.answer.is_object:
            known = self.result.answer.request
        try:
            request = known.with_prompts(pointed) if known is not None else None
            if request is None or not request.has_prompts or same_answer(request, known):
                return False
            if shows_slices(request):
                self.sight.follow(request)
            elif not self.running and not takes_long(request, known):
                self._write(self.result, request, undoable=undoable)
                return True
        except InputError:  # said when the drag has ended
            pass
        return False

    def follow_prompts(self, pointed: Pointed) -> None:
        """Takes it as answered that other prompts are there: undo has brought back both, them and their answer."""
        if self.result is None or not self.result.answer.is_object or self.running:
            return
        answer = self.result.answer
        try:
            request = answer.request.with_prompts(pointed)
        except InputError:
            return  # on another slice, or none
        if request.has_prompts and not takes_long(request, answer.request):
            answer.set_request(request)

    @staticmethod
    def _write(result: SegmentResult | None, request: SegmentRequest, choice=None, undoable: bool = True) -> None:
        if result is None:
            return  # let go while the run went on
        before = result.answer.object_mask()
        result.answer.set_request(request, choice)
        result.update_points(before, undoable)

    def let_go(self) -> None:
        """Forgets the live result; its segments stay."""
        self._keep(None)
        self._cached = None
        self.sight.forget()
        self._listener.state_changed()

    def finish_object(self) -> None:
        """Forgets the live result but not its regions: the next object on the same image comes at once."""
        self._keep(None)
        self._listener.state_changed()

    def stop(self) -> None:
        self.cancel()
        self._keep(None)
        self._cached = None
        self.sight.forget()

    def _keep(self, result: SegmentResult | None) -> None:
        if self._result_watch is not None:
            self._result_watch.stop()
        self.result, self._result_watch = result, None
        if result is not None:
            self._result_watch = SceneWatch([result.answer.request.volume_node, result.node], self._lost)

    def _lost(self, _reason: str) -> None:
        self.outdated = True
        self.let_go()
