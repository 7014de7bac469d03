"""Reads a manifest into cases; everything wrong in it is said at once, by row."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath

from ..common.errors import InputError
from ..images.dicom.seg_writing import check_dicom_seg
from ..images.dicom.series import is_dicom
from ..images.files import file_head, stem_of, suffix_of
from ..images.label_names import read_label_names
from ..images.writing import FRAME_FORMATS
from ..tasks.few_shot import FewShotTask
from ..tasks.forms import ALL_FRAMES
from .case import Case
from .columns import COLUMNS, METHODS, TASKS
from .manifest_rows import ManifestError, file_rows, folder_rows, name_problem
from .output_names import DICOM_SEG, checked_output, place_in, same_file_key

__all__ = ["ManifestError", "read_manifest"]
_LONGEST_PATH = 259 if os.name == "nt" else 4095
_ROOM = 40  # of a path, for the temporary folder in which a result is made, and for its record


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
        rows, base = folder_rows(path, Path(folder), pattern, _ending(given)), path
    else:
        if pattern is not None:
            raise InputError(f"a pattern ({pattern!r}) is for a folder of images, but {str(path)!r} is a file")
        rows, base = file_rows(path), path.parent
    problems: list[str] = []
    cases: list[Case] = []
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
    for name, text in defaults.items():
        if COLUMNS[name].form.is_path and isinstance(text, str):
            found[name] = ";".join(part.strip() and os.path.abspath(part.strip()) for part in text.split(";"))
    return found


def _case(row: str, values: dict, base: Path, problems: list[str]) -> Case | None:
    """The case of one row; what is wrong is added to ``problems``."""
    fields, wrong = _fields(values)
    for check in (_placed, _task, _output, _dicom):
        wrong = wrong or check(fields, base)
    problems += [f"{row}: {text}" for text in wrong]
    return None if wrong else Case(row, **fields)


def _fields(values: dict) -> tuple[dict, list[str]]:
    """What the cells of a row mean, each by itself; and what is wrong with them."""
    fields, wrong = {"method": METHODS[0]}, []
    for name, value in values.items():
        try:
            fields[name] = COLUMNS[name].form.read(value)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    for name in fields:
        if fields["method"] not in COLUMNS[name].methods:
            others = " and ".join(COLUMNS[name].methods)
            wrong.append(
                f"{name}: it is for method {others}, but this row's method is {fields['method']}; leave it empty"
            )
    if "image" not in values:
        wrong.append("image: it is missing; name the image file or DICOM folder")
    return fields, wrong


def _placed(fields: dict, base: Path) -> list[str]:
    """Makes the paths of ``fields`` absolute; says which are not there."""
    wrong = []

    def place(name: str, text: str | None) -> str | None:
        if text is None:
            return None
        # A manifest that was written on Windows, with the shell's ~ or with accents stored in another way (as macOS does in names
        # of files) may be meant for this place as well.
        forms = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
        places = [os.path.abspath(base / t) for t in (text, text.replace("\\", "/"), *forms)] + [
            os.path.expanduser(text)
        ]
        found = next(filter(_exists, places), None)
        if found is None:
            wrong.append(f"{name}: there is no file or folder {text!r} (looked for {places[0]!r}); check the path")
        return found

    for name, value in fields.items():
        if COLUMNS[name].form.is_path:
            fields[name] = tuple(place(name, t) for t in value) if isinstance(value, tuple) else place(name, value)
    encoder = fields.get("encoder", "auto")
    if os.path.dirname(encoder) or Path(encoder).suffix:
        fields["encoder"] = place("encoder", encoder)
    return wrong


def _exists(path: str) -> bool:
    try:
        return os.path.isabs(path) and os.path.exists(path)
    except (OSError, ValueError):
        return False


def _task(fields: dict, base: Path) -> list[str]:
    """Puts the task in the place of its fields; says what is wrong with it as a whole, in the words of the columns."""
    task_class = TASKS[fields.pop("method")]
    known = [f.name for f in dataclasses.fields(task_class) if f.name in fields]
    task = fields["task"] = task_class(**{name: fields.pop(name) for name in known})
    try:
        wrong = task.contradictions(lambda name: name)
        if not wrong and hasattr(task, "engine_settings"):
            task.engine_settings()
    except InputError as error:
        return [str(error)]
    if not wrong and getattr(task, "labels", None):
        facts = os.stat(task.labels)
        return _label_names_problems(task.labels, facts.st_mtime_ns, facts.st_size)
    return wrong


@lru_cache(maxsize=64)  # mostly one file for all rows
def _label_names_problems(path: str, *changed: int) -> list[str]:
    try:
        read_label_names(path)
    except InputError as error:
        return [f"labels: {error}"]
    return []


def _output(fields: dict, base: Path) -> list[str]:
    image, ending = Path(fields["image"]), _ending(fields)
    default = f"{image.name if image.is_dir() else stem_of(image)}{ending}"
    try:
        output = fields["output"] = checked_output(fields.get("output", default), ending)
    except ValueError as error:
        return [f"output: {error}"]
    if fields.get("frame") != ALL_FRAMES:
        return []
    if isinstance(fields["task"], FewShotTask):
        return [f"frame: {ALL_FRAMES} is for segment and apply; name the frame that the drawing belongs to"]
    if suffix_of(output) not in FRAME_FORMATS:
        return [f"output: {output!r} cannot hold all frames; choose {', '.join(FRAME_FORMATS)}, or name one frame"]
    return []


def _ending(values: Mapping) -> str:
    """Of results whose names have none."""
    return ".nii.gz" if values.get("frame") == ALL_FRAMES else ".seg.nrrd"


def _dicom(fields: dict, base: Path) -> list[str]:
    """What only DICOM images can be asked for."""
    is_seg, series = suffix_of(fields["output"]) == DICOM_SEG, fields.get("series")
    if not is_seg and series is None:
        return []
    image = Path(fields["image"])
    try:
        if is_seg:
            check_dicom_seg()
        if image.is_dir() or is_dicom(image, file_head(image)):
            return []
    except InputError as error:
        return [f"{'output' if is_seg else 'image'}: {error}"]
    if is_seg:
        return ["output: a .dcm output (DICOM SEG) refers to DICOM slices, but the image is no DICOM; choose .seg.nrrd"]
    return [f"series: {series!r} is for DICOM, but the image is none; leave it empty"]


def clashes(cases: Iterable[Case], folder: str | os.PathLike) -> list[str]:
    """Results of two cases in one file, in the place of an input, or outside the folder."""
    problems: list[str] = []
    owner: dict[str, str] = {}
    folders: dict[str, str] = {}
    inputs = _Inputs(path for case in cases for path in case.inputs().values())

    def problem_of(case: Case, name: str) -> str | None:
        key = same_file_key(name)
        other = owner.setdefault(key, case.row)
        if other != case.row or key in folders:
            return f"{name!r} is also written by {folders.get(key, other)}; give them different outputs"
        try:
            target = str(place_in(folder, name))
        except InputError as error:
            return str(error)
        if len(os.fsencode(target)) + _ROOM > _LONGEST_PATH:
            return f"{target[:60]!r}... is too long a path for this system; choose a shorter output folder or name"
        return (
            f"{name!r} lies in the place of an input; choose another folder or name" if inputs.are_at(target) else None
        )

    for case in cases:
        found = next(filter(None, (problem_of(case, name) for name in case.outputs().values())), None)
        if found is None:
            for above in map(str, PurePosixPath(same_file_key(case.output)).parents):
                folders.setdefault(above, case.row)
                if above in owner:
                    found = f"{above!r} is a file of {owner[above]}; choose another folder"
        if found:
            problems.append(f"{case.row}: output: {found}")
    return problems


class _Inputs:
    """What must not be written to: files and folders that cases read."""

    def __init__(self, paths: Iterable[str]):
        places = {os.path.realpath(path) for path in paths}
        self._keys = {same_file_key(path) for path in places}
        self._folders = tuple(same_file_key(path + os.sep) for path in places if os.path.isdir(path))
        self._beside: dict[str, list[str]] = {}
        for path in places:
            self._beside.setdefault(same_file_key(os.path.dirname(path)), []).append(path)
        self._series: dict[str, bool] = {}

    def are_at(self, target: str) -> bool:
        """Whether ``target`` is one of them, on any file system, or lies among the slices of a series."""
        key = same_file_key(target)
        folder = same_file_key(os.path.dirname(target))
        return key in self._keys or key.startswith(self._folders) or self._is_series(folder)

    def _is_series(self, folder: str) -> bool:
        """Whether one DICOM file of ``folder`` is named as the image, so that all that lies there belongs to it."""
        if folder not in self._series:
            self._series[folder] = any(map(_is_dicom_file, self._beside.get(folder, ())))
        return self._series[folder]


def _is_dicom_file(path: str) -> bool:
    try:
        return os.path.isfile(path) and is_dicom(Path(path), file_head(Path(path)))
    except InputError:  # it will be the failure of its case
        return False
