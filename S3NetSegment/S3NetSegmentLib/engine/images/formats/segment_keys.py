"""The segments that the keys of a ``.seg.nrrd`` describe, also where keys are missing, numbered otherwise or doubled."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ...common.arrays import label_counts
from ...common.errors import InputError, image_warning
from ..colors import label_colors
from ..segmentation import Segment

TERMINOLOGY = "TerminologyEntry"
_KEY = re.compile(r"Segment([0-9]{1,6})_(\w+)")
_DESCRIBING = {"ID", "Name", "LabelValue", "Layer", "Color"}  # a segment has at least one of these
_MOST_SHOWN = 8
_AGAIN = "save it again from Slicer"


def describes_segments(keys: Mapping[str, str]) -> bool:
    """Whether any of the keys of a NRRD header describes a segment."""
    return bool(_entries(keys))


def described_segments(keys: Mapping[str, str], layers: Sequence[np.ndarray], shown: str) -> list[Segment]:
    """The segments in the order of their numbers, which may start anywhere and leave gaps.

    Names and colours that are missing are made up. A missing value is the one value of the layer that no other segment owns;
    files of Slicer before 5 have one layer for each segment and tell neither values nor layers. Values in ``layers`` that no
    segment owns, and segments that share an ID or their voxels, are told (ImageWarning).

    :param layers: labels ``[K, J, I]``, uint8 or uint16.
    :raises InputError: a value or layer is missing and cannot be known, or a key holds nonsense; the key is named.
    """
    entries = _entries(keys)
    places = _layers_of(entries, len(layers), shown)
    found = [set(np.flatnonzero(label_counts(layer, int(layer.max()) + 1)).tolist()) - {0} for layer in layers]
    values = _values_of(entries, places, found, shown)
    segments = [
        _segment(number, entry, order, places[number], values[number], shown)
        for order, (number, entry) in enumerate(entries.items())
    ]
    _note_shared(entries, segments, shown)
    for layer, there in enumerate(found):
        if others := sorted(there - {s.value for s in segments if s.layer == layer}):
            where = f" in layer {layer}" if len(layers) > 1 else ""
            listed = ", ".join(map(str, others[:_MOST_SHOWN])) + (", ..." if len(others) > _MOST_SHOWN else "")
            image_warning(
                f"{shown} holds label value {listed}{where}, which no segment in its header owns; it is left out"
            )
    return segments


def _entries(keys: Mapping[str, str]) -> dict[int, dict[str, str]]:
    """What is said of each segment, by number."""
    entries: dict[int, dict[str, str]] = {}
    for key, value in keys.items():
        if match := _KEY.fullmatch(key):
            entries.setdefault(int(match[1]), {})[match[2]] = value
    return {number: entries[number] for number in sorted(entries) if not _DESCRIBING.isdisjoint(entries[number])}


def _layers_of(entries: Mapping[int, Mapping[str, str]], count: int, shown: str) -> dict[int, int]:
    one_each = count == len(entries) and not any("Layer" in entry for entry in entries.values())
    places = {}
    for order, (number, entry) in enumerate(entries.items()):
        if "Layer" in entry:
            places[number] = _whole_number(entry["Layer"], f"Segment{number}_Layer", shown)
        elif count == 1 or one_each:
            places[number] = order if one_each else 0
        else:
            missing = f"no key Segment{number}_Layer, so that nobody knows where that segment lies"
            raise InputError(f"{shown} has {count} layers and {missing}; {_AGAIN}")
        if not 0 <= places[number] < count:
            there = f"and has {count} layers, 0 to {count - 1}"
            raise InputError(f"{shown} says Segment{number}_Layer:={places[number]}, {there}; {_AGAIN}")
    return places


def _values_of(
    entries: Mapping[int, Mapping[str, str]], places: Mapping[int, int], found: Sequence[set[int]], shown: str
) -> dict[int, int]:
    stated = {n: entry["LabelValue"] for n, entry in entries.items() if "LabelValue" in entry}
    told = {n: _whole_number(text, f"Segment{n}_LabelValue", shown) for n, text in stated.items()}
    low = next((n for n in told if told[n] <= 0), None)
    if low is not None:
        raise InputError(
            f"{shown} says Segment{low}_LabelValue:={told[low]}; it must be above 0. Save it again from Slicer"
        )
    values = dict(told)
    for number in (n for n in entries if n not in told):
        beside = [n for n in entries if places[n] == places[number]]  # in its layer
        left = found[places[number]] - {told[n] for n in beside if n in told}
        if len(left) > 1 or (left and any(n != number and n not in told for n in beside)):
            listed = ", ".join(map(str, sorted(left)[:_MOST_SHOWN]))
            unclear = f"no key Segment{number}_LabelValue, and label values {listed} that may be those of that segment"
            raise InputError(f"{shown} has {unclear}; {_AGAIN}")
        owned = {values[n] for n in beside if n in values}
        values[number] = left.pop() if left else next(v for v in range(1, len(entries) + 2) if v not in owned)
    return values


def _segment(number: int, entry: Mapping[str, str], order: int, layer: int, value: int, shown: str) -> Segment:
    tags = dict(t.partition(":")[::2] for t in entry.get("Tags", "").split("|") if t)
    try:
        color = tuple(float(c) for c in entry.get("Color", "").split()) or label_colors(order + 1)[order]
    except ValueError:
        color = ()
    if len(color) != 3 or not all(0 <= c <= 1 for c in color):
        raise InputError(
            f"{shown} says Segment{number}_Color:={entry['Color']}; a colour is three numbers from 0 to 1. Save it again from Slicer"
        )
    name = entry.get("Name", "").strip() or entry.get("ID", "").strip() or f"Segment {number + 1}"
    return Segment(name, color, value, layer, tags.pop(TERMINOLOGY, ""), tags)


def _note_shared(entries: Mapping[int, Mapping[str, str]], segments: Sequence[Segment], shown: str) -> None:
    seen: dict[object, str] = {}
    for entry, segment in zip(entries.values(), segments, strict=True):
        for what, mark in (
            (f"the ID {entry.get('ID')!r}, of which Slicer keeps only one", entry.get("ID") or id(segment)),
            (f"label value {segment.value}, and so their voxels", (segment.layer, segment.value)),
        ):
            if mark in seen:
                image_warning(f"{shown}: segments {seen[mark]!r} and {segment.name!r} share {what}")
            seen[mark] = segment.name


def _whole_number(text: str, key: str, shown: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"{shown} says {key}:={text}, which is not a whole number; save it again from Slicer"
        ) from None
