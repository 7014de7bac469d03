"""Segments that overlap: which do, and the layers in which none overlaps another, so that each is drawn and answered whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from ...common.arrays import label_counts

Pairs = set[tuple[int, int]]  # label values of segments that overlap, the smaller value first
OTHER = 255  # in label maps: drawn, but none of the segments asked for
MOST_SEGMENTS = OTHER - 1  # at once


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


@dataclass(frozen=True, eq=False)
class CodedLabels:
    """
    :param codes: whole numbers of any shape; 0 = nothing.
    :param members: the label values that each code stands for; none for what is drawn and not asked for.
    """

    codes: np.ndarray
    members: tuple[frozenset[int], ...]

    @classmethod
    def of(cls, maps: Sequence[np.ndarray]) -> CodedLabels:
        """Of label maps uint8 of one shape, each 0, :data:`OTHER` or a label value; they may lie over each other."""
        if len(maps) == 1:
            single = [frozenset({value}) for value in range(OTHER)]
            return cls(maps[0], (frozenset(), *single[1:], frozenset()))
        drawn = np.flatnonzero(np.any([labels > 0 for labels in maps], 0))
        members: list[frozenset[int]] = [frozenset()]
        index = np.zeros(drawn.size, np.int64)
        for labels in maps:
            found, index = np.unique(index * 256 + labels.ravel()[drawn], return_inverse=True)
            members = [members[f // 256] | ({f % 256} - {0, OTHER}) for f in found.tolist()]
        codes = np.zeros(maps[0].shape, np.uint16)
        codes.ravel()[drawn] = index + 1
        return cls(codes, (frozenset(), *members))

    @cached_property
    def _counts(self) -> dict[int, int]:
        planes = self.codes if self.codes.ndim == 3 else self.codes[None]  # one by one: it makes 64 bits of each code
        counts = label_counts(planes, len(self.members))
        return {code: int(counts[code]) for code in np.flatnonzero(counts).tolist() if code}

    def counts(self) -> Counter[int]:
        """Label value -> number of voxels."""
        out: Counter[int] = Counter()
        for code, count in self._counts.items():
            out.update(dict.fromkeys(self.members[code], count))
        return out

    def overlaps(self) -> Counter[tuple[int, int]]:
        """Pairs of label values that overlap, the smaller one first -> number of voxels."""
        out: Counter[tuple[int, int]] = Counter()
        for code, count in self._counts.items():
            out.update(dict.fromkeys(combinations(sorted(self.members[code]), 2), count))
        return out

    def label_map(self, values: Collection[int]) -> np.ndarray:
        """The segments ``values``, of which none overlap here, as a label map; uint8."""
        table = [next(iter(sorted(own & set(values))), 0) for own in self.members]
        return np.array(table, np.uint8)[self.codes]

    def with_codes(self, codes: np.ndarray) -> CodedLabels:
        """The same meaning of other codes, e.g. of a part."""
        return CodedLabels(codes, self.members)

    def over(self, below: CodedLabels, known: Collection[int]) -> CodedLabels:
        """These labels and, of those ``below`` them, the segments that are not among ``known``."""
        table = np.array([bool(own - set(known)) for own in below.members])
        width = len(below.members)
        both = self.codes.astype(np.int64) * width + np.where(table[below.codes], below.codes, 0)
        found, index = np.unique(both, return_inverse=True)
        members = [self.members[f // width] | (below.members[f % width] - set(known)) for f in found.tolist()]
        if found[0] > 0:  # nothing is empty: code 0 must stay
            return CodedLabels(index.reshape(both.shape) + 1, (frozenset(), *members))
        return CodedLabels(index.reshape(both.shape), tuple(members))
