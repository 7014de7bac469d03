"""Putting a case into a cohort folder: an image, and what is drawn on it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from ..errors import InputError
from ..images import Segmentation, Volume
from ..images.files import replacing, stem_of
from ..images.seg_nrrd import on_grid_of
from ..images.writing import write_image, write_segmentation
from .cohort import DESCRIPTION, IMAGES, LABELS, read_description

_NAME = re.compile(r"[^\\/:*?\"<>|\s.][^\\/:*?\"<>|]*")


def write_case(
    folder: str | os.PathLike,
    name: str,
    volume: Volume,
    drawn: Segmentation | None = None,
    *,
    patient: str | None = None,
    replace: bool = False,
) -> tuple[Path, Path | None]:
    """Writes ``volume`` to images/<name>.nrrd and ``drawn`` to labels/<name>.seg.nrrd of the cohort in ``folder``, which is
    made if need be.

    :param name: of the case; :param patient: whom it belongs to, kept in cohort.json.
    :param replace: replace a case of this name (its image and its labels).
    :returns: the paths of the image and of the labels.
    :raises InputError: an unusable name, a case of this name (unless ``replace``), a colour image, or a drawing that is
        empty or not on the grid of the image.
    """
    folder = Path(folder)
    if not _NAME.fullmatch(name):
        raise InputError(f"case name {name!r} cannot be a file name; use letters, digits, - and _")
    if drawn is not None:
        drawn = on_grid_of(drawn, volume)
        if not any(layer.any() for layer in drawn.layers):
            raise InputError(f"nothing is drawn on case {name!r}; draw it first, or save it as an image without labels")
    present = [
        path
        for part in (IMAGES, LABELS)
        if (folder / part).is_dir()
        for path in (folder / part).iterdir()
        if _case_of(path) == name
    ]
    if present and not replace:
        raise InputError(f"cohort {str(folder)!r} has a case {name!r} already; choose another name, or replace it")
    description = read_description(folder / DESCRIPTION)
    image = write_image(volume, folder / IMAGES / f"{name}.nrrd")
    labels = None if drawn is None else write_segmentation(drawn, folder / LABELS / f"{name}.seg.nrrd")
    for path in present:
        if path not in (image, labels) and path.is_file():
            path.unlink()  # the same case in another format
    if patient is not None:
        description.setdefault("patients", {})[name] = patient
        with replacing(folder / DESCRIPTION) as temporary:
            temporary.write_text(json.dumps(description, indent=2), encoding="utf-8")
    return image, labels


def _case_of(path: Path) -> str:
    return stem_of(path) if path.is_file() else path.name
