"""Reads a manifest into cases; everything wrong in it is said at once, by row."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ..errors import InputError
from ..images.dicom.seg_writing import check_dicom_seg
from ..images.dicom.series import is_dicom
from ..images.files import file_head, stem_of, suffix_of
from ..images.label_names import read_label_names
from .case import Case
from .clashes import clashes
from .columns import COLUMNS, METHODS, PATH_COLUMNS, TASKS
from .manifest_rows import ManifestError, file_rows, folder_rows, name_problem
from .output_names import DICOM_SEG, checked_output

__all__ = ["ManifestError", "read_manifest"]


def read_manifest(
    path: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    pattern: str | None = None,
    defaults: Mapping[str, str] | None = None,
) -> list[Case]:
    """The cases of the manifest at ``path``, all checked: nothing has to be computed to know that they can begin.

    :param path: a ``.csv`` or ``.json`` file, or a folder of images. A JSON file is a list of objects, or
        ``{"defaults": {...}, "cases": [...]}``. Paths in it are relative to its own folder.
    :param folder: where the results will go; it need not exist.
    :param pattern: for a folder, which of its files are meant, e.g. ``"*.nii.gz"`` or ``"**/*.nrrd"``; None: all images
        directly in it.
    :param defaults: column -> value for rows that do not say it; paths here are relative to the working directory.
    :raises ManifestError: with everything that is wrong, by row.
    """
    path = Path(path)
    given = _checked_defaults(path, defaults or {})
    if path.is_dir():
        rows, base = folder_rows(path, Path(folder), pattern), path
    else:
        if pattern is not None:
            raise InputError(f"a pattern ({pattern!r}) is for a folder of images, but {str(path)!r} is a file")
        rows, base = file_rows(path), path.parent
    problems, cases = [], []
    for row, values in rows:
        found = _case(row, {**given, **values}, base, problems)
        if found is not None:
            cases.append(found)
    problems += clashes(cases, folder)
    if problems:
        raise ManifestError(path, problems)
    if not cases:
        raise ManifestError(path, ["it holds no case; write one row for each image"])
    return cases


def _checked_defaults(path: Path, defaults: Mapping[str, str]) -> dict:
    problems = [p for name in defaults if (p := name_problem(name))]
    if problems:
        raise ManifestError(path, [f"defaults: {p}" for p in problems])
    found = dict(defaults)
    for name in PATH_COLUMNS:
        if isinstance(found.get(name), str):
            parts = [p.strip() for p in found[name].split(";")]
            found[name] = ";".join(os.path.abspath(p) if p else "" for p in parts)
    return found


def _case(row: str, values: dict, base: Path, problems: list[str]) -> Case | None:
    """The case of one row; what is wrong is added to ``problems``."""
    wrong, fields = [], {}
    for name, value in values.items():
        try:
            fields[name] = COLUMNS[name].read(value)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    method = fields.pop("method", METHODS[0])
    for name in fields:
        if method not in COLUMNS[name].methods:
            others = " and ".join(COLUMNS[name].methods)
            wrong.append(f"{name}: it is for method {others}, but this row's method is {method}; leave it empty")
    if "image" not in values:
        wrong.append("image: it is missing; name the image file or DICOM folder")
    if not wrong:
        wrong += _paths(fields, base)
    if not wrong:
        known = [f.name for f in dataclasses.fields(TASKS[method]) if f.name in fields]
        task = TASKS[method](**{name: fields.pop(name) for name in known})
        wrong += _contradictions(task)
    if not wrong and getattr(task, "labels", None):
        facts = os.stat(task.labels)
        wrong += _label_names_problems(task.labels, facts.st_mtime_ns, facts.st_size)
    if not wrong:
        try:
            fields["output"] = checked_output(fields.get("output") or _default_output(fields["image"]))
        except ValueError as error:
            wrong.append(f"output: {error}")
    if not wrong and suffix_of(fields["output"]) == DICOM_SEG:
        wrong += _dicom_seg_problems(fields["image"])
    if not wrong and "series" in fields:
        wrong += _series_problems(fields["image"], fields["series"])
    problems += [f"{row}: {text}" for text in wrong]
    return None if wrong else Case(row, task=task, **fields)


def _contradictions(task) -> list[str]:
    """What is wrong with the task as a whole, in the words of the columns."""
    try:
        wrong = task.contradictions(lambda name: name)
        if not wrong and hasattr(task, "engine_settings"):
            task.engine_settings()
    except InputError as error:
        return [str(error)]
    return wrong


def _dicom_seg_problems(image: str) -> list[str]:
    try:
        check_dicom_seg()
        if not _is_dicom(image):
            return [
                "output: a .dcm output (DICOM SEG) refers to DICOM slices, but the image is no DICOM; choose .seg.nrrd"
            ]
    except InputError as error:
        return [f"output: {error}"]
    return []


def _series_problems(image: str, series: str) -> list[str]:
    try:
        known = _is_dicom(image)
    except InputError as error:
        return [f"image: {error}"]
    return [] if known else [f"series: {series!r} is for DICOM, but the image is none; leave it empty"]


@lru_cache(maxsize=64)  # mostly one file for all rows
def _label_names_problems(path: str, *changed: int) -> list[str]:
    try:
        read_label_names(path)
    except InputError as error:
        return [f"labels: {error}"]
    return []


def _is_dicom(image: str) -> bool:
    return os.path.isdir(image) or is_dicom(Path(image), file_head(Path(image)))


def _default_output(image: str) -> str:
    return f"{stem_of(image) if not os.path.isdir(image) else Path(image).name}.seg.nrrd"


def _paths(fields: dict, base: Path) -> list[str]:
    """Makes the paths of ``fields`` absolute; says which are not there."""
    wrong = []

    def place(name: str, text: str) -> str:
        full = os.path.abspath(base / text)
        # A manifest that was written on Windows, or with the shell's ~, may be meant for this place as well.
        others = (os.path.abspath(base / text.replace("\\", "/")), os.path.expanduser(text))
        found = next((path for path in (full, *others) if _exists(path)), None)
        if found is None:
            wrong.append(f"{name}: there is no file or folder {text!r} (looked for {full!r}); check the path")
        return found or full

    for name in ("image", "labels", "model"):
        if name in fields:
            fields[name] = place(name, fields[name])
    if "support" in fields:
        fields["support"] = tuple(place("support", text) for text in fields["support"])
    if "support_image" in fields:
        fields["support_image"] = tuple(t and place("support_image", t) for t in fields["support_image"])
    encoder = fields.get("encoder", "auto")
    if os.path.dirname(encoder) or Path(encoder).suffix:
        fields["encoder"] = place("encoder", encoder)
    return wrong


def _exists(path: str) -> bool:
    try:
        return os.path.isabs(path) and os.path.exists(path)
    except (OSError, ValueError):
        return False
