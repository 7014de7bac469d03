"""What the headers of DICOM images say of each slice: place, size, and what tells it from others in the same place.

A classic file is one slice, or several that are tiled into a picture (``tiles``) or follow each other as frames
(``frames``); an enhanced multi-frame file (PS3.3 C.7.6.16) has one for each of its frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ...common.arrays import two
from .elements import DamagedDicom, DicomFile, Elements, nothing
from .slices import (
    DEFAULT_AXES,
    ImageFile,
    Slice,
    axes_of,
    distance_of,
    position_of,
    size_of,
    slices_of_frames,
    usable_spacing,
)
from .tiles import siemens_csa, tiles_of

_WHOLE_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
_CAPTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"  # screenshots, scanned paper, and what programs made of other images
_DOSE_CLASS = "1.2.840.10008.5.1.4.1.1.481.2"
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
MEASURED = (
    "CT",
    "MR",
    "PT",
    "NM",
)  # modalities whose values say something by themselves, not by how bright they are shown
_CENTIMETRES = 3
_MOST_FRAMES = 100_000
_WHOLE_SLIDE = "parts of a whole slide; export the part that you want as a picture"


def image_file(elements: DicomFile) -> ImageFile:
    """What the image in ``elements`` (of kind "image") is. DamagedDicom if its number of frames cannot be."""
    stated = elements.text("NumberOfFrames")
    if stated and elements.number("NumberOfFrames") is None:
        raise DamagedDicom(f"its number of frames is {stated[:20]!r}")
    frames = max(elements.whole("NumberOfFrames", 1), 1)
    if frames > _MOST_FRAMES:
        raise DamagedDicom(f"it claims {frames:,} frames, more than the {_MOST_FRAMES:,} that can be read")
    series = elements.text("SeriesInstanceUID")
    number = elements.number("SeriesNumber")
    description = elements.text("SeriesDescription")
    stand_in = f"no UID, {elements.path.parent}, {elements.text('StudyInstanceUID')}, {number}, {description}"
    kinds = [t.upper() for t in elements.texts("ImageType")]
    spacing, source = _pixel_spacing(elements)
    file = ImageFile(
        elements.path, series or stand_in, None if number is None else int(number), description,
        elements.text("Modality"), elements.text("StudyDescription"), "LOCALIZER" in kinds[2:], elements.syntax, size_of(elements), frames,
        spacing, source == "detector", ("voxel size",) if source == "" else (), patient=elements.text("PatientID"),
        frame_of_reference=elements.text("FrameOfReferenceUID"), notes=_value_notes(elements),
    )  # fmt: skip
    if _PER_FRAME in elements or _SHARED in elements:
        slices, unknown = _enhanced_slices(elements, frames)
        tiled = _WHOLE_SLIDE if elements.sop_class == _WHOLE_SLIDE_CLASS else ""
        return replace(file, slices=slices, unknown=unknown, tiled=tiled)
    return _classic_file(file, elements, kinds)


def _classic_file(file: ImageFile, elements: DicomFile, kinds: list[str]) -> ImageFile:
    whole = _classic_slice(elements, file.spacing)
    unknown = list(file.unknown)
    if whole.position is not None and axes_of(elements.numbers("ImageOrientationPatient")) is None:
        unknown.append("orientation")
    placed = whole.position is not None
    picture = (elements.sop_class.startswith(_CAPTURE_CLASS) and not placed) or elements.sop_class == _DOSE_CLASS
    file = replace(file, unknown=tuple(unknown), picture=picture)
    if elements.sop_class == _WHOLE_SLIDE_CLASS:
        return replace(file, slices=(whole,), tiled=_WHOLE_SLIDE)
    if file.frames == 1:
        tiles = tiles_of(elements, kinds, whole)
        return replace(
            file,
            slices=tiles.slices,
            tiled=tiles.refused,
            only_called_tiled=tiles.only_called,
            notes=(*file.notes, *tiles.notes),
        )
    slices, notes = slices_of_frames(elements, file.frames, whole)
    return replace(file, slices=slices, notes=(*file.notes, *notes), stacked=True)


def _value_notes(elements: Elements) -> tuple[str, ...]:
    """What is to be known of the values of the pixels."""
    notes = []
    modality = elements.text("Modality").upper()
    if modality in MEASURED and elements.text("PhotometricInterpretation").upper() == "MONOCHROME1":
        notes.append(
            f"its pixels are to be shown inverted (MONOCHROME1); the values of this {modality} are taken as they were measured, where "
            "Slicer turns them round"
        )
    if _rescaling(elements).number("RescaleSlope") == 0:
        notes.append("its Rescale Slope is 0, which would leave no image; it is taken as 1, as in Slicer")
    if elements.items("ModalityLUTSequence"):
        notes.append(
            "its values are to be looked up in a table (Modality LUT), which is not done, as in Slicer; they are as stored"
        )
    return tuple(notes)


def first_rescale(elements: Elements) -> tuple[float, float]:
    """Slope and intercept of the first frame."""
    group = _rescaling(elements)
    slope = group.number("RescaleSlope") or group.number("DoseGridScaling") or 1.0  # Dose Grid Scaling stands in for it
    return slope, group.number("RescaleIntercept") or 0.0


def _rescaling(elements: Elements) -> Elements:
    return _group(
        "PixelValueTransformationSequence", "RescaleSlope", elements.item(_PER_FRAME), elements.item(_SHARED), elements
    )


def _classic_slice(elements: DicomFile, spacing: tuple[float, float]) -> Slice:
    axes = axes_of(elements.numbers("ImageOrientationPatient"))
    number = elements.number("InstanceNumber")
    return Slice(
        elements.path, 0, size_of(elements), spacing, DEFAULT_AXES if axes is None else axes,
        position_of(elements.numbers("ImagePositionPatient")), elements.number("SliceLocation"),
        distance_of(elements.number("SpacingBetweenSlices")) or distance_of(elements.number("SliceThickness")) or 1.0,
        (1.0, 0.0), elements.text("SOPInstanceUID"), None if number is None else int(number), classic_marks(elements),
        (_seconds(elements.text("AcquisitionTime")), _seconds(elements.text("ContentTime")), number or 0.0),
    )  # fmt: skip


def _enhanced_slices(elements: DicomFile, frames: int) -> tuple[tuple[Slice, ...], tuple[str, ...]]:
    """One slice for each frame, from its own functional groups or else the shared ones; and what these do not say."""
    shared, per_frame = elements.item(_SHARED), elements.items(_PER_FRAME)[:frames]
    per_frame = [*per_frame, *[nothing()] * (frames - len(per_frame))]
    size, instance = size_of(elements), elements.text("SOPInstanceUID")
    first_slope, first_intercept = first_rescale(elements)
    found, unknown = [], set()
    for index, own in enumerate(per_frame):

        def value(sequence: str, keyword: str, own: Elements = own) -> list[float]:
            """What the group in ``sequence`` says: that of the frame, that of all frames, or the file itself."""
            return _group(sequence, keyword, own, shared, elements).numbers(keyword)

        spacing = value("PixelMeasuresSequence", "PixelSpacing")
        thickness = value("PixelMeasuresSequence", "SpacingBetweenSlices") or value(
            "PixelMeasuresSequence", "SliceThickness"
        )
        axes = axes_of(value("PlaneOrientationSequence", "ImageOrientationPatient"))
        if not usable_spacing(spacing):
            unknown.add("voxel size")
        if axes is None:
            unknown.add("orientation")
        slope = (value("PixelValueTransformationSequence", "RescaleSlope") or [1.0])[0] or 1.0
        intercept = (value("PixelValueTransformationSequence", "RescaleIntercept") or [0.0])[0]
        factor = slope / first_slope  # the decoder rescales all frames as the first
        found.append(
            Slice(
                elements.path,
                index,
                size,
                two(spacing[1::-1]) if usable_spacing(spacing) else (1.0, 1.0),
                DEFAULT_AXES if axes is None else axes,
                position_of(value("PlanePositionSequence", "ImagePositionPatient")),
                None,
                distance_of(next(iter(thickness), None)) or 1.0,
                (factor, intercept - factor * first_intercept),
                f"{instance} {index}",
                index,
                enhanced_marks(partial(_group, own=own, shared=shared, whole=elements)),
                (float(index),),
            )
        )
    return tuple(found), tuple(sorted(unknown))


def _group(sequence: str, keyword: str, own: Elements, shared: Elements, whole: Elements) -> Elements:
    """The functional group in ``sequence`` that has ``keyword``: the frame's own, the shared one, or else the whole file."""
    return next((group for item in (own, shared) if keyword in (group := item.item(sequence))), whole)


def _pixel_spacing(elements: Elements) -> tuple[tuple[float, float], str]:
    """Spacing (columns, rows) in mm and where it was found: "pixels", "detector", or "" if nowhere."""
    regions = elements.items("SequenceOfUltrasoundRegions")
    if usable_spacing(given := elements.numbers("PixelSpacing")):
        return (given[1], given[0]), "pixels"
    for tag, source in (
        ("ImagerPixelSpacing", "detector"),
        ("ImagePlanePixelSpacing", "pixels"),
        ("NominalScannedPixelSpacing", "pixels"),
    ):
        if usable_spacing(given := elements.numbers(tag)):
            return (given[1], given[0]), source
    if (
        len(regions) == 1 and regions[0].number("PhysicalUnitsXDirection") == _CENTIMETRES
    ):  # an ultrasound picture of one region
        given = [abs(regions[0].number(tag) or 0.0) * 10 for tag in ("PhysicalDeltaY", "PhysicalDeltaX")]
        if usable_spacing(given):
            return (given[1], given[0]), "pixels"
    return (1.0, 1.0), ""


def _seconds(text: str) -> float:
    """A DICOM time as one number that grows with it."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def classic_marks(elements: Elements) -> dict[str, float | str]:
    """The marks of a classic slice."""
    marks: dict[str, float | str | None] = {
        "temporal position": elements.number("TemporalPositionIdentifier"),
        "b value": _b_value(elements),
        "echo time": elements.number("EchoTime"),
        "inversion time": elements.number("InversionTime"),
        "image type": _kind_text(elements.texts("ImageType")),
        "tube voltage": elements.number("KVP"),
        "kernel": elements.text("ConvolutionKernel"),
        "frame time": elements.number("FrameReferenceTime"),
        "trigger time": elements.number("TriggerTime"),
        "acquisition": elements.number("AcquisitionNumber"),
        "gradient": _direction(elements.numbers("DiffusionGradientOrientation")),
    }
    return {name: _rounded(value) for name, value in marks.items() if value not in (None, "")}


def enhanced_marks(group: Callable[[str, str], Elements]) -> dict[str, float | str]:
    """The marks of a frame of an enhanced file. ``group``: the functional group of a sequence that has a keyword."""

    def number(sequence: str, keyword: str) -> float | None:
        return group(sequence, keyword).number(keyword)

    gradient = group("MRDiffusionSequence", "DiffusionGradientDirectionSequence").item(
        "DiffusionGradientDirectionSequence"
    )
    types = (_kind_text(group(f"{m}ImageFrameTypeSequence", "FrameType").texts("FrameType")) for m in ("MR", "CT"))
    marks = {
        "temporal position": number("FrameContentSequence", "TemporalPositionIndex"),
        "b value": number("MRDiffusionSequence", "DiffusionBValue"),
        "echo time": number("MREchoSequence", "EffectiveEchoTime"),
        "inversion time": number("MRModifierSequence", "InversionTimes"),
        "image type": next(filter(None, types), ""),
        "trigger time": number("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
        "stack": group("FrameContentSequence", "StackID").text("StackID"),
        "acquisition": number("FrameContentSequence", "FrameAcquisitionNumber"),
        "gradient": _direction(gradient.numbers("DiffusionGradientOrientation")),
    }
    return {name: _rounded(value) for name, value in marks.items() if value not in (None, "")}


def _b_value(elements: Elements) -> float | None:
    """The diffusion b-value in s/mm2, also where Siemens, GE, Philips and United Imaging keep it in private elements."""
    value = next(filter(None, (elements.numbers(name) for name in ("DiffusionBValue", "SiemensBValue"))), None)
    value = value or siemens_csa(elements, "B_value").get("B_value")
    value = value or next(filter(None, (elements.numbers(n) for n in ("GEBValue", "PhilipsBValue", "UIHBValue"))), None)
    return value[0] % 1e9 if value else None  # GE adds a flag of 1e9


def _direction(values: Sequence[float]) -> str:
    return ",".join(f"{v:.2f}" for v in values[:3]) if len(values) >= 3 else ""


def _kind_text(values: Sequence[str]) -> str:
    return "/".join(values[2:])


def _rounded(value: float | str) -> float | str:
    return value if isinstance(value, str) else round(value, 2)
