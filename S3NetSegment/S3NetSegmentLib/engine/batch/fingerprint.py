"""What a case was made of: hashes of its inputs and of everything else that its result depends on.

Reading whole cohorts again only to find nothing changed would take hours; a file whose size and times of change are those of
the record is taken to be the same, any other one is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

from ... import __version__
from ..common.errors import InputError, ResourceError
from ..images.dicom.series import dicom_files, is_dicom
from ..images.files import file_head, stem_of, suffix_of
from .case import Case

SCHEMA = 2
_BLOCK = 1 << 20
_HEADERS = (".nhdr", ".mhd", ".hdr", ".img")  # formats whose voxels lie in another file
_NAMED = re.compile(rb"^\s*(?:data ?file|ElementDataFile)\s*[:=]\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)


def input_facts(case: Case, known: dict | None = None) -> dict[str, dict]:
    """For each input of ``case`` its path, number of files, bytes, ``stamp`` (sizes and times) and ``sha256``.

    :param known: the facts of an earlier run; an input with the same path and stamp is not read again.
    :raises InputError: an input that is not there or cannot be read.
    """
    return {role: file_facts(path, (known or {}).get(role) or {}) for role, path in case.inputs().items()}


def same_content(facts: dict[str, dict], others: dict[str, dict]) -> bool:
    """Whether two sets of input facts are of the same contents, wherever they lie."""
    return {r: f.get("sha256") for r, f in facts.items()} == {r: f.get("sha256") for r, f in others.items()}


def settings_hash(case: Case, encoder: str = "") -> str:
    """SHA-256 of the settings, the version of this software and the weights that an encoder is made of.

    :param encoder: what names the weights, see :func:`encoder_digest`.
    """
    facts = {"schema": SCHEMA, "version": __version__, "encoder": encoder, **case.what_counts()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def encoder_digest(case: Case) -> str:
    """What names the weights that ``case`` would use now, "" for none."""
    if case.encoder == "default":
        return ""
    if os.path.isfile(case.encoder):
        return _file_hash(Path(case.encoder))
    from ..nets.weights import CATALOGUE, DEFAULT_WEIGHTS, WeightsStore

    store = WeightsStore()
    names = [DEFAULT_WEIGHTS, *CATALOGUE] if case.encoder == "auto" else [n for n in CATALOGUE if n == case.encoder]
    return next((found.sha256 for name in names if (found := store.find(name))), "")


def files_of(path: str | os.PathLike) -> list[Path]:
    """The files that an input consists of: those of a DICOM folder (also where one of its files is named), the voxels
    beside a header, otherwise the file itself."""
    path = Path(path)
    if path.is_dir():
        return dicom_files(path)
    head = file_head(path)
    if is_dicom(path, head):
        return _files_in(path.parent)
    if suffix_of(path) in _HEADERS:
        named = [n.decode("utf-8", "replace") for n in _NAMED.findall(head)]
        if any("LIST" in n.upper() or "%" in n for n in named):
            return _files_in(path.parent)
        wanted = {path.name, *named}
        return [f for f in _files_in(path.parent) if f.name in wanted or stem_of(f.name) == stem_of(path.name)]
    return [path]


def _files_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(e.path) for e in entries if e.is_file() and not e.name.startswith("."))
    except OSError as error:
        raise InputError(f"folder {str(folder)!r} cannot be opened ({error.strerror}); check its permissions") from None


def file_facts(path: str, known: dict) -> dict:
    """The facts of one input, see :func:`input_facts`; ``known``: its facts of an earlier run. Errors as there."""
    try:
        files = files_of(path)
        stats = [os.stat(file) for file in files]
        stamp = _stamp(files, stats)
        if known.get("path") == path and known.get("stamp") == stamp and known.get("sha256"):
            return known
        if len(files) == 1 and not os.path.isdir(path):
            digest = _file_hash(files[0])
        else:
            listed = "\n".join(f"{file.name}\0{_file_hash(file)}" for file in files)
            digest = hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()
    except OSError as error:
        if not os.path.lexists(path):
            raise InputError(f"there is no file or folder {path!r} any more; check the path") from None
        raise ResourceError(f"{path!r} cannot be read ({error.strerror or error}); check the disk") from None
    return {
        "path": path, "files": len(files), "bytes": sum(s.st_size for s in stats), "stamp": stamp, "sha256": digest,
    }  # fmt: skip


def _stamp(files: list[Path], stats: list[os.stat_result]) -> str:
    # The time of change of the directory entry (ctime) is not set back by tools that keep the time of modification.
    facts = [(f.name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for f, s in zip(files, stats, strict=True)]
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()


def _file_hash(path: Path) -> str:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
