"""All frames of a 4D image, each answered by itself: label maps that belong together, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .common.progress import Step
from .images import Segmentation, Volume
from .images.segmentation import distinct_values, label_type

_SIZES = ("voxels", "volume_ml", "area_mm2")


def frame_label_maps(segmentations: Sequence[Segmentation]) -> list[Volume]:
    """Label maps in which a segment has the same value in every frame, also where some frames lack it."""
    most = max(segmentations, key=lambda s: len(s.segments))
    values: dict[str, int] = {}
    for segment in (s for one in (most, *segmentations) for s in one.segments):
        values.setdefault(segment.name, segment.value)
    values = dict(zip(values, distinct_values(list(values.values())), strict=True))
    kind = label_type(max(values.values(), default=0))
    maps = []
    for one in segmentations:
        out = np.zeros(one.layers[0].shape, kind)
        for segment in one.segments:
            out[one.mask(segment)] = values[segment.name]
        maps.append(Volume(out, one.ijk_to_ras, "labels"))
    return maps


def frame_notes(notes: Sequence[Sequence[str]]) -> list[str]:
    """What was said of the frames, each sentence once, with the number of frames where it was not all of them."""
    sentences = dict.fromkeys(note for of_frame in notes for note in of_frame)
    counts = {note: sum(note in of_frame for of_frame in notes) for note in sentences}
    return [note if n == len(notes) else f"{n} of {len(notes)} frames: {note}" for note, n in counts.items()]


def frame_sizes(frames: Sequence[Iterable[dict]]) -> list[dict]:
    """The segments of all frames in one list: each as :func:`~.results.described` says it, with the mean of its sizes, and with
    ``least`` and ``most``, the sizes in the frames where it is smallest and largest. A frame that lacks it counts as 0.

    :param frames: what that function says of each frame.
    """
    each = [{segment["name"]: segment for segment in frame} for frame in frames]
    found = []
    for name in dict.fromkeys(name for frame in each for name in frame):
        known = next(frame[name] for frame in each if name in frame)
        units = [unit for unit in _SIZES if known.get(unit) is not None]
        sizes = [{unit: frame[name][unit] if name in frame else 0 for unit in units} for frame in each]
        whole = {unit: sum(one[unit] for one in sizes) / len(sizes) for unit in units}
        least, most = (choose(sizes, key=lambda one: one["voxels"]) for choose in (min, max))
        nothing = dict.fromkeys(_SIZES)
        found.append(
            {
                **known,
                **whole,
                "voxels": round(whole["voxels"]),
                "least": {**nothing, **least},
                "most": {**nothing, **most},
            }
        )
    return found


def frame_progress(progress: Callable[[Step], None], frame: int, count: int) -> Callable[[Step], None]:
    """Shows the steps of one of ``count`` frames as a part of the whole."""

    def show(step: Step) -> None:
        progress(Step((frame + step.fraction) / count, f"frame {frame + 1} of {count}: {step.message}"))

    return show
