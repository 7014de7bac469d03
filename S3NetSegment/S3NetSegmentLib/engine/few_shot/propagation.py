"""One run of Few-shot in one frame: the parts, what they agree on, and the answer made of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage

from ..progress import Step, Steps, within
from .drawing import Drawing
from .frame import Box, Frame, slices_first
from .parts import Parts
from .presence import presence
from .settings import FewShotSettings
from .vote import COMPACT_MIXES, SCATTERED_MIXES, looks_scattered, normalised, prior_mix, weighted_mix

_GROW_BLUR = 0.7  # pixels, of GrowCut's labels and of the vote before its sure voxels are taken
_VALUES_AT_ONCE = 4_000_000  # voxels times classes of the vote held at once
_HIDDEN_SLICES = 6  # at most so many drawn slices are hidden in turn


@dataclass(frozen=True, eq=False)
class FewShotAnswer:
    """The segments of the volume.

    :param labels: uint8 ``[K, J, I]``, the label values that were drawn; 0 outside the slices asked for.
    :param confidence: float32 ``[K, J, I]``, probability of each voxel's label, 0 to 1.
    :param next_slices: (number along ``axis``, expected wrong voxels), the most useful slice to draw next first.
    :param expected_dice: label value -> expected Dice over the undrawn slices asked for.
    :param axis: the axis across the slices.
    :param mix: share of each part in the vote.
    :param notes: what the user should know.
    """

    labels: np.ndarray
    confidence: np.ndarray
    next_slices: list[tuple[int, float]]
    expected_dice: dict[int, float]
    axis: str
    mix: dict[str, float]
    notes: list[str] = field(default_factory=list)


class Propagation:
    """One run: the parts in one frame and what they agree on."""

    def __init__(self, frame: Frame, grown_cache: dict, drawing: Drawing, settings: FewShotSettings):
        self.frame, self.drawing, self.settings = frame, drawing, settings
        self._cache = grown_cache
        self.known = drawing.known_voxels(frame.box)
        self.parts = Parts(frame, drawing.slices, self.known, drawing.classes, settings)
        self.scattered = settings.target == "scattered" or not drawing.slices  # planes alone: nothing to carry
        self.notes: list[str] = []

    def run(self, first: int, last: int) -> Steps[None]:
        """Computes the answer for slices ``first`` to ``last``."""
        self.first, self.last = first, last
        logs, evidence = yield from within(self.parts.appearance(), 0.0, 0.15)
        self.mix = yield from within(self._weights(), 0.15, 0.4)
        self.soft = yield from within(self._soft_parts(logs, evidence), 0.4, 0.5)
        self.grown = yield from within(self.parts.grown(first, last, self._cache), 0.5, 0.75)
        self.ends = self._ends()
        self.again = None
        weight = self._regrow_weight()
        if weight > 0.01:
            seeds = yield from within(self._sure_voxels(), 0.75, 0.85)
            self.again = yield from within(self.parts.grown(first, last, {}, seeds), 0.85, 0.9)
        yield from within(self._decide(weight), 0.9, 1.0)

    def _weights(self) -> Steps[dict[str, float]]:
        prior = prior_mix(self.scattered, self.frame.anisotropy)
        whole = [z for z, drawn in self.drawing.slices.items() if drawn.complete]
        if not self.settings.leave_one_out or len(whole) < 2:
            yield Step(1.0, "Weighing")
            return normalised(prior)
        chosen = [whole[i] for i in np.unique(np.linspace(0, len(whole) - 1, _HIDDEN_SLICES).round().astype(int))]
        hidden = []
        for n, z in enumerate(chosen):
            work = self._hidden_slice(z)
            hidden.append((yield from within(work, n / len(chosen), (n + 1) / len(chosen))))
        if self.settings.target == "auto":
            self.scattered = looks_scattered(hidden)
            prior = prior_mix(self.scattered, self.frame.anisotropy)
        candidates = SCATTERED_MIXES if self.scattered else COMPACT_MIXES
        return weighted_mix(prior, candidates, hidden, self.settings.softness)

    def _hidden_slice(self, z: int) -> Steps[tuple[dict, torch.Tensor]]:
        """What the parts say on drawn slice ``z`` when they do not see it, and what is drawn there."""
        logs, evidence = yield from self.parts.appearance(without=z)
        found = {
            "appearance": logs[z].exp(),
            "carried": (yield from self.parts.carried(z, z, evidence, without=z))[0],
            "registered": (yield from self.parts.carried(z, z, None, without=z))[0],
            "grown": (yield from self.parts.grown_on_work(z)),
        }
        return found, self.parts.drawn[z].masks.argmax(0)

    def _soft_parts(self, logs, evidence) -> Steps[torch.Tensor]:
        """The parts on the working grid, weighted and summed, ``[n, C, h, w]``; all but GrowCut."""
        first, last = self.first, self.last
        total = torch.zeros(last - first + 1, *logs.shape[1:])
        self.carried = None
        if self.mix.get("carried", 0) > 0 or not self.scattered:
            self.carried = yield from self.parts.carried(first, last, evidence)
            total += self.mix.get("carried", 0) * self.carried
        if self.mix.get("registered", 0) > 0:
            total += self.mix["registered"] * (yield from self.parts.carried(first, last, None))
        if self.mix.get("appearance", 0) > 0:
            total += self.mix["appearance"] * logs[first : last + 1].exp()
        return total

    def _ends(self) -> torch.Tensor:
        """Factor of each class on each slice, ``[n, C]``: how likely it still is there."""
        factors = torch.ones(self.last - self.first + 1, self.drawing.classes)
        drawn = list(self.drawing.slices)
        if not drawn or self.carried is None or self.settings.presence == 0:
            return factors
        small = self._small_grown()
        share = self.frame.anisotropy / (1 + self.frame.anisotropy)
        for edge, beyond in (
            (drawn[0], range(drawn[0] - 1, self.first - 1, -1)),
            (drawn[-1], range(drawn[-1] + 1, self.last + 1)),
        ):
            beyond = [z for z in beyond if self.first <= z <= self.last]
            if not beyond or abs(beyond[0] - edge) != 1:
                continue
            index = [z - self.first for z in beyond]
            found = presence(
                self.frame, self.parts.drawn[edge].masks, edge, beyond[-1], self.carried[index], small[index], share
            )
            factors[index] = found**self.settings.presence
        return factors

    def _small_grown(self) -> torch.Tensor:
        planes = [self.frame.shrunk_masks(self.grown == c) for c in range(self.drawing.classes)]
        return torch.stack(planes, 1)

    def _regrow_weight(self) -> float:
        return self.settings.regrow / self.frame.anisotropy**2 if self.mix.get("grown", 0) > 0 else 0.0

    def _sure_voxels(self) -> Steps[np.ndarray]:
        sure = np.zeros(self.known.shape, np.uint8)
        for start, stop in self._chunks():
            yield Step((start - self.first) / (self.last - self.first + 1), "Voting")
            shares = self._smooth(lambda a, b: self._vote(a, b), start, stop, _GROW_BLUR)
            best, classes = shares.max(1)
            limit = self.settings.sure * shares.sum(1)
            sure[start : stop + 1] = np.where((best > limit).numpy(), classes.numpy() + 1, 0)
        return sure

    def _vote(self, start: int, stop: int) -> torch.Tensor:
        """Class shares ``[n, C, H, W]`` of slices ``start`` to ``stop``, without the second GrowCut."""
        a, b = start - self.first, stop - self.first + 1
        total = self.frame.enlarged(self.soft[a:b])
        share = self.mix.get("grown", 0)
        if share > 0:
            sigma = _GROW_BLUR * float(np.clip(self.parts.thickness / 3, 0.3, 1))
            total = total + share * self._smooth(lambda x, y: self._one_hot(self.grown, x, y), start, stop, sigma)
        total = total * self.ends[a:b, :, None, None]
        total[:, 0] += (1 - total.sum(1)).clamp(min=0)
        return total

    def _one_hot(self, labels: np.ndarray, start: int, stop: int) -> torch.Tensor:
        part = labels[start - self.first : stop - self.first + 1]
        return torch.from_numpy(np.stack([part == c for c in range(self.drawing.classes)], 1).astype(np.float32))

    def _smooth(self, make, start: int, stop: int, sigma: float) -> torch.Tensor:
        """``make(start, stop)`` after a Gaussian of ``sigma`` pixels, equal in mm across the slices."""
        across = sigma * self.frame.spacing[1] / self.frame.spacing[0]
        halo = int(np.ceil(3 * across)) if across > 0.05 else 0
        a, b = max(self.first, start - halo), min(self.last, stop + halo)
        values = make(a, b).numpy()
        for axis, width in ((0, across), (2, sigma), (3, sigma)):
            if width > 0.05 and values.shape[axis] > 1:
                values = ndimage.gaussian_filter1d(values, width, axis, mode="nearest", truncate=3.0)
        return torch.from_numpy(values[start - a : stop - a + 1])

    def _chunks(self):
        height, width = self.frame.box.shape
        size = max(1, _VALUES_AT_ONCE // (height * width * self.drawing.classes))
        for start in range(self.first, self.last + 1, size):
            yield start, min(start + size - 1, self.last)

    def _decide(self, weight: float) -> Steps[None]:
        """Labels and confidence in the box."""
        count = self.last - self.first + 1
        self.classes = np.zeros((count, *self.frame.box.shape), np.uint8)
        self.sureness = np.ones(self.classes.shape, np.float32)
        self._expected = np.zeros((3, self.drawing.classes))  # both, predicted, probable
        for start, stop in self._chunks():
            yield Step((start - self.first) / count, "Deciding")
            shares = self._vote(start, stop)
            if self.again is not None:
                shares = (1 - weight) * shares + weight * self._smooth(
                    lambda x, y: self._one_hot(self.again, x, y), start, stop, _GROW_BLUR
                )
            shares = shares / shares.sum(1, keepdim=True)
            best, classes = shares.max(1)
            a, b = start - self.first, stop - self.first + 1
            known = self.known[start : stop + 1]
            self.classes[a:b] = np.where(known > 0, known - 1, classes.numpy())
            self.sureness[a:b] = np.where(known > 0, 1.0, best.numpy())
            self._expect(shares, classes, torch.from_numpy(known == 0))

    def _expect(self, shares, classes, open_voxels) -> None:
        for c in range(self.drawing.classes):
            mine, probable = (classes == c) & open_voxels, shares[:, c] * open_voxels
            self._expected[:, c] += (float((probable * mine).sum()), float(mine.sum()), float(probable.sum()))

    def wider_box(self) -> Box | None:
        """A larger box, where the answer reaches the border of this one and the slices go on beyond; else None."""
        box, found = self.frame.box, self.classes > 0
        found[[z - self.first for z in self.drawing.slices if self.first <= z <= self.last]] = False
        full = slices_first(self.frame.volume.array, self.frame.axis).shape[1:3]
        height, width = box.shape
        down, right = max(8, height // 3), max(8, width // 3)
        least = max(10, 0.002 * np.count_nonzero(found))
        sides = {
            "top": box.top > 0 and np.count_nonzero(found[:, :2]) > least,
            "bottom": box.bottom < full[0] and np.count_nonzero(found[:, -2:]) > least,
            "left": box.left > 0 and np.count_nonzero(found[:, :, :2]) > least,
            "right": box.right < full[1] and np.count_nonzero(found[:, :, -2:]) > least,
        }
        if not any(sides.values()):
            return None
        return Box(
            max(0, box.top - down * sides["top"]), min(full[0], box.bottom + down * sides["bottom"]),
            max(0, box.left - right * sides["left"]), min(full[1], box.right + right * sides["right"]),
        )  # fmt: skip

    def answer(self) -> FewShotAnswer:
        shape = self.frame.volume.array.shape[:3]
        labels, confidence = np.zeros(shape, np.uint8), np.ones(shape, np.float32)
        inside = (slice(self.first, self.last + 1), *self.frame.box.index)
        values = np.array(self.drawing.values, np.uint8)
        slices_first(labels, self.frame.axis)[inside] = values[self.classes]
        slices_first(confidence, self.frame.axis)[inside] = self.sureness
        for z, drawn in self.drawing.slices.items():  # also beyond the box
            plane = slices_first(labels, self.frame.axis)[z]
            np.copyto(plane, values[drawn.classes], where=drawn.known > 0)
        both, predicted, probable = self._expected
        expected = {
            int(values[c]): float(2 * both[c] / max(1e-6, predicted[c] + probable[c]))
            for c in range(1, self.drawing.classes)
        }
        return FewShotAnswer(
            labels, confidence, self._next_slices(), expected, self.frame.axis, dict(self.mix), self.notes
        )

    def _next_slices(self) -> list[tuple[int, float]]:
        wrong = (1 - self.sureness).sum((1, 2))
        order = [int(n) for n in np.argsort(-wrong, kind="stable") if wrong[n] > 0]
        return [(n + self.first, float(wrong[n])) for n in order if n + self.first not in self.drawing.slices]
