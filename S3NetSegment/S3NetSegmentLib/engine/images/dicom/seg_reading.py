"""DICOM SEG in: segments with their names, colours and codes on an even grid. Source: DICOM PS3.3 A.51 and C.8.20.

A SEG holds a plane for each slice of each segment that has something on it, not the grid of its image; the grid read here
reaches from the first of these planes to the last. ``on_grid_of`` puts it onto that of the image.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ...common.errors import ImageWarning, InputError, ResourceError
from ..colors import label_colors
from ..formats.itk_file import LPS_TO_RAS
from ..segmentation import Segment, Segmentation, label_type
from .decoding import decoded
from .elements import DEFLATED, EXPLICIT, IMPLICIT, DamagedDicom, DicomFile, Elements
from .headers import image_file
from .kinds import SEG_CLASSES
from .seg_terms import srgb, terminology_of
from .series import dicom_files
from .slices import Slice, size_of

_SEGMENTS, _NUMBER, _LABEL, _COLOR = "SegmentSequence", "SegmentNumber", "SegmentLabel", "RecommendedDisplayCIELabValue"
_IDENTIFICATION, _REFERENCED = "SegmentIdentificationSequence", "ReferencedSegmentNumber"
_MEASURES, _STEP = "PixelMeasuresSequence", "SpacingBetweenSlices"
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_OFF_GRID = 0.1  # of a step
_MOST_PLANES = 20_000  # of a grid; no scanner makes more
_MOST_VOXELS = 1 << 33


def is_dicom_seg(path: Path) -> bool:
    """Whether the file at ``path`` is a DICOM SEG."""
    try:
        return DicomFile(path).sop_class in SEG_CLASSES
    except (DamagedDicom, OSError):
        return False


def find_dicom_seg(folder: Path) -> Path | None:
    """The DICOM SEG that ``folder`` holds, None without one. InputError for several."""
    found = [path for path in dicom_files(folder) if is_dicom_seg(path)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:6])
        raise InputError(f"folder {str(folder)!r} holds {len(found)} DICOM SEG files ({names}); give one of them")
    return found[0] if found else None


def read_dicom_seg(path: Path) -> Segmentation:
    """The segmentation in the DICOM SEG at ``path`` (binary, fractional or label map).

    Fractional ones count from half of their full value. Segments that overlap lie in layers of their own.

    :raises InputError: damaged, or with planes that do not lie on one grid.
    """
    try:
        elements = DicomFile(path)
        frames = _frames(elements)
    except DamagedDicom as error:
        raise InputError(f"DICOM SEG {str(path)!r} is damaged: {error}; copy or export it again") from None
    items = elements.items(_SEGMENTS)
    numbers = [item.whole(_NUMBER) for item in items]
    is_label_map = elements.text("SegmentationType") == "LABELMAP"
    if is_label_map:  # there a segment 0 may describe the background
        items = [item for item, n in zip(items, numbers, strict=True) if n > 0]
        numbers = [n for n in numbers if n > 0]
    if not items or min(numbers) < 1 or len(set(numbers)) < len(numbers) or not frames:
        raise InputError(f"DICOM SEG {str(path)!r} describes no segments, or twice the same; export it again")
    at, depth, matrix = _grid([f.place for f in frames], _stated_step(elements), path)
    columns, rows = frames[0].place.size
    if depth * rows * columns > _MOST_VOXELS:
        raise ResourceError(f"DICOM SEG {str(path)!r} has {columns} x {rows} x {depth} voxels, too many to read")
    planes = _Planes(elements, len(frames))
    layers = _Layers((depth, rows, columns), len(items))
    segments = []
    colors = label_colors(len(items))
    for order, (item, number) in enumerate(zip(items, numbers, strict=True)):
        own = [
            (k, n)
            for n, (frame, k) in enumerate(zip(frames, at, strict=True))
            if is_label_map or frame.segment == number
        ]
        value = number if is_label_map else None
        layer = layers.add(order + 1, own, partial(planes.mask, value=value))
        name = item.text(_LABEL) or f"Segment {number}"
        color = srgb(item.numbers(_COLOR)) or colors[order]
        segments.append(Segment(name, color, order + 1, layer, terminology_of(item)))
    return Segmentation(layers.arrays, segments, matrix)


@dataclass(frozen=True, eq=False)
class _Frame:
    place: Slice
    segment: int


def _frames(elements: DicomFile) -> list[_Frame]:
    """Place and segment number of each frame."""
    if elements.pixels is None:
        raise DamagedDicom("it has no pixels")
    places = image_file(elements).slices
    if all(s.position is None for s in places):
        raise InputError(
            f"DICOM SEG {str(elements.path)!r} is the segmentation of a 2D picture, or of another image without places: its frames "
            "do not state where they lie; save it on the picture as .seg.nrrd or as a label map (PNG), e.g. with Slicer"
        )
    if any(s.position is None for s in places) or not all(places[0].fits(s) for s in places):
        raise DamagedDicom("its frames do not all state where they lie, or do not lie in parallel")
    shared = elements.item(_SHARED)

    def number(own: Elements) -> int:
        group = next((g for g in (own, shared) if _IDENTIFICATION in g), own)
        return group.item(_IDENTIFICATION).whole(_REFERENCED)

    groups = elements.items(_PER_FRAME)[: len(places)]
    if len(groups) < len(places):
        raise DamagedDicom(f"it describes {len(groups)} of its {len(places)} frames")
    return [_Frame(place, number(own)) for place, own in zip(places, groups, strict=True)]


def _stated_step(elements: DicomFile) -> float | None:
    """The distance of the planes that the header states, mm."""
    for groups in (elements.item(_SHARED), *elements.items(_PER_FRAME)[:1]):
        step = groups.item(_MEASURES).number(_STEP)
        if step is not None and 1e-3 < abs(step) < 1e4:
            return abs(step)
    return None


def _grid(places: list[Slice], stated: float | None, path: Path) -> tuple[list[int], int, np.ndarray]:
    """For each frame its index along the grid; the planes of the grid; its voxel-to-RAS matrix."""
    first = places[0]
    normal = np.cross(first.axes[:, 0], first.axes[:, 1])
    along = np.array([s.stated_position @ normal for s in places])
    low, high = int(along.argmin()), int(along.argmax())
    heights = np.unique(np.round(along - along[low], 4))
    steps = np.diff(heights)
    steps = steps[steps > 0.01]
    step = stated or (float(steps.min()) if len(steps) else first.thickness)
    total = along[high] - along[low]
    index = (along - along[low]) / step
    off = float(np.abs(index - np.rint(index)).max())
    if off > _OFF_GRID and len(steps):  # what the header states does not fit; what the planes have may
        step = float(steps.min())
        index = (along - along[low]) / step
        off = float(np.abs(index - np.rint(index)).max())
    depth = int(np.rint(total / step)) + 1
    if depth > _MOST_PLANES:
        raise InputError(
            f"DICOM SEG {str(path)!r} has planes {total:.0f} mm apart at steps of {step:.3g} mm; is it damaged?"
        )
    if off > _OFF_GRID:
        warnings.warn(
            f"{str(path)!r}: the planes of the DICOM SEG lie unevenly, up to {off * step:.2f} mm beside their grid",
            ImageWarning, stacklevel=3,
        )  # fmt: skip
    matrix = np.eye(4)
    matrix[:3, :2] = first.axes * first.spacing
    matrix[:3, 2] = (
        (places[high].stated_position - places[low].stated_position) / (depth - 1) if depth > 1 else normal * step
    )
    matrix[:3, 3] = places[low].position
    return np.rint(index).astype(int).tolist(), depth, LPS_TO_RAS @ matrix


class _Planes:
    """The frames of a SEG as masks."""

    def __init__(self, elements: DicomFile, count: int):
        self._columns, self._rows = size_of(elements)
        self._bits = elements.whole("BitsAllocated", 1)
        self._half = (
            (elements.number("MaximumFractionalValue") or 255) / 2
            if elements.text("SegmentationType") == "FRACTIONAL"
            else None
        )
        self._decoded: np.ndarray | None = None
        shown = repr(str(elements.path))
        if (elements.pixels or (0, 0))[1] < 0 or elements.syntax not in (IMPLICIT, EXPLICIT, DEFLATED):
            if self._bits == 1:
                raise InputError(
                    f"DICOM SEG {shown} has single bits in an encoding that is not read ({elements.syntax}); export it "
                    "uncompressed"
                )
            self._decoded = decoded(elements.path)
            if len(self._decoded) < count:
                raise InputError(
                    f"DICOM SEG {shown} has {len(self._decoded)} frames, but describes {count}; export it again"
                )
            return
        self._content = np.frombuffer(elements.stored_bytes(), np.uint8)
        if 8 * self._content.size < count * self._rows * self._columns * self._bits:
            raise InputError(f"DICOM SEG {shown} is cut off: frames are missing; copy or export it again")

    def mask(self, frame: int, value: int | None) -> np.ndarray:
        """bool ``[row, column]``: where the frame is set, or where it is ``value``."""
        plane = self._plane(frame)
        if value is not None:
            return plane == value
        return plane > 0 if self._half is None else plane >= self._half

    def _plane(self, frame: int) -> np.ndarray:
        if self._decoded is not None:
            return self._decoded[frame]
        count = self._rows * self._columns
        start = frame * count * self._bits
        if self._bits == 1:  # packed without gaps between frames, the first pixel in the lowest bit (PS3.5 8.1.1)
            part = self._content[start // 8 : -(-(start + count) // 8)]
            pixels = np.unpackbits(part, bitorder="little")[start % 8 :][:count]
        else:
            part = self._content[start // 8 : (start + count * self._bits) // 8]
            pixels = part.view(np.dtype(f"<u{self._bits // 8}"))
        return pixels.reshape(self._rows, self._columns)


class _Layers:
    """Label arrays; a segment goes into the first in which it covers no other."""

    def __init__(self, shape: tuple[int, int, int], segments: int):
        self._shape, self._dtype = shape, label_type(segments)
        self.arrays = [np.zeros(shape, self._dtype)]

    def add(self, value: int, planes: list[tuple[int, int]], mask_of: Callable[[int], np.ndarray]) -> int:
        """Adds a segment and returns the number of its layer. ``planes``: place along the grid and frame; ``mask_of``: its
        mask in a frame."""
        free = (n for n, a in enumerate(self.arrays) if not any(a[k][mask_of(frame)].any() for k, frame in planes))
        number = next(free, None)
        if number is None:
            number = len(self.arrays)
            self.arrays.append(np.zeros(self._shape, self._dtype))
        for k, frame in planes:
            self.arrays[number][k][mask_of(frame)] = value
        return number
