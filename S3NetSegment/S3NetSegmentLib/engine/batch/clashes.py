"""Results of a batch must not meet: not each other, not the inputs, and nothing outside their folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ..common.errors import InputError
from ..images.dicom.series import is_dicom
from ..images.files import file_head
from .case import Case
from .output_names import place_in, same_file_key

_LONGEST_PATH = 259 if os.name == "nt" else 4095
_ROOM = 40  # of a path, for the temporary folder in which a result is made, and for its record


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
