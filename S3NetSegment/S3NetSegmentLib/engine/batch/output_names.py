"""Names of results: checked so that nothing is ever written outside the output folder, on any system."""

from __future__ import annotations

import contextlib
import os
import secrets
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ...file_lock import FileLock
from ..common.errors import InputError
from ..images.dicom.seg_writing import SUFFIX as DICOM_SEG
from ..images.files import SEGMENTATION_FORMATS, replace_text, stem_of, suffix_of

RECORDS = "records"  # folder of the cases' records, inside the output folder
RESERVED = (RECORDS, "report", "report.html", "report.csv", "report.json")
_WINDOWS = {"con", "prn", "aux", "nul", *(f"{n}{d}" for n in ("com", "lpt") for d in "123456789¹²³")}
_LONGEST = 150  # bytes of one part; endings and temporary names need some of the 255
_LOCK, _RUN = ".lock", ".run"


def checked_output(text: str, ending: str = ".seg.nrrd") -> str:
    """``text`` as the name of a segmentation, with an ending (``ending`` where it has none), "/" between folders.

    :raises ValueError: a name that could leave the folder, or that some file system does not allow.
    """
    for part in _parts(text):
        _check_part(part, text)
    if text.split("/")[0].casefold() in RESERVED or stem_of(text.split("/")[0]).casefold() == "report":
        raise ValueError(f"{text!r} is kept for the records and the report; choose another name")
    suffix = suffix_of(text)
    if suffix in (*SEGMENTATION_FORMATS, DICOM_SEG):
        return text
    return f"{text}{ending}"  # a dot may be part of the name, e.g. patient.001


def _parts(text: str) -> list[str]:
    if "\\" in text:
        raise ValueError(f"{text!r} holds a backslash; separate folders with /")
    if text.startswith("/") or (len(text) > 1 and text[1] == ":"):
        raise ValueError(f"{text!r} is an absolute path; results lie inside the output folder: write a name")
    return text.split("/")


def _check_part(part: str, text: str) -> None:
    if part in ("", ".", ".."):
        raise ValueError(f"{text!r} leads out of its folder or has an empty part; write a name, or FOLDER/NAME")
    if part.startswith((".", "~")) or part.endswith((".", " ")) or part != part.strip():
        raise ValueError(f"{part!r} begins or ends with a dot, a blank or ~; write another name")
    wrong = sorted({c for c in part if c in '<>:"|?*' or unicodedata.category(c)[0] == "C"})
    if wrong:
        raise ValueError(f"{part!r} holds {''.join(wrong)!r}, which not every system allows in names; leave it out")
    if part.split(".")[0].rstrip().casefold() in _WINDOWS:
        raise ValueError(f"{part!r} is a device on Windows; write another name")
    if len(part.encode("utf-8", "replace")) > _LONGEST:
        raise ValueError(f"{part[:40]!r}... is too long; use at most {_LONGEST} bytes")


def same_file_key(name: str) -> str:
    """Equal for names that some file system takes for the same file."""
    return unicodedata.normalize("NFC", name).casefold()


def place_in(folder: str | os.PathLike, name: str) -> Path:
    """The path of ``name`` (checked) inside ``folder``.

    :raises InputError: a link on the way leads out of the folder.
    """
    root = os.path.realpath(folder)
    path = Path(root, *name.split("/"))
    parent = os.path.realpath(path.parent)
    if parent != root and not parent.startswith(root.rstrip(os.sep) + os.sep):
        raise InputError(
            f"output {name!r} would be written to {parent!r}, outside {root!r}, by a link; remove the link or choose "
            "another name"
        )
    return path


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[bool]:
    """Holds ``folder`` for this batch; the lock ends with the process, however it ends. Gives False where the file system
    knows no locks, so that another batch would not be noticed.

    :raises InputError: another batch writes there, or nothing can be written there.
    """
    with FileLock(place_in(folder, f"{RECORDS}/{_LOCK}")) as lock:
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
        yield lock.is_certain


@contextlib.contextmanager
def announced(folder: str | os.PathLike) -> Iterator[str]:
    """A name for this run, which :func:`is_current` knows until the block ends or another run begins.

    For workers that do not end with the batch: they go on with their case for a while, and must not write into the folder
    of the batch that resumes it.
    """
    path, run = _run_file(folder), secrets.token_hex(8)
    replace_text(path, run)
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
