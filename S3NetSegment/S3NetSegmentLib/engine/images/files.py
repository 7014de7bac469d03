"""Files as the user names them: what lies at a path, and writing that never leaves half a file behind."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..common.errors import InputError, ResourceError
from .volume import Volume

SEGMENTATION_FORMATS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".png")
IMAGE_FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha", ".png")
_DOUBLE_SUFFIXES = (".seg.nrrd", ".nii.gz", ".img.gz", ".hdr.gz")
_SNIFFED = 4096
_BUSY = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY)
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4)  # seconds
_TEMPORARY = re.compile(r"\.[0-9a-f]{12}(\.[a-z]+)*")


def suffix_of(path: str | os.PathLike) -> str:
    """The format part of a file name in lower case: ".png", and also ".nii.gz" or ".seg.nrrd"."""
    name = os.fspath(path).lower()
    return next((s for s in _DOUBLE_SUFFIXES if name.endswith(s)), Path(name).suffix)


def stem_of(path: str | os.PathLike) -> str:
    """The file name without its format part."""
    name = Path(path).name
    return name[: len(name) - len(suffix_of(path))] or name


def file_head(path: str | os.PathLike) -> bytes:
    """The first bytes of a file that must exist and hold something; InputError otherwise."""
    try:
        refuse_devices(path)
        with open(path, "rb") as file:
            head = file.read(_SNIFFED)
    except FileNotFoundError:
        raise not_there(path) from None
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be opened ({error.strerror}); check its permissions") from None
    if not head:
        raise InputError(f"{str(path)!r} is empty (0 bytes); copy or export it again")
    return head


def not_there(path: str | os.PathLike) -> InputError:
    """The error for a path at which nothing lies. A link to nothing is told, and a name that looks alike but is stored with other
    capitals, or with accents as characters of their own (as macOS stores them)."""
    missing = Path(path)
    if missing.is_symlink():
        return InputError(
            f"{os.fspath(path)!r} is a link to {str(missing.readlink())!r}, which is not there; set the link right"
        )
    key = _look(missing.name)
    try:
        alike = next((name for name in sorted(os.listdir(missing.parent)) if _look(name) == key), None)
    except OSError:
        alike = None
    hint = f"; {alike!r} there differs in capitals or in how its accents are stored, copy its name" if alike else ""
    return InputError(f"there is no file or folder {os.fspath(path)!r}{hint or '; check the path'}")


def _look(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def damaged(path: str | os.PathLike, what: str = "voxels are missing or wrong") -> InputError:
    """The error for a file that is not whole."""
    return InputError(f"{os.fspath(path)!r} is cut off or damaged: {what}; copy or export it again")


def refuse_devices(path: str | os.PathLike) -> None:
    """Raises InputError if ``path`` is a pipe, a socket or a device, which may never end; OSError if nothing is there."""
    kind = os.stat(path).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise InputError(f"{os.fspath(path)!r} is a pipe or a device and no file; save what it gives to a file first")


def check_output_path(
    path: str | os.PathLike, kinds: Sequence[str] = SEGMENTATION_FORMATS, *, volume: Volume | None = None
) -> Path:
    """Whether a result can be written to ``path``, to be asked before the long work.

    :param kinds: the file formats that are possible, e.g. :data:`SEGMENTATION_FORMATS`, :data:`IMAGE_FORMATS` or
        ``(".png",)`` for an overlay.
    :param volume: the image that the result belongs to; a picture format is then refused for a 3D image. Leave it out
        for overlays, which are always pictures.
    :returns: the path.
    :raises InputError: unknown format, a folder, a write-protected place, or a picture of a 3D image.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if len(os.fsencode(path.name)) > 255:
        raise InputError(f"output file name {path.name[:40]!r}... is too long; use at most 255 bytes")
    if path.is_dir():
        raise InputError(f"output {str(path)!r} is a folder; give the name of a file in it")
    if not any(suffix == kind or (kind == ".nrrd" and suffix == ".seg.nrrd") for kind in kinds):
        raise InputError(
            f"output file {path.name!r} ends with {suffix or 'nothing'!r}; end it with one of {', '.join(kinds)}"
        )
    if suffix == ".png" and volume is not None and volume.size[2] != 1:
        others = ", ".join(k for k in kinds if k != ".png")
        raise InputError(
            f"output file {path.name!r} is a flat picture, but the image has {volume.size[2]} slices; "
            f"end it with one of {others}"
        )
    target = Path(os.path.realpath(path))
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"output {str(path)!r} exists and is write-protected; choose another name")
    folder = target.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"output {str(path)!r} cannot be made, since {str(folder)!r} is a file; choose another folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"nothing can be written into folder {str(folder)!r}; choose another folder for {path.name!r}")
    return path


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives the name of a temporary file beside ``path`` and, when the block ends well, renames it to ``path``.

    When the block fails the temporary file is removed and an older ``path`` stays as it was. Missing parent folders are
    made. Errors of the file system become InputError (place) or ResourceError (space).
    """
    target = Path(os.path.realpath(path))  # a link stays a link; the file it names is replaced
    # Short, since the name itself may be at its limit.
    temporary = target.parent / f".{secrets.token_hex(6)}{suffix_of(path)}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        rename_over(temporary, target)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True) if target.parent.is_dir() else None


def is_left_over(name: str, kinds: Sequence[str] = ("",)) -> bool:
    """Whether ``name`` is one that :func:`replacing` leaves behind for a file of one of ``kinds`` when it is killed."""
    return bool(_TEMPORARY.fullmatch(name)) and name.endswith(tuple(kinds))


def replace_text(path: str | os.PathLike, text: str, errors: str = "strict") -> None:
    """Writes ``text`` in UTF-8 with its own ends of lines, whole or not at all. Raises as :func:`replacing`.

    :param errors: what becomes of characters that are none, e.g. of damaged file names; as for ``str.encode``.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors, newline="")


def flush_to_disk(file) -> None:
    """Returns when what was written to ``file`` is on the disk, so that no later rename can overtake it."""
    file.flush()
    os.fsync(file.fileno())


def rename_over(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Renames ``source`` to ``target``, which may exist. Where another program holds ``target`` open for a moment (a virus
    scanner on Windows, a client of a network share) it is tried again for a second. Raises OSError after that."""
    for pause in _PAUSES:
        try:
            return os.replace(source, target)
        except OSError as error:
            if error.errno not in _BUSY:
                raise
        time.sleep(pause)
    return os.replace(source, target)


def _write_error(path: str | os.PathLike, error: OSError) -> Exception:
    shown = repr(os.fspath(path))
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG):
        return ResourceError(
            f"{shown} could not be written, the disk or the quota is full ({error.strerror}); "
            "free some space or choose another folder. An earlier file of this name is as it was"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return InputError(f"{shown} could not be written ({error.strerror}); choose another folder or name")
    if error.errno == errno.ENAMETOOLONG:
        return InputError(f"{shown} could not be written, its name is too long; use a shorter one")
    return ResourceError(f"{shown} could not be written ({error.strerror or error}); try another folder")
