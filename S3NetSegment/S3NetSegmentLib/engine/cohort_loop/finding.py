"""The cases of a folder as a user has it: image files, folders of DICOM slices or of one image, and what is not a case."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import InputError
from ..images.dicom.series import is_dicom
from ..images.files import file_head, stem_of, suffix_of
from ..images.reading import checked_path

WORK = "s3net-cohort"  # folder of everything that the loop writes, inside the folder of the images
VOLUMES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr")
_WORDS = r"(?:seg|segmentation|segmentations|label|labels|labelmap|mask|gt)"
_SEGMENTATION = re.compile(rf"(.+?)[-_. ]+{_WORDS}", re.IGNORECASE)
_SEGMENTATION_IN_FOLDER = re.compile(rf"(?:.+[-_. ]+)?{_WORDS}", re.IGNORECASE)  # whose folder tells the case
_IMAGE = re.compile(r"(.+?)[-_. ]+(?:image|img|0000)", re.IGNORECASE)
_HEADERS = (".nhdr", ".mhd", ".hdr")  # whose voxels lie in another file of the same stem
_NAMED = 4  # files that a sentence names, at most


@dataclass(frozen=True)
class FoundCases:
    """What lies in a folder.

    :param images: case name -> its image file or DICOM folder, in the order of the names.
    :param beside: case name -> a segmentation that lies beside its image, e.g. ``heart_seg.nii.gz`` beside ``heart.nii.gz``.
    :param notes: what was left out, in sentences.
    """

    images: dict[str, Path]
    beside: dict[str, Path]
    notes: tuple[str, ...]


def find_cases(folder: str | os.PathLike) -> FoundCases:
    """The cases of ``folder``, by the names of its files; only the first bytes of files in sub-folders are read.

    A case is an image file (NIfTI, NRRD, MetaImage), a sub-folder that holds DICOM files, or a sub-folder with one image file.

    :raises InputError: no such folder, or it cannot be opened.
    """
    folder = checked_folder(folder)
    try:
        entries = sorted(path for path in folder.iterdir() if path.name != WORK and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"folder {str(folder)!r} cannot be opened ({error.strerror}); check its permissions") from None
    files, images, left, beside = [], {}, [], {}
    for path in entries:
        if path.is_dir():
            image, segmentation = _image_in(path)
            if image is not None:
                images[path.name] = image
                if segmentation is not None:
                    beside[path.name] = segmentation
            else:
                left.append(path.name)
        elif suffix_of(path) in VOLUMES or suffix_of(path) == ".seg.nrrd":
            files.append(path)
        else:
            left.append(path.name)
    headers = {stem_of(path) for path in files if suffix_of(path) in _HEADERS}
    left = [name for name in left if stem_of(name) not in headers]
    of_files = _beside(files)
    beside |= of_files
    for path in files:
        if path not in of_files.values() and suffix_of(path) != ".seg.nrrd":
            name = stem_of(path)
            images[name if name not in images else path.name] = path
    return FoundCases(
        dict(sorted(images.items())), {n: p for n, p in sorted(beside.items()) if n in images}, tuple(_notes(left))
    )


def checked_folder(folder: str | os.PathLike) -> Path:
    """``folder``, which must be there and be one; else InputError."""
    path = checked_path(folder)
    if not path.is_dir():
        raise InputError(f"{str(path)!r} is a file; give the folder that holds the images of the cohort")
    return path


def _image_in(folder: Path) -> tuple[Path | None, Path | None]:
    """The image of a sub-folder: itself where it holds DICOM files, or its only image file; and the only segmentation there."""
    files = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        if any(suffix_of(f) not in VOLUMES and _is_dicom(f) for f in files[:3]):
            return folder, None
    volumes = [f for f in files if suffix_of(f) in VOLUMES]
    volumes = [f for f in volumes if _SEGMENTATION_IN_FOLDER.fullmatch(stem_of(f)) is None]
    segmentations = [f for f in files if suffix_of(f) in (*VOLUMES, ".seg.nrrd") and f not in volumes]
    if len(volumes) != 1:
        return None, None
    return volumes[0], segmentations[0] if len(segmentations) == 1 else None


def _is_dicom(path: Path) -> bool:
    try:
        return is_dicom(path, file_head(path))
    except InputError:  # empty, or gone
        return False


def _beside(files: list[Path]) -> dict[str, Path]:
    """Case name -> the segmentation among ``files`` that is named after it."""
    stems = {stem_of(path): path for path in files if suffix_of(path) != ".seg.nrrd"}
    by_base = {found[1]: stem for stem in stems if (found := _IMAGE.fullmatch(stem))}
    beside: dict[str, Path] = {}
    for path in files:
        stem = stem_of(path)
        found = _SEGMENTATION.fullmatch(stem)
        named = [stem] if suffix_of(path) == ".seg.nrrd" else []
        named += [found[1], by_base.get(found[1], "")] if found else []
        case = next((n for n in named if n in stems and stems[n] != path), None)
        if case is not None:
            beside.setdefault(case, path)
    return beside


def _notes(left: list[str]) -> list[str]:
    if not left:
        return []
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return [
        f"left out as neither a volume nor a folder with one image or DICOM slices: {', '.join(left[:_NAMED])}{more}"
    ]
