"""Records: one JSON file for each case, written last of all its files, from which everything else can be reported again."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from ... import __version__
from ..common.errors import InputError
from ..common.json_file import read_json
from ..images.file_facts import digest_of, file_facts
from ..images.files import flush_to_disk, is_left_over, replacing
from .case import Case
from .output_names import RECORDS, place_in

STAGING = ".s3net-"  # begin of the names of folders in which results are made
_KINDS = (".json", ".csv", ".html")  # of records and reports
_FACTS = {
    "name": str, "status": str, "settings_hash": str, "inputs": dict, "outputs": dict, "segments": list, "notes": list,
    "seconds": dict, "error": str, "method": str, "thumbnail": str, "confidence": float | int | None,
    "memory_mb": int | None,
}  # fmt: skip
_SEGMENT = {"name": str, "voxels": int, "volume_ml": float | int | None, "area_mm2": float | int | None}
SCHEMA = 2


def record_path(folder: str | os.PathLike, name: str) -> Path:
    return place_in(folder, f"{RECORDS}/{name}.json")


def read_record(folder: str | os.PathLike, name: str) -> dict | None:
    """The record of a case; None if there is none, or one that is damaged or of another version of the format."""
    try:
        record = read_json(record_path(folder, name))
        sound = record["schema"] == SCHEMA and _holds(record, _FACTS)
        sound = sound and all(_holds({"area_mm2": None, **segment}, _SEGMENT) for segment in record["segments"])
        sound = sound and all(isinstance(e, dict) for part in ("inputs", "outputs") for e in record[part].values())
    except (InputError, KeyError, TypeError, AttributeError):
        return None
    return record if sound and record["name"] == name else None


def _holds(facts: dict, kinds: dict) -> bool:
    return all(isinstance(facts[name], kind) for name, kind in kinds.items())


def write_record(folder: str | os.PathLike, record: dict) -> None:
    """Writes the record of a case, whole or not at all. InputError or ResourceError if it cannot be."""
    path = record_path(folder, record["name"])
    if path.is_symlink():
        path.unlink()  # a link is not followed: it could lead out of the folder
    with replacing(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump({"schema": SCHEMA, **record}, file, indent=1, allow_nan=False)
            flush_to_disk(file)


def forget(folder: str | os.PathLike, name: str) -> None:
    """Removes the record of a case whose results are about to be replaced."""
    record_path(folder, name).unlink(missing_ok=True)


def staging_folder(folder: str | os.PathLike, case: Case) -> Path:
    """A new folder beside the results of ``case``, so that a rename puts each of them in its place at once."""
    parent = place_in(folder, case.output).parent
    path = parent / f"{STAGING}{secrets.token_hex(6)}"
    path.mkdir(parents=True)
    return path


def remove_leftovers(folder: str | os.PathLike, cases: Iterable[Case]) -> int:
    """Removes what a killed batch left half made; returns how many things. Only while no other batch runs there."""
    cases, removed = list(cases), 0
    for parent in {place_in(folder, case.output).parent for case in cases}:
        for entry in _entries(parent):
            if entry.name.startswith(STAGING) and entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
                removed += 1
    for parent in {place_in(folder, RECORDS).parent, *(record_path(folder, case.name).parent for case in cases)}:
        for entry in _entries(parent):
            if is_left_over(entry.name, _KINDS) and entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)
                removed += 1
    return removed


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def input_facts(case: Case, known: dict | None = None) -> dict[str, dict]:
    """For each input of ``case`` its :func:`~..images.file_facts.file_facts`.

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
        return digest_of(Path(case.encoder))
    from ..nets.weights import CATALOGUE, DEFAULT_WEIGHTS, WeightsStore

    store = WeightsStore()
    names = [DEFAULT_WEIGHTS, *CATALOGUE] if case.encoder == "auto" else [n for n in CATALOGUE if n == case.encoder]
    return next((found.sha256 for name in names if (found := store.find(name))), "")
