"""A slice and an image file, as far as reading a series needs to know them, how their headers write places and sizes, and what files of
several frames without a place for each are: a stack of slices, a film, or views of different things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..formats.itk_file import LPS_TO_RAS
from .elements import Elements

DEFAULT_AXES = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
# What tells the frames of nuclear medicine apart beside the slice, each a number for every frame.
VECTORS = {
    "EnergyWindowVector": "energy window", "DetectorVector": "detector", "PhaseVector": "phase", "RotationVector": "rotation",
    "RRIntervalVector": "R-R interval", "TimeSlotVector": "time slot", "AngularViewVector": "angular view", "TimeSliceVector": "time slice",
}  # fmt: skip


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
    :param tile: row and column of its first pixel in a frame that is tiled from slices; None if it is the whole frame.
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
    tile: tuple[int, int] | None = None

    @property
    def stated_position(self) -> np.ndarray:
        """``position`` of a slice that states it."""
        if self.position is None:
            raise ValueError(f"slice {self.instance} of {str(self.path)!r} states no position")
        return self.position

    def fits(self, other: Slice) -> bool:
        """Whether both can lie in one volume."""
        return (
            self.size == other.size
            and bool(np.abs(self.axes - other.axes).max() < 2e-3)
            and bool(np.allclose(self.spacing, other.spacing, rtol=1e-3))
        )


@dataclass(frozen=True, eq=False)
class Content:
    """What an image file shows.

    :param slices: the whole picture, its frames, or the tiles that it was taken apart into.
    :param tiled: what its pictures are tiled from and were not taken apart into, and the way out, in words; "" if they are not.
    :param only_called: only a word says that they are tiled.
    :param notes: what was assumed.
    """

    slices: tuple[Slice, ...]
    tiled: str = ""
    only_called: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ImageFile:
    """A DICOM file that holds an image.

    :param series: UID of its series, or what stands in for it where there is none.
    :param patient, frame_of_reference: the patient's ID and the UID of the space in which places are stated; "" if unknown.
    :param size: columns, rows. ``frames``: how many.
    :param unknown: what the header should say but does not: "voxel size", "orientation".
    :param notes: what else should be known of it, in words.
    :param at_detector: the size of its pixels was measured there.
    :param stacked: whether its frames were given places that they do not state one by one.
    :param picture: a screenshot, scan of a document or dose rather than what a scanner measured.
    """

    path: Path
    series: str
    number: int | None
    description: str
    modality: str
    study: str
    patient: str
    frame_of_reference: str
    syntax: str
    size: tuple[int, int]
    frames: int
    content: Content
    unknown: frozenset[str]
    notes: tuple[str, ...]
    localizer: bool
    at_detector: bool
    stacked: bool
    picture: bool

    @property
    def slices(self) -> tuple[Slice, ...]:
        return self.content.slices


def normal_of(slices: Sequence[Slice]) -> np.ndarray:
    """The direction across the slices, LPS."""
    return np.cross(slices[0].axes[:, 0], slices[0].axes[:, 1])


def matrix_of(first: Slice, step: np.ndarray) -> np.ndarray:
    """4x4 voxel-to-RAS matrix of slices that follow ``first`` by ``step`` (LPS, mm)."""
    matrix = np.eye(4)
    matrix[:3] = np.column_stack((first.axes * first.spacing, step, first.stated_position))
    return LPS_TO_RAS @ matrix


def size_of(elements: Elements) -> tuple[int, int]:
    """Columns and rows."""
    return elements.whole("Columns"), elements.whole("Rows")


def usable_spacing(spacing: Sequence[float]) -> bool:
    """Whether the first two numbers are sizes of pixels, mm."""
    return len(spacing) > 1 and all(1e-6 < s < 1e5 for s in spacing[:2])


def axes_of(values: Sequence[float]) -> np.ndarray | None:
    """``[3, 2]`` unit vectors; None if the six values are not two directions at a right angle."""
    if len(values) < 6:
        return None
    axes = np.reshape(values[:6], (2, 3)).T
    lengths = np.linalg.norm(axes, axis=0)
    if (np.abs(lengths - 1) > 0.05).any() or abs(axes[:, 0] @ axes[:, 1]) > 0.02:
        return None
    return axes / lengths


def position_of(values: Sequence[float]) -> np.ndarray | None:
    """The first three values as a place, LPS; None if they are none."""
    return np.array(values[:3]) if len(values) >= 3 and max(map(abs, values[:3])) < 1e7 else None


def distance_of(value: float | None) -> float | None:
    """``value`` as a distance of slices, mm; None if it cannot be one."""
    return abs(value) if value and 1e-6 < abs(value) < 1e4 else None


def slices_of_frames(elements: Elements, frames: int, first: Slice) -> Content:
    """A slice for each frame, and what was assumed of their distances: a stack; or, in a film or where each frame shows something
    else, slices in one place that their marks tell apart. ``first``: what the header says of all frames."""
    marks, in_one_place = _marks(elements, frames)
    offsets, note = (np.zeros(frames), "") if in_one_place else _offsets(elements, frames)
    origin = np.zeros(3) if first.position is None else first.position
    across = normal_of([first])
    slices = (
        replace(
            first, frame=n, position=origin + offset * across, number=n, instance=f"{first.instance} {n}",
            marks={**first.marks, **mark}, order=(float(n),),
        )
        for n, (offset, mark) in enumerate(zip(offsets, marks, strict=True))
    )  # fmt: skip
    return Content(tuple(slices), notes=(note,) if note else ())


def _offsets(elements: Elements, frames: int) -> tuple[np.ndarray, str]:
    """How far each frame lies from the first along the normal, mm, and what was assumed of that."""
    for name in ("GridFrameOffsetVector", "SliceLocationVector"):
        stated = np.array(elements.numbers(name))
        if len(stated) == frames and np.ptp(stated) > 1e-3 and np.abs(stated).max() < 1e7:
            return stated - stated[0], ""
    index = np.arange(frames, dtype=float)
    numbers = elements.numbers("SliceVector")
    if len(numbers) == frames:
        index = np.array(numbers) - numbers[0]
    if distance := distance_of(elements.number("SpacingBetweenSlices")):
        return index * distance, ""
    unstated = "the distance of the frames is not stated"
    if thickness := distance_of(elements.number("SliceThickness")):
        return index * thickness, f"{unstated}; their thickness, {thickness:g} mm, is taken"
    return index, f"{unstated} and taken as 1 mm; lengths and volumes are not real"


def _marks(elements: Elements, frames: int) -> tuple[list[dict[str, float]], bool]:
    """What tells each frame apart, name -> number, and whether all lie in one place."""
    from pydicom.datadict import keyword_for_tag

    pointers = {keyword_for_tag(int(number)) for number in elements.numbers("FrameIncrementPointer")}
    if pointers & {"FrameTime", "FrameTimeVector"}:
        steps = elements.numbers("FrameTimeVector") or [0.0, *[elements.number("FrameTime") or 0.0] * (frames - 1)]
        if len(steps) == frames and min(steps[1:]) > 0:
            return [{"frame time": float(t)} for t in np.round(np.cumsum(steps), 1)], True
        return [{"frame": n} for n in range(frames)], True
    marks: list[dict[str, float]] = [{} for _ in range(frames)]
    for keyword, name in VECTORS.items():
        values = elements.numbers(keyword)
        if keyword in pointers and len(values) == frames and len(set(values)) > 1:
            for mark, value in zip(marks, values, strict=True):
                mark[name] = value
    return marks, any(marks) and "SliceVector" not in pointers
