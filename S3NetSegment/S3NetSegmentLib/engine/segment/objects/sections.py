"""An object in a volume, looked at once more: the network of boxes is shown a box around each of its sections along all three axes.

What was carried from slice to slice, or put together of supervoxels, has its sections about right and their borders less so; the
network, which is as good as the boxes that it is shown, knows borders.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from ...common.arrays import bounding_box, three
from ...common.progress import Step, Steps, as_part_of
from .box_network import CutOut, default_box_network
from .candidates import EIGHT

_MOST = 24  # sections along an axis that the network is shown; those in between are interpolated
_ROOM = 0.02  # of the boxes around the sections, as a share of their sides
_BEYOND, _LEAST_BEYOND = 0.1, 4  # how far around the object is looked: as a share of its sides, and voxels
_ISLAND = 0.15  # of the largest part of a section; smaller parts are not asked for
_LEAST_AREA, _LEAST_SIDE = 6, 3  # pixels of a part; the network is not shown thinner ones

Part = tuple[slice, slice, slice]  # of a volume [K, J, I]


def seen_in_sections(mask: np.ndarray, features: Callable[[tuple], np.ndarray]) -> Steps[tuple[Part, np.ndarray]]:
    """How likely each voxel around an object belongs to it, as a generator of progress steps.

    :param mask: the object as far as it is known, bool ``[K, J, I]``, not empty.
    :param features: gives scaled intensities ``[rows, columns, C]`` of a slice: it is called with a number and two slices, in the order
        of the axes; see ``IntensityScale.apply``.
    :returns: the part of the volume around the object, and the probability there, float32, 0 to 1.
    """
    around = bounding_box(mask)
    if around is None:
        raise ValueError("the object is empty")
    sides = ((s, max(_LEAST_BEYOND, round(_BEYOND * (s.stop - s.start)))) for s in around)
    part = three(slice(max(0, s.start - m), min(n, s.stop + m)) for (s, m), n in zip(sides, mask.shape, strict=True))
    total = np.zeros([s.stop - s.start for s in part], np.float32)
    for axis in range(3):
        yield from as_part_of(_add_sections(total, mask, part, axis, features), axis / 3, (axis + 1) / 3)
    total /= 3
    return part, total


def _add_sections(total: np.ndarray, mask: np.ndarray, part: Part, axis: int, features) -> Steps[None]:
    """Adds to ``total`` what the network says of the sections across ``axis``."""
    sections, planes = np.moveaxis(mask[part], axis, 0), np.moveaxis(total, axis, 0)
    corner = [s.start for a, s in enumerate(part) if a != axis]
    shape = [n for a, n in enumerate(mask.shape) if a != axis]
    filled = np.flatnonzero(sections.any((1, 2)))
    asked = np.unique(np.append(filled[:: -(-len(filled) // _MOST)], filled[-1])).tolist()
    before, last = np.zeros(sections.shape[1:], np.float32), asked[0]
    for number, n in enumerate(asked):
        yield Step(number / len(asked), "Looking at its sections")

        def of_slice(rows: slice, columns: slice, n=n) -> np.ndarray:
            index: list = [rows, columns]
            index.insert(axis, part[axis].start + n)
            return features(tuple(index))

        plane = _likely(sections[n], corner, shape, of_slice)
        for between in range(last + 1, n):
            share = (between - last) / (n - last)
            planes[between] += (1 - share) * before + share * plane
        planes[n] += plane
        before, last = plane, n


def _likely(section: np.ndarray, corner: list[int], shape: list[int], of_slice) -> np.ndarray:
    """What the network says of a section, float32 like ``section`` (bool ``[h, w]``), which begins at ``corner`` of a slice of
    ``shape``; each of its larger parts has a box of its own."""
    labels, _ = ndimage.label(section, EIGHT)
    sizes = np.bincount(labels.ravel())[1:]
    found = np.zeros(section.shape, np.float32)
    for number, box in enumerate(ndimage.find_objects(labels)):
        if sizes[number] < max(_LEAST_AREA, _ISLAND * sizes.max()):
            continue
        sides = [s.stop - s.start for s in box]
        if min(sides) < _LEAST_SIDE:
            np.maximum(found, labels == number + 1, out=found)
            continue
        edges = np.array([(s.start - _ROOM * n, s.stop + _ROOM * n) for s, n in zip(box, sides, strict=True)])
        edges += np.array(corner)[:, None]
        cut = CutOut.around(edges.ravel().tolist())
        reach = 1.05 * cut.half + 2  # beyond which the network sees nothing
        seen = [
            slice(max(0, int(middle - far)), min(n, int(middle + far) + 2))
            for middle, far, n in zip(cut.centre, reach, shape, strict=True)
        ]
        start = np.array([s.start for s in seen])
        answer = default_box_network().answer(of_slice(*seen), (edges - start[:, None]).ravel().tolist())
        rows, columns = (slice(c - s, c - s + n) for c, s, n in zip(corner, start, section.shape, strict=True))
        np.maximum(found, answer.at(rows, columns), out=found)
    return found
