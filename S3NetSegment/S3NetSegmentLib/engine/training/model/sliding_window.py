"""A network on slices that are larger than its field of view: windows that overlap, their answers weighted smoothly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from ...images.resample import axis_weights
from ..slices.layout import VolumeSlices, middle

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

    def mean(self, images: torch.Tensor, look: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """What ``look`` finds in each window, averaged where windows overlap.

        :param images: ``[n, channels, *size]``; patches of a volume have their slices before ``size``, here and below.
        :param look: images ``[n, channels, side, side]`` to probabilities ``[n, classes, side, side]``.
        :returns: probabilities ``[n, classes, *size]``.
        """
        whole: torch.Tensor | None = None
        for rows, columns, weight in self._places():
            found = look(self._cut(images, rows, columns))
            (top, _, height), (left, _, width) = self._shown
            part = found[..., top : top + height, left : left + width]
            if part.shape[-2:] == self.size:
                return part
            if whole is None:
                whole = part.new_zeros((*part.shape[:-2], *self.size))
                if self.count == 1:
                    whole[:, 0] = 1
                    whole[..., rows, columns] = 0
            whole[..., rows, columns] += part * weight.to(part)
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


class Stack:
    """What a 3D network finds in a volume, patch by patch from the lowest slices upwards; patches overlap by half or more, and those
    that no later slice needs are forgotten.
    """

    def __init__(self, slices: VolumeSlices):
        self._slices = slices
        self._windows = _axis(slices.count, slices.layout.depth, False)
        self._kept: dict[int, torch.Tensor] = {}

    def at(
        self, first: int, last: int, device: torch.device, look: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Slices ``first`` to ``last`` (excluded) of those that the volume itself has: probabilities ``[n, classes, *scaled]``.

        :param look: the patch from a slice on, ``[1, inputs, depth, *scaled]``, to probabilities ``[1, classes, depth, *scaled]``.
        """
        slices = self._slices
        across = torch.from_numpy(axis_weights(slices.count, slices.native_count, first, last))
        needed = across.any(0)
        low, high = int(needed.nonzero()[0]), int(needed.nonzero()[-1]) + 1
        above, _, shown = middle(min(slices.count, slices.layout.depth), slices.layout.depth)
        total: torch.Tensor | None = None
        for number, (start, weight) in enumerate(self._windows):
            end = start + len(weight)
            if end <= low:
                self._kept.pop(number, None)
            if not (low < end and start < high):
                continue
            if number not in self._kept:
                patch = torch.from_numpy(slices.patch(start))[None].to(device)
                self._kept[number] = look(patch)[0, :, above : above + shown]
            found = self._kept[number].to(device)
            part = torch.einsum("nd,kdhw->nkhw", (across[:, start:end] * weight).to(found), found)
            total = part if total is None else total.add_(part)
        assert total is not None  # the patches cover the volume
        return total


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
