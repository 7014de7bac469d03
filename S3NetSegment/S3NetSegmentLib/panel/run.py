"""The life of whatever works long in the panel: ``Run`` does its steps in Qt's event loop and tells a ``Listener`` of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

import qt
from slicer.i18n import tr as _

from ..engine import InputError, ResourceError
from ..scene.session import SceneWatch

_BUDGET = 0.03  # seconds of work between two turns of the event loop
_SHORT = 0.3  # share of it, from which on a turn that ends the work does not use its result, too
_FIRST_ESTIMATE = 0.5  # seconds before a time left is given: earlier ones jump about


def _nothing(*_) -> None: ...


def timer(milliseconds: int, action: Callable[[], object], repeats: bool = False) -> qt.QTimer:
    """A timer that is not started yet; ``action()`` is called when it runs out."""
    made = qt.QTimer()
    made.setSingleShot(not repeats)
    made.setInterval(milliseconds)
    made.connect("timeout()", action)
    return made


class SteppingDriver:
    """Advances one generator of progress steps from a zero timer; at most one job at a time.

    A cancelled job is dropped where it stands: nothing that it would have returned is used. Callbacks run on the main
    thread, outside the generator; they may start the next job.

    Attributes: ``longest_step``, the longest time in seconds that the present or last job held the event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._timer = timer(0, self._advance, repeats=True)
        self._steps = self._finish = None
        self._inside = False
        self._cancelled = False
        self.longest_step = 0.0

    @property
    def running(self) -> bool:
        return self._steps is not None

    def start(
        self,
        steps,
        on_step: Callable[[object, float | None], object] = _nothing,
        on_done: Callable[[object], object] = _nothing,
        on_error: Callable[[Exception], object] = _nothing,
        on_cancel: Callable[[], object] = _nothing,
    ) -> None:
        """Runs ``steps``. ``on_step(step, seconds left or None)`` comes once a turn; then exactly one of ``on_done(result)``,
        ``on_error(error)`` and ``on_cancel()``.

        :raises RuntimeError: a job is running already.
        """
        if self.running:
            raise RuntimeError("a job is running already; cancel it first")
        self._steps, self._cancelled, self.longest_step = steps, False, 0.0
        self._on_step, self._on_done, self._on_error, self._on_cancel = on_step, on_done, on_error, on_cancel
        self._started = self._clock()
        self._timer.start()

    def cancel(self) -> None:
        """Drops the job. From inside one of its own steps it is dropped when that step ends."""
        if not self.running:
            return
        self._cancelled = True
        if not self._inside:
            self._end(self._on_cancel)

    def _advance(self) -> None:
        if self._inside or not self.running:  # a step that spins the event loop comes back here
            return
        if self._finish is not None:
            self._end(*self._finish)
            return
        step, turn = None, self._clock()
        self._inside = True
        try:
            while not self._cancelled:
                step = next(self._steps)
                if self._clock() - turn >= _BUDGET:
                    break
        except StopIteration as stop:
            self._finish = (self._on_done, stop.value)
        except Exception as error:
            self._finish = (self._on_error, error)
        finally:
            self._inside = False
            used = self._clock() - turn
            self.longest_step = max(self.longest_step, used)
        if self._cancelled:
            self._end(self._on_cancel)
        elif self._finish is not None:
            if used < _SHORT * _BUDGET:  # else in the next turn
                self._end(*self._finish)
        elif step is not None:
            self._on_step(step, self._seconds_left(step.fraction))

    def _end(self, callback, *values) -> None:
        self._timer.stop()
        steps, self._steps, self._finish = self._steps, None, None
        steps.close()
        callback(*values)

    def _seconds_left(self, fraction: float) -> float | None:
        elapsed = self._clock() - self._started
        if elapsed < _FIRST_ESTIMATE or not 0.02 < fraction <= 1:
            return None
        return elapsed * (1 - fraction) / fraction


class Listener(Protocol):
    """Who shows what a controller does: a section of the panel, or the Segment Editor effect."""

    def state_changed(self) -> None:
        """A run began or ended, or the answer, or what it depends on, came, changed or went."""

    def progressed(self, step, seconds_left: float | None) -> None: ...

    def refused(self, text: str) -> None:
        """Something cannot be done; ``text`` says why and what to do."""

    def informed(self, text: str) -> None: ...

    def torch_missed(self) -> None:
        """The run needs torch, which is not there."""

    def failed(self, error: Exception) -> None:
        """An unexpected error."""


def tell(listener: Listener, error: Exception) -> None:
    """Tells ``listener`` of an error: what the user can mend is refused in words, missing torch is offered, all else failed."""
    if isinstance(error, (InputError, ResourceError)):
        listener.refused(str(error))
    elif isinstance(error, ImportError) and (error.name or "").split(".")[0] == "torch":
        listener.torch_missed()
    else:
        listener.failed(error)


class Run:
    """One kind of run of the panel. It is dropped when the user cancels, or one of its nodes goes, or its volume changes, or the
    scene closes. The listener hears ``state_changed`` when it has begun and when it has ended, then what there is to say.

    :param stopped: a sentence with ``{reason}``, for when it is dropped because a node went.
    :param ended: ``ended(done)``, called first at each end; ``done``: there is a result, and no error yet.
    :param quiet: the user has not asked for it: neither its progress is told nor what the user could mend.
    """

    def __init__(
        self, listener: Listener, stopped: str = "", ended: Callable[[bool], object] | None = None, quiet: bool = False
    ):
        self._listener, self._stopped, self._quiet = listener, stopped, quiet
        self._ended = ended or (lambda done: None)
        self._driver, self._watch = SteppingDriver(), None

    @property
    def running(self) -> bool:
        return self._driver.running

    def start(self, steps, finish: Callable[[object], Iterable[str] | None], nodes: Iterable = ()) -> None:
        """Does ``steps`` as long as ``nodes`` stay as they are.

        :param finish: ``finish(result)`` uses the result and returns what is to be said. Its errors are those of the run.
        """
        nodes = list(nodes)
        self._watch = SceneWatch(nodes, self._lost) if nodes else None
        self._driver.start(
            steps,
            on_step=_nothing if self._quiet else self._listener.progressed,
            on_done=lambda result: self.finish(lambda: finish(result)),
            on_error=self._failed,
            on_cancel=self._dropped,
        )
        self._listener.state_changed()

    def finish(self, action: Callable[[], Iterable[str] | None]) -> None:
        """The end of a run; also of one that needed no steps. ``action`` is ``finish`` of :meth:`start` with its result."""
        self._end(True)
        try:
            notes = action()
        except Exception as error:
            self._failed(error)
            return
        self._listener.state_changed()
        for note in notes or ():
            self._listener.informed(note)

    def cancel(self) -> None:
        self._driver.cancel()

    def _failed(self, error: Exception) -> None:
        self._dropped()
        if not (self._quiet and isinstance(error, InputError)):
            tell(self._listener, error)

    def _dropped(self) -> None:
        self._end(False)
        self._listener.state_changed()

    def _lost(self, reason: str) -> None:
        self.cancel()
        if not self._quiet:
            self._listener.informed(self._stopped.format(reason=reason))

    def _end(self, done: bool) -> None:
        if self._watch is not None:
            self._watch.stop()
        self._watch = None
        self._ended(done)


class Controller:
    """What starts, cancels and finishes the runs of one use, one at a time; knows no widgets. ``stop()`` ends everything where the
    panel ends or the scene closes. ``listener``, ``stopped``, ``ended``: those of :class:`Run`."""

    def __init__(self, listener: Listener, stopped: str = "", ended: Callable[[bool], object] | None = None):
        self._listener, self._run = listener, Run(listener, stopped, ended)

    @property
    def running(self) -> bool:
        """Whether a run that the user asked for is going on."""
        return self._run.running

    def cancel(self) -> None:
        """Drops the run; scene and folders stay as they were."""
        self._run.cancel()


def time_left_text(seconds: float | None) -> str:
    """``seconds`` for people: "", "a few seconds left", "about 40 s left", "about 3 min left", "about 5 h left"."""
    if seconds is None:
        return ""
    if seconds < 5:
        return _("a few seconds left")
    if seconds < 90:
        return _("about {seconds} s left").format(seconds=round(seconds / 5) * 5)
    if seconds < 2 * 3600:
        return _("about {minutes} min left").format(minutes=round(seconds / 60))
    return _("about {hours} h left").format(hours=round(seconds / 3600))
