"""Files of several frames without a place for each: a stack of slices, a film, or views of different things."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .elements import Elements
from .slices import Slice, distance_of, normal_of

_FRAME_TIME, _FRAME_TIMES = "FrameTime", "FrameTimeVector"
_SLICE_VECTOR = "SliceVector"
# What tells the frames of nuclear medicine apart beside the slice, each a number for every frame.
VECTORS = {
    "EnergyWindowVector": "energy window", "DetectorVector": "detector", "PhaseVector": "phase", "RotationVector": "rotation",
    "RRIntervalVector": "R-R interval", "TimeSlotVector": "time slot", "AngularViewVector": "angular view", "TimeSliceVector": "time slice",
}  # fmt: skip


def slices_of_frames(elements: Elements, frames: int, first: Slice) -> tuple[tuple[Slice, ...], tuple[str, ...]]:
    """A slice for each frame, and what was assumed of their distances: a stack; or, in a film or where each frame shows something
    else, slices in one place that their marks tell apart. ``first``: what the header says of all frames."""
    marks, in_one_place = _marks(elements, frames)
    offsets, note = (np.zeros(frames), "") if in_one_place else _offsets(elements, frames)
    origin = np.zeros(3) if first.position is None else first.position
    across = normal_of([first])
    return tuple(
        replace(
            first, frame=n, position=origin + offset * across, number=n, instance=f"{first.instance} {n}",
            marks={**first.marks, **mark}, order=(float(n),),
        )
        for n, (offset, mark) in enumerate(zip(offsets, marks, strict=True))
    ), ((note,) if note else ())  # fmt: skip


def _offsets(elements: Elements, frames: int) -> tuple[np.ndarray, str]:
    """How far each frame lies from the first along the normal, mm, and what was assumed of that."""
    for tag in ("GridFrameOffsetVector", "SliceLocationVector"):  # Grid Frame Offset Vector, Slice Location Vector
        stated = np.array(elements.numbers(tag))
        if len(stated) == frames and np.ptp(stated) > 1e-3 and np.abs(stated).max() < 1e7:
            return stated - stated[0], ""
    index = np.arange(frames, dtype=float)
    numbers = elements.numbers(_SLICE_VECTOR)
    if len(numbers) == frames:
        index = np.array(numbers) - numbers[0]
    step = elements.number("SpacingBetweenSlices")
    if distance := distance_of(step):
        return index * distance, ""
    thickness = distance_of(elements.number("SliceThickness"))
    if thickness:
        return (
            index * thickness,
            f"the distance of the frames is not stated; their thickness, {thickness:g} mm, is taken",
        )
    return index, "the distance of the frames is not stated and taken as 1 mm; lengths and volumes are not real"


def _pointers(elements: Elements) -> set[str]:
    """The keywords of the elements that Frame Increment Pointer names."""
    from pydicom.datadict import keyword_for_tag

    numbers = elements.numbers("FrameIncrementPointer")
    return {keyword_for_tag(int(a) << 16 | int(b)) for a, b in zip(numbers[::2], numbers[1::2], strict=False)}


def _marks(elements: Elements, frames: int) -> tuple[list[dict[str, float]], bool]:
    """What tells each frame apart, name -> number, and whether all lie in one place."""
    pointers = _pointers(elements)
    if _FRAME_TIMES in pointers or _FRAME_TIME in pointers:
        steps = elements.numbers(_FRAME_TIMES) or [0.0, *[elements.number(_FRAME_TIME) or 0.0] * (frames - 1)]
        if len(steps) == frames and min(steps[1:]) > 0:
            return [{"frame time": float(t)} for t in np.round(np.cumsum(steps), 1)], True
        return [{"frame": n} for n in range(frames)], True
    marks: list[dict[str, float]] = [{} for _ in range(frames)]
    for tag, name in VECTORS.items():
        values = elements.numbers(tag)
        if tag in pointers and len(values) == frames and len(set(values)) > 1:
            for mark, value in zip(marks, values, strict=True):
                mark[name] = value
    return marks, any(marks) and _SLICE_VECTOR not in pointers
