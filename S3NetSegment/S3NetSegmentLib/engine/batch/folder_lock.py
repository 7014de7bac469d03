"""One batch at a time in one output folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .output_names import RECORDS, place_in

_NAME = ".lock"


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Holds ``folder`` for this batch; the lock ends with the process, however it ends.

    :raises InputError: another batch writes there, or nothing can be written there.
    """
    path = place_in(folder, f"{RECORDS}/{_NAME}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise InputError(
            f"nothing can be written into folder {str(Path(folder))!r} ({error.strerror}); choose another output folder"
        ) from None
    try:
        if not _try_lock(file):
            raise InputError(
                f"another batch is writing into {str(Path(folder))!r}; wait for it, stop it, or choose another folder"
            )
        yield
    finally:
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass  # a file system without locks: go on without
    return True
