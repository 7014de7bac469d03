"""What the headers of DICOM images say of each slice: place, size, and what tells it from others in the same place.

A classic file is one slice, or several that are tiled into a picture (``tiles``) or follow each other as frames
(``frames``); an enhanced multi-frame file (PS3.3 C.7.6.16) has one for each of its frames.
"""

from __future__ import annotations

from dataclasses import replace

from .elements import DicomFile, Elements
from .frames import slices_of_frames
from .marks import classic_marks, enhanced_marks
from .parsing import DamagedDicom
from .slices import (
    DEFAULT_AXES,
    ImageFile,
    Slice,
    axes_of,
    distance_of,
    position_of,
    size_of,
    usable_spacing,
)
from .tiles import tiles_of

_WHOLE_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
_CAPTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"  # screenshots, scanned paper, and what programs made of other images
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_CENTIMETRES = 3
_MOST_FRAMES = 100_000


def image_file(elements: DicomFile) -> ImageFile:
    """What the image in ``elements`` (of kind "image") is. DamagedDicom if its number of frames cannot be."""
    stated = elements.text(0x00280008)
    if stated and elements.number(0x00280008) is None:
        raise DamagedDicom(f"its number of frames is {stated[:20]!r}")
    frames = max(int(elements.number(0x00280008) or 1), 1)
    if frames > _MOST_FRAMES:
        raise DamagedDicom(f"it claims {frames:,} frames, more than the {_MOST_FRAMES:,} that can be read")
    series = elements.text(0x0020000E)
    number = elements.number(0x00200011)
    description = elements.text(0x0008103E)
    stand_in = f"no UID, {elements.path.parent}, {elements.text(0x0020000D)}, {number}, {description}"
    kinds = [t.upper() for t in elements.texts(0x00080008)]
    spacing, source = _pixel_spacing(elements)
    file = ImageFile(
        elements.path, series or stand_in, None if number is None else int(number), description,
        elements.text(0x00080060), elements.text(0x00081030), "LOCALIZER" in kinds[2:], elements.syntax, size_of(elements), frames,
        spacing, source == "detector", ("voxel size",) if source == "" else (),
    )  # fmt: skip
    if _PER_FRAME in elements or _SHARED in elements:
        slices, unknown = _enhanced_slices(elements, frames)
        tiled = _WHOLE_SLIDE if elements.sop_class == _WHOLE_SLIDE_CLASS else ""
        return replace(file, slices=slices, unknown=unknown, tiled=tiled)
    return _classic_file(file, elements, kinds)


_WHOLE_SLIDE = "parts of a whole slide; export the part that you want as a picture"


def _classic_file(file: ImageFile, elements: DicomFile, kinds: list[str]) -> ImageFile:
    """``file`` with its slices."""
    whole = _classic_slice(elements, file.spacing)
    unknown = list(file.unknown)
    if whole.position is not None and axes_of(elements.numbers(0x00200037)) is None:
        unknown.append("orientation")
    placed = whole.position is not None
    picture = elements.sop_class.startswith(_CAPTURE_CLASS) and not placed
    file = replace(file, unknown=tuple(unknown), picture=picture)
    if elements.sop_class == _WHOLE_SLIDE_CLASS:
        return replace(file, slices=(whole,), tiled=_WHOLE_SLIDE)
    if file.frames == 1:
        tiles = tiles_of(elements, kinds, whole)
        return replace(
            file, slices=tiles.slices, tiled=tiles.refused, only_called_tiled=tiles.only_called, notes=tiles.notes
        )
    slices, notes = slices_of_frames(elements, file.frames, whole)
    return replace(file, slices=slices, notes=notes, stacked=True)


def first_rescale(elements: Elements) -> tuple[float, float]:
    """Slope and intercept of the first frame."""
    own = elements.item(_PER_FRAME), elements.item(_SHARED)
    group = next((g for item in own if 0x00281053 in (g := item.item(0x00289145))), elements)
    slope = group.number(0x00281053) or group.number(0x3004000E) or 1.0  # Dose Grid Scaling stands in for it
    return slope, group.number(0x00281052) or 0.0


def _classic_slice(elements: DicomFile, spacing: tuple[float, float]) -> Slice:
    axes = axes_of(elements.numbers(0x00200037))
    number = elements.number(0x00200013)
    return Slice(
        elements.path, 0, size_of(elements), spacing, DEFAULT_AXES if axes is None else axes,
        position_of(elements.numbers(0x00200032)), elements.number(0x00201041),
        distance_of(elements.number(0x00180088)) or distance_of(elements.number(0x00180050)) or 1.0,
        (1.0, 0.0), elements.text(0x00080018), None if number is None else int(number), classic_marks(elements),
        (_seconds(elements.text(0x00080032)), _seconds(elements.text(0x00080033)), number or 0.0),
    )  # fmt: skip


def _enhanced_slices(elements: DicomFile, frames: int) -> tuple[tuple[Slice, ...], tuple[str, ...]]:
    """One slice for each frame, from its own functional groups or else the shared ones; and what these do not say."""
    shared, per_frame = elements.item(_SHARED), elements.items(_PER_FRAME)[:frames]
    per_frame = [*per_frame, *[Elements()] * (frames - len(per_frame))]
    size, instance = size_of(elements), elements.text(0x00080018)
    first_slope, first_intercept = first_rescale(elements)
    found, unknown = [], set()
    for index, own in enumerate(per_frame):

        def group(sequence: int, tag: int, own: Elements = own) -> Elements:
            """The group with ``tag``: of the frame, of all frames, or of the file itself."""
            return next((g for g in (own.item(sequence), shared.item(sequence)) if tag in g), elements)

        spacing = group(0x00289110, 0x00280030).numbers(0x00280030)
        thickness = group(0x00289110, 0x00180088).number(0x00180088) or group(0x00289110, 0x00180050).number(0x00180050)
        axes = axes_of(group(0x00209116, 0x00200037).numbers(0x00200037))
        if not usable_spacing(spacing):
            unknown.add("voxel size")
        if axes is None:
            unknown.add("orientation")
        slope = group(0x00289145, 0x00281053).number(0x00281053) or 1.0
        intercept = group(0x00289145, 0x00281052).number(0x00281052) or 0.0
        factor = slope / first_slope  # GDCM rescales all frames as the first
        found.append(
            Slice(
                elements.path,
                index,
                size,
                tuple(spacing[1::-1]) if usable_spacing(spacing) else (1.0, 1.0),
                DEFAULT_AXES if axes is None else axes,
                position_of(group(0x00209113, 0x00200032).numbers(0x00200032)),
                None,
                distance_of(thickness) or 1.0,
                (factor, intercept - factor * first_intercept),
                f"{instance} {index}",
                index,
                enhanced_marks(group),
                (float(index),),
            )
        )
    return tuple(found), tuple(sorted(unknown))


def _pixel_spacing(elements: Elements) -> tuple[tuple[float, float], str]:
    """Spacing (columns, rows) in mm and where it was found: "pixels", "detector", or "" if nowhere."""
    regions = elements.items(0x00186011)
    if usable_spacing(given := elements.numbers(0x00280030)):
        return (given[1], given[0]), "pixels"
    for tag, source in ((0x00181164, "detector"), (0x30020011, "pixels"), (0x00182010, "pixels")):
        if usable_spacing(given := elements.numbers(tag)):
            return (given[1], given[0]), source
    if len(regions) == 1 and regions[0].number(0x00186024) == _CENTIMETRES:  # an ultrasound picture of one region
        given = [abs(regions[0].number(tag) or 0.0) * 10 for tag in (0x0018602E, 0x0018602C)]
        if usable_spacing(given):
            return (given[1], given[0]), "pixels"
    return (1.0, 1.0), ""


def _seconds(text: str) -> float:
    """A DICOM time as one number that grows with it."""
    try:
        return float(text)
    except ValueError:
        return 0.0
