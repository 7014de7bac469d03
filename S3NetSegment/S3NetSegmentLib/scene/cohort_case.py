"""A volume and its segmentation as a case of a cohort, the folder that models are trained on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engine import InputError, Segmentation, Volume
from ..engine.common.progress import Step, Steps, as_part_of
from ..engine.images.files import replace_text, replacing, stem_of
from ..engine.images.reading import read_image
from ..engine.images.segmentation import name_key
from ..engine.images.writing import write_image
from ..engine.images.writing import write_segmentation as write_label_file
from ..engine.training.cohort.folder import DESCRIPTION, IMAGES, LABELS, Cohort, read_cohort, read_description
from .segmentation.reading import all_segments
from .volumes import volume_from_node

FORMATS = (".nii.gz", ".nrrd")
_LONGEST_NAME = 120
_FORBIDDEN = '<>:"/\\|?*'
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}  # on Windows
_MOST_CLASSES = 254
_PLACE_TOLERANCE = 1e-3  # mm, for the rounding of file headers


class NeedsConfirmationError(InputError):
    """Something that the user must confirm first; the text says what, ``option`` which option of :func:`save_case`."""

    def __init__(self, text: str, option: str):
        super().__init__(text)
        self.option = option


@dataclass(frozen=True)
class CohortCase:
    """Where a case goes.

    :param folder: the cohort; made if it is not there.
    :param name: of the case; both files get it.
    :param suffix: format of the image, one of :data:`FORMATS`.
    :param patient: whose image it is, "": nobody else's in the cohort.
    """

    folder: Path
    name: str
    suffix: str = ".nii.gz"
    patient: str = ""

    @property
    def image(self) -> Path:
        return self.folder / IMAGES / f"{self.name}{self.suffix}"

    @property
    def label(self) -> Path:
        return self.folder / LABELS / f"{self.name}.seg.nrrd"


@dataclass(frozen=True)
class SavedCase:
    """The files that were written, and sentences that the user should read."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def make_cohort_case(folder: str | os.PathLike, name: str, suffix: str = ".nii.gz", patient: str = "") -> CohortCase:
    """Raises InputError for a folder that cannot be one and a name that would leave it or is no file name everywhere."""
    if not str(folder):
        raise InputError(
            "no training folder is chosen; choose the folder that holds images/ and labels/, or an empty one"
        )
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file, not a training folder; choose a folder")
    if folder.name in (IMAGES, LABELS) and (folder.parent / IMAGES).is_dir():
        raise InputError(
            f"{str(folder)!r} is a part of a training folder; choose the folder above it, {str(folder.parent)!r}"
        )
    name, patient = name.strip(), " ".join(patient.split())
    if suffix not in FORMATS:
        raise InputError(f"image format is {suffix!r}; it must be one of {', '.join(FORMATS)}")
    shown = repr(name[:40])
    if not name:
        raise InputError("the case has no name; give one, e.g. case_07")
    if any(c in _FORBIDDEN or ord(c) < 32 for c in name):
        raise InputError(f"case name {shown} holds a character that file names cannot have everywhere ({_FORBIDDEN})")
    if name.startswith(".") or name.endswith(".") or name.split(".")[0].lower() in _RESERVED:
        raise InputError(f"case name {shown} cannot be a file name everywhere; give another one, e.g. case_07")
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise InputError(f"case name {shown}... is too long; use at most {_LONGEST_NAME} bytes")
    if stem_of(f"{name}{suffix}") != name:
        raise InputError(f"case name {shown} ends like a file format; leave that out")
    return CohortCase(folder, name, suffix, patient)


def save_case(
    case: CohortCase, volume_node, segmentation_node=None, *, replace: bool = False, new_classes: bool = False
) -> Steps[SavedCase]:
    """Writes the volume and all segments of the segmentation as a case of a cohort; both files or none.

    An image of that name that is in the cohort already and is the same one is kept as it is, so that labels can be added to it.

    :param segmentation_node: None: a case without labels.
    :param replace: the user has confirmed that another image, or labels, of that name are replaced.
    :param new_classes: the user has confirmed that the cohort gets further classes.
    :raises NeedsConfirmationError: one of the two is needed.
    :raises InputError: a colour volume, nothing drawn, segments that do not fit the classes of the cohort, a damaged cohort.json,
        a place that cannot be written.
    :raises ResourceError: the disk is full.
    """
    yield Step(0.0, "Reading the training folder")
    volume = volume_from_node(volume_node)
    if volume.is_rgb:
        raise InputError(f"{volume.name!r} is in colour; training folders hold grey images")
    labels, notes = None, []
    if segmentation_node is None:
        notes.append("no segmentation is selected: the case was saved without labels")
    else:
        labels = _labels(segmentation_node, volume, notes)
    description = read_description(case.folder / DESCRIPTION)
    cohort = yield from as_part_of(_cohort(case.folder), 0.0, 0.6)
    if labels is not None:
        _check_classes([s.name for s in labels.segments], case, cohort, description, new_classes, notes)
    yield Step(0.6, "Comparing with what is there")
    images, old_labels = _files_of(case, IMAGES), _files_of(case, LABELS)
    same_image = len(images) == 1 and _is_same(images[0], volume)
    in_the_way = [*([] if same_image else images), *old_labels]
    if in_the_way and not replace:
        raise NeedsConfirmationError(
            f"the training folder has {' and '.join(f'{p.parent.name}/{p.name}' for p in in_the_way)} already; replace "
            f"{'it' if len(in_the_way) == 1 else 'them'}, or give the case another name",
            "replace",
        )
    yield Step(0.7, f"Writing {case.name}")
    image = images[0] if same_image else case.image
    written = _write(case, None if same_image else volume, labels)
    for path in in_the_way:
        if path not in written:  # another file format, or labels of another image
            path.unlink()
    if case.patient:
        _write_patient(case, description)
        notes.append(f"patient {case.patient!r} is noted in {DESCRIPTION}")
    if same_image:
        notes.append(f"{image.name} was there already and was left as it is")
    return SavedCase(written, tuple(notes))


def _labels(segmentation_node, volume: Volume, notes: list[str]) -> Segmentation:
    """All segments on the grid of the volume, in one layer, as training sees them."""
    count = segmentation_node.GetSegmentation().GetNumberOfSegments()
    if count > _MOST_CLASSES:
        raise InputError(f"{segmentation_node.GetName()!r} has {count} segments; {_MOST_CLASSES} are possible")
    drawn = all_segments(segmentation_node, volume)
    if not any(layer.any() for layer in drawn.layers):
        raise InputError(
            f"nothing is drawn in {segmentation_node.GetName()!r} on {volume.name!r}; draw the segments first, or select no "
            "segmentation to save a case without labels"
        )
    names = [name_key(s.name) for s in drawn.segments]
    twice = next((s.name for s in drawn.segments if names.count(name_key(s.name)) > 1), None)
    if twice is not None:
        raise InputError(f"two segments are called {twice!r}; classes need names of their own: rename or merge them")
    if len(drawn.layers) == 1:
        return drawn
    notes.append("segments overlap; where they do, the lower one in the list of segments is kept")
    return Segmentation(
        [drawn.flattened()], [dataclasses.replace(s, layer=0) for s in drawn.segments], volume.ijk_to_ras
    )


def _cohort(folder: Path) -> Steps[Cohort | None]:
    """The cohort as it is, None if there is none yet."""
    images = folder / IMAGES
    if not images.is_dir() or not any(not p.name.startswith(".") for p in images.iterdir()):
        return None
    return (yield from read_cohort(folder, skip_bad=True))


def _check_classes(
    names: Sequence[str],
    case: CohortCase,
    cohort: Cohort | None,
    description: dict,
    new_classes: bool,
    notes: list[str],
) -> None:
    """Whether the segments are the classes of the cohort, as training will ask."""
    if cohort is None or not cohort.classes:
        return
    known = {name_key(c.name): c.name for c in cohort.classes}
    new = [n for n in names if name_key(n) not in known]
    lacking = [name for key, name in known.items() if key not in {name_key(n) for n in names}]
    shown = ", ".join(known.values())
    if new and description.get("classes"):
        raise InputError(
            f"segment {new[0]!r} is none of the classes that {DESCRIPTION} lists ({shown}); rename it, or list it there"
        )
    only_this = [c.name for c in cohort.labelled] == [case.name]  # it defines the classes alone, and is replaced
    if new and lacking and not only_this:
        raise InputError(
            f"the class names differ from those of the training folder: it has {shown}, this segmentation has {', '.join(names)}. "
            f"Rename {', '.join(new)}, or list all classes in {DESCRIPTION} if different structures are meant"
        )
    if new and not new_classes and not only_this:
        raise NeedsConfirmationError(
            f"{', '.join(new)} would be {'a new class' if len(new) == 1 else 'new classes'} of the training folder, which has {shown}: "
            "in its other labelled cases they count as absent",
            "new_classes",
        )
    if lacking:
        notes.append(f"not drawn here and taken as absent: {', '.join(lacking)}")


def _files_of(case: CohortCase, kind: str) -> list[Path]:
    """The files of that case, in any format; also those that differ in the case of letters only: not every disk tells."""
    folder = case.folder / kind
    if not folder.is_dir():
        return []
    found = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    stems = {p: (stem_of(p) if p.is_file() else p.name) for p in found}
    clash = next((p for p in found if stems[p] != case.name and stems[p].casefold() == case.name.casefold()), None)
    if clash is not None:
        raise InputError(
            f"the training folder has {clash.name!r}; give the case a name that differs in more than capitals"
        )
    folders = [p for p in found if p.is_dir() and p.name == case.name]
    if folders:
        raise InputError(f"case {case.name!r} of the training folder is a folder of files; give the case another name")
    return [p for p in found if stems[p] == case.name]


def _is_same(path: Path, volume: Volume) -> bool:
    """Whether the file holds this very image."""
    try:
        there = read_image(path)
    except InputError:
        return False
    return (
        there.array.shape == volume.array.shape
        and np.allclose(there.ijk_to_ras, volume.ijk_to_ras, atol=_PLACE_TOLERANCE)
        and np.array_equal(there.array, volume.array)
    )


def _write(case: CohortCase, volume: Volume | None, labels: Segmentation | None) -> tuple[Path, ...]:
    """Both files under other names first, then renamed: a full disk leaves what was there."""
    with contextlib.ExitStack() as both:
        if volume is not None:
            write_image(volume, both.enter_context(replacing(case.image)))
        if labels is not None:
            write_label_file(labels, both.enter_context(replacing(case.label)))
    return tuple(path for path, given in ((case.image, volume), (case.label, labels)) if given is not None)


def _write_patient(case: CohortCase, description: dict) -> None:
    changed = {**description, "patients": {**description.get("patients", {}), case.name: case.patient}}
    replace_text(case.folder / DESCRIPTION, json.dumps(changed, indent=2, ensure_ascii=False) + "\n")
