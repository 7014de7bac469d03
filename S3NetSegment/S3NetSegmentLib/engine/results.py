"""Results as files and reports show them: the segmentation of a found object and regions, how it was made, its summary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from .images import Segment, Segmentation, Volume
from .images.colors import label_colors
from .images.segmentation import sizes

OBJECT_NAME = "Object"


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
    facts = []
    for segment, size in zip(segmentation.segments, sizes(segmentation), strict=True):
        color = "#" + "".join(f"{round(255 * part):02x}" for part in segment.color)
        facts.append({"name": segment.name, "color": color, **size})
    return facts


def ladder(choice) -> dict:
    """Where ``choice`` stands on its ladder of candidates, counted from 1, and which others are offered."""
    return {
        "step": choice.index + 1,
        "steps": choice.steps,
        "automatic_step": choice.alternatives[0] + 1 if choice.alternatives else choice.index + 1,
        "alternatives": [index + 1 for index in choice.alternatives],
    }
