"""Segments that overlap: which do, and the layers in which none overlaps another, so that each is drawn and answered whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

Pairs = set[tuple[int, int]]  # label values of segments that overlap, the smaller value first


def overlapping(masks: Mapping[int, np.ndarray]) -> dict[tuple[int, int], int]:
    """Which of ``masks`` (label value -> bool array, of one shape) overlap: pair of values -> number of elements."""
    shown = {value: mask for value, mask in masks.items() if mask.any()}
    if len(shown) < 2:
        return {}
    first = next(iter(shown.values()))
    covered, twice = np.zeros(first.shape, bool), np.zeros(first.shape, bool)
    for mask in shown.values():
        twice |= covered & mask
        covered |= mask
    if not twice.any():
        return {}
    parts = {value: mask[twice] for value, mask in shown.items()}
    counts = {pair: int(np.count_nonzero(parts[pair[0]] & parts[pair[1]])) for pair in combinations(sorted(parts), 2)}
    return {pair: count for pair, count in counts.items() if count}


@dataclass(frozen=True)
class Layers:
    """Segments spread over layers.

    :param homes: label value -> the layer that it is answered in, from 0.
    :param members: for each layer the values that are drawn in it: those at home there and, since they help to tell what is
        not, all others that overlap none of them.
    """

    homes: Mapping[int, int]
    members: tuple[frozenset[int], ...]

    @classmethod
    def of(cls, values: Sequence[int], pairs: Iterable[tuple[int, int]]) -> Layers:
        """The fewest layers for ``values`` of which ``pairs`` overlap; one layer if there are none.

        A colouring by saturation: exact where two layers are enough, and else hardly ever one more than needed.
        """
        rivals: dict[int, set[int]] = {value: set() for value in values}
        for a, b in pairs:
            if a in rivals and b in rivals:
                rivals[a].add(b)
                rivals[b].add(a)
        homes: dict[int, int] = {}
        while len(homes) < len(rivals):
            taken = {v: {homes[r] for r in rivals[v] if r in homes} for v in rivals if v not in homes}
            value = max(taken, key=lambda v: (len(taken[v]), len(rivals[v])))  # of equals the first
            homes[value] = next(n for n in range(len(rivals)) if n not in taken[value])
        members = []
        for layer in range(max(homes.values(), default=0) + 1):
            inside = {v for v, home in homes.items() if home == layer}
            for value in rivals:
                if not rivals[value] & inside:
                    inside.add(value)
            members.append(frozenset(inside))
        return cls(homes, tuple(members))

    def label_maps(self, masks: Mapping[int, np.ndarray], shape: tuple[int, ...]) -> list[np.ndarray]:
        """The ``masks`` (label value -> bool array of ``shape``) as one label map for each layer, uint8. Each member of a layer
        is whole in it."""
        maps = [np.zeros(shape, np.uint8) for _ in self.members]
        for value, mask in masks.items():
            for labels, members in zip(maps, self.members, strict=True):
                if value in members:
                    labels[mask] = value
        return maps


def drawn_together(label_maps: Sequence[np.ndarray]) -> Pairs:
    """The pairs of values that lie over each other in ``label_maps`` (arrays of one shape, one for each layer)."""
    found: Pairs = set()
    for a, b in combinations(label_maps, 2):
        both = (a > 0) & (b > 0) & (a != b)
        codes = np.unique(a[both].astype(np.int64) * 256 + b[both])
        found |= {(min(c // 256, c % 256), max(c // 256, c % 256)) for c in codes.tolist()}
    return found


def separated(layers: Sequence[np.ndarray], confidences: Sequence[np.ndarray], overlap: Pairs) -> None:
    """Takes away, in place, what overlaps in the answers ``layers`` though it is not among the pairs ``overlap``: each such
    voxel stays with the surer layer, of equals with the earlier one."""
    for n, m in combinations(range(len(layers)), 2):
        both = np.flatnonzero((layers[n] > 0) & (layers[m] > 0))
        if not both.size:
            continue
        one, other = layers[n].ravel(), layers[m].ravel()  # views: answers are contiguous
        apart = np.ones(both.size, bool)
        for a, b in overlap:
            for x, y in ((a, b), (b, a)):
                apart &= (one[both] != x) | (other[both] != y)
        both = both[apart]
        keeps = confidences[n].ravel()[both] >= confidences[m].ravel()[both]
        other[both[keeps]] = 0
        one[both[~keeps]] = 0


def flattened(layers: Sequence[np.ndarray]) -> np.ndarray:
    """``layers`` as one label map, later ones over earlier ones; the layer itself if there is only one."""
    if len(layers) == 1:
        return layers[0]
    out = layers[0].copy()
    for layer in layers[1:]:
        np.copyto(out, layer, where=layer > 0)
    return out
