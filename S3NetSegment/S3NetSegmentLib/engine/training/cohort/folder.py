"""A cohort: a folder of images, label files for some of them, and who belongs to whom.

images/<case>.*          any image format, or a folder of DICOM files; several channels of a case (T1, T2, FLAIR on one grid) as
                         <case>_0000.*, <case>_0001.*, ..., see :mod:`.channels`
labels/<case>.seg.nrrd   or a label map (.nii.gz, .nrrd, .mha, .png) or DICOM SEG (.dcm) on the grid of its image; same stem,
                         same case
cohort.json              optional: {"patients": {case: patient}, "splits": {"train": [...], "validation": [...],
                         "test": [...]} (of cases or patients), "classes": [{"name", "value", "color"}, ...],
                         "channels": ["T1", "T2", ...]}
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...common.errors import InputError
from ...common.json_file import read_json
from ...common.progress import Step, Steps
from ...images import Segmentation, Volume
from ...images.dicom.series import is_dicom
from ...images.files import file_head, stem_of, suffix_of
from ...images.formats.itk_file import header_matrix, opened
from ...images.formats.nifti import is_nifti, nifti_grid
from ...images.formats.seg_nrrd import note_covered_part, on_grid_of, read_segmentation
from ...images.formats.tiff import is_tiff
from ...images.image_warnings import collected_image_warnings, grouped_warnings
from ...images.label_names import read_label_names
from ...images.reading import checked_path, read_alone
from .channels import channels_by_case, check_one_grid
from .label_classes import LabelClass, class_values, common_classes, listed_classes, named_classes

IMAGES, LABELS, DESCRIPTION = "images", "labels", "cohort.json"
SPLITS = ("train", "validation", "test")
_IGNORED = {".json", ".txt", ".md", ".csv", ".tsv", ".xml", ".log", ".db", ".ini"}


@dataclass(frozen=True, eq=False)
class Case:
    """One image of a cohort.

    :param image: its file, of several channels the first. :param further: the files of the other channels.
    :param label: its label file, or None.
    :param patient: images of one patient are never on two sides of a split.
    :param grid: an empty volume on the grid of the image, as its header tells.
    """

    name: str
    image: Path
    label: Path | None
    patient: str
    grid: Volume
    further: tuple[Path, ...] = ()

    def read_volume(self, warned: list[str] | None = None) -> Volume:
        """The image; what the user should know of it is added to ``warned``. Raises InputError as
        :func:`~...images.reading.read_image`."""
        return self._read(self.image, warned)

    def read_channels(self, warned: list[str] | None = None) -> tuple[Volume, ...]:
        """The image of each channel; as :meth:`read_volume`."""
        return tuple(self._read(path, warned) for path in (self.image, *self.further))

    def _read(self, path: Path, warned: list[str] | None) -> Volume:
        with collected_image_warnings() as found:
            volume = read_alone(path)
        if warned is not None:
            warned += found
        return volume

    def read_labels(self, classes: Sequence[LabelClass], image: Volume | None = None) -> np.ndarray:
        """The classes as 1, 2, ... in their order, 0 elsewhere, uint8 ``[K, J, I]`` on the grid of the image.

        :param image: the image itself, where it has been read already.
        :raises InputError: unreadable, on another grid, or with segments that are no class.
        """
        if self.label is None:
            raise InputError(f"case {self.name!r} has no label file")
        with collected_image_warnings():  # said when the cohort was read
            segmentation = self._placed(read_segmentation(self.label), image)
        out = np.zeros(segmentation.layers[0].shape, np.uint8)
        for segment, value in zip(
            segmentation.segments, class_values(segmentation.segments, classes, self.name), strict=True
        ):
            out[segmentation.mask(segment)] = value
        return out

    def _placed(self, segmentation: Segmentation, image: Volume | None) -> Segmentation:
        try:
            return on_grid_of(segmentation, image or self.grid)
        except InputError:
            pass
        image = image or self.read_volume()  # the header may have been read in another way
        try:
            return on_grid_of(segmentation, image)
        except InputError:
            raise InputError(
                f"label file {str(self.label)!r} ({segmentation.layers[0].shape[::-1]} voxels) does not lie on the grid of "
                f"its image {str(self.image)!r} ({image.size}); draw or resample it on that image"
            ) from None


@dataclass(frozen=True, eq=False)
class Cohort:
    """What :func:`read_cohort` found.

    :param classes: structures of the label files, in the order of their label values; the background is not among them.
    :param notes: sentences that the user should read.
    :param skipped: name of each unreadable case that was left out, and why.
    :param channels: images of each case.
    :param listed_splits: case names by split, as cohort.json lists them; {} if it does not.
    """

    folder: Path
    cases: tuple[Case, ...]
    classes: tuple[LabelClass, ...]
    notes: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    listed_splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    channels: int = 1

    @property
    def labelled(self) -> tuple[Case, ...]:
        return tuple(c for c in self.cases if c.label is not None)

    def named(self, names: Sequence[str]) -> tuple[Case, ...]:
        """The cases with these names, in the cohort's order."""
        wanted = set(names)
        return tuple(c for c in self.cases if c.name in wanted)


def count_cases(folder: str | os.PathLike) -> tuple[int, int]:
    """How many cases ``folder`` holds, and how many of them have a label file, by the names of the files alone. (0, 0) where
    it is not a cohort."""
    found = []
    for place in (Path(folder) / IMAGES, Path(folder) / LABELS):
        try:
            found.append(_files_by_case(place, []))
        except (OSError, InputError):
            found.append({})
    images, labels = found
    cases = set(images)
    with contextlib.suppress(InputError):
        cases = set(channels_by_case(images, labels))
    return len(cases), len(cases & labels.keys())


def read_cohort(
    folder: str | os.PathLike, *, skip_bad: bool = False, names_file: str | os.PathLike | None = None
) -> Steps[Cohort]:
    """The cohort in ``folder``: headers of all images, label files whole.

    :param names_file: file with the names of the values of label maps, see :mod:`~...images.label_names`; instead of classes in
        cohort.json.
    :param skip_bad: leave out cases that cannot be read, and label files without an image, instead of refusing the cohort.
    :raises InputError: no cohort, no image, two files for one case, an unreadable file, labels on another grid or without
        an image, class names that differ between cases, a wrong cohort.json; with the name of the file and the remedy.
    """
    folder = Path(folder)
    if not (folder / IMAGES).is_dir():
        raise InputError(
            f"{str(folder)!r} is not a cohort: it has no folder {IMAGES!r}. Put the images into {str(folder / IMAGES)!r} and "
            f"label files of the same names into {str(folder / LABELS)!r}"
        )
    notes: list[str] = []
    images = _files_by_case(folder / IMAGES, notes)
    if os.path.lexists(folder / LABELS) and not (folder / LABELS).is_dir():
        raise InputError(
            f"{str(folder / LABELS)!r} is no folder; rename it, and put the label files into a folder of this name"
        )
    labels = _files_by_case(folder / LABELS, notes) if (folder / LABELS).is_dir() else {}
    if not images:
        raise InputError(f"cohort {str(folder)!r} is empty: there is no image in {str(folder / IMAGES)!r}")
    description = read_description(folder / DESCRIPTION)
    listed = description.get("channels")
    channels = channels_by_case(images, labels, None if listed is None else len(listed))
    images = {name: paths[0] for name, paths in channels.items()}
    extra = sorted(labels.keys() - images.keys())
    if extra and not skip_bad:
        raise InputError(
            f"label file {labels[extra[0]].name!r}{_more(extra)} of cohort {str(folder)!r} has no image of the same name; add "
            "the image, rename or remove the label file, or leave such files out with --skip-bad"
        )
    patients = _patients(description, images)
    wanted = listed_classes(description.get("classes"))
    names = {} if names_file is None else read_label_names(names_file)
    if names and wanted:
        raise InputError(
            f"both {DESCRIPTION} and {str(names_file)!r} name the classes of the cohort; leave one of them out"
        )
    cases, segments, skipped = [], {}, {labels[name].name: "no image of this name" for name in extra}
    warned: list[str] = []
    for number, (name, path) in enumerate(images.items()):
        yield Step(number / len(images), f"Reading the cohort: {name}")
        try:
            grids = [grid_of(one) for one in channels[name]]
            check_one_grid(grids)
            case = Case(name, path, labels.get(name), patients.get(name, name), grids[0], channels[name][1:])
            if case.label is not None:
                with collected_image_warnings() as found:
                    segmentation = read_segmentation(case.label)
                    placed = case._placed(segmentation, None)
                    segments[name] = placed.segments
                    note_covered_part(case.label, segmentation, placed)
                warned += found
            cases.append(case)
        except InputError as error:
            if not skip_bad:
                raise InputError(f"case {name!r}: {error}; or leave such cases out with --skip-bad") from None
            skipped[name] = str(error)
    if not cases:
        raise InputError(f"no case of cohort {str(folder)!r} can be read: {next(iter(skipped.values()))}")
    notes += grouped_warnings(warned)
    if skipped:
        notes.append(f"{len(skipped)} left out since they cannot be used: {', '.join(skipped)}")
    if names:
        wanted = named_classes(names, segments, str(names_file))
    classes = common_classes(segments, wanted, notes)
    splits = _listed_splits(description, cases, set(images) | set(patients.values()))
    return Cohort(folder, tuple(cases), classes, tuple(notes), skipped, splits, 1 + len(cases[0].further))


def image_hash(*channels: Volume) -> str:
    """SHA-256 of the voxels of an image as float32 and of its size: the same for the same image under another name or in
    another file format."""
    digest = hashlib.sha256()
    for volume in channels:
        digest.update(repr(volume.array.shape).encode())
        for plane in volume.array:
            digest.update(np.ascontiguousarray(plane, dtype="<f4").data)
    return digest.hexdigest()


def _files_by_case(folder: Path, notes: list[str]) -> dict[str, Path]:
    """The files (or DICOM folders) of ``folder`` by case name, sorted."""
    found: dict[str, Path] = {}
    ignored = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file() and suffix_of(path) in _IGNORED:
            ignored.append(path.name)
            continue
        name = stem_of(path) if path.is_file() else path.name
        if name in found:
            raise InputError(
                f"case {name!r} has two files, {found[name].name!r} and {path.name!r} in {str(folder)!r}; remove one"
            )
        found[name] = path
    if ignored:
        notes.append(f"ignored in {folder.name}: {', '.join(ignored[:5])}{_more(ignored[4:])}")
    return found


def grid_of(path: Path) -> Volume:
    """An empty volume, in colour like the image, on the grid that the header of ``path`` tells; the image is read whole where that is not possible."""
    try:
        if checked_path(path).is_dir() or is_dicom(path, head := file_head(path)) or is_tiff(head):
            raise InputError("the grid of a DICOM series or a TIFF stack is in no single header")
        if is_nifti(path, head):
            with collected_image_warnings():
                return nifti_grid(path)
        reader = opened(path)
        size, components = reader.GetSize(), reader.GetNumberOfComponents()
        if len(size) in (2, 3) and components == 1:
            shape = (*((1,) if len(size) == 2 else ()), *size[::-1])
            return Volume(np.broadcast_to(np.uint8(0), shape), header_matrix(reader, path), stem_of(path))
    except InputError:
        pass
    with collected_image_warnings():  # said when the image itself is used
        volume = read_alone(path)
    return Volume(np.broadcast_to(np.uint8(0), volume.array.shape), volume.ijk_to_ras, volume.name)


def read_description(path: Path) -> dict:
    """The content of cohort.json, {} without one."""
    if not path.exists():
        return {}
    shown, content = repr(str(path)), read_json(path)
    known = {"patients": dict, "splits": dict, "classes": list, "channels": list}
    if not isinstance(content, dict):
        raise InputError(f"{shown} must hold an object with some of: {', '.join(known)}")
    for key, value in content.items():
        if key not in known:
            raise InputError(f"{shown} has an entry {key!r}; it may have {', '.join(known)}")
        if not isinstance(value, known[key]):
            kind = "an object" if known[key] is dict else "a list"
            raise InputError(f"{key!r} of {shown} must be {kind}")
    return content


def _patients(description: dict, images: Mapping[str, Path]) -> dict[str, str]:
    patients = description.get("patients", {})
    unknown = sorted(patients.keys() - images.keys())
    if unknown:
        raise InputError(
            f"{DESCRIPTION} names a patient for {unknown[0]!r}{_more(unknown)}, but there is no such image; use the names of "
            "the image files without their endings"
        )
    return {case: str(patient) for case, patient in patients.items()}


def _listed_splits(description: dict, cases: Sequence[Case], known: set[str]) -> dict[str, tuple[str, ...]]:
    """Case names by split. A name in cohort.json stands for a case or for all cases of a patient."""
    listed = description.get("splits", {})
    for split, names in listed.items():
        if split not in SPLITS or not isinstance(names, list):
            raise InputError(f"{DESCRIPTION} has a split {split!r}; it may have lists named {', '.join(SPLITS)}")
        wrong = next((n for n in names if not isinstance(n, str)), None)
        if wrong is not None:
            raise InputError(
                f"split {split!r} of {DESCRIPTION} lists {wrong!r}; it may list names of cases or patients"
            )
        unknown = [n for n in names if n not in known]
        if unknown:
            raise InputError(
                f"split {split!r} of {DESCRIPTION} names {unknown[0]!r}, which is neither case nor patient"
            )
    splits: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for split, listed_names in listed.items():
        names = set(listed_names)
        chosen = [c for c in cases if c.name in names or c.patient in names]
        for case in chosen:
            other = owner.setdefault(case.patient, split)
            if other != split:
                raise InputError(
                    f"patient {case.patient!r} is in the splits {other!r} and {split!r} of {DESCRIPTION}; all images of a "
                    "patient must be in one"
                )
        splits[split] = tuple(c.name for c in chosen)
    return splits


def _more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
