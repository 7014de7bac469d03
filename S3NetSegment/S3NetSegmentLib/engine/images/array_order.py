"""``ArrayOrder``: the same voxels in another order of the axes, and the way there and back.

Ties, seeds, samples and the direction in which something is carried follow the order of an array. Two files that store one
image with other axes first, or mirrored, must not be answered differently, so all work is done in one order,
:attr:`Volume.ordered`, and answers are brought back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np

from ..common.arrays import three

AXES = ("x", "y", "z")  # the first (I), second (J) and third (K) index of a voxel
# Where the first, second and third anatomical axis point: to the left, to posterior, to inferior.
_FORWARD = np.array([-1.0, -1.0, -1.0])


@dataclass(frozen=True)
class ArrayOrder:
    """Another order of the axes of a volume, some of which may run the other way.

    :param axes: for each axis of the new order the axis of the old one (0: i, x). ``reverses``: whether it runs the other way.
    :param size: of the volume, voxels along the old (i, j, k).
    """

    axes: tuple[int, int, int]
    reverses: tuple[bool, bool, bool]
    size: tuple[int, int, int]

    @classmethod
    def usual(cls, ijk_to_ras: np.ndarray, size: tuple[int, int, int]) -> ArrayOrder:
        """The way to the order of axial slices and of pictures: i to the left, j to posterior, k upwards."""
        axes, flips = orientation(ijk_to_ras)
        return cls(axes, (flips[0], flips[1], not flips[2]), size)

    @property
    def changes_nothing(self) -> bool:
        return self.axes == (0, 1, 2) and not any(self.reverses)

    @cached_property
    def back(self) -> ArrayOrder:
        """The way back."""
        axes = three(self.axes.index(n) for n in range(3))
        return ArrayOrder(axes, three(self.reverses[n] for n in axes), three(self.size[n] for n in self.axes))

    @property
    def matrix(self) -> np.ndarray:
        """4x4: new voxel (i, j, k, 1) to old one."""
        matrix = np.eye(4)[:, [*self.axes, 3]]
        for n, (a, turned) in enumerate(zip(self.axes, self.reverses, strict=True)):
            if turned:
                matrix[a, n], matrix[a, 3] = -1, self.size[a] - 1
        return matrix

    def array(self, array: np.ndarray) -> np.ndarray:
        """``array`` ``[K, J, I, ...]``, over the volume or a box of it, in the new order; a view."""
        axes = [2 - a for a in self.axes[::-1]]
        view = np.transpose(array, (*axes, *range(3, array.ndim)))
        return view[tuple(slice(None, None, -1 if turned else 1) for turned in self.reverses[::-1])]

    def plane(self, axis: str, plane: np.ndarray) -> np.ndarray:
        """The same of a slice across ``axis`` (of the old order), ``[rows, columns]``."""
        whole = self.array(np.expand_dims(plane, 2 - AXES.index(axis)))
        return np.squeeze(whole, 2 - AXES.index(self.axis(axis)))

    def voxel(self, voxel) -> tuple[int, int, int]:
        """Voxel (i, j, k) of the whole volume."""
        return three(
            self.size[a] - 1 - voxel[a] if turned else voxel[a]
            for a, turned in zip(self.axes, self.reverses, strict=True)
        )

    def axis(self, axis: str) -> str:
        """The new name of an axis; "auto" stays."""
        return axis if axis == "auto" else AXES[self.axes.index(AXES.index(axis))]

    def slice(self, axis: str, index: int) -> tuple[str, int]:
        """The new axis and number of a slice."""
        a = AXES.index(axis)
        n = self.axes.index(a)
        return AXES[n], self.size[a] - 1 - index if self.reverses[n] else index


def orientation(ijk_to_ras: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which voxel axis (0: i) stands for each anatomical axis R, A, S, the assignment that fits all three best; and whether
    it must be flipped to point to the left, to posterior and to inferior."""
    axes = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    right, front, up = max(permutations(range(3)), key=lambda p: sum(abs(axes[r, p[r]]) for r in range(3)))
    return (right, front, up), three(bool(axes[r, i] * _FORWARD[r] < 0) for r, i in enumerate((right, front, up)))
