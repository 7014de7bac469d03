"""Where segments lie in an image that were drawn on a grid of their own, or are under a transform of their own: turned against its
slices, or beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...engine import Volume
from ...engine.common.arrays import corners
from ...engine.images import AXES
from ...engine.images.planes import plane_grid
from ..segmentation.labelmaps import LabelBox, read_segment
from ..volumes import volume_from_node, world_from_parent
from .support_set import SupportPlane, covering_slices

_STRAIGHT = 0.5  # voxels by which a drawn slice may lean out of a slice of the image and still count as one
_TOLD = 0.0005  # share of a drawing beside the image, from which on it is told


def turned_planes(
    segmentation_node, segment_ids: Sequence[str], volume_node, axis: str = "auto"
) -> tuple[list[SupportPlane], list[str]]:
    """The slices of segments that are turned against the slices of ``volume_node``, as planes, and the other segments.

    :param axis: the axis of the image that is nearest to the one across the drawn slices; "auto": that of the fewest.
    """
    volume = volume_from_node(volume_node)
    axis = axis if axis == "auto" else volume.slice_axis(axis)  # refuses what is none
    drawn: dict[bytes, tuple[np.ndarray, LabelBox, list[str]]] = {}
    for segment_id, box, lattice in _drawn(segmentation_node, segment_ids):
        _, before, ids = drawn.get(key := np.round(lattice, 6).tobytes(), (lattice, LabelBox.empty(), []))
        drawn[key] = lattice, before.union(box), [*ids, segment_id]
    planes, turned = [], set()
    for lattice, box, ids in drawn.values():
        slices = covering_slices(box) if axis == "auto" else _along(box, lattice, volume, axis)
        if any(_lean(box, across, lattice, volume) >= _STRAIGHT for across, _ in slices):
            planes += [plane for place in slices if (plane := _plane(*place, box, lattice, volume)) is not None]
            turned.update(ids)
    return planes, [i for i in segment_ids if i not in turned]


def is_drawn(segmentation_node, segment_ids: Sequence[str]) -> bool:
    """Whether there are any voxels in the segments, wherever they lie."""
    return any(True for _ in _drawn(segmentation_node, segment_ids))


def beside_notes(segmentation_node, segment_ids: Sequence[str], volume: Volume) -> list[str]:
    """What the user should know of segments that lie partly beside ``volume`` (world RAS)."""
    notes = []
    for segment_id, box, lattice in _drawn(segmentation_node, segment_ids):
        share = _beside(box, np.linalg.solve(volume.ijk_to_ras, lattice), volume)
        if share > _TOLD:
            name = segmentation_node.GetSegmentation().GetSegment(segment_id).GetName()
            notes.append(f"{share:.1%} of {name!r} lies beside {volume.name!r} and does not count")
    return notes


def _drawn(segmentation_node, segment_ids: Sequence[str]) -> Iterator[tuple[str, LabelBox, np.ndarray]]:
    """Segments with voxels: id, these, and their lattice (voxel to world RAS)."""
    world = world_from_parent(segmentation_node)
    for segment_id in segment_ids:
        box, lattice = read_segment(segmentation_node, segment_id)
        box = box.trimmed()
        if lattice is not None and box.array.size:
            yield segment_id, box, world @ lattice


def _along(box: LabelBox, lattice: np.ndarray, volume: Volume, axis: str) -> list[tuple[str, int]]:
    """The slices with labels across the axis of the lattice that is nearest to ``axis`` of ``volume``."""
    # Along ``axis``, of a voxel of the lattice.
    steps = np.linalg.solve(volume.ijk_to_ras, lattice)[AXES.index(axis), :3]
    across = int(np.argmax(np.abs(steps) / np.linalg.norm(lattice[:3, :3], axis=0)))
    held = box.array.any(tuple(d for d in range(3) if d != 2 - across))
    return [(AXES[across], int(n) + box.start[across]) for n in np.flatnonzero(held)]


def _lean(box: LabelBox, axis: str, lattice: np.ndarray, volume: Volume) -> float:
    """Voxels of ``volume`` by which a slice of ``box`` leaves the slices of the volume that it runs along."""
    sides = [lattice[:3, a] * box.array.shape[2 - a] for a in range(3) if AXES[a] != axis]
    return float(np.abs(np.linalg.solve(volume.ijk_to_ras[:3, :3], np.stack(sides, 1))).sum(1).min())


def _plane(axis: str, index: int, box: LabelBox, lattice: np.ndarray, volume: Volume) -> SupportPlane | None:
    """The cut of slice ``index`` of the lattice through ``volume``; None where it misses it."""
    across = AXES.index(axis)
    first, second = (lattice[:3, a] for a in range(3) if a != across)
    right = first / np.linalg.norm(first)
    normal = np.cross(right, second)
    normal /= np.linalg.norm(normal)
    place = np.array(box.start, float)
    place[across] = index
    view = np.eye(4)
    view[:3] = np.stack((right, np.cross(normal, right), normal, (lattice @ (*place, 1.0))[:3]), 1)
    grid = plane_grid(volume, view)
    return None if grid is None else SupportPlane(tuple(grid[0].ravel().tolist()), grid[1])


def _beside(box: LabelBox, to_image: np.ndarray, volume: Volume) -> float:
    """Share of the voxels of ``box`` whose centres lie beside ``volume``."""

    def inside(voxels):
        index = np.floor(voxels @ to_image[:3, :3].T + to_image[:3, 3] + 0.5 + 1e-6)
        return ((index >= 0) & (index < volume.size)).all(1)

    if inside(corners(box.start, np.array(box.stop) - 1)).all():
        return 0.0
    return 1 - float(inside(np.argwhere(box.array)[:, ::-1] + np.array(box.start)).mean())
