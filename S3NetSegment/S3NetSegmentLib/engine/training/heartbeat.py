"""Signs of life of a training run: a lock that ends with its process, and a heartbeat that other machines see too.

The lock says for certain, and at once, whether a process of this machine still runs the folder. A process number alone does
not: after a crash or a restart of the machine it may belong to any other program. The heartbeat decides where the lock does
not reach (another machine, a file system without locks), and shows a run that lives but does not get on.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ...file_lock import FileLock

LOCK, BEAT = ".running", "heartbeat"
BEAT_EVERY = 1.0  # seconds
SILENT_AFTER = 120.0  # seconds without a heartbeat after which a run elsewhere counts as dead; a long step gives none
_A_LOOK = 0.3  # seconds to wait for a lock that somebody may only look at


class Heartbeat:
    """The heartbeat of the run in ``folder``: given by the process that has begun it, read by others."""

    def __init__(self, folder: str | os.PathLike):
        self._path = Path(folder) / BEAT
        self._lock = FileLock(Path(folder) / LOCK)
        self._last = float("-inf")
        self._seen: tuple[float, float] | None = None  # the newest heartbeat seen, and when it was seen first

    @property
    def is_held(self) -> bool:
        return self._lock.is_held

    def begin(self) -> bool:
        """Takes the run for this process; False if another one has it. The folder must exist."""
        if not self._lock.take(_A_LOOK):
            return False
        self._last = float("-inf")
        self.beat()
        return True

    def beat(self) -> None:
        """A sign of life, at most one in :data:`BEAT_EVERY`."""
        now = time.monotonic()
        if not self.is_held or now - self._last < BEAT_EVERY:
            return
        self._last = now
        try:
            self._path.touch()
        except OSError:
            pass  # a full disk is found out by those who have something to write

    def end(self) -> None:
        self._lock.give_back()

    def is_alive(self, is_here: bool, pid: int | None) -> bool:
        """Whether another process has the run now.

        :param is_here: whether it is said to be on this machine, with the number ``pid``.
        """
        if self.is_held or (is_here and pid == os.getpid()):
            return False
        held = self._lock.is_held_elsewhere()
        if held is None and is_here:
            return process_exists(pid)
        if held or is_here:
            return bool(held)
        silent = self.seconds_silent
        return silent is not None and silent < SILENT_AFTER

    @property
    def seconds_silent(self) -> float | None:
        """Seconds since the last heartbeat, None if there was none. The clock of another machine may differ: a heartbeat
        that is seen to come is believed rather than its time."""
        try:
            beat = self._path.stat().st_mtime
        except OSError:
            return None
        now = time.monotonic()
        if self._seen is None:
            self._seen = (beat, now - max(0.0, time.time() - beat))
        elif self._seen[0] != beat:
            self._seen = (beat, now)
        return now - self._seen[1]


def process_exists(pid: int | None) -> bool:
    """Whether any process of this machine has the number ``pid``."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    if sys.platform == "win32":  # there os.kill would end the process
        import ctypes

        synchronize, still_there = 0x00100000, 0x00000102
        handle = ctypes.windll.kernel32.OpenProcess(synchronize, False, pid)
        if not handle:
            return False
        alive = ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == still_there
        ctypes.windll.kernel32.CloseHandle(handle)
        return alive
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # gone, or a number that no process has
        return False
    except OSError:
        pass  # it is there, but another user's
    return True
