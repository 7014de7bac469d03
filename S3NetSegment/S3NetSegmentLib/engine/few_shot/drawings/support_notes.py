"""What is odd about a drawing in files and the user should know, and what is refused."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from ...common.errors import InputError
from ...images import AXES, Segment, Volume
from .label_grid import PlacedLabels
from .support import drawn_slices

if TYPE_CHECKING:
    from .support_files import Support, SupportFile

_FEW_PIXELS = 8
_STRIPS = 3  # so many slices of a drawing may hold a strip each by chance
# Voxels: standard deviation across a plane; share of its normal that lies along an axis; at most.
_THIN, _ASKEW = 0.6, 0.98
_SPARSE = 0.6  # share of slices with labels, at most, where somebody drew on a slice now and then


def note_place(
    notes: list[str], file: SupportFile, target: Volume, codes: np.ndarray, placed: PlacedLabels, difference: str
) -> None:
    """Notes where the grid of a drawing is not that of its image.

    :param codes: what is drawn, on its own grid.
    :param difference: see :func:`grid_difference`.
    """
    if difference:
        text = f"the grid of {file.shown} is not that of image {target.name!r}: {difference}"
        if placed.moved:
            how = (
                "its drawn slices are used as planes"
                if placed.planes
                else "it was brought onto it by nearest neighbour"
            )
            text += f"; {how}"
        if file.image is None and not placed.planes:  # nobody gets an oblique grid by mistake
            text += "; if it was drawn on another image, name that image with --support-image"
        notes.append(text)
    if placed.outside > 0.0005:
        notes.append(f"{placed.outside:.1%} of what is drawn in {file.shown} lies outside image {target.name!r}")
    elif file.drawn is not None and not placed.moved and np.count_nonzero(codes) > np.count_nonzero(placed.labels):
        notes.append(f"{file.shown} holds labels on other slices than --drawn names; they are not used")


def note_shared(notes: list[str], earlier, later, slices: list[int], segments: list[Segment]) -> None:
    """Notes slices that two files have drawn, where they are about the same segments."""
    again = earlier.known & later.known & set(earlier.counts())
    if again:
        names = _shown_names([segments[number - 1].name for number in sorted(again)])
        which = f"slice{'s' if len(slices) > 1 else ''} {', '.join(map(str, slices[:6]))}{' ...' if len(slices) > 6 else ''}"
        notes.append(
            f"{earlier.file.shown} and {later.file.shown} both hold {which} along {later.placed.axis}; there {names} "
            f"{'are' if len(again) > 1 else 'is'} taken from {later.file.shown}"
        )


def note_axis(notes: list[str], file: SupportFile, placed: PlacedLabels, asked: str) -> None:
    """Notes signs that the drawing lies on slices across another axis than the one taken."""
    if placed.moved:
        return
    if placed.planes:
        notes.append(
            f"{file.shown} was taken as drawn on slices across several axes, {placed_text(placed)}; if you drew on slices across "
            "one axis alone, name it with --axis"
        )
        return
    count = len(placed.drawn)
    if count > _STRIPS and _on_one_oblique_plane(placed.labels):
        notes.append(
            f"what is drawn in {file.shown} lies on one plane oblique to the slices, so that {count} slices along {placed.axis} count "
            "as drawn and each holds only a strip of it; draw on whole slices, or save the drawing on the grid of that plane"
        )
        return
    for axis in sorted(set(AXES) - {placed.axis}):
        other = drawn_slices(placed.labels, axis)[1]
        sparse = len(other) <= _SPARSE * (other[-1] - other[0] + 1)
        if asked != "auto" and len(other) < count:
            notes.append(
                f"{file.shown} holds labels on {count} slices along {placed.axis}, which all count as drawn, but on only "
                f"{len(other)} along {axis}; if that is where you drew, leave --axis out"
            )
        elif asked == "auto" and sparse and count > 1 and count == placed.drawn[-1] - placed.drawn[0] + 1:
            notes.append(
                f"{file.shown} was taken as drawn on {count} neighbouring slices along {placed.axis}; if you drew on slice "
                f"{', '.join(map(str, other[:6]))}{' ...' if len(other) > 6 else ''} along {axis}, say --axis {axis}"
            )


def placed_text(placed: PlacedLabels) -> str:
    """Where a drawing across several axes lies, e.g. "3 along z and 1 along another one"."""
    across = len(placed.planes)
    return f"{len(placed.drawn)} along {placed.axis} and {across} along {'others' if across > 1 else 'another one'}"


def _on_one_oblique_plane(labels: np.ndarray) -> bool:
    """Whether what is drawn is as thin as one plane of voxels, which is none of the slices."""
    places = np.argwhere(labels).astype(float)
    extents, axes = np.linalg.eigh(np.cov(places.T))  # squares, in voxels, from the thinnest on
    return bool(extents[0] < _THIN**2 and extents[1] > (4 * _THIN) ** 2 and np.abs(axes[:, 0]).max() < _ASKEW)


def check_drawn(support: Support, image: Volume) -> None:
    """Refuses a support that leaves nothing to do or holds nothing; notes segments of which nothing is drawn."""
    drawn: Counter[str] = Counter()
    for fact in support.facts:
        drawn.update(fact["pixels"])
    counts = {segment.name: drawn[segment.name] for segment in support.segments}
    nothing = [name for name, count in counts.items() if count == 0]
    little = [name for name, count in counts.items() if 0 < count <= _FEW_PIXELS]
    if nothing:
        support.notes.append(f"of {_shown_names(nothing)} nothing is drawn on the drawn slices; it stays empty")
    if little:
        support.notes.append(
            f"{_shown_names(little)}: at most {_FEW_PIXELS} pixels are drawn, too little to learn from"
        )
    if not drawn:
        raise InputError("nothing of the chosen segments is drawn on the drawn slices; draw a segment on at least one")
    for fact in support.facts:
        if fact["image"] is None and len(fact["drawn"]) == fact["slices"]:
            if fact["slices"] == 1:
                raise InputError(
                    f"image {image.name!r} has one slice, and that is drawn; few-shot needs a volume, or a drawing of another "
                    "image (--support-image)"
                )
            raise InputError(
                f"{os.path.basename(fact['labels'])!r} is drawn on every slice along {fact['axis']} of image "
                f"{image.name!r}, so nothing is left to find; name the slices to learn from with --drawn, or the image that "
                "it belongs to with --support-image"
            )


def _shown_names(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
    return f"segment{'s' if len(names) > 1 else ''} {shown}"
