"""One batch at a time in one output folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..file_lock import FileLock
from .output_names import RECORDS, place_in

_NAME = ".lock"


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Holds ``folder`` for this batch; the lock ends with the process, however it ends.

    :raises InputError: another batch writes there, or nothing can be written there.
    """
    lock = FileLock(place_in(folder, f"{RECORDS}/{_NAME}"))
    try:
        lock.path.parent.mkdir(parents=True, exist_ok=True)
        is_taken = lock.take()
    except OSError as error:
        raise InputError(
            f"nothing can be written into folder {str(Path(folder))!r} ({error.strerror}); choose another output folder"
        ) from None
    if not is_taken:
        raise InputError(
            f"another batch is writing into {str(Path(folder))!r}; wait for it, stop it, or choose another folder"
        )
    try:
        yield
    finally:
        lock.give_back()
