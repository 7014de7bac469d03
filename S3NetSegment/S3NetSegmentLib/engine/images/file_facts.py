"""What names the content of an image: its files, their digest, and samples by which a replaced image is known at little cost."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..common.errors import InputError, ResourceError
from .dicom.kinds import files_in
from .dicom.series import dicom_files, is_dicom
from .files import file_head, stem_of, suffix_of

_HEADERS = (".nhdr", ".mhd", ".hdr", ".img")  # formats whose voxels lie in another file
_NAMED = re.compile(rb"^\s*(?:data ?file|ElementDataFile)\s*[:=]\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_FILES, _PLACES, _BYTES = 8, 16, 4096  # files of an image, places in each, and bytes there that are looked at


def files_of(path: str | os.PathLike) -> list[Path]:
    """The files that an input consists of: those of a DICOM folder (also where one of its files is named), the voxels
    beside a header, otherwise the file itself."""
    path = Path(path)
    if path.is_dir():
        return dicom_files(path)
    head = file_head(path)
    if is_dicom(path, head):
        return list(files_in(path.parent, False))
    if suffix_of(path) in _HEADERS:
        named = [n.decode("utf-8", "replace") for n in _NAMED.findall(head)]
        if any("LIST" in n.upper() or "%" in n for n in named):
            return list(files_in(path.parent, False))
        wanted = {path.name, *named}
        return [f for f in files_in(path.parent, False) if f.name in wanted or stem_of(f.name) == stem_of(path.name)]
    return [path]


def file_facts(path: str, known: Mapping) -> dict:
    """``path``, the number of its files, their ``bytes``, ``stamp`` (sizes and times), ``sha256`` and ``sample``, see :func:`sampled`.

    :param known: the facts of an earlier time; files with the same path and stamp are not read again.
    :raises InputError: an input that is not there or cannot be read.
    :raises ResourceError: the disk fails.
    """
    try:
        files = files_of(path)
        stats = [os.stat(file) for file in files]
        stamp = _stamp(files, stats)
        if known.get("path") == path and known.get("stamp") == stamp and known.get("sha256"):
            return dict(known)
        if len(files) == 1 and not os.path.isdir(path):
            digest = digest_of(files[0])
        else:
            listed = "\n".join(f"{file.name}\0{digest_of(file)}" for file in files)
            digest = hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()
        sample = sampled(looked_at(path))
    except OSError as error:
        if not os.path.lexists(path):
            raise InputError(f"there is no longer a file or folder {path!r}; check the path") from None
        raise ResourceError(f"{path!r} cannot be read ({error.strerror or error}); check the disk") from None
    return {
        "path": path, "files": len(files), "bytes": sum(s.st_size for s in stats), "stamp": stamp, "sha256": digest,
        "sample": sample,
    }  # fmt: skip


def looked_at(path: str | os.PathLike) -> tuple[tuple[str, int, int, int], ...]:
    """A few of the files of an image: path, bytes, times of modification and of change (ns). InputError, or OSError as the system."""
    folder = Path(path)
    if folder.is_dir():  # nothing in it is opened
        files = list(files_in(folder, False)) or list(files_in(folder, True))
    else:
        files = files_of(path)
    if len(files) > _FILES:
        files = [files[n * (len(files) - 1) // (_FILES - 1)] for n in range(_FILES)]
    stats = [os.stat(file) for file in files]
    return tuple((str(f), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for f, s in zip(files, stats, strict=True))


def sampled(files: Sequence[tuple[str, int, int, int]]) -> str:
    """A digest of the sizes of these files, see :func:`looked_at`, and of what stands in a few places of each. OSError as the system."""
    digest = hashlib.sha256()
    for name, size, *_ in files:
        digest.update(f"{size};".encode())
        with open(name, "rb", buffering=0) as file:
            for n in range(_PLACES):
                file.seek(n * max(0, size - _BYTES) // (_PLACES - 1))
                digest.update(file.read(_BYTES))
    return digest.hexdigest()


def _stamp(files: list[Path], stats: list[os.stat_result]) -> str:
    # The time of change of the directory entry (ctime) is not set back by tools that keep the time of modification.
    facts = [(f.name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for f, s in zip(files, stats, strict=True)]
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file. OSError as the system."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
