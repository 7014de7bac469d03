"""What kind of object a DICOM file is, what to do with one that is no image, and the files of a folder that may belong to a study."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...common.errors import InputError
from .elements import DamagedDicom, DicomFile

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
IMAGE, SEGMENTATION, DIRECTORY, CONTOURS = (
    "image",
    "segmentation (SEG)",
    "directory (DICOMDIR)",
    "set of contours (RTSTRUCT)",
)
REPORT = "structured report (SR)"
_BY_MODALITY = {
    "SR": REPORT, "PR": "presentation state (PR)", "KO": "selection of images (KO)", "RTSTRUCT": CONTOURS,
    "RTPLAN": "treatment plan (RTPLAN)", "RTRECORD": "treatment record (RTRECORD)", "DOC": "document",
    "REG": "registration (REG)", "ECG": "waveform (ECG)", "SEG": "segmentation of surfaces (SEG)",
}  # fmt: skip
_BY_CLASS = {  # words in the name of the SOP class
    "Key Object": "selection of images (KO)", " SR ": REPORT, "Procedure Log": REPORT, "Presentation State": "presentation state (PR)",
    "RT Structure Set": CONTOURS, "RT Plan": "treatment plan (RTPLAN)", "RT Ion Plan": "treatment plan (RTPLAN)",
    "Encapsulated PDF": "document (PDF)", "Encapsulated STL": "3D model (STL)", "Encapsulated": "document",
    "Registration": "registration (REG)", "Surface Segmentation": "segmentation of surfaces (SEG)", "Raw Data": "raw data",
    "Waveform": "waveform (ECG)",
}  # fmt: skip
_WAYS_OUT = {
    SEGMENTATION: "give it where a drawing, labels or a reference belong, and a file of an image series as the image",
    CONTOURS: "choose a file of an image series; to use its contours, import it into Slicer with the SlicerRT extension and save "
    "the segmentation as .seg.nrrd",
    REPORT: "choose a file of an image series; a report holds text and measurements only",
}
_MOST_FILES = 200_000


def kind_of(elements: DicomFile) -> str:
    """What a file is, in words: "image", or why it is none. DamagedDicom if an image has lost its pixels."""
    from pydicom.uid import UID_dictionary

    modality, name = elements.text("Modality"), UID_dictionary.get(elements.sop_class, ("",))[0]
    if elements.sop_class in SEG_CLASSES:
        return SEGMENTATION
    if elements.sop_class == DIRECTORY_CLASS or "DirectoryRecordSequence" in elements:
        return DIRECTORY
    sized = bool(elements.number("Rows") and elements.number("Columns"))
    if elements.pixels is not None and sized:
        return IMAGE
    if elements.pixels is None and (sized or "Image Storage" in name or not (modality or elements.sop_class)):
        raise DamagedDicom("it is cut off before its pixels")
    other = f"DICOM object of another kind ({modality or 'unknown'})"
    return next((kind for word, kind in _BY_CLASS.items() if word in name), _BY_MODALITY.get(modality, other))


def way_out(kind: str) -> str:
    """What to do with an object of this ``kind``, which is no image."""
    return _WAYS_OUT.get(kind, "choose a file of an image series")


def files_in(folder: Path, below: bool) -> Iterator[Path]:
    """The visible files of a folder (and, if ``below``, of all folders in it), sorted; none of them is opened."""
    for count, path in enumerate(_files_in(folder, below), 1):
        if count > _MOST_FILES:
            raise InputError(
                f"folder {str(folder)!r} holds more than {_MOST_FILES:,} files; give the folder of the study"
            )
        yield path


def _files_in(folder: Path, below: bool) -> Iterator[Path]:
    try:
        with os.scandir(folder) as found:
            entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
        files = [Path(e.path) for e in entries if e.is_file()]
    except OSError as error:
        raise InputError(f"folder {str(folder)!r} cannot be opened ({error.strerror}); check its permissions") from None
    yield from files
    for entry in entries if below else ():
        if entry.is_dir(follow_symlinks=False):
            yield from _files_in(Path(entry.path), below)
