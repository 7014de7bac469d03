"""The parts of an answer in one frame: appearance, masks carried from slice to slice, and GrowCut."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import torch

from ...common.limited_cache import LimitedCache
from ...common.progress import Step, Steps, as_part_of
from ...common.threads import one_threaded
from ..drawings.drawing import Drawing
from ..frame import GREY_STEPS, Frame
from ..settings import FewShotSettings
from .appearance import PixelClassifier, fit_pixels
from .growcut import grow_labels, labels_of, nearest_seeds
from .propagated import Drawn, carry

_HIDDEN_STEPS = 120  # training steps of the appearance while a drawn slice is hidden
_BEYOND = 3  # slices beyond the wanted ones on which GrowCut may take a detour
_SLICES_A_STEP = 8
_MOST_PIXELS = 300_000  # known pixels off the drawn slices that the appearance learns from


class Parts:
    """What one drawing gives in one frame.

    :param known: what is known of all voxels, uint8 ``[Z, H, W]`` (see :mod:`drawing`); holds the drawn slices too.
    :param kept: what earlier answers in this frame left; it is filled here.
    """

    def __init__(
        self, frame: Frame, drawing: Drawing, known: np.ndarray, kept: LimitedCache, settings: FewShotSettings
    ):
        self.frame, self.known, self.classes, self._settings = frame, known, drawing.classes, settings
        self.slices, self._kept = drawing.slices, kept
        self.drawn = {z: self._soft(known[z]) for z in self.slices}
        self.thickness = drawing.sizes.thickness if np.isfinite(drawing.sizes.thickness) else 3.0
        shrink = frame.work_shape[0] / frame.box.shape[0]
        self._blur = float(np.clip((self.thickness * shrink - 1) / 2.5, 0, 1))

    @one_threaded
    def appearance(self, first: int, last: int, without: int | None = None) -> Steps[tuple[torch.Tensor, torch.Tensor]]:
        """Log-probabilities and log-likelihood ratios of the classes, ``[Z, C, h, w]`` each, on slices ``first`` to ``last``
        and those from which masks are carried to them; nothing elsewhere.

        :param without: a drawn slice that is hidden.
        """
        features = yield from self.frame.features()
        classifier = yield from self._classifier(features, without)
        logs = torch.zeros(len(features), self.classes, *self.frame.work_shape)
        bias = classifier.frequency.log().view(-1, 1, 1)
        ratios = torch.zeros_like(logs)
        start, stop = self._between_drawn(first, last, without)
        for n, z in enumerate(range(start, stop + 1)):
            if n % _SLICES_A_STEP == 0:
                yield Step(n / (stop + 1 - start), "Looking for what looks alike")
            logs[z] = classifier.log_probabilities(features[z]).permute(2, 0, 1)
            ratios[z] = logs[z] - bias
        return logs, ratios

    def _classifier(self, features: torch.Tensor, without: int | None) -> Steps[PixelClassifier]:
        """What the appearance has learned from all that is known but slice ``without``; kept, since an edit of that slice
        does not change it."""
        steps = self._settings.appearance_steps
        steps = steps if without is None else min(steps, _HIDDEN_STEPS)
        content = blake2b(digest_size=16)
        for z, plane in enumerate(self.known):
            if z != without:
                content.update(np.ascontiguousarray(plane).data)
        key = ("appearance", without, steps, self.classes, tuple(self.drawn), content.digest())
        classifier = self._kept.get(key)
        if classifier is None:
            picked, targets = self._drawn_pixels(features, without)
            classifier = yield from fit_pixels(picked, targets, self._settings.seed, steps)
            self._kept.add(key, classifier, sum(t.numel() * 4 for layer in classifier.layers for t in layer))
        return classifier

    @one_threaded
    def carried(
        self, first: int, last: int, evidence: torch.Tensor | None, without: int | None = None
    ) -> Steps[torch.Tensor]:
        """Masks ``[n, C, h, w]`` on slices ``first`` to ``last``, see :func:`carry`."""
        drawn = {z: d for z, d in self.drawn.items() if z != without}
        weight = self._settings.appearance_weight
        return (yield from carry(self.frame, drawn, first, last, evidence, weight, self._blur))

    @one_threaded
    def grown_on_work(self, first: int, last: int, without: int | None = None) -> Steps[torch.Tensor]:
        """GrowCut's classes on slices ``first`` to ``last`` on the working grid, one-hot ``[n, C, h, w]``.

        Only the gap between complete drawn slices is searched, since these let no path through; beyond the outermost one,
        a few slices further than ``last``, where paths may take a detour.

        :param without: a drawn slice that is hidden.
        """
        start, stop = self._between_drawn(first, last, without, _BEYOND)
        seeds = np.zeros((stop - start + 1, *self.frame.work_shape), np.uint8)
        for z in range(start, stop + 1):
            if z in self.drawn:
                if z != without:
                    drawn = self.drawn[z]
                    seeds[z - start] = np.where(drawn.known.numpy() > 0.5, drawn.masks.argmax(0).numpy() + 1, 0)
            elif self.known[z].any():
                seeds[z - start] = _coarser_seeds(self.known[z : z + 1], self.frame.work_shape)[0]
        image = self.frame.work[start : stop + 1]
        labels = yield from self._grown_from(
            ("work", start, stop), lambda: (image.numpy() * GREY_STEPS).astype(np.int32), seeds, True
        )
        classes = torch.from_numpy(np.maximum(labels[first - start : last - start + 1], 1).astype(np.int64) - 1)
        return torch.nn.functional.one_hot(classes, self.classes).permute(0, 3, 1, 2).float()

    def grown(self, first: int, last: int, sure: np.ndarray | None = None) -> Steps[np.ndarray]:
        """GrowCut's classes on slices ``first`` to ``last`` at the image's resolution (coarser where there are more voxels
        than ``grow_voxels``), uint8 ``[n, H, W]``.

        Gaps between complete drawn slices are searched one by one and the ways through them kept, so that a changed slice
        costs none of them again, and a new one only the gap that it divides.

        :param sure: further seeds, in the values of ``known``, ``[n, H, W]``; with them only these slices are searched.
        """
        out = np.zeros((last - first + 1, *self.frame.box.shape), np.uint8)
        gaps = [gap for gap in self._gaps() if gap[1] >= first and gap[0] <= last]
        for n, (start, stop) in enumerate(gaps):
            if sure is not None:
                start, stop = max(start, first), min(stop, last)
                known = self.known[start : stop + 1]
                seeds = np.where(known > 0, known, sure[start - first : stop - first + 1])
            else:
                seeds = self.known[start : stop + 1]
            labels = yield from as_part_of(
                self._grown_gap(start, stop, seeds, sure is None), n / len(gaps), (n + 1) / len(gaps)
            )
            a, b = max(start, first), min(stop, last)
            out[a - first : b - first + 1] = labels[a - start : b - start + 1]
        return out

    def _grown_gap(self, start: int, stop: int, seeds: np.ndarray, keep: bool) -> Steps[np.ndarray]:
        """GrowCut's classes on slices ``start`` to ``stop`` from ``seeds``; what can serve other labels is kept if
        ``keep``."""
        fine = seeds.shape[1:]
        factor = (self._settings.grow_voxels / self.frame.native.size) ** 0.5
        shape = tuple(max(1, round(n * factor)) for n in fine) if factor < 1 else fine
        if factor < 1:
            seeds = _coarser_seeds(seeds, shape)
        image = self.frame.native[start : stop + 1]
        labels = yield from self._grown_from(
            ("native", start, stop), lambda: _nearest(image, shape) if factor < 1 else image, seeds, keep
        )
        labels = np.maximum(labels, 1) - np.uint8(1)
        return _nearest(labels, fine) if factor < 1 else labels

    def _grown_from(
        self, part: tuple, image: Callable[[], np.ndarray], seeds: np.ndarray, keep: bool
    ) -> Steps[np.ndarray]:
        """GrowCut's labels from ``seeds`` in a part of the frame. The ways through the image do not depend on the labels of
        the seeds: after an edit of a complete slice, which is all seeds before and after, only labels are exchanged."""
        if not keep:
            return (yield from grow_labels(image(), seeds))[0]
        known = seeds > 0
        key = (*part, blake2b(np.packbits(known).tobytes(), digest_size=16).digest())
        nearest = self._kept.get(key)
        if nearest is None:
            nearest, _ = yield from nearest_seeds(image(), known)
            self._kept.add(key, nearest, nearest.nbytes)
        return labels_of(nearest, seeds)

    def _gaps(self) -> list[tuple[int, int]]:
        """Runs of slices (first, last) that complete drawn slices bound; neighbours share their drawn slice."""
        edges = sorted({0, *self._whole(), self.frame.depth - 1})
        return list(pairwise(edges)) or [(0, 0)]

    def _whole(self, without: int | None = None) -> list[int]:
        return [z for z, drawn in self.drawn.items() if drawn.complete and z != without]

    def _between_drawn(self, first: int, last: int, without: int | None, beyond: int | None = None) -> tuple[int, int]:
        """From the complete drawn slice at or before ``first`` to that at or after ``last``; where there is none, ``beyond``
        slices further, or (None) to the slices that hold any drawing."""
        whole = self._whole(without)
        others = [z for z in self.slices if z != without]
        low = min([first, *others]) if beyond is None else max(0, first - beyond)
        high = max([last, *others]) if beyond is None else min(self.frame.depth - 1, last + beyond)
        return (
            max((z for z in whole if z <= first), default=low),
            min((z for z in whole if z >= last), default=high),
        )

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
        k, y, x = (index[:: 1 + len(index) // _MOST_PIXELS] for index in np.nonzero(crossing))
        if len(k):
            height, width = self.frame.work_shape
            rows = y * height // self.frame.box.shape[0]
            columns = x * width // self.frame.box.shape[1]
            picked.append(features[k, rows, columns])
            classes = torch.from_numpy(crossing[k, y, x].astype(np.int64) - 1)
            targets.append(torch.nn.functional.one_hot(classes, self.classes).float())
        return torch.cat(picked), torch.cat(targets)


def _nearest(planes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """``[n, H, W]`` at ``shape``: the pixel in the middle of each new one."""
    rows, columns = (
        ((np.arange(m) + 0.5) * n / m).astype(np.intp) for n, m in zip(planes.shape[1:], shape, strict=True)
    )
    return planes[:, rows[:, None], columns]


def _coarser_seeds(seeds: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """``[n, H, W]`` at the smaller ``shape``, without losing thin lines; segments win over background."""
    out = np.zeros((len(seeds), *shape), np.uint8)
    for chosen in (seeds == 1, seeds > 1):
        z, y, x = np.nonzero(chosen)
        out[z, y * shape[0] // seeds.shape[1], x * shape[1] // seeds.shape[2]] = seeds[z, y, x]
    return out
