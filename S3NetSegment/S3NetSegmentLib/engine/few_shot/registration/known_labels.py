"""What is known of the labels in a volume, and where the labels of another one overlap it best: moved, turned and resized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from ...common.arrays import box_around, dice
from ...common.progress import Step, Steps
from ...images import AXES, Volume
from ...images.volume import slices_first
from .picture import mapped, rotation

_POINTS = 4000  # of the query volume at which labels are compared
_AROUND = 0.35  # of the labelled box around it, where there has to be background
_HEIGHTS = (0.2, 0.35, 0.5, 0.65, 0.8)  # of the labelled extent of the support, where a single known slice may lie
_ROUNDS = 3  # of the optimiser
_BLUR = 1.0  # voxels: overlap then also tells how far away something is


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """What is known of the query volume: labels ``values`` ``[n]`` (0 background) at its voxels ``index`` ``[3, n]`` (i, j, k).

    :param few_slices: whether they lie on a few slices only, and not all over what is labelled.
    """

    index: np.ndarray
    values: np.ndarray
    few_slices: bool

    @classmethod
    def of_slices(cls, planes: Mapping[int, np.ndarray], axis: str, size: Sequence[int]) -> KnownLabels:
        """From label images ``[rows, columns]`` of slices across ``axis``, by their numbers; ``size``: of the volume."""
        across = 2 - AXES.index(axis)
        index, values = [], []
        filled = [np.argwhere(plane > 0) for plane in planes.values() if (plane > 0).any()]
        if not filled:
            return cls(np.zeros((3, 0)), np.zeros(0, np.uint8), True)
        low, high = np.concatenate(filled).min(0), np.concatenate(filled).max(0) + 1
        more = np.ceil(_AROUND * (high - low)).astype(int)
        box = tuple(slice(max(0, a - m), b + m) for a, b, m in zip(low, high, more, strict=True))
        for z, plane in planes.items():
            here = np.argwhere(np.ones_like(plane[box], bool)) + [s.start for s in box]
            here = here[:: 1 + len(planes) * len(here) // _POINTS]
            values.append(plane[tuple(here.T)])
            index.append(np.insert(here, across, z, axis=1))
        return cls(
            np.concatenate(index).T[::-1].astype(float), np.concatenate(values), len(planes) < size[2 - across] / 3
        )


def overlap(query: Volume, known: KnownLabels, support: Volume, labels: np.ndarray, to_support: np.ndarray) -> float:
    """Mean Dice of the known labels and those of ``support`` laid over them by ``to_support`` (RAS to RAS), 0 to 1."""
    index, values = known.index, known.values
    matrix = np.linalg.inv(support.ijk_to_ras) @ to_support @ query.ijk_to_ras
    place = np.rint(mapped(matrix, index)).astype(int)
    inside = ((place >= 0) & (place < np.array(support.size)[:, None])).all(0)
    found = np.zeros(len(values), np.uint8)
    found[inside] = labels[tuple(place[::-1, inside])]
    return mean_dice(found, values)


def mean_dice(found: np.ndarray, true: np.ndarray) -> float:
    """Mean Dice over the labels of ``true``; 0 where it has none."""
    scores = [dice(found == v, true == v) for v in np.unique(true[true > 0])]
    return float(np.mean(scores)) if scores else 0.0


def aligned_by_labels(
    query: Volume, known: KnownLabels, support: Volume, labels: np.ndarray, axis: str
) -> Steps[np.ndarray | None]:
    """The map (RAS to RAS) that lays ``labels`` of ``support`` best over what is known: moved, turned about ``axis`` of the
    support and resized, in the slices and across them. None if they share no label."""
    index, values = known.index, known.values
    shared = [int(v) for v in np.unique(values[values > 0]) if (labels == v).any()]
    if not shared:
        return None
    ras = mapped(query.ijk_to_ras, index)
    across = support.ijk_to_ras[:3, AXES.index(axis)] / np.linalg.norm(support.ijk_to_ras[:3, AXES.index(axis)])
    wanted = np.stack([values == v for v in shared]).astype(np.float32)
    box = box_around(labels > 0)
    part = labels[box]
    soft = [ndimage.gaussian_filter((part == v).astype(np.float32), _BLUR, mode="constant") for v in shared]
    origin = np.array([[s.start] for s in box[::-1]])
    back = np.linalg.inv(support.ijk_to_ras)
    middle = ras[:, values > 0].mean(1)

    def matrix_of(numbers: np.ndarray, start: np.ndarray) -> np.ndarray:
        turn, size, thick = np.deg2rad(15 * numbers[3]), np.exp(0.2 * numbers[4]), np.exp(0.2 * numbers[5])
        linear = rotation(across, turn) / size @ (np.eye(3) + (size / thick - 1) * np.outer(across, across))
        matrix = np.eye(4)
        matrix[:3, :3] = linear
        matrix[:3, 3] = start + 10 * numbers[:3] - linear @ middle
        return matrix

    def lacking(numbers: np.ndarray, start: np.ndarray) -> float:
        place = (mapped(back @ matrix_of(numbers, start), ras) - origin)[::-1]
        found = np.stack([ndimage.map_coordinates(s, place, order=1, mode="constant") for s in soft])
        both = 2 * (found * wanted).sum(1) / np.maximum((found + wanted).sum(1), 1e-6)
        unusual = 0.01 * float((numbers[3:] ** 2).sum())
        return unusual - float(both.mean())

    starts = _starts(support, labels, shared, axis, not known.few_slices)
    best, least = None, np.inf
    ranked = sorted(starts, key=lambda s: lacking(np.zeros(6), s))[:2]
    for n, start in enumerate(ranked):
        numbers = np.zeros(6)
        for round_ in range(_ROUNDS):
            yield Step((n * _ROUNDS + round_) / (len(ranked) * _ROUNDS), "Laying the labels over")
            found = optimize.minimize(
                lacking, numbers, (start,), method="Powell", options={"maxiter": 1, "xtol": 0.05, "ftol": 1e-3}
            )
            numbers = found.x
        if found.fun < least:
            best, least = matrix_of(numbers, start), found.fun
    return best


def _starts(support: Volume, labels: np.ndarray, shared: list[int], axis: str, whole: bool) -> list[np.ndarray]:
    """Middles of what is labelled in the support: of all of it, or of some of its slices where few are known."""
    mask = np.isin(labels, shared)
    if whole:
        places = [np.argwhere(mask)]
    else:
        planes = slices_first(mask, axis)
        filled = np.flatnonzero(planes.any((1, 2)))
        places = []
        for height in _HEIGHTS:
            z = filled[round(height * (len(filled) - 1))]
            index = np.argwhere(planes[z])
            places.append(np.insert(index, 2 - AXES.index(axis), z, axis=1))
    return [support.ras_of(place.mean(0)[::-1]) for place in places if len(place)]
