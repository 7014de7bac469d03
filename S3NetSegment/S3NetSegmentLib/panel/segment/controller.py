"""``SegmentController``: runs Segment step by step and keeps the live result; knows no widgets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...engine import InputError
from ...engine.common.progress import Steps, within
from ...scene.session import watch
from ..listener import Listener, tell
from ..stepping import SteppingDriver
from .answer import FindRegions, SegmentAnswer, default_count, object_steps
from .request import Pointed, SegmentRequest
from .result import SegmentResult


class SegmentController:
    """Starts, cancels and finishes runs, and applies every later change to the live result.

    The scene is written once, at the end of a run. A run is dropped when its volume goes or changes or the scene
    closes; a live result is let go then, too, its segments stay.

    Attributes: ``result``, the live :class:`SegmentResult` or None.
    """

    def __init__(
        self,
        listener: Listener,
        save_undo: Callable[[object], object] | None = None,
        find_regions: FindRegions | None = None,
        driver: SteppingDriver | None = None,
    ):
        """
        :param find_regions: the engine's by default, imported at the first run.
        :param driver: what advances the steps.
        """
        self._listener, self._save_undo, self._find_regions = listener, save_undo, find_regions
        self.driver = driver or SteppingDriver()
        self.result: SegmentResult | None = None
        self._cached = None  # (request key, regions) of the last run
        self._job_watch = self._result_watch = None

    @property
    def running(self) -> bool:
        return self.driver.running

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
        if known is not None and not _takes_long(request):
            self._finish(request, known)
            return
        self._run(request, self._steps(request, known), lambda found: self._finish(request, *found))

    def _run(self, request: SegmentRequest, steps, on_done) -> None:
        self._job_watch = watch([request.volume_node], self._lost)
        self.driver.start(
            steps, on_step=self._listener.progressed, on_done=on_done, on_error=self._fail, on_cancel=self._stopped
        )
        self._listener.state_changed()

    def show_confidence(self) -> None:
        """Computes the confidence of the live result, and shows it."""
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
            self._end_watch()
            self._listener.state_changed()
            then(found)

        self._run(self.result.answer.request, steps, done)

    def cancel(self) -> None:
        """Drops the run; the scene stays as it was."""
        self.driver.cancel()

    def _steps(self, request: SegmentRequest, regions=None):
        """``(regions, object or None)``; ``regions``: those that are known already."""
        # Inside the generator: importing the engine is the first step of the work, not of the click.
        find_regions = self._find_regions
        if find_regions is None:
            from ...engine.segment.find_regions import find_regions
        _, _, count, _, confidence = self._target
        # The object of boxes and strokes in a volume takes as long as its regions.
        share = (0.0 if regions is not None else 0.5) if _takes_long(request) else 0.8 if confidence else 0.95
        if regions is None:
            search = find_regions(
                request.volume,
                extent=request.extent,
                axis=request.axis,
                settings=request.settings,
                device=request.device,
            )
            regions = yield from within(search, 0.0, share)
        choice = None
        if request.has_prompts:
            choice = yield from within(object_steps(regions, request), share, 0.95 if confidence else 1.0)
        if confidence:
            count = count if count in regions.counts else default_count(regions.counts)
            yield from within(regions.confidence_steps(count=count), 0.95, 1.0)  # remembered by the regions
        return regions, choice

    def _finish(self, request: SegmentRequest, regions, choice=None) -> None:
        self._end_watch()
        node, object_id, count, granularity, confidence = self._target
        try:
            if node is not None and (node.GetScene() is None):
                node, object_id = None, ""  # removed meanwhile
            count = count if count in regions.counts else None
            answer = SegmentAnswer(request, regions, count, granularity, choice)
            result = SegmentResult(answer, node, object_id, self._save_undo)
            if confidence:
                result.show_confidence()
        except Exception as error:
            self._fail(error)
            return
        self._cached = (request.key, regions)
        self._keep(result)
        self._listener.state_changed()
        for note in regions.notes:
            self._listener.informed(note)
        if not answer.is_object and answer.choice is None:
            self._listener.informed(
                f"{answer.count} regions were found, and no single main object. Point at the object that you want, or pick "
                "regions by clicking."
            )

    def _fail(self, error: Exception) -> None:
        self._end_watch()
        self._listener.state_changed()
        tell(self._listener, error)

    def _stopped(self) -> None:
        self._end_watch()
        self._listener.state_changed()

    def _lost(self, reason: str) -> None:
        """The volume of the run is gone."""
        self.driver.cancel()
        self._listener.informed(f"Segment was stopped: {reason}.")

    def _end_watch(self) -> None:
        if self._job_watch is not None:
            self._job_watch.stop()
        self._job_watch = None

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

    def change_prompts(self, pointed: Pointed, excluded=None) -> bool:
        """Brings other prompts or another radius into the live object. Returns whether that changes it; a change that takes
        long is a run, which ends later.

        :param excluded: ``excluded(request)``: what belongs to other segments, or None.
        """
        if self.result is None or not self.result.answer.is_object or self.running:
            return False
        known = self.result.answer.request
        try:
            request = known.with_prompts(pointed)
            if excluded is not None:
                request = request.keeping_out(excluded(request))
            if _asked(request) == _asked(known) and _same(request.excluded, known.excluded):
                return False
        except InputError as error:
            tell(self._listener, error)
            return False
        if _takes_long(request, known):
            self._run(request, self._object_steps(request), lambda choice: self._changed(request, choice))
            return True
        return self._write(request)

    def follow_prompts(self, pointed: Pointed) -> None:
        """Takes it as answered that other prompts are there: undo has brought back both, them and their answer."""
        if self.result is None or not self.result.answer.is_object or self.running:
            return
        answer = self.result.answer
        try:
            request = answer.request.with_prompts(pointed)
        except InputError:
            return  # on another slice, or none
        if request.has_prompts and not _takes_long(request, answer.request):
            answer.set_request(request)

    def _object_steps(self, request: SegmentRequest):
        return object_steps(self.result.answer.regions, request)

    def _changed(self, request: SegmentRequest, choice) -> None:
        self._end_watch()
        self._write(request, choice)

    def _write(self, request: SegmentRequest, choice=None) -> bool:
        def action(result: SegmentResult):
            before = result.answer.object_mask()
            result.answer.set_request(request, choice)
            result.update_points(before)

        return self.change(action)

    def let_go(self) -> None:
        """Forgets the live result; its segments stay."""
        self._keep(None)
        self._cached = None
        self._listener.state_changed()

    def finish_object(self) -> None:
        """Forgets the live result but not its regions: the next object on the same image comes at once."""
        self._keep(None)
        self._listener.state_changed()

    def stop(self) -> None:
        """Ends everything; for the end of the panel or a closing scene."""
        self.driver.cancel()
        self._keep(None)
        self._cached = None

    def _keep(self, result: SegmentResult | None) -> None:
        if self._result_watch is not None:
            self._result_watch.stop()
        self.result, self._result_watch = result, None
        if result is not None:
            self._result_watch = watch([result.answer.request.volume_node, result.node], lambda reason: self.let_go())


def _takes_long(request: SegmentRequest, known: SegmentRequest | None = None) -> bool:
    """Whether the object is not answered at once, but searched for in a volume: always but for further points.

    :param known: what is answered already.
    """
    prompts = request.prompts
    further = known is not None and prompts.inside[:1] == known.prompts.inside[:1]
    return not request.flat and request.has_prompts and bool(prompts.boxes or prompts.strokes or not further)


def _same(one, other) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


def _asked(request: SegmentRequest) -> tuple:
    return request.prompts, request.inside, request.outside, request.radius_mm
