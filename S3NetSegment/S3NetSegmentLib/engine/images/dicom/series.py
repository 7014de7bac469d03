"""The DICOM series below a folder, and the one that is meant."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...common.errors import InputError
from ..files import file_head
from ..formats.header_claims import check_size
from .elements import DEFLATED, DamagedDicom, DicomFile, NotDicom, looks_like_dicom
from .headers import image_file
from .kinds import DIRECTORY, IMAGE, files_in, kind_of, way_out
from .slices import ImageFile, Slice, size_of
from .volumes import facing, named_marks


@dataclass(frozen=True, eq=False)
class Series:
    """The image files of one series, in the order of their names."""

    files: tuple[ImageFile, ...]

    @property
    def uid(self) -> str:
        """Series Instance UID, "" where the files have none."""
        uid = self.files[0].series
        return "" if uid.startswith("no UID") else uid

    @property
    def number(self) -> int | None:
        return self.files[0].number

    @property
    def description(self) -> str:
        return self.files[0].description

    @property
    def modality(self) -> str:
        return self.files[0].modality

    @property
    def study(self) -> str:
        """Description of the study."""
        return self.files[0].study

    @property
    def count(self) -> int:
        """How many slices."""
        return sum(len(file.slices) for file in self.files)

    @property
    def slices(self) -> list[Slice]:
        return [s for file in self.files for s in file.slices]

    @property
    def is_pictures(self) -> bool:
        """Whether all its files are screenshots, scans of documents or doses."""
        return all(file.picture for file in self.files)

    def told(self, more: str = "") -> str:
        """The series in a line; ``more``: what is added about its slices."""
        number = "without number" if self.number is None else f"number {self.number}"
        slices = "1 slice" if self.count == 1 else f"{self.count} slices"
        return (
            f"{number} {self.description or 'without description'!r} ({self.modality or 'unknown modality'}, {slices}{more}, "
            f"e.g. {self.files[0].path.name})"
        )


@dataclass(frozen=True, eq=False)
class Found:
    """What lies in a folder: image series, names of damaged files, and the kinds of the other DICOM objects.

    :param left_out: what lies in a study beside the series that was chosen, in words.
    """

    series: tuple[Series, ...]
    damaged: tuple[str, ...]
    others: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def is_dicom(path: Path, head: bytes) -> bool:
    """Whether a file with the first bytes ``head`` is DICOM (an image or anything else)."""
    if head[128:132] == b"DICM":
        return True
    if not looks_like_dicom(head):
        return False
    try:  # without the mark only content can tell
        return DicomFile(path).pixels is not None
    except (DamagedDicom, OSError):
        return False


def is_directory_file(path: Path) -> bool:
    """Whether ``path`` is a DICOMDIR, the table of contents of a disc."""
    try:
        return path.name.upper().startswith("DICOMDIR") or kind_of(DicomFile(path)) == DIRECTORY
    except (DamagedDicom, OSError):
        return False


def dicom_files(folder: Path) -> list[Path]:
    """The files that a folder stands for: those directly in it if one of them is an image of a scanner, else all below it (a disc,
    or a study with a report, a screenshot or a damaged file beside the folders of its series).

    :raises InputError: the folder cannot be opened, or holds far too many files.
    """
    direct = list(files_in(folder, False))
    if any(_is_scanned(path) for path in direct):
        return direct
    return list(files_in(folder, True))


def find_series(folder: Path) -> Found:
    """The series of the files that ``folder`` stands for, by number and description. Raises as :func:`dicom_files`."""
    paths = dicom_files(folder)
    found = _found(paths)
    if all(path.parent == folder for path in paths):
        return found
    kinds = Counter(found.others).most_common()
    return replace(found, left_out=tuple(f"{n} x {kind}" for kind, n in kinds))


def series_of(path: Path) -> tuple[Series, Found]:
    """The series of the image file ``path``, as far as its files lie in the same folder and fit it, and what else is there.

    :raises InputError: no image, or damaged.
    """
    try:
        kind, own = _looked_at(path)
    except NotDicom:
        raise InputError(f"{str(path)!r} is no DICOM file; choose a file of an image series") from None
    except DamagedDicom as error:
        raise InputError(f"DICOM file {str(path)!r} holds no image or is cut off: {error}; export it again") from None
    if own is None:
        raise InputError(f"DICOM file {str(path)!r} holds no image but a {kind}; {way_out(kind)}")
    if own.frames > 1:
        return Series((own,)), Found((), (), ())
    found = _found(list(files_in(path.parent, False)))
    files = next((s.files for s in found.series if any(f.path == path for f in s.files)), (own,))
    return Series(tuple(f for f in files if f.frames == 1 and f.slices[0].fits(own.slices[0]))), found


def chosen_series(folder: Path, wanted: str | None) -> tuple[Series, Found]:
    """The series of ``folder`` that ``wanted`` names (number, UID or description), or the only one.

    :raises InputError: none, several, or none of that name; with the list of what is there.
    """
    found = find_series(folder)
    if not found.series:
        raise InputError(nothing_found(folder, found))
    shown = repr(str(folder))
    listed = "; ".join(_told_apart(found.series)[:12])
    listed += f"; and {len(found.series) - 12} more" if len(found.series) > 12 else ""
    if wanted is None:
        pictures = [series for series in found.series if series.is_pictures]
        scanned = [series for series in found.series if not series.is_pictures] or pictures
        if len(scanned) > 1:
            raise InputError(
                f"folder {shown} holds {len(found.series)} DICOM series: {listed}. Choose one with --series NUMBER (or its "
                "UID or description; column 'series' of a manifest; in Python series=...), or give one file of it"
            )
        kinds = ("a dose" if series.modality == "RTDOSE" else "screenshots or scans" for series in pictures)
        texts = (
            f"{kind}: {series.told()}" for kind, series in zip(kinds, pictures, strict=True) if series not in scanned
        )
        return scanned[0], replace(found, left_out=(*found.left_out, *texts))
    named = matching_series(found.series, wanted)
    if len(named) == 1:
        return named[0], found
    if named:
        uids = "; ".join(f"{series.told()} UID {series.uid or 'none'}" for series in named[:6])
        raise InputError(f"series is {wanted!r}, which {len(named)} series of {shown} are called: {uids}. Give the UID")
    raise InputError(
        f"series is {wanted!r}, but folder {shown} holds {listed}; give a number, UID or description of these"
    )


def _told_apart(series: Sequence[Series]) -> list[str]:
    """A line for each series; those of one number and description with what else distinguishes them."""
    named = Counter((s.number, s.description, s.modality, s.count) for s in series)
    lines = []
    for s in series:
        first = s.files[0].slices[0]
        same = named[s.number, s.description, s.modality, s.count] > 1
        marks = named_marks(first) if same else ""
        more = f" of {first.size[0]} x {first.size[1]} pixels, {facing([first])}{marks}"
        if s.uid and any(t is not s and t.uid == s.uid for t in series):
            more += ", of another patient than a series of the same UID"
        lines.append(s.told(more) + (f" UID {s.uid}" if same and s.uid else ""))
    return lines


def matching_series(series: tuple[Series, ...], wanted: str) -> list[Series]:
    """Those that ``wanted`` names: by UID, by number, by the whole description, or by a part of it; the first that fits."""
    text = wanted.strip()
    tests = (
        lambda s: s.uid == text,
        lambda s: str(s.number) == text,
        lambda s: s.description.casefold() == text.casefold(),
        lambda s: text.casefold() in s.description.casefold(),
    )
    return next((fit for test in tests if text and (fit := [s for s in series if test(s)])), [])


def _found(paths: list[Path]) -> Found:
    series: dict[str, list[ImageFile]] = {}
    damaged, others = [], []
    for path in paths:
        try:
            kind, file = _looked_at(path)
            if file is not None:
                series.setdefault(file.series, []).append(file)
            elif kind != DIRECTORY or not path.name.upper().startswith("DICOMDIR"):  # a table of contents lacks nothing
                others.append(kind)
        except NotDicom:
            continue
        except DamagedDicom:
            with open(path, "rb") as opened:
                if opened.read(132)[128:] == b"DICM":  # else hardly DICOM at all
                    damaged.append(path.name)
        except OSError as error:
            raise InputError(f"{str(path)!r} cannot be opened ({error.strerror}); check its permissions") from None
    whole = [Series(files) for mixed in series.values() for files in _patients(mixed)]
    whole.sort(key=lambda s: (s.number is None, s.number or 0, s.description, s.uid))
    return Found(tuple(whole), tuple(damaged), tuple(others))


def _looked_at(path: Path) -> tuple[str, ImageFile | None]:
    """The kind of a file, and what it is if that is an image. DamagedDicom if it is cut off."""
    elements = DicomFile(path)
    kind = kind_of(elements)
    if kind != IMAGE:
        return kind, None
    _check_pixels(elements)
    return kind, image_file(elements)


def _patients(files: list[ImageFile]) -> list[tuple[ImageFile, ...]]:
    """The files of each patient: bad anonymisers give the series of several patients one UID."""
    known = list(dict.fromkeys(file.patient for file in files if file.patient)) or [""]
    return [tuple(f for f in files if f.patient == p or (not f.patient and p == known[0])) for p in known]


def _check_pixels(elements: DicomFile) -> None:
    """Raises DamagedDicom if the file cannot hold the pixels that its header claims; ResourceError if memory cannot."""
    offset, length = elements.pixels or (0, 0)
    (columns, rows), bits = size_of(elements), elements.whole("BitsAllocated", 8)
    samples, frames = elements.whole("SamplesPerPixel", 1), elements.whole("NumberOfFrames", 1)
    if length < 0 or elements.syntax == DEFLATED:
        try:
            check_size(elements.path, (columns, rows, frames), max(samples * bits // 8, 1))
        except InputError:
            raise DamagedDicom("it claims more pixels than it can hold") from None
        return
    if elements.text("PhotometricInterpretation").startswith(("YBR_FULL_422", "YBR_PARTIAL")):
        samples = 2
    if min(length, os.path.getsize(elements.path) - offset) < rows * columns * samples * frames * bits / 8:
        raise DamagedDicom("its pixels are cut off")


def _is_scanned(path: Path) -> bool:
    """Whether ``path`` is an image, and no screenshot."""
    try:
        if not looks_like_dicom(file_head(path)):
            return False
        elements = DicomFile(path)
        return kind_of(elements) == IMAGE and not image_file(elements).picture
    except (InputError, DamagedDicom, OSError):
        return False


def nothing_found(folder: Path, found: Found) -> str:
    """What to say of a folder without image series."""
    what = "holds no DICOM images"
    if found.others:
        counts = ", ".join(f"{n} x {kind}" for kind, n in Counter(found.others).most_common(4))
        what += f", only other DICOM objects ({counts})"
    if found.damaged:
        what += f"; {len(found.damaged)} DICOM files are cut off or damaged ({', '.join(found.damaged[:3])}): copy them again"
    if len(set(found.others)) == 1 and not found.damaged:
        return f"folder {str(folder)!r} {what}{_looked(folder)}; {way_out(found.others[0])}"
    return f"folder {str(folder)!r} {what}{_looked(folder)}; choose the folder of a series, or give an image file"


def _looked(folder: Path) -> str:
    inside = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return f" (looked in its folders too: {', '.join(inside[:8])})" if inside else ""
