"""Results as files and reports show them: the segmentation of a found object and regions, how it was made, its summary; and all frames
of a 4D image, each answered by itself, as label maps that belong together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from .common.errors import InputError
from .common.progress import Step, Steps, as_part_of
from .images import Segment, Segmentation, Volume
from .images.colors import hex_color, label_colors
from .images.segmentation import distinct_values, label_type, sizes

T = TypeVar("T")
OBJECT_NAME = "Object"
_SIZES = ("voxels", "volume_ml", "area_mm2")


def object_segmentation(regions, choice, tags: Mapping[str, str]) -> Segmentation:
    """The object of ``choice`` as one segment on the grid of the whole image."""
    layer = embedded(choice.mask.astype(np.uint8), regions.volume, regions.extent)
    segment = Segment(OBJECT_NAME, label_colors(1)[0], 1, tags=tags)
    return Segmentation([layer], [segment], regions.volume.ijk_to_ras)


def region_segmentation(
    regions, count: int, choice, tags: Mapping[str, str], object_tags: Mapping[str, str]
) -> Segmentation:
    """``count`` regions in canonical order, and the object of ``choice`` (None: none) in a layer of its own."""
    found = regions.region_segmentation(count)
    segments = [dataclasses.replace(segment, tags={**segment.tags, **tags}) for segment in found.segments]
    layers = list(found.layers)
    if choice is not None:
        only = object_segmentation(regions, choice, object_tags)
        segments.append(dataclasses.replace(only.segments[0], layer=len(layers), color=label_colors(count + 1)[-1]))
        layers.append(only.layers[0])
    return Segmentation(layers, segments, found.ijk_to_ras)


def embedded(part: np.ndarray, volume: Volume, extent) -> np.ndarray:
    """``part`` [K, J, I] of ``extent`` in an array of the whole volume, 0 elsewhere; ``part`` itself if it is the whole."""
    if extent == volume.extent:
        return part
    whole = np.zeros(volume.array.shape[:3], part.dtype)
    whole[extent.slices] = part
    return whole


def described(segmentation: Segmentation) -> list[dict]:
    """What the summary says of each segment: name, colour "#rrggbb", and its size, see :func:`segment_size`."""
    each = zip(segmentation.segments, sizes(segmentation), strict=True)
    return [{"name": segment.name, "color": hex_color(segment.color), **size} for segment, size in each]


def ladder(choice) -> dict:
    """Where ``choice`` stands on its ladder of candidates, counted from 1, and which others are offered."""
    return {
        "step": choice.index + 1,
        "steps": choice.steps,
        "automatic_step": choice.alternatives[0] + 1 if choice.alternatives else choice.index + 1,
        "alternatives": [index + 1 for index in choice.alternatives],
    }


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
        ends = {end: {**dict.fromkeys(_SIZES), **size} for end, size in (("least", least), ("most", most))}
        found.append({**known, **whole, "voxels": round(whole["voxels"]), **ends})
    return found


def frame_progress(progress: Callable[[Step], None], frame: int, count: int) -> Callable[[Step], None]:
    """Shows the steps of one of ``count`` frames as a part of the whole."""

    def show(step: Step) -> None:
        progress(Step((frame + step.fraction) / count, _title(frame, count) + step.message))

    return show


def frame_steps(volumes: Sequence[Volume], search: Callable[[int, Volume], Steps[T]]) -> Steps[list[T]]:
    """What ``search`` finds in one frame after the other; its steps, and what it refuses, name the frame where there are several.

    :param search: is given the number of the frame, from 0, and its volume.
    """
    count, found = len(volumes), []
    for frame, volume in enumerate(volumes):
        title = _title(frame, count) if count > 1 else ""
        try:
            found.append((yield from as_part_of(search(frame, volume), frame / count, (frame + 1) / count, title)))
        except InputError as error:
            raise InputError(f"{title}{error}") from error
    return found


def _title(frame: int, count: int) -> str:
    return f"frame {frame + 1} of {count}: "
