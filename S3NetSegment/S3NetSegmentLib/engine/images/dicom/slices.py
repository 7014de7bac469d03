"""What the headers of DICOM images say of each slice: place, size, and what tells it from others in the same place.

A classic file is one slice; an enhanced multi-frame file (PS3.3 C.7.6.16) has one for each of its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .elements import DicomFile, Elements
from .marks import classic_marks, enhanced_marks
from .parsing import DamagedDicom

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_WHOLE_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_TIME_POINTERS = (0x00181063, 0x00181065)  # Frame Time, Frame Time Vector
_CENTIMETRES = 3
_DEFAULT_AXES = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice.

    :param frame: its number in the file, from 0.
    :param size: columns, rows.
    :param spacing: mm from column to column and from row to row.
    :param axes: ``[3, 2]``, directions of column and row index, LPS.
    :param position: LPS of the first pixel, mm; None if not stated.
    :param location: mm along the normal, relative to nothing known (Slice Location); None if not stated.
    :param scale: factor and offset from the values that the file's decoder gives to those of this slice.
    :param marks: what may tell slices in one place apart: name -> number or text.
    :param order: for slices that nothing else orders.
    """

    path: Path
    frame: int
    size: tuple[int, int]
    spacing: tuple[float, float]
    axes: np.ndarray
    position: np.ndarray | None
    location: float | None
    thickness: float
    scale: tuple[float, float]
    instance: str
    number: int | None
    marks: dict[str, float | str]
    order: tuple[float, ...]

    def fits(self, other: Slice) -> bool:
        """Whether both can lie in one volume."""
        return (
            self.size == other.size
            and bool(np.abs(self.axes - other.axes).max() < 2e-3)
            and bool(np.allclose(self.spacing, other.spacing, rtol=1e-3))
        )


@dataclass(frozen=True, eq=False)
class ImageFile:
    """A DICOM file that holds an image.

    :param series: UID of its series, or what stands in for it where there is none.
    :param slices: empty for a file of several frames that does not place them (ultrasound, secondary capture, NM).
    :param size: columns, rows.
    :param frames: how many; ``cine`` if they follow each other in time.
    :param spacing: mm from column to column and from row to row. ``detector_spacing``: measured at the detector.
    :param unknown: what the header should say but does not: "voxel size", "orientation".
    :param tiled: what its pictures are tiled from, and the way out, in words; "" if they are not.
    """

    path: Path
    series: str
    number: int | None
    description: str
    modality: str
    study: str
    localizer: bool
    syntax: str
    size: tuple[int, int]
    frames: int
    cine: bool
    spacing: tuple[float, float]
    detector_spacing: bool
    unknown: tuple[str, ...] = ()
    slices: tuple[Slice, ...] = field(default=(), repr=False)
    tiled: str = ""


def kind_of(elements: DicomFile) -> str:
    """What a file is, in words: "image", or why it is none. DamagedDicom if an image has lost its pixels."""
    modality = elements.text(0x00080060)
    if elements.sop_class in SEG_CLASSES:
        return "segmentation (SEG)"
    if elements.sop_class == DIRECTORY_CLASS or 0x00041220 in elements:
        return "directory (DICOMDIR)"
    rows, columns = elements.number(0x00280010), elements.number(0x00280011)
    if elements.pixels is None and ((rows and columns) or not (modality or elements.sop_class)):
        raise DamagedDicom("it is cut off before its pixels")
    if elements.pixels is None or not rows or not columns:
        names = {"SR": "structured report (SR)", "PR": "presentation state (PR)", "KO": "selection of images (KO)",
                 "RTSTRUCT": "set of contours (RTSTRUCT)", "RTPLAN": "treatment plan (RTPLAN)", "DOC": "document"}  # fmt: skip
        return names.get(modality, f"DICOM object of another kind ({modality or 'unknown'})")
    return "image"


def image_file(elements: DicomFile) -> ImageFile:
    """What the image in ``elements`` (of kind "image") is."""
    frames = max(int(elements.number(0x00280008) or 1), 1)
    pointers = elements.numbers(0x00280009)
    tags = [int(a) << 16 | int(b) for a, b in zip(pointers[::2], pointers[1::2], strict=False)]
    series = elements.text(0x0020000E)
    number = elements.number(0x00200011)
    description = elements.text(0x0008103E)
    stand_in = f"no UID, {elements.path.parent}, {elements.text(0x0020000D)}, {number}, {description}"
    spacing, source = _pixel_spacing(elements)
    enhanced = _PER_FRAME in elements
    slices: tuple[Slice, ...] = ()
    if enhanced:
        slices = tuple(_enhanced_slices(elements, frames))
    elif frames == 1:
        slices = (_classic_slice(elements, spacing),)
    unknown = ["voxel size"] if source == "" and not enhanced else []
    if slices and slices[0].position is not None and not enhanced and _axes(elements.numbers(0x00200037)) is None:
        unknown.append("orientation")
    kinds = [t.upper() for t in elements.texts(0x00080008)]
    return ImageFile(
        elements.path, series or stand_in, None if number is None else int(number), description,
        elements.text(0x00080060), elements.text(0x00081030), "LOCALIZER" in kinds[2:], elements.syntax, _size(elements), frames,
        frames > 1 and not enhanced and any(t in _TIME_POINTERS for t in tags),
        spacing, source == "detector", tuple(unknown), slices, _tiles(elements, kinds),
    )  # fmt: skip


def _tiles(elements: DicomFile, kinds: Sequence[str]) -> str:
    if "MOSAIC" in kinds:
        return "slices (a Siemens mosaic); convert it to NIfTI, e.g. with dcm2niix"
    if elements.sop_class == _WHOLE_SLIDE_CLASS:
        return "parts of a whole slide; export the part that you want as a picture"
    return ""


def _classic_slice(elements: DicomFile, spacing: tuple[float, float]) -> Slice:
    axes = _axes(elements.numbers(0x00200037))
    number = elements.number(0x00200013)
    return Slice(
        elements.path, 0, _size(elements), spacing, _DEFAULT_AXES if axes is None else axes,
        _position(elements.numbers(0x00200032)), elements.number(0x00201041),
        _positive(elements.number(0x00180088)) or _positive(elements.number(0x00180050)) or 1.0,
        (1.0, 0.0), elements.text(0x00080018), None if number is None else int(number), classic_marks(elements),
        (_seconds(elements.text(0x00080032)), _seconds(elements.text(0x00080033)), number or 0.0),
    )  # fmt: skip


def _enhanced_slices(elements: DicomFile, frames: int) -> list[Slice]:
    """One slice for each frame: what its own functional groups say, else the shared ones."""
    shared, per_frame = elements.item(_SHARED), elements.items(_PER_FRAME)[:frames]
    size, instance = _size(elements), elements.text(0x00080018)
    found = []
    first_rescale = None
    for index, own in enumerate(per_frame):

        def group(sequence: int, tag: int, own: Elements = own) -> Elements:
            """The group with ``tag``: of the frame, of all frames, or of the file itself."""
            return next((g for g in (own.item(sequence), shared.item(sequence)) if tag in g), elements)

        spacing = group(0x00289110, 0x00280030).numbers(0x00280030)
        thickness = group(0x00289110, 0x00180088).number(0x00180088) or group(0x00289110, 0x00180050).number(0x00180050)
        axes = _axes(group(0x00209116, 0x00200037).numbers(0x00200037))
        slope = group(0x00289145, 0x00281053).number(0x00281053) or 1.0
        intercept = group(0x00289145, 0x00281052).number(0x00281052) or 0.0
        first_rescale = first_rescale or (slope, intercept)  # GDCM rescales all frames as the first
        factor = slope / first_rescale[0]
        found.append(
            Slice(
                elements.path,
                index,
                size,
                tuple(spacing[1::-1]) if _usable(spacing) else (1.0, 1.0),
                _DEFAULT_AXES if axes is None else axes,
                _position(group(0x00209113, 0x00200032).numbers(0x00200032)),
                None,
                _positive(thickness) or 1.0,
                (factor, intercept - factor * first_rescale[1]),
                f"{instance} {index}",
                index,
                enhanced_marks(group),
                (float(index),),
            )
        )
    return found


def _pixel_spacing(elements: Elements) -> tuple[tuple[float, float], str]:
    """Spacing (columns, rows) in mm and where it was found: "pixels", "detector", or "" if nowhere."""
    regions = elements.items(0x00186011)
    if _usable(given := elements.numbers(0x00280030)):
        return (given[1], given[0]), "pixels"
    for tag, source in ((0x00181164, "detector"), (0x30020011, "pixels"), (0x00182010, "pixels")):
        if _usable(given := elements.numbers(tag)):
            return (given[1], given[0]), source
    if len(regions) == 1 and regions[0].number(0x00186024) == _CENTIMETRES:  # an ultrasound picture of one region
        given = [abs(regions[0].number(tag) or 0.0) * 10 for tag in (0x0018602E, 0x0018602C)]
        if _usable(given):
            return (given[1], given[0]), "pixels"
    return (1.0, 1.0), ""


def _usable(spacing: Sequence[float]) -> bool:
    return len(spacing) > 1 and all(1e-6 < s < 1e5 for s in spacing[:2])


def _size(elements: Elements) -> tuple[int, int]:
    return int(elements.number(0x00280011) or 0), int(elements.number(0x00280010) or 0)


def _axes(values: Sequence[float]) -> np.ndarray | None:
    """``[3, 2]`` unit vectors; None if the six values are no two directions at a right angle."""
    if len(values) < 6:
        return None
    axes = np.reshape(values[:6], (2, 3)).T
    lengths = np.linalg.norm(axes, axis=0)
    if (np.abs(lengths - 1) > 0.05).any() or abs(axes[:, 0] @ axes[:, 1]) > 0.02:
        return None
    return axes / lengths


def _position(values: Sequence[float]) -> np.ndarray | None:
    return np.array(values[:3]) if len(values) >= 3 and max(map(abs, values[:3])) < 1e7 else None


def _positive(value: float | None) -> float | None:
    return abs(value) if value and 1e-6 < abs(value) < 1e4 else None


def _seconds(text: str) -> float:
    """A DICOM time as one number that grows with it."""
    try:
        return float(text)
    except ValueError:
        return 0.0
