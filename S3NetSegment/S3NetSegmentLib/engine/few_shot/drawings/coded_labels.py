"""Segments that may overlap as one array: each voxel holds the code of the set of segments that it lies in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from ...common.masks import label_counts

OTHER = 255  # in label maps: drawn, but none of the segments asked for
MOST_SEGMENTS = OTHER - 1  # at once


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

    def counts(self) -> dict[int, int]:
        """Label value -> number of voxels."""
        out: dict[int, int] = {}
        for code, count in self._counts.items():
            for value in self.members[code]:
                out[value] = out.get(value, 0) + count
        return out

    def overlaps(self) -> dict[tuple[int, int], int]:
        """Pairs of label values that overlap, the smaller one first -> number of voxels."""
        out: dict[tuple[int, int], int] = {}
        for code, count in self._counts.items():
            for pair in combinations(sorted(self.members[code]), 2):
                out[pair] = out.get(pair, 0) + count
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
