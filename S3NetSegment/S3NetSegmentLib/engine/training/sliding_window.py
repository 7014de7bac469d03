"""A network on slices that are larger than its field of view: windows that overlap, their answers weighted smoothly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from ..nets.unet import ByLayers
from .slice_layout import middle

_WIDTH = 1 / 8  # standard deviation of a window's weight, as a part of its side; as in nnU-Net


class Windows:
    """Squares of one side that cover slices of one size, neighbours overlapping by half of it or more; a slice that is not
    larger along an axis has one window there, in whose middle it lies.

    :param size: rows and columns of the slices. :param side: pixels of a window.
    :param middle_only: one window in the middle, and background (class 0) beside it.
    """

    def __init__(self, size: Sequence[int], side: int, *, middle_only: bool = False):
        self.size, self.side = tuple(size), side
        self._axes = [_axis(length, side, middle_only) for length in self.size]

    @property
    def count(self) -> int:
        return math.prod(len(axis) for axis in self._axes)

    def mean(
        self, images: torch.Tensor, look: Callable[[torch.Tensor], ByLayers[torch.Tensor]]
    ) -> ByLayers[torch.Tensor]:
        """What ``look`` finds in each window, averaged where windows overlap.

        :param images: ``[n, channels, *size]``.
        :param look: images ``[n, channels, side, side]`` to probabilities ``[n, classes, side, side]``.
        :returns: probabilities ``[n, classes, *size]``.
        """
        whole: torch.Tensor | None = None
        for rows, columns, weight in self._places():
            found = yield from look(self._cut(images, rows, columns))
            (top, _, height), (left, _, width) = self._shown
            part = found[..., top : top + height, left : left + width]
            if part.shape[-2:] == self.size:
                return part
            if whole is None:
                whole = part.new_zeros((*part.shape[:2], *self.size))
                if self.count == 1:
                    whole[:, 0] = 1
                    whole[..., rows, columns] = 0
            whole[..., rows, columns] += part * weight.to(part)
            yield
        assert whole is not None  # there is at least one window
        return whole

    @property
    def _shown(self) -> list[tuple[int, int, int]]:
        return [middle(length, self.side) for length in self.size]

    def _places(self) -> Iterator[tuple[slice, slice, torch.Tensor]]:
        for first, down in self._axes[0]:
            for left, along in self._axes[1]:
                weight = down[:, None] * along[None]
                yield slice(first, first + len(down)), slice(left, left + len(along)), weight

    def _cut(self, images: torch.Tensor, rows: slice, columns: slice) -> torch.Tensor:
        part = images[..., rows, columns]
        if part.shape[-2:] == (self.side, self.side):
            return part
        out = images.new_zeros((*images.shape[:-2], self.side, self.side))
        (top, _, height), (left, _, width) = self._shown
        out[..., top : top + height, left : left + width] = part
        return out


def _axis(length: int, side: int, middle_only: bool) -> list[tuple[int, torch.Tensor]]:
    """First sample and weights of each window along an axis; the weights add up to 1 at every sample that is seen."""
    if length <= side or middle_only:
        _, first, shown = middle(length, side)
        return [(first, torch.ones(shown))]
    count = math.ceil((length - side) / (side / 2)) + 1
    firsts = [round(n * (length - side) / (count - 1)) for n in range(count)]
    distance = (torch.arange(side) - (side - 1) / 2) / (_WIDTH * side)
    weight = torch.exp(-0.5 * distance**2)
    total = torch.zeros(length)
    for first in firsts:
        total[first : first + side] += weight
    return [(first, weight / total[first : first + side]) for first in firsts]
