"""The slices of one volume on an even grid: their matrix, and which grid slice each of them is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ...common.errors import InputError
from .slices import Slice, matrix_of, normal_of

_TILT = 0.2  # degrees: less is rounding
_EVEN = 0.01  # of a step: slices this near their grid place lie on it
_APPROXIMATE = 0.25  # of a step: slices this near are taken as even
_MOST_FILLED = 1.0  # interpolated slices, as share of those there are


@dataclass(frozen=True, eq=False)
class Grid:
    """Where slices lie.

    :param slices: in order along the grid.
    :param places: for each its index along the grid, increasing from 0; not whole where slices lie unevenly.
    :param depth: slices of the grid.
    :param ijk_to_ras: 4x4 matrix of the grid.
    """

    slices: list[Slice]
    places: np.ndarray
    depth: int
    ijk_to_ras: np.ndarray


def grid_of(slices: list[Slice], shown: str, warn: Callable[[str], None]) -> Grid:
    """The grid of ``slices``, which are of one size and orientation, in order along their normal, in different places.

    Missing slices are grid slices without a slice; slices of mixed distances get the grid of the smallest distance where
    that fits all, else an even one between the first and the last. Tilt, gaps and unevenness are warned of.

    :raises InputError: gaps so large that the slices are no one volume.
    """
    first, normal = slices[0], normal_of(slices)
    if len(slices) == 1:
        return stacked(slices)
    along = np.array([s.stated_position @ normal for s in slices])
    along -= along[0]
    places, depth = _places(along, shown, warn)
    _check_sides(slices, normal, along, min(first.spacing), warn)
    step = (slices[-1].stated_position - first.stated_position) / (depth - 1)
    return Grid(slices, places, depth, matrix_of(first, step))


def stacked(slices: list[Slice]) -> Grid:
    """The grid of a single slice, or of slices that do not state their places: one upon the other in their order."""
    first = slices[0]
    origin, step = np.zeros(3) if first.position is None else first.position, normal_of(slices) * first.thickness
    slices = [replace(s, position=origin + n * step) for n, s in enumerate(slices)]
    return Grid(slices, np.arange(len(slices), dtype=float), len(slices), matrix_of(slices[0], step))


def _places(along: np.ndarray, shown: str, warn: Callable[[str], None]) -> tuple[np.ndarray, int]:
    """The index of each slice along an even grid, and the slices of that grid. ``along``: mm from the first slice."""
    count, total = len(along), along[-1]
    even = np.arange(count, dtype=float)
    off = float(np.abs(along / total * (count - 1) - even).max())
    steps = np.diff(along)
    smallest, largest = float(steps.min()), float(steps.max())
    if off <= _EVEN or largest - smallest <= 0.02 * smallest + 0.01:
        return even, count
    usual = float(np.median(steps))
    # The grid of the smallest step, if the others are multiples of it: slices are missing, or lie closer in one part.
    multiples = np.rint(along / smallest)
    step = total / multiples[-1]
    if np.abs(along / step - multiples).max() <= 0.1 and count < multiples[-1] + 1 <= count * (1 + _MOST_FILLED):
        depth = int(multiples[-1]) + 1
        missing = depth - count
        gap = int(np.argmax(steps))
        what = (
            f"{missing} of {depth} slices seem to be missing (largest gap {largest:.2f} mm after slice {gap}, usually {usual:.2f} mm)"
            if missing <= count / 4
            else f"the slices lie {smallest:.2f} to {largest:.2f} mm apart (mixed distances)"
        )
        warn(f"{what}; {missing} slices were filled in between their neighbours, so that all others are in place")
        return multiples, depth
    if largest > 4 * usual and total > usual * (count - 1) * (1 + _MOST_FILLED):
        at = int(np.argmax(steps))
        raise InputError(
            f"the slices of {shown} fall into separate blocks: {largest:.1f} mm lie between slices {at} and {at + 1}, usually "
            f"{usual:.2f} mm; put the files of the block that you want into a folder of their own"
        )
    if off <= _APPROXIMATE:
        warn(
            f"the slices lie {smallest:.2f} to {largest:.2f} mm apart; they are spread evenly, so places are approximate "
            f"(up to {off * total / (count - 1):.2f} mm off)"
        )
        return even, count
    depth = round(total / usual) + 1
    depth = min(max(depth, 2), int(count * (1 + _MOST_FILLED)))
    warn(
        f"the slices lie {smallest:.2f} to {largest:.2f} mm apart; {depth} even ones, {total / (depth - 1):.2f} mm apart, were "
        "interpolated between them"
    )
    return along / total * (depth - 1), depth


def _check_sides(slices: list[Slice], normal, along: np.ndarray, pixel: float, warn: Callable[[str], None]) -> None:
    """Warns of tilt, and of slices beside the line from the first to the last."""
    offsets = np.array([s.position for s in slices]) - slices[0].position
    line = offsets[-1] / along[-1]  # mm for each mm along the normal
    tilt = np.degrees(np.arctan(np.linalg.norm(line - normal)))
    if tilt > _TILT:
        warn(f"the slices are shifted against each other (gantry tilt {tilt:.1f} degrees); the grid is kept sheared")
    beside = float(np.linalg.norm(offsets - along[:, None] * line, axis=1).max())
    if beside > max(0.5 * pixel, 0.1):
        warn(f"slices are shifted sideways by up to {beside:.2f} mm, each in its own way; they are stacked in line")
