"""A mask corrected at a point: what the point most likely stands for changes, what was right stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ...common.arrays import box_around
from .candidates import CAPACITY, EIGHT
from .ranked import dice_matrix
from .slice_features import nested_levels

Point = tuple[int, int]  # row, column
# Chosen on development slices, see Testing/benchmarks/segment/prompts.py --effort: what a hypothesis of the right mask is worth, in
# log-probability. People click in the middle of the largest error.
_CENTRAL = 5.0  # times log(depth of the point in the change / the change's largest depth)
# Of a change at the point alone:
_REACHING = 1.0  # times log(depth of the point in the change / the most that the mask allows)
_KEEPING = 1.0  # times log(Dice with the mask) and the number of protected points
# Of another answer as a whole, which changes all at once:
_WHOLE = 1.0
_LARGEST = 2.0  # times log(size of the change at the point / that of the largest change)
_WHOLE_KEEPING = 0.2  # times the same
# The expected Dice that it must have where the size is known: there a guess destroys what was nearly right.
_LEAST_WHOLE = 0.6
_DISKS = (0.5, 1.0, 1.5, 2.2)  # radii around the point, in shares of its distance from the mask's border
_DISK = -2.0  # of a disk: it fits any point, and hands do not meet the middle of what they mean
_ROOM = 0.1  # of the sides of the largest answer, by which a part that is added may reach beyond it
_LEAST_ROOM = 2  # pixels


def corrected(
    mask: np.ndarray,
    point: Point,
    add: bool,
    regions: np.ndarray,
    protected: Sequence[Point] = (),
    answers: Sequence[np.ndarray] = (),
    size_known: bool = False,
) -> np.ndarray:
    """``mask`` (bool ``[h, w]``) with ``point`` inside (``add``) or outside.

    Hypotheses of the right mask are: ``mask`` with the part at the point of one of ``regions``, or a disk around it, added or
    removed; and each of ``answers`` as a whole. Of these the one with the highest expected Dice is chosen.

    :param regions: bool ``[n, h, w]``, candidates at the point.
    :param protected: points that must stay as they are in ``mask``.
    :param answers: bool ``[h, w]`` each, other answers to what was asked first, small to large; the last one bounds what is added.
    :param size_known: whether what was asked first says how large the object is, as a box does.
    """
    side = ~mask if add else mask
    frame = np.ogrid[: mask.shape[0], : mask.shape[1]]
    deepest = max(1.0, float(nested_levels(side[None], point)[1][0]))
    found: dict[bytes, list] = {}  # hypothesis -> [itself, change at the point, log-probability but for depths, whole]
    for answer in answers:
        if bool(answer[point]) == add:
            _note(found, answer, *_change_at(answer, mask, point, add), True)
    room = _room(answers[-1], point) if add and len(answers) else (slice(None), slice(None))
    squared = sum((f - p) ** 2 for f, p in zip(frame, point, strict=True))
    disks = [squared <= max(2.0, f * deepest + 0.5) ** 2 for f in _DISKS]
    for region, score in (*((r, 0.0) for r in regions), *((d, _DISK) for d in disks)):
        change = np.zeros_like(mask)
        change[room] = region[room] & side[room]
        if change[point]:  # where bridges were cut, a region can miss it
            change = _part_at(change, point)[0]
            _note(found, mask ^ change, change, score, False)
    rows = [row for row in found.values() if all(row[0][p] == mask[p] for p in protected)]
    if not rows:
        out = mask.copy()
        out[point] = add
        return out
    depth, depths = _depths(np.stack([row[1] for row in rows]), point)
    whole = np.array([row[3] for row in rows])
    scores = np.array([row[2] for row in rows]) + _CENTRAL * np.log(depth / depths)
    scores += np.where(whole, _WHOLE, _REACHING * np.log(depth / deepest))
    masks = np.stack([row[0] for row in rows])
    shared, sizes = (masks & mask).sum((1, 2)), masks.sum((1, 2)) + mask.sum()
    scores += (
        max(1, len(protected)) * np.where(whole, _WHOLE_KEEPING, _KEEPING) * np.log((2 * shared + 1) / (sizes + 1))
    )
    shares = np.exp(scores - scores.max())
    expected = dice_matrix(masks) @ shares / shares.sum()
    if size_known and not whole.all():
        expected[whole & (expected < _LEAST_WHOLE)] = 0.0
    return masks[int(expected.argmax())]


def _note(found: dict, hypothesis: np.ndarray, change: np.ndarray, score: float, whole: bool) -> None:
    """Equal hypotheses of one kind are one that is as many times as likely."""
    row = found.setdefault(bytes([whole]) + np.packbits(hypothesis).tobytes(), [hypothesis, change, -np.inf, whole])
    row[2] = np.logaddexp(row[2], score)


def _change_at(answer: np.ndarray, mask: np.ndarray, point: Point, add: bool) -> tuple[np.ndarray, float]:
    """The part at ``point`` of what tells ``answer`` from ``mask``, and how it compares with the largest part."""
    missing, excess = answer & ~mask, mask & ~answer
    own, other = (missing, excess) if add else (excess, missing)
    change, largest = _part_at(own, point)
    if other.any():
        largest = max(largest, int(np.bincount(ndimage.label(other[box_around(other)], EIGHT)[0].ravel())[1:].max()))
    return change, _LARGEST * float(np.log(np.count_nonzero(change) / largest))


def _part_at(mask: np.ndarray, point: Point) -> tuple[np.ndarray, int]:
    """The connected part of ``mask`` that holds ``point``, and the size of the largest part."""
    box = box_around(mask)
    parts, _ = ndimage.label(mask[box], EIGHT)
    out = np.zeros_like(mask)
    out[box] = parts == parts[point[0] - box[0].start, point[1] - box[1].start]
    return out, int(np.bincount(parts.ravel())[1:].max())


def _room(largest: np.ndarray, point: Point) -> tuple[slice, slice]:
    """Where a part may be added: the box around the largest answer and a little more; everywhere if ``point`` lies beyond."""
    out = []
    for at, place, length in zip(point, box_around(largest), largest.shape, strict=True):
        more = _LEAST_ROOM + round(_ROOM * (place.stop - place.start))
        out.append(slice(max(0, place.start - more), min(length, place.stop + more)))
        if not out[-1].start <= at < out[-1].stop:
            return slice(None), slice(None)
    return out[0], out[1]


def _depths(masks: np.ndarray, point: Point) -> tuple[np.ndarray, np.ndarray]:
    """Depth of ``point`` in each mask, and the largest depth of each; above 0."""
    parts = [nested_levels(masks[n : n + CAPACITY], point)[1:] for n in range(0, len(masks), CAPACITY)]
    depth, deepest = (np.concatenate(column) for column in zip(*parts, strict=True))
    return np.maximum(depth, 1), np.maximum(deepest, 1)
