"""A lock on a file that ends with the process that holds it, however that ends. Standard library only, for every room: the
launcher needs it before there is any package. The package filelock also cannot tell, without taking it, whether a lock is held.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_PAUSE = 0.05  # seconds between two tries


class FileLock:
    """A lock on the file ``path``, which is made if need be; its content does not matter.

    The system gives it back when the process ends, also by kill -9 or a crash, so that "held" always means a living process.
    As a context it is given back at its end, if it was taken. Where a file system knows no locks it is never seen as held by others; ask :attr:`is_certain`.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._file: int | None = None
        self.is_certain = True

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *_) -> None:
        self.give_back()

    @property
    def is_held(self) -> bool:
        """Whether it is held by this object."""
        return self._file is not None

    def take(self, patience: float = 0.0) -> bool:
        """Takes it; False if another process (or object) still holds it after ``patience`` seconds. OSError if the file cannot be
        made."""
        until = time.monotonic() + patience
        while not (taken := self._try_to_take()) and time.monotonic() < until:
            time.sleep(_PAUSE)
        return taken

    def _try_to_take(self) -> bool:
        if self._file is not None:
            return True
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        taken = _locked(file)
        self.is_certain = taken is not None
        if taken is False:
            os.close(file)
            return False
        self._file = file
        return True

    def give_back(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def is_held_elsewhere(self) -> bool | None:
        """Whether another process holds it; None if the file system cannot tell. Nothing is made."""
        if self._file is not None or not self.path.exists():
            return False
        try:
            file = os.open(self.path, os.O_RDWR)
        except OSError:
            return None
        try:
            free = _locked(file, shared=True)  # readers do not disturb each other
            return None if free is None else not free
        finally:
            os.close(file)


def _locked(file: int, shared: bool = False) -> bool | None:
    """Tries to lock an open file; None on a file system without locks."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # only there on Windows
        else:
            import fcntl

            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True
