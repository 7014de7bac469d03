"""``SegmentController``: runs Segment step by step and keeps the live result; knows no widgets."""

from __future__ import annotations

from collections.abc import Callable

from ...engine import InputError
from ...engine.common.progress import Steps, within
from ...scene.session import watch
from ..listener import Listener, tell
from ..stepping import SteppingDriver
from .answer import FindRegions, SegmentAnswer, default_count
from .request import SegmentRequest
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
        if self._cached is not None and self._cached[0] == request.key:
            self._finish(request, self._cached[1])
            return
        steps = self._steps(request)
        self._job_watch = watch([request.volume_node], self._lost)
        self.driver.start(
            steps,
            on_step=self._listener.progressed,
            on_done=lambda regions: self._finish(request, regions),
            on_error=self._fail,
            on_cancel=self._stopped,
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

        self._job_watch = watch([self.result.answer.request.volume_node], self._lost)
        self.driver.start(
            steps, on_step=self._listener.progressed, on_done=done, on_error=self._fail, on_cancel=self._stopped
        )
        self._listener.state_changed()

    def cancel(self) -> None:
        """Drops the run; the scene stays as it was."""
        self.driver.cancel()

    def _steps(self, request: SegmentRequest):
        # Inside the generator: importing the engine is the first step of the work, not of the click.
        find_regions = self._find_regions
        if find_regions is None:
            from ...engine.segment.find_regions import find_regions
        _, _, count, _, confidence = self._target
        search = find_regions(
            request.volume, extent=request.extent, axis=request.axis, settings=request.settings, device=request.device
        )
        regions = yield from within(search, 0.0, 0.8 if confidence else 0.95)
        # What follows is remembered by the regions.
        if request.has_points:
            inside, outside = request.voxels(request.inside), request.voxels(request.outside)
            yield from within(
                regions.object_steps(inside, outside, request.radius_mm), 0.8 if confidence else 0.95, 1.0
            )
        if confidence:
            count = count if count in regions.counts else default_count(regions.counts)
            yield from within(regions.confidence_steps(count=count), 0.8, 1.0)
        return regions

    def _finish(self, request: SegmentRequest, regions) -> None:
        self._end_watch()
        node, object_id, count, granularity, confidence = self._target
        try:
            if node is not None and (node.GetScene() is None):
                node, object_id = None, ""  # removed meanwhile
            count = count if count in regions.counts else None
            answer = SegmentAnswer(request, regions, count, granularity)
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
                f"{answer.count} regions were found, and no single main object. Place a point inside the object that "
                "you want, or pick regions by clicking."
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

    def change_points(self, inside, outside, radius_mm: float | None) -> bool:
        """Brings other points or another radius into the live object. Returns whether that changed it."""
        if self.result is None or not self.result.answer.is_object or self.running:
            return False
        known = self.result.answer.request
        try:
            request = known.with_points(inside, outside, radius_mm)
        except InputError as error:
            tell(self._listener, error)
            return False
        if (request.inside, request.outside, request.radius_mm) == (known.inside, known.outside, known.radius_mm):
            return False

        def action(result: SegmentResult):
            before = result.answer.object_mask()
            result.answer.set_request(request)
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
