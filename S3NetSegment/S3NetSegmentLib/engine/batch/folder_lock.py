"""One batch at a time in one output folder; and what is still computed for an earlier one writes nothing any more."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ...file_lock import FileLock
from ..common.errors import InputError
from ..images.files import replacing
from .output_names import RECORDS, place_in

_LOCK, _RUN = ".lock", ".run"


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[bool]:
    """Holds ``folder`` for this batch; the lock ends with the process, however it ends. Gives False where the file system
    knows no locks, so that another batch would not be noticed.

    :raises InputError: another batch writes there, or nothing can be written there.
    """
    lock = FileLock(place_in(folder, f"{RECORDS}/{_LOCK}"))
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
        yield lock.is_certain
    finally:
        lock.give_back()


@contextlib.contextmanager
def announced(folder: str | os.PathLike) -> Iterator[str]:
    """A name for this run, which :func:`is_current` knows until the block ends or another run begins.

    For workers that do not end with the batch: they go on with their case for a while, and must not write into the folder
    of the batch that resumes it.
    """
    path, run = _run_file(folder), secrets.token_hex(8)
    with replacing(path) as temporary:
        temporary.write_text(run, encoding="ascii")
    try:
        yield run
    finally:
        if is_current(folder, run):
            path.unlink(missing_ok=True)


def is_current(folder: str | os.PathLike, run: str) -> bool:
    """Whether the run of that name is the one that may write into ``folder``."""
    try:
        return _run_file(folder).read_text(encoding="ascii") == run
    except (OSError, UnicodeDecodeError, InputError):
        return False


def _run_file(folder: str | os.PathLike) -> Path:
    return place_in(folder, f"{RECORDS}/{_RUN}")
