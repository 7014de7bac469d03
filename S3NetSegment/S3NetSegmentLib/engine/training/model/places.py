"""Which model files are meant by a path: a file, the folder of a run, or the folder of a cross-validation. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ...common.errors import InputError

MODEL = "model.pt"
_FOLD = re.compile(r"fold_(\d+)")


def model_files(paths: str | os.PathLike | Sequence[str | os.PathLike]) -> tuple[Path, ...]:
    """The model files that ``paths`` mean, in their order; a file that is not there is named as it is.

    :param paths: files; folders of runs; folders of cross-validations, which stand for the models of all their folds.
    :raises InputError: no path, a folder without a model, or the same file twice.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise InputError("no model file is named; give the model.pt of a training run")
    found = [file for path in given for file in _files_in(Path(path))]
    real = [os.path.realpath(file) for file in found]
    twice = next((file for number, file in enumerate(found) if real[number] in real[:number]), None)
    if twice is not None:
        raise InputError(f"the model {str(twice)!r} is named twice; name each once")
    return tuple(found)


def fold_folders(folder: Path) -> dict[int, Path]:
    """The folders of the folds in that of a cross-validation, by number."""
    if not folder.is_dir():
        return {}
    numbered = [(int(m[1]), path) for path in folder.iterdir() if path.is_dir() and (m := _FOLD.fullmatch(path.name))]
    return dict(sorted(numbered))


def _files_in(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (path / MODEL).exists():
        return [path / MODEL]
    found = {number: fold / MODEL for number, fold in fold_folders(path).items()}
    lacking = [number for number, file in found.items() if not file.exists()]
    if not found:
        raise InputError(f"folder {str(path)!r} holds no {MODEL}; give a model file, or the folder of a training run")
    if lacking:
        raise InputError(
            f"fold {lacking[0]} of the cross-validation {str(path)!r} has no {MODEL} yet; let it go on with --resume, or name "
            "the model files of the folds that are done"
        )
    return list(found.values())
