"""The parts of an answer in one frame: appearance, masks carried from slice to slice, and GrowCut."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch

from ..progress import Step, Steps, within
from .appearance import fit_pixels
from .carry import Drawn, carry
from .drawing import KnownSlice
from .frame import GREY_STEPS, DrawnSizes, Frame
from .growcut import grow_labels
from .settings import FewShotSettings

_HIDDEN_STEPS = 120  # training steps of the appearance while a drawn slice is hidden
_BEYOND = 3  # slices beyond a hidden outermost slice on which GrowCut may take a detour


class Parts:
    """What one drawing gives in one frame.

    :param drawn: the whole drawn slices, number -> what is known.
    :param known: what is known of all voxels, uint8 ``[Z, H, W]`` (see :mod:`drawing`); holds the drawn slices too.
    :param classes: number of classes, the background included.
    """

    def __init__(
        self, frame: Frame, drawn: Mapping[int, KnownSlice], known: np.ndarray, classes: int, settings: FewShotSettings
    ):
        self.frame, self.known, self.classes, self._settings = frame, known, classes, settings
        self.slices = dict(drawn)
        self.drawn = {z: self._soft(known[z]) for z in drawn}
        sizes = DrawnSizes.of([k.classes for k in drawn.values()])
        shrink = frame.work_shape[0] / frame.box.shape[0]
        self.thickness = sizes.thickness if np.isfinite(sizes.thickness) else 3.0
        self._blur = float(np.clip((self.thickness * shrink - 1) / 2.5, 0, 1))

    def appearance(self, without: int | None = None) -> Steps[tuple[torch.Tensor, torch.Tensor]]:
        """Log-probabilities and log-likelihood ratios of the classes, ``[Z, C, h, w]`` each.

        :param without: a drawn slice that is hidden; then ratios of the other slices are not needed and the network
            learns more shortly.
        """
        features = yield from self.frame.features()
        picked, targets = self._drawn_pixels(features, without)
        steps = self._settings.appearance_steps
        steps = steps if without is None else min(steps, _HIDDEN_STEPS)
        classifier = yield from fit_pixels(picked, targets, self._settings.seed, steps)
        depth, height, width = features.shape[:3]
        logs = torch.empty(depth, self.classes, height, width)
        for z in range(depth):
            if z % 8 == 0:
                yield Step(z / depth, "Looking for what looks alike")
            logs[z] = classifier.log_probabilities(features[z]).permute(2, 0, 1)
        return logs, logs - classifier.frequency.log().view(1, -1, 1, 1)

    def carried(
        self, first: int, last: int, evidence: torch.Tensor | None, without: int | None = None
    ) -> Steps[torch.Tensor]:
        """Masks ``[n, C, h, w]`` on slices ``first`` to ``last``, see :func:`carry`."""
        drawn = {z: d for z, d in self.drawn.items() if z != without}
        weight = self._settings.appearance_weight
        return (yield from carry(self.frame, drawn, first, last, evidence, weight, self._blur))

    def grown_on_work(self, hidden: int) -> Steps[torch.Tensor]:
        """GrowCut's classes ``[C, h, w]`` (one-hot) on drawn slice ``hidden`` from the other drawn slices, on the working
        grid. Complete drawn slices let no path through, so only the gap around it is searched."""
        others = [z for z in self.drawn if z != hidden]
        below, above = (
            max((z for z in others if z < hidden), default=None),
            min((z for z in others if z > hidden), default=None),
        )
        first = max(0, hidden - _BEYOND) if below is None else below
        last = min(self.frame.depth - 1, hidden + _BEYOND) if above is None else above
        seeds = np.zeros((last - first + 1, *self.frame.work_shape), np.uint8)
        for z in others:
            if first <= z <= last:
                drawn = self.drawn[z]
                seeds[z - first] = np.where(drawn.known.numpy() > 0.5, drawn.masks.argmax(0).numpy() + 1, 0)
        image = (self.frame.work[first : last + 1].numpy() * GREY_STEPS).astype(np.int32)
        labels, _ = yield from grow_labels(image, seeds)
        classes = torch.from_numpy(np.maximum(labels[hidden - first], 1).astype(np.int64) - 1)
        return torch.nn.functional.one_hot(classes, self.classes).permute(2, 0, 1).float()

    def grown(self, first: int, last: int, cache: dict, sure: np.ndarray | None = None) -> Steps[np.ndarray]:
        """GrowCut's classes on slices ``first`` to ``last`` at the image's resolution, uint8 ``[n, H, W]``.

        Gaps between complete drawn slices are searched one by one; their answers are kept in ``cache``, so that a changed
        slice costs only the gaps beside it.

        :param sure: further seeds, in the values of ``known``, ``[Z, H, W]``; with them nothing is kept.
        """
        out = np.zeros((last - first + 1, *self.frame.box.shape), np.uint8)
        gaps = [gap for gap in self._gaps() if gap[1] >= first and gap[0] <= last]
        for n, (start, stop) in enumerate(gaps):
            seeds = self.known[start : stop + 1]
            if sure is not None:
                seeds = np.where(seeds > 0, seeds, sure[start : stop + 1])
            key = (start, stop, hash(seeds.tobytes())) if sure is None else None
            labels = cache.get(key) if key else None
            if labels is None:
                search = grow_labels(self.frame.native[start : stop + 1], seeds)
                labels, _ = yield from within(search, n / len(gaps), (n + 1) / len(gaps))
                labels = np.maximum(labels, 1) - np.uint8(1)
                if key:
                    cache[key] = labels
            a, b = max(start, first), min(stop, last)
            out[a - first : b - first + 1] = labels[a - start : b - start + 1]
        return out

    def _gaps(self) -> list[tuple[int, int]]:
        """Runs of slices (first, last) that complete drawn slices bound; neighbours share their drawn slice."""
        whole = [z for z, drawn in self.slices.items() if drawn.complete]
        edges = [0, *whole, self.frame.depth - 1]
        gaps = [(a, b) for a, b in pairwise(edges) if b > a]
        return gaps or [(0, self.frame.depth - 1)]

    def _soft(self, known: np.ndarray) -> Drawn:
        """One slice of known values ``[H, W]`` on the working grid."""
        masks = np.stack([np.maximum(known, 1) == c + 1 for c in range(self.classes)])
        both = self.frame.shrunk_masks(np.concatenate((masks, (known > 0)[None])))
        return Drawn(both[:-1].contiguous(), both[-1])

    def _drawn_pixels(self, features: torch.Tensor, without: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Features ``[n, F]`` and class memberships ``[n, C]`` of the known pixels of the working grid."""
        picked, targets = [], []
        for z, drawn in self.drawn.items():
            if z == without:
                continue
            use = drawn.known > 0.5
            picked.append(features[z][use])
            targets.append(drawn.masks[:, use].T)
        crossing = self.known.copy()
        for z in self.drawn:
            crossing[z] = 0
        z, y, x = np.nonzero(crossing)
        if len(z):
            height, width = self.frame.work_shape
            rows = y * height // self.frame.box.shape[0]
            columns = x * width // self.frame.box.shape[1]
            picked.append(features[z, rows, columns])
            classes = torch.from_numpy(crossing[z, y, x].astype(np.int64) - 1)
            targets.append(torch.nn.functional.one_hot(classes, self.classes).float())
        return torch.cat(picked), torch.cat(targets)
