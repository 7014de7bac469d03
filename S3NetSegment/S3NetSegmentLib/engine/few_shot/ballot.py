"""The vote at the image's own resolution, made a few slices at a time and only where there is something to decide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage

from ..progress import Step, Steps
from ..threads import one_thread_if
from .frame import Frame, Window

_GROW_BLUR = 0.7  # pixels, of GrowCut's labels and of the vote before its sure voxels are taken
_VALUES_AT_ONCE = 600_000  # voxels times classes held at once; about 0.05 s
_NOTHING = 0.02  # share of all segments together, below which a voxel is background
_MARGIN = 5  # pixels around everything else


class Ballot:
    """Shares of the classes on slices ``first`` to ``last`` of ``frame``.

    :param soft: ``[n, C, h, w]``, weighted sum of the parts on the working grid.
    :param grown: uint8 ``[n, H, W]``, GrowCut's classes; None: not used.
    :param grown_share: weight of ``grown`` in the vote.
    :param grown_blur: factor of the blur of GrowCut's labels, less than 1 for thin segments.
    :param ends: ``[n, C]``, factor of each class on each slice.
    """

    def __init__(
        self,
        frame: Frame,
        first: int,
        last: int,
        soft: torch.Tensor,
        grown: np.ndarray | None,
        grown_share: float,
        grown_blur: float,
        ends: torch.Tensor,
    ):
        self._frame, self.first, self.last = frame, first, last
        self._soft, self._ends, self._classes = soft, ends, soft.shape[1]
        self._grown, self._share, self._blur = grown, grown_share, _GROW_BLUR * grown_blur
        self._again: np.ndarray | None = None
        self._again_share = 0.0

    def add_second(self, labels: np.ndarray, share: float) -> None:
        """Mixes the classes ``[n, H, W]`` of a second GrowCut in with weight ``share``."""
        self._again, self._again_share = labels, share

    def sure_voxels(self, least: float) -> Steps[np.ndarray]:
        """Class + 1 where the blurred vote is surer than ``least``, else 0; uint8 ``[n, H, W]``."""
        sure = np.ones((self.last - self.first + 1, *self._frame.box.shape), np.uint8)
        for start, stop, window in self._parts():
            yield Step((start - self.first) / len(sure), "Voting")
            with one_thread_if(True):  # the parts are small
                shares = self._smooth(lambda a, b, w=window: self._first_vote(a, b, w), start, stop, _GROW_BLUR)
                best, classes = shares.max(1)
                known = best > least * shares.sum(1)
            self._of(sure, start, stop, window)[...] = (torch.where(known, classes + 1, 0)).numpy()
        return sure

    def decisions(self) -> Steps[tuple[np.ndarray, np.ndarray, torch.Tensor]]:
        """Classes (uint8), their probabilities (float32), ``[n, H, W]``, and the sums of both ``[2, C]`` in each slice,
        ``[n, 3, C]``: probability inside the class, voxels of the class, probability anywhere."""
        shape = (self.last - self.first + 1, *self._frame.box.shape)
        classes, sureness = np.zeros(shape, np.uint8), np.ones(shape, np.float32)
        sums = torch.zeros(shape[0], 3, self._classes)
        for start, stop, window in self._parts():
            yield Step((start - self.first) / shape[0], "Deciding")
            with one_thread_if(True):
                shares = self._first_vote(start, stop, window)
                if self._again is not None:
                    again = self._smooth(
                        lambda a, b, w=window: self._one_hot(self._again, a, b, w), start, stop, _GROW_BLUR
                    )
                    shares = torch.lerp(shares, again, self._again_share)
                shares = shares / shares.sum(1, keepdim=True)
                best, winner = shares.max(1)
            self._of(classes, start, stop, window)[...] = winner.numpy()
            self._of(sureness, start, stop, window)[...] = best.numpy()
            rows = sums[start - self.first : stop - self.first + 1]
            rows[:, 2] = shares.sum((2, 3))
            for c in range(self._classes):
                mine = winner == c
                rows[:, 0, c], rows[:, 1, c] = (shares[:, c] * mine).sum((1, 2)), mine.sum((1, 2))
        return classes, sureness, sums

    def _parts(self) -> Iterator[tuple[int, int, Window]]:
        """First and last slice and the window of what has to be decided, a few slices at a time."""
        start = self.first
        while start <= self.last:
            window = self._window(start, start)
            stop = start
            while stop < self.last:
                wider = _union(window, self._window(stop + 1, stop + 1))
                size = (wider[0].stop - wider[0].start) * (wider[1].stop - wider[1].start)
                if size * (stop + 2 - start) * self._classes > _VALUES_AT_ONCE:
                    break
                window, stop = wider, stop + 1
            if window[0].stop > window[0].start:
                yield start, stop, window
            start = stop + 1

    def _window(self, start: int, stop: int) -> Window:
        """Rows and columns outside of which slices ``start`` to ``stop`` and their neighbours are background."""
        a, b = max(0, start - self.first - 1), stop - self.first + 2
        found = (self._soft[a:b, 1:].sum(1) > _NOTHING).any(0).numpy()
        spans = [
            _scaled(_span(found.any(1 - axis)), n / m, n)
            for axis, (n, m) in enumerate(zip(self._frame.box.shape, found.shape, strict=True))
        ]
        window = tuple(spans)
        for labels in (self._grown, self._again):
            if labels is not None:
                filled = (labels[a:b] > 0).any(0)
                window = _union(window, tuple(_span(filled.any(1 - axis)) for axis in (0, 1)))
        return tuple(
            slice(max(0, s.start - _MARGIN), min(n, s.stop + _MARGIN)) if s.stop > s.start else s
            for s, n in zip(window, self._frame.box.shape, strict=True)
        )

    def _first_vote(self, start: int, stop: int, window: Window) -> torch.Tensor:
        """Class shares ``[m, C, H', W']`` without the second GrowCut."""
        a, b = start - self.first, stop - self.first + 1
        total = self._frame.enlarged(self._soft[a:b], window)
        if self._grown is not None and self._share > 0:
            total = total + self._share * self._smooth(
                lambda x, y: self._one_hot(self._grown, x, y, window), start, stop, self._blur
            )
        total = total * self._ends[a:b, :, None, None]
        total[:, 0] += (1 - total.sum(1)).clamp(min=0)
        return total

    def _one_hot(self, labels: np.ndarray, start: int, stop: int, window: Window) -> torch.Tensor:
        part = torch.from_numpy(self._of(labels, start, stop, window))
        return torch.stack([(part == c).float() for c in range(self._classes)], 1)

    def _of(self, array: np.ndarray, start: int, stop: int, window: Window) -> np.ndarray:
        return array[(slice(start - self.first, stop - self.first + 1), *window)]

    def _smooth(self, make, start: int, stop: int, sigma: float) -> torch.Tensor:
        """``make(start, stop)`` after a Gaussian of ``sigma`` pixels, equal in mm across the slices."""
        across = sigma * self._frame.spacing[1] / self._frame.spacing[0]
        halo = int(np.ceil(3 * across)) if across > 0.05 else 0
        a, b = max(self.first, start - halo), min(self.last, stop + halo)
        values = make(a, b).numpy()
        for axis, width in ((0, across), (2, sigma), (3, sigma)):
            if width > 0.05 and values.shape[axis] > 1:
                values = ndimage.gaussian_filter1d(values, width, axis, mode="nearest", truncate=3.0)
        return torch.from_numpy(values[start - a : stop - a + 1])


def _span(filled: np.ndarray) -> slice:
    """From the first to the last of ``filled``; empty if there is none."""
    index = np.flatnonzero(filled)
    return slice(int(index[0]), int(index[-1]) + 1) if index.size else slice(0, 0)


def _scaled(span: slice, factor: float, size: int) -> slice:
    return slice(int(span.start * factor), min(size, int(np.ceil(span.stop * factor))))


def _union(a: Window, b: Window) -> Window:
    if a[0].stop <= a[0].start:
        return b
    if b[0].stop <= b[0].start:
        return a
    return tuple(slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
