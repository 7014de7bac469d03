"""DICOM SEG out: a segmentation as a DICOM object that refers to the slices it was made on.

Needs highdicom (and pydicom), which Slicer 5.12 brings along; elsewhere it is optional. Source: DICOM PS3.3 A.51,
Segmentation IOD.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .... import __version__
from ...common.errors import InputError
from ..files import replacing
from ..segmentation import Segmentation
from .elements import quiet_pydicom
from .grid import Grid
from .reading import read_grid
from .seg_terms import segment_description

NAME = "S3NetSegment"
SUFFIX = ".dcm"  # of a DICOM SEG
_SERIES_NUMBERS = 1000  # added to the number of the source's series
# What every composite object must state, if only as unknown (type 2); bad anonymisers take it away.
_UNKNOWN = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID",
)  # fmt: skip


def check_dicom_seg() -> None:
    """Raises InputError if DICOM SEG cannot be written in this Python."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise InputError(
            "a .dcm output (DICOM SEG) needs highdicom, which is not installed here; install it with 'pip install "
            "highdicom', or choose .seg.nrrd"
        ) from None


@quiet_pydicom()  # of values in the source that break rules
def write_dicom_seg(
    segmentation: Segmentation,
    image: str | os.PathLike,
    path: str | os.PathLike,
    *,
    frame: int | None = None,
    series: str | None = None,
) -> Path:
    """Writes ``segmentation`` as DICOM SEG: binary, one frame for each slice of a segment that holds anything.

    :param segmentation: on the grid that :func:`~..reading.read_image` gives for the same ``image``, ``frame`` and ``series``.
        Grid slices that were interpolated, where slices are missing, have no source and are left out.
    :returns: the path.
    :raises InputError: no highdicom, or an image that is no DICOM series or not the one that was segmented.
    """
    check_dicom_seg()
    import highdicom

    grid = read_grid(Path(image), lambda count, names=(): frame or 0, series)
    size = (grid.depth, *grid.slices[0].size[::-1])
    if segmentation.layers[0].shape != size or not np.allclose(segmentation.ijk_to_ras, grid.ijk_to_ras, atol=1e-3):
        raise InputError(
            f"the segmentation does not lie on the slices of {os.fspath(image)!r}, to which a DICOM SEG refers; segment that "
            "series, or choose .seg.nrrd"
        )
    sources, positions = _sources(grid)
    at = np.rint(grid.places).astype(int)
    pixels = _pixels(segmentation, at)
    first = sources[0]
    described = str(first.get("SeriesDescription", "") or "")
    made = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment_description(n, s, NAME) for n, s in enumerate(segmentation.segments, 1)],
        series_instance_uid=highdicom.UID(),
        series_number=min(int(first.get("SeriesNumber") or 0) % 2**30 + _SERIES_NUMBERS, 2**31 - 1),
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number="none",
        series_description=f"Segmentation of {described}"[:64] if described else "Segmentation",
        content_description="Made for research",
        content_creator_name="",  # nobody: made by a program (type 2: there, but empty)
        omit_empty_frames=bool(pixels.any()),  # nothing found is an answer too, and an object needs a frame
        plane_positions=positions,
    )
    if positions is not None:
        _refer_to_frames(made, grid)
    if not _fits(first.get("SpecificCharacterSet"), segmentation):
        made.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    with replacing(path) as temporary:
        made.save_as(temporary)
    return Path(path)


def _pixels(segmentation: Segmentation, at: np.ndarray) -> np.ndarray:
    """The slices ``at`` of the segments: a label map ``[frame, row, column]`` of their numbers or, where they overlap, a plane
    of its own for each, ``[frame, row, column, segment]``, which takes far more memory."""
    labels = np.zeros((len(at), *segmentation.layers[0].shape[1:]), np.min_scalar_type(len(segmentation.segments)))
    for number, segment in enumerate(segmentation.segments, 1):
        mask = segmentation.mask(segment)[at]
        if labels[mask].any():
            return np.stack([segmentation.mask(s)[at] for s in segmentation.segments], -1).astype(np.uint8)
        labels[mask] = number
    return labels


def _refer_to_frames(made, grid: Grid) -> None:
    """Names the frame that each plane was made on: highdicom takes the first in its place, whatever its time or echo."""
    places = np.array([s.position for s in grid.slices])
    for plane in made.PerFrameFunctionalGroupsSequence:
        position = np.array(plane.PlanePositionSequence[0].ImagePositionPatient, float)
        nearest = grid.slices[int(np.linalg.norm(places - position, axis=1).argmin())]
        for derivation in plane.get("DerivationImageSequence", ()):
            derivation.SourceImageSequence[0].ReferencedFrameNumber = nearest.frame + 1


def _fits(character_set, segmentation: Segmentation) -> bool:
    """Whether the character set of the source holds the texts of the segments. (It is kept where it does: some archives
    compare names of patients byte by byte.)"""
    from pydicom.charset import python_encoding

    texts = [t for s in segmentation.segments for t in (s.name, s.terminology, *s.tags.values())]
    codec = python_encoding.get(character_set or "ISO_IR 6") if isinstance(character_set, str | None) else None
    try:
        return codec is not None and all(
            "".join(t.split()).encode(codec if character_set else "ascii") for t in texts if t
        )
    except UnicodeEncodeError:
        return False


def _sources(grid: Grid) -> tuple[list, list | None]:
    """The data sets that hold the slices of ``grid``, in its order, and the places of its frames where one holds several."""
    import highdicom
    import pydicom
    from pydicom.charset import python_encoding

    paths = list(dict.fromkeys(s.path for s in grid.slices))
    sources = []
    for path in paths:
        data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for name in _UNKNOWN:
            if name not in data:
                setattr(data, name, "")
        charset = data.get("SpecificCharacterSet")
        if isinstance(charset, str) and charset not in python_encoding:
            # As which pydicom reads what it does not know; highdicom refuses that.
            data.SpecificCharacterSet = "ISO_IR 100"
        sources.append(data)
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        known = next((data.get(name) for data in sources if data.get(name)), None) or highdicom.UID()
        for data in sources:
            if not data.get(name):
                setattr(data, name, known)
    if len(paths) == len(grid.slices):
        for data, s in zip(sources, grid.slices, strict=True):
            _complete(data, s)
        return sources, None
    if len(paths) > 1:
        raise InputError(
            "DICOM SEG refers to one file of several frames, or to files of one slice each; the series has "
            f"{len(paths)} files of {len(grid.slices)} frames in all: choose .seg.nrrd"
        )
    system = highdicom.CoordinateSystemNames.PATIENT
    return sources, [
        highdicom.PlanePositionSequence(system, image_position=s.stated_position.tolist()) for s in grid.slices
    ]


def _complete(data, s) -> None:
    """Puts the place and pixel size that was read into the data set, where it states none itself."""
    if "ImagePositionPatient" not in data:
        data.ImagePositionPatient = [float(v) for v in s.position]
    if "ImageOrientationPatient" not in data:
        data.ImageOrientationPatient = [float(v) for v in s.axes.T.ravel()]
    if "PixelSpacing" not in data:
        data.PixelSpacing = [float(v) for v in s.spacing[::-1]]
    if not data.get("SliceThickness"):
        data.SliceThickness = s.thickness
