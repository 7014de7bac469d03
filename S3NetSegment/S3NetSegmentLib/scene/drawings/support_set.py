"""The support set: which slices count as drawn. As text it is a parameter of the module and is saved with the scene."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ...engine.images import AXES
from ...engine.images.volume import spans_space
from .drawn_planes import PLANE, SupportPlane

_VERSION = 1


@dataclass(frozen=True)
class SupportSlice:
    """A slice of the volume that counts as drawn. What is drawn there is in the segments; it may be nothing.

    :param axis: the axis across the slice, "x", "y" or "z".
    :param index: its number along that axis, from 0.
    :param complete: everything unlabelled is background; False: only what lies near the drawing is.
    :param corrected: the user changed an accepted answer here.
    :param added: the user has put it into the list, so it stays there, whatever becomes of the drawing.
    :param without: ids of segments that are not drawn here, whatever voxels they have: Segment or a model has found them.
    """

    axis: str
    index: int
    complete: bool = True
    corrected: bool = False
    added: bool = False
    without: tuple[str, ...] = ()

    def counts(self, segment_id: str) -> bool:
        """Whether the voxels of a segment on this slice are a drawing."""
        return segment_id not in self.without

    @property
    def place(self) -> tuple[str, int]:
        """What tells slices apart: ``(axis, index)``."""
        return self.axis, self.index

    @property
    def text(self) -> str:
        """For messages."""
        return f"slice {self.index} along {self.axis}"

    @property
    def short(self) -> str:
        """For provenance."""
        return f"{self.axis} {self.index}"


def support_to_text(support: Iterable[SupportSlice | SupportPlane]) -> str:
    """``support`` as JSON; :func:`support_from_text` reads it."""
    slices = [
        {
            **(
                {"plane": list(s.plane_to_ras), "shape": list(map(int, s.shape))}
                if isinstance(s, SupportPlane)
                else {"axis": s.axis, "index": int(s.index)}
            ),
            "complete": bool(s.complete), "corrected": bool(s.corrected), "added": bool(s.added), "without": list(s.without),
        }
        for s in support
    ]  # fmt: skip
    return json.dumps({"version": _VERSION, "slices": slices})


def support_from_text(text: str) -> list[SupportSlice | SupportPlane]:
    """The support set in ``text``, without repetitions. Text that is damaged, or of a later version, gives an empty one."""
    try:
        content = json.loads(text)
        if content["version"] != _VERSION:
            return []
        found = [_slice_from(entry) if "axis" in entry else _plane_from(entry) for entry in content["slices"]]
    except (ValueError, TypeError, KeyError):
        return []
    return list({s.place: s for s in found}.values())


def merged_support(support: Iterable, more: Iterable) -> list:
    """``support`` with ``more`` added, slices in their order and then planes; of one slice in both, that of ``more`` is kept."""
    merged = {s.place: s for s in (*support, *more)}
    return [merged[place] for place in sorted(merged, key=lambda p: (p[0] == PLANE, p))]


def _slice_from(entry: dict) -> SupportSlice:
    axis, index = entry["axis"], entry["index"]
    if axis not in AXES or type(index) is not int or index < 0:
        raise ValueError(f"no slice: {entry}")
    return SupportSlice(axis, index, *_marks_from(entry))


def _plane_from(entry: dict) -> SupportPlane:
    matrix, shape = tuple(map(float, entry["plane"])), tuple(map(int, entry["shape"]))
    if len(matrix) != 16 or len(shape) != 2 or min(shape) < 1 or not spans_space(np.reshape(matrix, (4, 4))):
        raise ValueError(f"no plane: {entry}")
    return SupportPlane(matrix, shape, *_marks_from(entry))


def _marks_from(entry: dict) -> tuple[bool, bool, bool, tuple[str, ...]]:
    complete, corrected = bool(entry.get("complete", True)), bool(entry.get("corrected", False))
    # Earlier versions did not say who had put a slice into the list: it stays.
    return complete, corrected, bool(entry.get("added", True)), tuple(str(i) for i in entry.get("without", ()))


def missing_between(drawn: Mapping[SupportSlice, Iterable[str]]) -> dict[tuple[str, int], list[str]]:
    """The places of complete slices on which a segment is missing that is drawn before and behind them, and which ones: more
    probably nobody has drawn them there yet.

    :param drawn: slice -> what is drawn on it.
    """
    found = {}
    for chosen in drawn:
        if not chosen.complete:
            continue
        before: set[str] = set()
        behind: set[str] = set()
        for other, names in drawn.items():
            if other.axis == chosen.axis and other.index != chosen.index:
                (before if other.index < chosen.index else behind).update(names)
        lacking = sorted((before & behind) - set(drawn[chosen]))
        if lacking:
            found[chosen.place] = lacking
    return found
