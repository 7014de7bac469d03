"""What the headers of DICOM images say of each slice: place, size, and what tells it from others in the same place.

A classic file is one slice, or several that are tiled into a picture (``tiles``) or follow each other as frames
(``frames``); an enhanced multi-frame file (PS3.3 C.7.6.16) has one for each of its frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ...common.arrays import two
from ...common.numbers import finite
from .elements import DamagedDicom, DicomFile, Elements, nothing
from .slices import (
    DEFAULT_AXES,
    Content,
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
MEASURED = ("CT", "MR", "PT", "NM")  # modalities whose values say something, and not only how bright they are shown
_CENTIMETRES = 3
_MOST_FRAMES = 100_000
_WHOLE_SLIDE = "parts of a whole slide; export the part that you want as a picture"


def image_file(elements: DicomFile) -> ImageFile:
    """What the image in ``elements`` (of kind "image") is. DamagedDicom if its number of frames cannot be."""
    frames = _frame_count(elements)
    number, description = elements.number("SeriesNumber"), elements.text("SeriesDescription")
    stand_in = f"no UID, {elements.path.parent}, {elements.text('StudyInstanceUID')}, {number}, {description}"
    kinds = [t.upper() for t in elements.texts("ImageType")]
    spacing, source = _pixel_spacing(elements)
    tiled = _WHOLE_SLIDE if elements.sop_class == _WHOLE_SLIDE_CLASS else ""
    enhanced, picture = _PER_FRAME in elements or _SHARED in elements, False
    if enhanced:
        slices, unknown = _enhanced_slices(elements, frames)
        content = Content(slices, tiled)
    else:
        whole = _classic_slice(elements, spacing)
        placed, straight = whole.position is not None, axes_of(elements.numbers("ImageOrientationPatient")) is not None
        stated = {"voxel size": source != "", "orientation": straight or not placed}
        unknown = {what for what, is_stated in stated.items() if not is_stated}
        picture = (elements.sop_class.startswith(_CAPTURE_CLASS) and not placed) or elements.sop_class == _DOSE_CLASS
        if tiled:
            content = Content((whole,), tiled)
        else:
            content = tiles_of(elements, kinds, whole) if frames == 1 else slices_of_frames(elements, frames, whole)
    return ImageFile(
        elements.path, elements.text("SeriesInstanceUID") or stand_in, None if number is None else int(number), description,
        elements.text("Modality"), elements.text("StudyDescription"), elements.text("PatientID"), elements.text("FrameOfReferenceUID"),
        elements.syntax, size_of(elements), frames, content, frozenset(unknown), (*_value_notes(elements), *content.notes),
        localizer="LOCALIZER" in kinds[2:], at_detector=source == "detector", stacked=frames > 1 and not enhanced, picture=picture,
    )  # fmt: skip


def _frame_count(elements: DicomFile) -> int:
    stated = elements.text("NumberOfFrames")
    if stated and elements.number("NumberOfFrames") is None:
        raise DamagedDicom(f"its number of frames is {stated[:20]!r}")
    frames = max(elements.whole("NumberOfFrames", 1), 1)
    if frames > _MOST_FRAMES:
        raise DamagedDicom(f"it claims {frames:,} frames, more than the {_MOST_FRAMES:,} that can be read")
    return frames


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
        notes.append("its values are to be looked up in a table (Modality LUT), which is not done, as in Slicer; they are as stored")  # fmt: skip
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
        (*(finite(elements.text(f"{what}Time"), 0.0) for what in ("Acquisition", "Content")), number or 0.0),
    )  # fmt: skip


def _enhanced_slices(elements: DicomFile, frames: int) -> tuple[tuple[Slice, ...], set[str]]:
    """One slice for each frame, from its own functional groups or else the shared ones; and what these do not say."""
    shared, per_frame = elements.item(_SHARED), elements.items(_PER_FRAME)[:frames]
    per_frame = [*per_frame, *[nothing()] * (frames - len(per_frame))]
    size, instance = size_of(elements), elements.text("SOPInstanceUID")
    first_slope, first_intercept = first_rescale(elements)
    found, unknown = [], set[str]()
    for index, own in enumerate(per_frame):

        def value(sequence: str, keyword: str, own: Elements = own) -> list[float]:
            """What the group in ``sequence`` says: that of the frame, that of all frames, or the file itself."""
            return _group(sequence, keyword, own, shared, elements).numbers(keyword)

        spacing = value("PixelMeasuresSequence", "PixelSpacing")
        steps = (value("PixelMeasuresSequence", keyword) for keyword in ("SpacingBetweenSlices", "SliceThickness"))
        thickness = next(filter(None, steps), [0.0])[0]
        axes = axes_of(value("PlaneOrientationSequence", "ImageOrientationPatient"))
        stated = {"voxel size": usable_spacing(spacing), "orientation": axes is not None}
        unknown |= {what for what, is_stated in stated.items() if not is_stated}
        slope = (value("PixelValueTransformationSequence", "RescaleSlope") or [1.0])[0] or 1.0
        intercept = (value("PixelValueTransformationSequence", "RescaleIntercept") or [0.0])[0]
        factor = slope / first_slope  # the decoder rescales all frames as the first
        found.append(Slice(
            elements.path, index, size, two(spacing[1::-1]) if usable_spacing(spacing) else (1.0, 1.0),
            DEFAULT_AXES if axes is None else axes, position_of(value("PlanePositionSequence", "ImagePositionPatient")), None,
            distance_of(thickness) or 1.0, (factor, intercept - factor * first_intercept), f"{instance} {index}",
            index, enhanced_marks(partial(_group, own=own, shared=shared, whole=elements)), (float(index),),
        ))  # fmt: skip
    return tuple(found), unknown


def _group(sequence: str, keyword: str, own: Elements, shared: Elements, whole: Elements) -> Elements:
    """The functional group in ``sequence`` that has ``keyword``: the frame's own, the shared one, or else the whole file."""
    return next((group for item in (own, shared) if keyword in (group := item.item(sequence))), whole)


def _pixel_spacing(elements: Elements) -> tuple[tuple[float, float], str]:
    """Spacing (columns, rows) in mm and where it was found: "pixels", "detector", or "" if nowhere."""
    found = [
        (elements.numbers("PixelSpacing"), "pixels"), (elements.numbers("ImagerPixelSpacing"), "detector"),
        (elements.numbers("ImagePlanePixelSpacing"), "pixels"), (elements.numbers("NominalScannedPixelSpacing"), "pixels"),
    ]  # fmt: skip
    regions = elements.items("SequenceOfUltrasoundRegions")
    if len(regions) == 1 and regions[0].number("PhysicalUnitsXDirection") == _CENTIMETRES:  # an ultrasound picture
        found.append(([abs(regions[0].number(f"PhysicalDelta{a}") or 0.0) * 10 for a in "YX"], "pixels"))
    return next((((rows[1], rows[0]), source) for rows, source in found if usable_spacing(rows)), ((1.0, 1.0), ""))


def classic_marks(elements: Elements) -> dict[str, float | str]:
    """The marks of a classic slice."""
    return _stated({
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
    })  # fmt: skip


def enhanced_marks(group: Callable[[str, str], Elements]) -> dict[str, float | str]:
    """The marks of a frame of an enhanced file. ``group``: the functional group of a sequence that has a keyword."""

    def number(sequence: str, keyword: str) -> float | None:
        return group(sequence, keyword).number(keyword)

    direction = "DiffusionGradientDirectionSequence"
    gradient = group("MRDiffusionSequence", direction).item(direction)
    types = (_kind_text(group(f"{m}ImageFrameTypeSequence", "FrameType").texts("FrameType")) for m in ("MR", "CT"))
    return _stated({
        "temporal position": number("FrameContentSequence", "TemporalPositionIndex"),
        "b value": number("MRDiffusionSequence", "DiffusionBValue"),
        "echo time": number("MREchoSequence", "EffectiveEchoTime"),
        "inversion time": number("MRModifierSequence", "InversionTimes"),
        "image type": next(filter(None, types), ""),
        "trigger time": number("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
        "stack": group("FrameContentSequence", "StackID").text("StackID"),
        "acquisition": number("FrameContentSequence", "FrameAcquisitionNumber"),
        "gradient": _direction(gradient.numbers("DiffusionGradientOrientation")),
    })  # fmt: skip


def _b_value(elements: Elements) -> float | None:
    """The diffusion b-value in s/mm2, also where Siemens, GE, Philips and United Imaging keep it in private elements."""
    value = elements.numbers("DiffusionBValue") or elements.numbers("SiemensBValue")
    value = value or siemens_csa(elements, "B_value").get("B_value", [])
    value = value or next(filter(None, map(elements.numbers, ("GEBValue", "PhilipsBValue", "UIHBValue"))), [])
    return value[0] % 1e9 if value else None  # GE adds a flag of 1e9


def _direction(values: Sequence[float]) -> str:
    return ",".join(f"{v:.2f}" for v in values[:3]) if len(values) >= 3 else ""


def _kind_text(values: Sequence[str]) -> str:
    return "/".join(values[2:])


def _stated(marks: Mapping[str, float | str | None]) -> dict[str, float | str]:
    """The marks that are stated, numbers rounded."""
    kept = {name: value for name, value in marks.items() if value is not None and value != ""}
    return {name: value if isinstance(value, str) else round(value, 2) for name, value in kept.items()}
