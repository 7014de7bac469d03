"""``qt.QTimer`` whose delays tests need not sit through."""

from __future__ import annotations

import math
import weakref

from PyQt5 import QtCore


class QTimer(QtCore.QTimer):
    """Time can be skipped: all timers that run are due that much earlier, in the order that they were."""

    _started: weakref.WeakSet[QTimer] = weakref.WeakSet()  # those that run, and some that no longer do

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._shortened_from = None  # the interval, while what is left of it stands in its place
        self.timeout.connect(self._restore)  # before whoever else listens, who may start it again

    @classmethod
    def skip(cls, most=math.inf, once=False):
        """Lets the time pass until the next timer is due, at most ``most`` milliseconds; returns how many.

        :param once: only if a timer that does not repeat is running.
        """
        running = [timer for timer in cls._started if timer.isActive()]
        cls._started = weakref.WeakSet(running)
        if once and not any(timer.isSingleShot() for timer in running):
            return 0
        skipped = min([most, *(timer.remainingTime for timer in running)])
        for timer in running if skipped > 0 else ():  # else what is due comes with the next events
            timer._hasten(skipped)
        return skipped

    def _hasten(self, milliseconds):
        own = self.interval if self._shortened_from is None else self._shortened_from
        super().start(max(0, math.ceil(self.remainingTime - milliseconds)))
        self._shortened_from = own

    def _restore(self):
        if self._shortened_from is not None:
            self.setInterval(self._shortened_from)

    def setInterval(self, milliseconds):
        self._shortened_from = None
        super().setInterval(milliseconds)

    def start(self, *milliseconds):
        self._restore()
        self._started.add(self)
        super().start(*milliseconds)
