"""A slice and an image file, as far as reading a series needs to know them, and how their headers write places and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .elements import Elements

DEFAULT_AXES = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])


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
class ImageFile:
    """A DICOM file that holds an image.

    :param series: UID of its series, or what stands in for it where there is none.
    :param size: columns, rows.
    :param frames: how many.
    :param stacked: whether its frames were given places that they do not state one by one.
    :param spacing: mm from column to column and from row to row. ``detector_spacing``: measured at the detector.
    :param unknown: what the header should say but does not: "voxel size", "orientation".
    :param notes: what else should be known of it, in words.
    :param tiled: what its pictures are tiled from, and the way out, in words; "" if they are not. ``only_called_tiled``: a
        word says so, and nothing else.
    :param picture: a screenshot, scan of a document or dose rather than what a scanner measured.
    :param patient, frame_of_reference: the patient's ID and the UID of the space in which places are stated; "" if unknown.
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
    spacing: tuple[float, float]
    detector_spacing: bool
    unknown: tuple[str, ...] = ()
    slices: tuple[Slice, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    stacked: bool = False
    tiled: str = ""
    only_called_tiled: bool = False
    picture: bool = False
    patient: str = ""
    frame_of_reference: str = ""


def normal_of(slices: Sequence[Slice]) -> np.ndarray:
    """The direction across the slices, LPS."""
    return np.cross(slices[0].axes[:, 0], slices[0].axes[:, 1])


def size_of(elements: Elements) -> tuple[int, int]:
    """Columns and rows."""
    return int(elements.number("Columns") or 0), int(elements.number("Rows") or 0)


def usable_spacing(spacing: Sequence[float]) -> bool:
    """Whether the first two numbers are sizes of pixels, mm."""
    return len(spacing) > 1 and all(1e-6 < s < 1e5 for s in spacing[:2])


def axes_of(values: Sequence[float]) -> np.ndarray | None:
    """``[3, 2]`` unit vectors; None if the six values are no two directions at a right angle."""
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
