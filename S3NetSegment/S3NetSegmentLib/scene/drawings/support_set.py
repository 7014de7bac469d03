"""What counts as drawn: slices, planes of oblique views, and which slices say all that several say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ...engine import Extent, InputError, Volume
from ...engine.few_shot.drawings.support import DrawnPlane
from ...engine.images import AXES
from ...engine.images.volume import spans_space
from ..segmentation.labelmaps import LabelBox
from ..slices import shown_slice, slice_name

_VERSION = 1
_RIM = 2.0  # pixels around a plane that belong to it: its pixels end inside the volume, not at its border
_MOST = 8  # slices of different axes that are looked for
_GAIN = 3  # they must explain the voxels with so many times fewer slices than one axis alone
_LONG_RUN = 3  # slices in a row, on average, below which they stand alone
PLANE = "plane"  # where slices have the name of an axis


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


@dataclass(frozen=True)
class SupportPlane:
    """A plane that counts as drawn. What is drawn there is in the segments; it may be nothing.

    :param plane_to_ras: 4x4, row by row: pixel (column, row, layer, 1) to RAS mm; a layer is as thick as one voxel is across
        the plane.
    :param shape: (rows, columns).
    :param complete, corrected, added, without: as in :class:`SupportSlice`.
    """

    plane_to_ras: tuple[float, ...]
    shape: tuple[int, int]
    complete: bool = True
    corrected: bool = False
    added: bool = False
    without: tuple[str, ...] = ()

    @classmethod
    def of_view(cls, slice_node, volume_node, complete: bool = True) -> SupportPlane:
        """The plane in which an oblique view cuts ``volume_node``.

        :raises InputError: the view is along the volume's slices, or does not cut the volume.
        """
        grid = shown_slice(slice_node, volume_node).grid
        if grid is None:
            raise InputError("the view shows a slice of the volume; name that slice instead")
        matrix, shape = grid
        return cls(tuple(matrix.ravel().tolist()), shape, complete)

    def counts(self, segment_id: str) -> bool:
        """Whether the voxels of a segment on this plane are a drawing."""
        return segment_id not in self.without

    @property
    def place(self) -> tuple[str, tuple]:
        """What tells planes apart: views within a ten thousandth of a pixel show the same one."""
        pixel = np.linalg.norm(self.matrix[:3, 0])
        return PLANE, (*(np.round(self.matrix[:3] / pixel, 4) + 0.0).ravel().tolist(), *self.shape)

    def name_in(self, volume: Volume) -> str:
        """For the user, e.g. "oblique axial"."""
        return f"oblique {slice_name(volume, self.axis_in(volume), 0).split()[0]}"

    def axis_in(self, volume: Volume) -> str:
        """The axis of ``volume`` that is nearest to the plane's normal."""
        return DrawnPlane(np.zeros(self.shape, np.uint8), self.matrix).axis_in(volume)

    @property
    def text(self) -> str:
        """For messages."""
        return "an oblique plane"

    @property
    def matrix(self) -> np.ndarray:
        """``plane_to_ras`` as array (4, 4)."""
        return np.array(self.plane_to_ras).reshape(4, 4)

    @property
    def geometry(self) -> Volume:
        """The pixels of the plane as a grid in world RAS, ``[1, rows, columns]``."""
        return Volume(np.broadcast_to(np.uint8(0), (1, *self.shape)), self.matrix, "plane")

    def part_of(self, segment: LabelBox, geometry: Volume, layers: float = 1.0) -> LabelBox:
        """What of ``segment``, on the grid of ``geometry``, lies on the plane."""
        if segment.array.size == 0:
            return segment
        return LabelBox(
            segment.array & self.voxels(geometry, Extent(segment.start, segment.stop), layers), segment.start
        )

    def slices_in(self, volume: Volume, axis: str) -> tuple[int, int] | None:
        """First and last slice across ``axis`` of ``volume`` that the plane passes through; None if it misses the volume."""
        rows, columns = self.shape
        corners = np.array([(c, r, n, 1.0) for c in (-_RIM, columns - 1 + _RIM) for r in (-_RIM, rows - 1 + _RIM) for n in (-0.5, 0.5)])  # fmt: skip
        along = (np.linalg.solve(volume.ijk_to_ras, self.matrix) @ corners.T)[AXES.index(axis)]
        last = volume.size[AXES.index(axis)] - 1
        found = max(0, int(np.ceil(along.min()))), min(last, int(np.floor(along.max())))
        return found if found[0] <= found[1] else None

    def voxels(self, geometry: Volume, box: Extent, layers: float = 1.0) -> np.ndarray:
        """The voxels in ``box`` of ``geometry`` that the plane passes through, bool ``[K, J, I]``.

        :param layers: how thick the plane is taken to be.
        """
        to_plane = np.linalg.solve(self.matrix, geometry.ijk_to_ras)
        i, j, k = (np.arange(a, b, dtype=np.float32) for a, b in zip(box.start, box.stop, strict=True))
        column, row, layer = (t[0] * i + (t[1] * j)[:, None] + t[3] for t in to_plane[:3].astype(np.float32))
        steps = to_plane[:3, 2].astype(np.float32)
        out = np.empty(box.size[::-1], bool)
        for n, z in enumerate(k):  # one slice at a time: whole volumes of numbers would be large
            np.less_equal(np.abs(layer + steps[2] * z), layers / 2, out=out[n])
            for pixel, step, count in ((column, steps[0], self.shape[1]), (row, steps[1], self.shape[0])):
                at = pixel + step * z
                out[n] &= (at >= -_RIM) & (at <= count - 1 + _RIM)
        return out


def covering_slices(voxels: LabelBox, first_axis: str = "z") -> list[tuple[str, int]]:
    """The slices, as (axis, index) in order, that hold all of ``voxels``.

    Mostly those along the axis with the fewest. A stroke in a sagittal view beside one in an axial view, which touches many
    axial slices, gives one slice of each.

    :param voxels: bool, on the grid of the volume.
    :param first_axis: the axis that is taken where others would do as well.
    """
    voxels = voxels.trimmed()
    if voxels.array.size == 0:
        return []
    axes = sorted(AXES, key=lambda axis: axis != first_axis)
    held = {axis: np.flatnonzero(_counts(voxels.array, axis)) for axis in AXES}
    # What is drawn on a slice hangs together there: an axis along which the others have gaps is not the one.
    solid = [a for a in axes if all(_is_unbroken(held[b]) for b in axes if b != a)]
    axis = min(solid or axes, key=lambda a: len(held[a]))
    found = [(axis, int(n)) for n in held[axis]]
    if _is_unbroken(held[axis]):
        found = _largest_first(voxels.array, axes, min(_MOST, len(found) // _GAIN)) or found
    return sorted((a, n + voxels.start[AXES.index(a)]) for a, n in found)


def _is_unbroken(indices: np.ndarray) -> bool:
    """Whether ``indices`` (ascending) are one run, or runs that are long on average."""
    runs = 1 + int(np.count_nonzero(np.diff(indices) > 1))
    return runs == 1 or len(indices) >= _LONG_RUN * runs


def _largest_first(array: np.ndarray, axes: list[str], most: int) -> list[tuple[str, int]]:
    """At most ``most`` slices that hold all of ``array``, found one by one, the fullest first; [] if that does not do."""
    left = array.copy()
    found: list[tuple[str, int]] = []
    while left.any():
        if len(found) == most:
            return []
        counts = {axis: _counts(left, axis) for axis in axes}
        axis = max(axes, key=lambda a: counts[a].max())  # the first of equals
        index = int(counts[axis].argmax())
        np.moveaxis(left, 2 - AXES.index(axis), 0)[index] = False
        found.append((axis, index))
    return found


def _counts(array: np.ndarray, axis: str) -> np.ndarray:
    return array.sum(tuple(d for d in range(3) if d != 2 - AXES.index(axis)))
