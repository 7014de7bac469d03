"""The slices of a series sorted into volumes: time points, echoes, b-values, phases or repeated acquisitions.

Slices of one volume lie in different places. Where several lie in one place, what their headers say of time, echo and the
like tells the volumes apart; where they say nothing, the order in which they were made does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...common.errors import InputError
from .slices import Slice, normal_of

SAME_PLACE = 1e-2  # mm: slices nearer than this lie in one place
_UNEVEN = 0.05  # of the usual step
_UNITS = {"b value": " s/mm2", "echo time": " ms", "inversion time": " ms", "trigger time": " ms", "frame time": " ms",
          "tube voltage": " kV"}  # fmt: skip
_SEPARATING = ("temporal position", "b value", "echo time", "image type", "acquisition", "stack")


@dataclass(frozen=True, eq=False)
class SliceVolume:
    """Slices that make one volume, along their normal. ``label``: what distinguishes it, "" for the only one."""

    slices: list[Slice]
    label: str


def volumes_of(slices: list[Slice], warn: Callable[[str], None]) -> list[SliceVolume]:
    """The volumes that ``slices`` (of one size and orientation, each with a position) make.

    Volumes that are hardly begun (less than half of the largest) are left out with a warning, as are further slices in one
    place that nothing distinguishes.
    """
    volumes = [SliceVolume([s for place in places_of(slices) for s in place], "")]
    names = list(dict.fromkeys(name for s in slices for name in s.marks))
    for name in names:
        volumes = [part for volume in volumes for part in _split(volume, name)]
    volumes = [part for volume in volumes for part in _by_rank(volume)]
    largest = max(len(v.slices) for v in volumes)
    whole = [v for v in volumes if 2 * len(v.slices) >= largest]
    left = sum(len(v.slices) for v in volumes) - sum(len(v.slices) for v in whole)
    unclear = 0
    for n, volume in enumerate(whole):
        first = [place[0] for place in places_of(volume.slices)]
        unclear += len(volume.slices) - len(first)
        whole[n] = SliceVolume(first, volume.label)
    if left + unclear:
        warn(f"{left + unclear} slices lie in the place of another one; the first of each place is used")
    return _with_b_values(whole) if len(whole) > 1 else [SliceVolume(whole[0].slices, "")]


def _with_b_values(volumes: list[SliceVolume]) -> list[SliceVolume]:
    """``volumes`` with their b-values in their labels, also where something else told them apart."""
    values = [{s.marks.get("b value") for s in v.slices} for v in volumes]
    if any(len(v) > 1 for v in values) or len(set.union(*values)) < 2:
        return volumes
    return [
        v if "b value" in v.label else SliceVolume(v.slices, f"{_named('b value', *value)}, {v.label}".rstrip(", "))
        for v, value in zip(volumes, values, strict=True)
    ]


def places_of(slices: list[Slice]) -> list[list[Slice]]:
    """Slices grouped by place along their normal, in that order; in one place by time and number."""
    if len(slices) == 1:
        return [slices]
    normal = normal_of(slices)
    places: list[list[Slice]] = []
    since = -np.inf
    for along, n in sorted((float(s.position @ normal), n) for n, s in enumerate(slices)):
        if along - since >= SAME_PLACE:
            places.append([])
            since = along
        places[-1].append(slices[n])
    return [sorted(place, key=_age) for place in places]


def check_one_grid(slices: list[Slice], shown: str) -> list[Slice]:
    """``slices`` if all are of one size and orientation.

    :raises InputError: they are not; with what there is, and a file of each kind.
    """
    kinds: list[list[Slice]] = []
    for s in slices:
        kind = next((k for k in kinds if k[0].fits(s)), None)
        if kind is None:
            kinds.append([s])
        else:
            kind.append(s)
    if len(kinds) == 1:
        return slices
    kinds.sort(key=len, reverse=True)
    listed = "; ".join(
        f"{len(k)} of {k[0].size[0]} x {k[0].size[1]} pixels of {k[0].spacing[0]:.4g} x {k[0].spacing[1]:.4g} mm across {facing(k)}, e.g. {k[0].path.parent.name}/{k[0].path.name}"
        for k in kinds[:6]
    )
    listed += f"; and {len(kinds) - 6} more" if len(kinds) > 6 else ""
    frames = max(s.frame for s in slices) > 0
    way = "save the frames of one kind as a series of their own" if frames else "give one file of those that you want"
    raise InputError(
        f"the DICOM series in {shown} has slices of {len(kinds)} different sizes or orientations: {listed}; {way}"
    )


def facing(slices: list[Slice]) -> str:
    """Which way the slices lie: "axial", "oblique coronal" and so on."""
    normal = np.abs(normal_of(slices))
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return name if normal.max() > 0.99 else f"oblique {name}"


def named_marks(s: Slice) -> str:
    """What the slice says of time, echo, b-value and the like, in words after a comma; "" for nothing."""
    return "".join(f", {_named(name, value)}" for name, value in s.marks.items() if name in _SEPARATING and value != "")


def _split(volume: SliceVolume, name: str) -> list[SliceVolume]:
    """``volume`` by the mark ``name``, if that tells slices in one place apart."""
    if len(volume.slices) == 1:
        return [volume]
    places = places_of(volume.slices)
    most = max(map(len, places))
    values = {s.marks.get(name) for s in volume.slices}
    if len(values) < 2:
        return [volume]
    if most == 1:
        # Nothing lies in one place; yet two interleaved stacks, each even, are not a single volume if together they are not.
        if name not in _SEPARATING or len(values) * 2 > len(places) or _even(volume.slices):
            return [volume]
        parts = _parts(volume, name)
        return parts if all(len(p.slices) > 1 and _even(p.slices) for p in parts) else [volume]
    tells = any(len({s.marks.get(name) for s in place}) > 1 for place in places)
    return _parts(volume, name) if tells and len(values) <= most else [volume]


def _parts(volume: SliceVolume, name: str) -> list[SliceVolume]:
    by_value: dict[float | str | None, list[Slice]] = {}
    for s in volume.slices:
        by_value.setdefault(s.marks.get(name), []).append(s)
    ordered = sorted(by_value, key=lambda v: (v is None, isinstance(v, str), v if v is not None else 0))
    return [SliceVolume(by_value[value], f"{volume.label}, {_named(name, value)}".lstrip(", ")) for value in ordered]


def _by_rank(volume: SliceVolume) -> list[SliceVolume]:
    """``volume`` by the order in which its slices were made, if there are equally many in each place."""
    places = places_of(volume.slices)
    counts = {len(place) for place in places}
    if len(counts) > 1 or counts == {1}:
        return [volume]
    count = counts.pop()
    return [
        SliceVolume([place[n] for place in places], f"{volume.label}, number {n + 1} in time".lstrip(", "))
        for n in range(count)
    ]


def _even(slices: list[Slice]) -> bool:
    normal = normal_of(slices)
    steps = np.diff(sorted(float(s.position @ normal) for s in slices))
    return len(steps) < 2 or float(np.ptp(steps)) <= _UNEVEN * float(np.median(steps)) + SAME_PLACE


def _age(s: Slice) -> tuple:
    trigger = s.marks.get("trigger time", 0.0)
    return (trigger, s.number is None, s.number or 0, s.order, s.path.name, s.frame)


def _named(name: str, value: float | str | None) -> str:
    if value is None:
        return f"no {name}"
    return f"{name} {value if isinstance(value, str) else format(value, 'g')}{_UNITS.get(name, '')}"
