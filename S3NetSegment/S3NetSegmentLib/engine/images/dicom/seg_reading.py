"""DICOM SEG in: segments with their names, colours and codes on an even grid. Source: DICOM PS3.3 A.51 and C.8.20.

A SEG holds a plane for each slice of each segment that has something on it, not the grid of its image; the grid read here
reaches from the first of these planes to the last. ``on_grid_of`` puts it onto that of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ...common.errors import InputError, ResourceError, image_warning
from ..colors import label_colors
from ..segmentation import Segment, Segmentation, label_type
from .decoding import decoded
from .elements import DEFLATED, EXPLICIT, IMPLICIT, DamagedDicom, DicomFile
from .headers import image_file
from .kinds import SEG_CLASSES
from .seg_terms import srgb, terminology_of
from .series import dicom_files
from .slices import Slice, matrix_of, normal_of, size_of

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
        places, owners = _frames(elements)
    except DamagedDicom as error:
        raise InputError(f"DICOM SEG {str(path)!r} is damaged: {error}; copy or export it again") from None
    is_label_map = elements.text("SegmentationType") == "LABELMAP"
    items = elements.items("SegmentSequence")
    if is_label_map:  # there a segment 0 may describe the background
        items = [item for item in items if item.whole("SegmentNumber") > 0]
    numbers = [item.whole("SegmentNumber") for item in items]
    if not items or min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise InputError(f"DICOM SEG {str(path)!r} describes no segments, or twice the same; export it again")
    at, depth, matrix = _grid(places, _stated_step(elements), path)
    columns, rows = places[0].size
    if depth * rows * columns > _MOST_VOXELS:
        raise ResourceError(f"DICOM SEG {str(path)!r} has {columns} x {rows} x {depth} voxels, too many to read")
    planes = _Planes(elements, len(places))
    layers = [np.zeros((depth, rows, columns), label_type(len(items)))]
    segments = []
    for value, (item, number, color) in enumerate(zip(items, numbers, label_colors(len(items)), strict=True), 1):
        own = [(k, n) for n, k in enumerate(at) if is_label_map or owners[n] == number]
        layer = _put(layers, value, own, partial(planes.mask, value=number if is_label_map else None))
        name = item.text("SegmentLabel") or f"Segment {number}"
        color = srgb(item.numbers("RecommendedDisplayCIELabValue")) or color
        segments.append(Segment(name, color, value, layer, terminology_of(item)))
    return Segmentation(layers, segments, matrix)


def _frames(elements: DicomFile) -> tuple[list[Slice], list[int]]:
    """Where each frame lies, and the number of its segment."""
    if elements.pixels is None:
        raise DamagedDicom("it has no pixels")
    places = list(image_file(elements).slices)
    if all(s.position is None for s in places):
        raise InputError(
            f"DICOM SEG {str(elements.path)!r} is the segmentation of a 2D picture, or of another image without places: its frames "
            "do not state where they lie; save it on the picture as .seg.nrrd or as a label map (PNG), e.g. with Slicer"
        )
    if any(s.position is None for s in places) or not all(places[0].fits(s) for s in places):
        raise DamagedDicom("its frames do not all state where they lie, or do not lie in parallel")
    groups = elements.items(_PER_FRAME)[: len(places)]
    if len(groups) < len(places):
        raise DamagedDicom(f"it describes {len(groups)} of its {len(places)} frames")
    shared, identification = elements.item(_SHARED), "SegmentIdentificationSequence"
    stating = (own if identification in own else shared for own in groups)
    return places, [group.item(identification).whole("ReferencedSegmentNumber") for group in stating]


def _stated_step(elements: DicomFile) -> float | None:
    """The distance of the planes that the header states, mm."""
    groups = (elements.item(_SHARED), *elements.items(_PER_FRAME)[:1])
    steps = (abs(group.item("PixelMeasuresSequence").number("SpacingBetweenSlices") or 0.0) for group in groups)
    return next((step for step in steps if 1e-3 < step < 1e4), None)


def _grid(places: list[Slice], stated: float | None, path: Path) -> tuple[list[int], int, np.ndarray]:
    """For each frame its index along the grid; the planes of the grid; its voxel-to-RAS matrix."""
    normal = normal_of(places)
    along = np.array([s.stated_position @ normal for s in places])
    low, high = int(along.argmin()), int(along.argmax())
    heights = np.unique(np.round(along - along[low], 4))
    steps = np.diff(heights)
    steps = steps[steps > 0.01]
    own = float(steps.min()) if len(steps) else places[0].thickness
    total = along[high] - along[low]
    for step in (stated or own, own):  # where what the header states does not fit, what the planes have may
        index = (along - along[low]) / step
        off = float(np.abs(index - np.rint(index)).max())
        if off <= _OFF_GRID:
            break
    depth = int(np.rint(total / step)) + 1
    if depth > _MOST_PLANES:
        raise InputError(
            f"DICOM SEG {str(path)!r} has planes {total:.0f} mm apart at steps of {step:.3g} mm; is it damaged?"
        )
    if off > _OFF_GRID:
        image_warning(f"{str(path)!r}: the planes of the DICOM SEG lie unevenly, up to {off * step:.2f} mm beside their grid")  # fmt: skip
    across = places[high].stated_position - places[low].stated_position
    matrix = matrix_of(
        replace(places[0], position=places[low].position), across / (depth - 1) if depth > 1 else normal * step
    )
    return np.rint(index).astype(int).tolist(), depth, matrix


class _Planes:
    """The frames of a SEG as masks."""

    def __init__(self, elements: DicomFile, count: int):
        self._columns, self._rows = size_of(elements)
        self._bits = elements.whole("BitsAllocated", 1)
        fractional = elements.text("SegmentationType") == "FRACTIONAL"
        self._half = (elements.number("MaximumFractionalValue") or 255) / 2 if fractional else 0.5
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
        return plane >= self._half if value is None else plane == value

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


def _put(
    layers: list[np.ndarray], value: int, planes: list[tuple[int, int]], mask_of: Callable[[int], np.ndarray]
) -> int:
    """Writes ``value`` into the first of ``layers`` in which it covers no other, which is added if there is none, plane by plane;
    returns its number.

    :param planes: place along the grid and frame. ``mask_of``: the mask in a frame.
    """
    free = (n for n, a in enumerate(layers) if not any(a[k][mask_of(frame)].any() for k, frame in planes))
    number = next(free, len(layers))
    if number == len(layers):
        layers.append(np.zeros_like(layers[0]))
    for k, frame in planes:
        layers[number][k][mask_of(frame)] = value
    return number
