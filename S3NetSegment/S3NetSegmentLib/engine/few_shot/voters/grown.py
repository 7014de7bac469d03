"""GrowCut: every voxel takes the label of the seed that is nearest along the path of least intensity change.

The labelling of Slicer's "Grow from seeds" (Zhu et al., "An effective interactive medical image segmentation method
using fast GrowCut", 2014): the distance between neighbours (26 in 3D) is the absolute difference of their intensities,
a path costs the sum of its steps. Found with Dijkstra's order in buckets of distance (delta-stepping, Meyer and
Sanders, 2003), so that whole fronts of voxels are advanced by array operations.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from itertools import pairwise, product

import numpy as np
import torch

from ...common.arrays import bounding_box
from ...common.device import one_threaded
from ...common.progress import Step, Steps, as_part_of
from ..drawings.drawing import SoftDrawing
from ..frame import GREY_STEPS
from ..settings import FewShotSettings
from .voter import Voter

UNREACHED = np.int32(2**30)
_VOXELS_A_STEP = 8_000  # voxels settled between two steps of progress, about 0.02 s
_BEYOND = 3  # slices beyond the wanted ones on which a path may take a detour


class Grown(Voter):
    """GrowCut from all that is known."""

    name = "grown"

    def __init__(self, settings: FewShotSettings):
        self._settings = settings

    @one_threaded
    def masks(self, drawn: SoftDrawing, first: int, last: int, without: int | None = None) -> Steps[torch.Tensor]:
        """GrowCut's classes on slices ``first`` to ``last`` on the working grid, one-hot ``[n, C, h, w]``.

        Only the gap between complete drawn slices is searched, since these let no path through; beyond the outermost one,
        a few slices further than ``last``, where paths may take a detour.

        :param without: a drawn slice that is hidden.
        """
        start, stop = drawn.between(first, last, without, _BEYOND)
        seeds = np.zeros((stop - start + 1, *drawn.frame.work_shape), np.uint8)
        for z in range(start, stop + 1):
            if z in drawn.slices:
                if z != without:
                    here = drawn.slices[z]
                    seeds[z - start] = np.where(here.known.numpy() > 0.5, here.masks.argmax(0).numpy() + 1, 0)
            elif drawn.known[z].any():
                seeds[z - start] = _coarser_seeds(drawn.known[z : z + 1], drawn.frame.work_shape)[0]
        image = drawn.frame.work[start : stop + 1]
        labels = yield from self._grown_from(
            drawn, ("work", start, stop), lambda: (image.numpy() * GREY_STEPS).astype(np.int32), seeds, True
        )
        classes = torch.from_numpy(np.maximum(labels[first - start : last - start + 1], 1).astype(np.int64) - 1)
        return torch.nn.functional.one_hot(classes, drawn.classes).permute(0, 3, 1, 2).float()

    def fine(self, drawn: SoftDrawing, first: int, last: int, sure: np.ndarray | None = None) -> Steps[np.ndarray]:
        """GrowCut's classes on slices ``first`` to ``last`` at the image's resolution (coarser where there are more voxels
        than ``grow_voxels``), uint8 ``[n, H, W]``.

        Gaps between complete drawn slices are searched one by one and the ways through them kept, so that a changed slice
        costs none of them again, and a new one only the gap that it divides.

        :param sure: further seeds, in the values of ``known``, ``[n, H, W]``; with them only these slices are searched.
        """
        out = np.zeros((last - first + 1, *drawn.frame.box.shape), np.uint8)
        gaps = [gap for gap in _gaps(drawn) if gap[1] >= first and gap[0] <= last]
        for n, (start, stop) in enumerate(gaps):
            if sure is not None:
                start, stop = max(start, first), min(stop, last)
                known = drawn.known[start : stop + 1]
                seeds = np.where(known > 0, known, sure[start - first : stop - first + 1])
            else:
                seeds = drawn.known[start : stop + 1]
            labels = yield from as_part_of(
                self._grown_gap(drawn, start, stop, seeds, sure is None), n / len(gaps), (n + 1) / len(gaps)
            )
            a, b = max(start, first), min(stop, last)
            out[a - first : b - first + 1] = labels[a - start : b - start + 1]
        return out

    def _grown_gap(self, drawn: SoftDrawing, start: int, stop: int, seeds: np.ndarray, keep: bool) -> Steps[np.ndarray]:
        """GrowCut's classes on slices ``start`` to ``stop`` from ``seeds``; what can serve other labels is kept if
        ``keep``."""
        fine = seeds.shape[1:]
        factor = (self._settings.grow_voxels / drawn.frame.native.size) ** 0.5
        shape = tuple(max(1, round(n * factor)) for n in fine) if factor < 1 else fine
        if factor < 1:
            seeds = _coarser_seeds(seeds, shape)
        image = drawn.frame.native[start : stop + 1]
        labels = yield from self._grown_from(
            drawn, ("native", start, stop), lambda: _nearest(image, shape) if factor < 1 else image, seeds, keep
        )
        labels = np.maximum(labels, 1) - np.uint8(1)
        return _nearest(labels, fine) if factor < 1 else labels

    def _grown_from(
        self, drawn: SoftDrawing, part: tuple, image: Callable[[], np.ndarray], seeds: np.ndarray, keep: bool
    ) -> Steps[np.ndarray]:
        """GrowCut's labels from ``seeds`` in a part of the frame. The ways through the image do not depend on the labels of
        the seeds: after an edit of a complete slice, which is all seeds before and after, only labels are exchanged."""
        if not keep:
            return (yield from grow_labels(image(), seeds))[0]
        known = seeds > 0
        key = (*part, blake2b(np.packbits(known).tobytes(), digest_size=16).digest())
        nearest = drawn.kept.get(key)
        if nearest is None:
            nearest, _ = yield from nearest_seeds(image(), known)
            drawn.kept.add(key, nearest, nearest.nbytes)
        return labels_of(nearest, seeds)


def _gaps(drawn: SoftDrawing) -> list[tuple[int, int]]:
    """Runs of slices (first, last) that complete drawn slices bound; neighbours share their drawn slice."""
    edges = sorted({0, *drawn.complete(), drawn.frame.depth - 1})
    return list(pairwise(edges)) or [(0, 0)]


def _nearest(planes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """``[n, H, W]`` at ``shape``: the pixel in the middle of each new one."""
    rows, columns = (
        ((np.arange(m) + 0.5) * n / m).astype(np.intp) for n, m in zip(planes.shape[1:], shape, strict=True)
    )
    return planes[:, rows[:, None], columns]


def _coarser_seeds(seeds: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """``[n, H, W]`` at the smaller ``shape``, without losing thin lines; segments win over background."""
    out = np.zeros((len(seeds), *shape), np.uint8)
    for chosen in (seeds == 1, seeds > 1):
        z, y, x = np.nonzero(chosen)
        out[z, y * shape[0] // seeds.shape[1], x * shape[1] // seeds.shape[2]] = seeds[z, y, x]
    return out


def grow_labels(image: np.ndarray, seeds: np.ndarray, bucket: int = 16) -> Steps[tuple[np.ndarray, np.ndarray]]:
    """Labels of all voxels that any seed can reach, and their distances, as a generator of progress steps.

    :param image: int16 or int32 ``[Z, H, W]``.
    :param seeds: uint8 ``[Z, H, W]``, 0 = unknown. Seeds keep their labels.
    :param bucket: width of a bucket in intensity steps; changes the time, not the distances.
    :returns: labels (uint8) and distances (int32; :data:`UNREACHED` where there is no seed at all), ``[Z, H, W]``.
        Where two seeds are equally near, either may win.
    """
    nearest, far = yield from nearest_seeds(image, seeds > 0, bucket)
    return labels_of(nearest, seeds), far


def labels_of(nearest: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The labels (uint8 ``[Z, H, W]``) that ``seeds`` give to the voxels whose :func:`nearest_seeds` they are."""
    return np.where(nearest >= 0, seeds.ravel().take(nearest, mode="clip"), np.uint8(0))


def nearest_seeds(image: np.ndarray, known: np.ndarray, bucket: int = 16) -> Steps[tuple[np.ndarray, np.ndarray]]:
    """Which seed each voxel is nearest to, and how far: what does not depend on the labels of the seeds.

    :param known: bool ``[Z, H, W]``, where seeds are. ``image``, ``bucket``: see :func:`grow_labels`.
    :returns: flat index of the seed in ``[Z, H, W]`` (-1 where none is reached) and distance, int32 ``[Z, H, W]``.
    """
    # Seeds are settled, and no path through one is shorter than from it: only the others and their neighbours matter.
    box = bounding_box(~known, margin=1)
    if box is None:
        return _places(known.shape), np.zeros(known.shape, np.int32)
    part = known[box]
    shape = tuple(n + 2 for n in part.shape)
    inner = (slice(1, -1),) * 3
    values, roots = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
    values[inner] = image[box]
    np.copyto(roots[inner], _places(known.shape)[box], where=part)
    distance = np.full(shape, -1, np.int32)  # the rim, which nothing improves on
    distance[inner] = np.where(part, np.int32(0), UNREACHED)
    steps = _neighbour_steps(shape)
    yield from _advance(values.ravel(), roots.ravel(), distance.ravel(), _front(part, shape), steps, bucket)
    del values
    nearest, far = _places(known.shape), np.zeros(known.shape, np.int32)  # beyond the box everything is known
    nearest[box], far[box] = roots[inner], distance[inner]
    return nearest, far


def _places(shape: tuple[int, ...]) -> np.ndarray:
    """The flat index of each voxel."""
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


def _neighbour_steps(shape: tuple[int, ...]) -> list[int]:
    strides = (shape[1] * shape[2], shape[2], 1)
    return [int(np.dot(offset, strides)) for offset in product((-1, 0, 1), repeat=3) if any(offset)]


def _front(known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Flat indices (of the padded array) of seeds with a neighbour that is none."""
    open_voxels = np.zeros(shape, bool)
    open_voxels[1:-1, 1:-1, 1:-1] = ~known
    near = open_voxels
    for axis in range(3):
        spread = near.copy()
        ahead, behind = [slice(None)] * 3, [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        spread[tuple(ahead)] |= near[tuple(behind)]
        spread[tuple(behind)] |= near[tuple(ahead)]
        near = spread
    near[1:-1, 1:-1, 1:-1] &= known
    near[[0, -1]] = near[:, [0, -1]] = near[:, :, [0, -1]] = False
    return np.flatnonzero(near)


def _advance(values, roots, distance, front, steps, bucket: int) -> Steps[None]:
    """Settles all voxels; ``roots`` and ``distance`` (flat, padded) are changed in place."""
    since, settled = 0, 0
    waiting: dict[int, list[np.ndarray]] = {0: [front]} if front.size else {}
    while waiting:
        level = min(waiting)
        nodes = _distinct(np.concatenate(waiting.pop(level)))
        # A voxel that was improved since it was put here has been settled from a lower bucket.
        nodes = nodes[distance.take(nodes) // bucket == level]
        for start in range(0, nodes.size, _VOXELS_A_STEP):
            part = nodes[start : start + _VOXELS_A_STEP]
            since, settled = since + part.size, settled + part.size
            if since > _VOXELS_A_STEP:
                since = part.size
                yield Step(min(1.0, settled / len(values)), "Growing from the drawn slices")
            reached = _relaxed(part, values, roots, distance, steps)
            if reached.size:
                _file_by_level(reached, distance.take(reached) // bucket, waiting)


def _distinct(nodes: np.ndarray) -> np.ndarray:
    """``nodes`` once each, in the order of memory."""
    nodes.sort()
    first = np.ones(nodes.size, bool)
    np.not_equal(nodes[1:], nodes[:-1], out=first[1:])
    return nodes[first]


def _relaxed(nodes, values, roots, distance, steps) -> np.ndarray:
    """Passes ``nodes`` on to their neighbours; those that came nearer."""
    own_value, own_distance, own_root = values.take(nodes), distance.take(nodes), roots.take(nodes)
    reached = []
    for step in steps:
        others = nodes + step
        through = values.take(others)
        through -= own_value
        np.abs(through, out=through)
        through += own_distance
        better = np.flatnonzero(through < distance.take(others))
        if better.size:
            others = others[better]
            distance[others] = through[better]
            roots[others] = own_root[better]
            reached.append(others)
    return np.concatenate(reached) if reached else nodes[:0]


def _file_by_level(nodes: np.ndarray, levels: np.ndarray, waiting: dict[int, list[np.ndarray]]) -> None:
    """Puts ``nodes`` into the buckets ``levels``."""
    first, last = int(levels.min()), int(levels.max())
    if last - first < 2**16:  # whose sort is much faster
        levels = (levels - first).astype(np.uint16)
    else:
        first = 0
    order = np.argsort(levels, kind="stable")
    nodes, levels = nodes[order], levels[order]
    cuts = np.flatnonzero(levels[1:] != levels[:-1]) + 1
    for start, part in zip((0, *cuts), np.split(nodes, cuts), strict=True):
        waiting.setdefault(first + int(levels[start]), []).append(part)
