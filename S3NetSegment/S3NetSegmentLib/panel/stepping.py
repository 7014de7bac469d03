"""Runs long work inside Qt's event loop, a slice of time at a time, so that the window stays alive."""

from __future__ import annotations

import time
from collections.abc import Callable

import qt
from slicer.i18n import tr as _

BUDGET = 0.05  # seconds of work between two turns of the event loop
_FIRST_ESTIMATE = 0.5  # seconds before a time left is given: earlier ones jump about


class SteppingDriver:
    """Advances one generator of progress steps from a zero timer; at most one job at a time.

    A cancelled job is dropped where it stands: nothing that it would have returned is used. Callbacks run on the main
    thread, outside the generator; they may start the next job.

    Attributes: ``longest_step``, the longest time in seconds that the present or last job held the event loop.
    """

    def __init__(self, budget: float = BUDGET, clock: Callable[[], float] = time.monotonic):
        self._budget, self._clock = budget, clock
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._advance)
        self._steps = None
        self._inside = False
        self._cancelled = False
        self.longest_step = 0.0

    @property
    def running(self) -> bool:
        return self._steps is not None

    def start(
        self,
        steps,
        on_step: Callable[[object, float | None], object],
        on_done: Callable[[object], object],
        on_error: Callable[[Exception], object],
        on_cancel: Callable[[], object],
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
        step, turn = None, self._clock()
        self._inside = True
        try:
            while not self._cancelled:
                step = next(self._steps)
                if self._clock() - turn >= self._budget:
                    break
        except StopIteration as stop:
            finish = (self._on_done, stop.value)
        except Exception as error:
            finish = (self._on_error, error)
        else:
            finish = None
        finally:
            self._inside = False
            self.longest_step = max(self.longest_step, self._clock() - turn)
        if self._cancelled:
            self._end(self._on_cancel)
        elif finish is not None:
            self._end(*finish)
        elif step is not None:
            self._on_step(step, self._seconds_left(step.fraction))

    def _end(self, callback, *values) -> None:
        self._timer.stop()
        steps, self._steps = self._steps, None
        steps.close()
        callback(*values)

    def _seconds_left(self, fraction: float) -> float | None:
        elapsed = self._clock() - self._started
        if elapsed < _FIRST_ESTIMATE or not 0.02 < fraction <= 1:
            return None
        return elapsed * (1 - fraction) / fraction


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
