"""What kind of object a DICOM file is, what to do with one that is no image, and the files of a folder that may belong to a study."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...common.errors import InputError
from .elements import DamagedDicom, DicomFile

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_STORAGE = "1.2.840.10008.5.1.4.1.1."
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
_BY_CLASS = {  # the end of the SOP class UID, the longer ones first
    "88.59": "selection of images (KO)", "88.": REPORT, "11.": "presentation state (PR)", "481.3": CONTOURS,
    "481.5": "treatment plan (RTPLAN)", "481.8": "treatment plan (RTPLAN)", "104.1": "document (PDF)",
    "104.3": "3D model (STL)", "104.": "document", "66.1": "registration (REG)", "66.3": "registration (REG)",
    "66.5": "segmentation of surfaces (SEG)", "66": "raw data", "9.": "waveform (ECG)",
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
    modality = elements.text("Modality")
    if elements.sop_class in SEG_CLASSES:
        return SEGMENTATION
    if elements.sop_class == DIRECTORY_CLASS or "DirectoryRecordSequence" in elements:
        return DIRECTORY
    rows, columns = elements.number("Rows"), elements.number("Columns")
    if elements.pixels is None and ((rows and columns) or not (modality or elements.sop_class)):
        raise DamagedDicom("it is cut off before its pixels")
    if elements.pixels is None or not rows or not columns:
        own = elements.sop_class.removeprefix(_STORAGE)
        by_class = next(
            (name for start, name in _BY_CLASS.items() if own == start or (start[-1] == "." and own.startswith(start))),
            "",
        )
        return by_class or _BY_MODALITY.get(modality, f"DICOM object of another kind ({modality or 'unknown'})")
    return IMAGE


def way_out(kind: str) -> str:
    """What to do with an object of this ``kind``, which is no image."""
    return _WAYS_OUT.get(kind, "choose a file of an image series")


def files_in(folder: Path, below: bool) -> Iterator[Path]:
    """The visible files of a folder (and, if ``below``, of all folders in it), sorted."""
    count = 0
    try:
        for place, folders, names in os.walk(folder, onerror=_refuse):
            folders[:] = sorted(name for name in folders if not name.startswith(".")) if below else []
            for name in sorted(names):
                if name.startswith("."):
                    continue
                count += 1
                if count > _MOST_FILES:
                    raise InputError(
                        f"folder {str(folder)!r} holds more than {_MOST_FILES:,} files; give the folder of the study"
                    )
                path = Path(place, name)
                if path.is_file():
                    yield path
    except OSError as error:
        raise InputError(f"folder {str(folder)!r} cannot be opened ({error.strerror}); check its permissions") from None


def _refuse(error: OSError) -> None:
    raise error
