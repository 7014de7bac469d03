"""DICOM SEG: a segmentation as a DICOM object that refers to the slices it was made on.

Needs highdicom (and pydicom), which Slicer 5.12 brings along; elsewhere it is optional. Source: DICOM PS3.3 A.51,
Segmentation IOD; terminology as in Slicer's serialized entries, SNOMED CT where a segment names none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ... import __version__
from ..errors import InputError
from .files import replacing
from .segmentation import Segment, Segmentation

_NAME = "S3NetSegment"
_TISSUE = ("85756007", "SCT", "Tissue")
_SAME_PLACE = 0.05  # mm


def check_dicom_seg() -> None:
    """Raises InputError if DICOM SEG cannot be written in this Python."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise InputError(
            "a .dcm output (DICOM SEG) needs highdicom, which is not installed here; install it with 'pip install "
            "highdicom', or choose .seg.nrrd"
        ) from None


def write_dicom_seg(segmentation: Segmentation, sources: Sequence[str | os.PathLike], path: str | os.PathLike) -> Path:
    """Writes ``segmentation`` as DICOM SEG (binary, one frame for each slice of a segment that holds anything).

    :param segmentation: on the grid of the series.
    :param sources: the DICOM files of the series, in any order; the slices are found by their positions.
    :returns: the path.
    :raises InputError: no highdicom, sources that are not the slices of the segmentation, or nothing segmented.
    """
    check_dicom_seg()
    import highdicom

    slices = _slices(segmentation, sources)
    if not any(segmentation.mask(segment).any() for segment in segmentation.segments):
        raise InputError("the segmentation is empty, which DICOM SEG cannot hold; choose .seg.nrrd")
    # [frame, row, column, segment]: overlapping segments each have a plane of their own
    pixels = np.stack([segmentation.mask(segment) for segment in segmentation.segments], -1).astype(np.uint8)
    made = highdicom.seg.Segmentation(
        source_images=slices,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(n, s) for n, s in enumerate(segmentation.segments, 1)],
        series_instance_uid=highdicom.UID(),
        series_number=100,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=_NAME,
        manufacturer_model_name=_NAME,
        software_versions=__version__,
        device_serial_number="none",
        series_description="Segmentation, for research",
        content_creator_name="",  # nobody: made by a program (type 2: there, but empty)
    )
    path = Path(path)
    with replacing(path) as temporary:
        made.save_as(temporary)
    return path


def _slices(segmentation: Segmentation, sources: Sequence[str | os.PathLike]) -> list:
    """The data set of each slice of the segmentation, in its order."""
    import pydicom

    depth = segmentation.layers[0].shape[0]
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ segmentation.ijk_to_ras
    places = lps[:3, 3] + np.arange(depth)[:, None] * lps[:3, 2]
    found = [None] * depth
    for source in sources:
        try:
            data = pydicom.dcmread(source)
            position = np.array(data.ImagePositionPatient, float)
        except (pydicom.errors.InvalidDicomError, AttributeError, OSError):
            continue
        distance = np.linalg.norm(places - position, axis=1)
        nearest = int(distance.argmin())
        same_size = (data.Rows, data.Columns) == segmentation.layers[0].shape[1:]
        if distance[nearest] < _SAME_PLACE and same_size and found[nearest] is None:
            found[nearest] = data
    missing = sum(data is None for data in found)
    if missing:
        raise InputError(
            f"{missing} of {depth} slices of the segmentation have no DICOM file of their place; DICOM SEG needs the whole series, "
            "evenly spaced and of single slices: choose .seg.nrrd"
        )
    return found


def _description(number: int, segment: Segment):
    import highdicom
    from pydicom.sr.codedict import codes

    category, kind = _terms(segment.terminology)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=_NAME, version=__version__, family=codes.cid7162.ArtificialIntelligence
    )
    made = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:64] or f"Segment {number}",
        segmented_property_category=highdicom.sr.CodedConcept(*category),
        segmented_property_type=highdicom.sr.CodedConcept(*kind),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=algorithm,
    )
    made.RecommendedDisplayCIELabValue = _cielab(segment.color)
    return made


def _terms(terminology: str) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    """Category and type as (value, scheme, meaning), of Slicer's "context~scheme^value^meaning~..."; tissue if it has none."""
    terms = []
    for part in terminology.split("~")[1:3]:
        scheme, _, rest = part.partition("^")
        value, _, meaning = rest.partition("^")
        if scheme and value and meaning:
            terms.append((value, scheme, meaning[:64]))
    return tuple(terms) if len(terms) == 2 else (_TISSUE, _TISSUE)


def _cielab(color: tuple[float, float, float]) -> list[int]:
    """sRGB (0 to 1) as DICOM's scaled CIE L*a*b* (PS3.3 C.10.7.1.1), white point D65."""
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color])
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = to_xyz @ linear / (0.95047, 1.0, 1.08883)
    f = [v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z)]
    lightness, a, b = 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])
    scaled = (lightness * 65535 / 100, (a + 128) * 65535 / 255, (b + 128) * 65535 / 255)
    return [int(np.clip(round(v), 0, 65535)) for v in scaled]
