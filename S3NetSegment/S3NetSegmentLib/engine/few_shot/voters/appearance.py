"""Appearance: what a pixel of each class looks like, learned in a second from the drawn pixels. Knows no position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from math import cos, pi

import numpy as np
import torch
import torch.nn.functional as F

from ...common.device import one_threaded
from ...common.progress import Step, Steps
from ...common.tensors import torch_generator
from ..drawings.drawing import SoftDrawing
from ..settings import FewShotSettings
from .voter import Voter

_HIDDEN, _BATCH = 48, 2048
_STEPS_AT_ONCE = 5  # training steps between two steps of progress, about 0.02 s
_LEARNING = "Learning what the segments look like"
_JITTER, _NOISE = 0.06, 0.1  # of the intensity, and of each standardised feature
_HIDDEN_STEPS = 120  # training steps while a drawn slice is hidden
_SLICES_A_STEP, _PICKS_A_STEP = 2, 2**17
_MOST_PIXELS = 300_000  # known pixels off the drawn slices that are learned from
_RISE = 0.3  # share of the steps in which the learning rate rises
_FIRST, _LAST = 1 / 25, 1 / 250_000  # of the highest rate, at the first and at the last step
_MOMENTA = (0.95, 0.85)  # at the lowest and at the highest rate
_SQUARES, _EPSILON = 0.999, 1e-8


class Appearance(Voter):
    """What looks like the drawn pixels of each class. Answers for the slices from which masks are propagated, too; the last one is
    kept until :meth:`forget`, since it is also what propagated masks are corrected by."""

    name = "appearance"

    def __init__(self, settings: FewShotSettings):
        self._settings = settings
        self._last: tuple | None = None

    def masks(self, drawn: SoftDrawing, first: int, last: int, without: int | None = None) -> Steps[torch.Tensor]:
        """See :class:`Voter`."""
        logs, _ = yield from self.evidence(drawn, first, last, without)
        return logs[first : last + 1].exp()

    @one_threaded
    def evidence(
        self, drawn: SoftDrawing, first: int, last: int, without: int | None = None
    ) -> Steps[tuple[torch.Tensor, torch.Tensor]]:
        """Log-probabilities and log-likelihood ratios of the classes, ``[Z, C, h, w]`` each, on slices ``first`` to ``last``
        and those from which masks are propagated to them; nothing elsewhere."""
        asked = (id(drawn), first, last, without)
        if self._last is not None and self._last[0] == asked:
            return self._last[1]
        features = yield from drawn.frame.features()
        classifier = yield from self._classifier(drawn, features, without)
        logs = torch.zeros(len(features), drawn.classes, *drawn.frame.work_shape)
        bias = classifier.frequency.log().view(-1, 1, 1)
        ratios = torch.zeros_like(logs)
        start, stop = drawn.between(first, last, without)
        for n, z in enumerate(range(start, stop + 1)):
            if n % _SLICES_A_STEP == 0:
                yield Step(n / (stop + 1 - start), "Looking for what looks alike")
            logs[z] = classifier.log_probabilities(features[z]).permute(2, 0, 1)
            ratios[z] = logs[z] - bias
        self._last = asked, (logs, ratios)
        return logs, ratios

    def forget(self) -> None:
        self._last = None

    def _classifier(self, drawn: SoftDrawing, features: torch.Tensor, without: int | None) -> Steps[PixelClassifier]:
        """What was learned from all that is known but slice ``without``; kept, since an edit of that slice does not change it."""
        steps = self._settings.appearance_steps
        steps = steps if without is None else min(steps, _HIDDEN_STEPS)
        content = blake2b(digest_size=16)
        for z, plane in enumerate(drawn.known):
            if z != without:
                content.update(np.ascontiguousarray(plane).data)
        key = ("appearance", without, steps, drawn.classes, tuple(drawn.slices), content.digest())
        classifier = drawn.kept.get(key)
        if classifier is None:
            picked, targets = yield from _drawn_pixels(drawn, features, without)
            classifier = yield from fit_pixels(picked, targets, self._settings.seed, steps)
            drawn.kept.add(key, classifier, sum(t.numel() * 4 for layer in classifier.layers for t in layer))
        return classifier


def _drawn_pixels(
    drawn: SoftDrawing, features: torch.Tensor, without: int | None
) -> Steps[tuple[torch.Tensor, torch.Tensor]]:
    """Features ``[n, F]`` and class memberships ``[n, C]`` of the known pixels of the working grid."""
    picked, targets = [], []
    for z, one in drawn.slices.items():
        if z == without:
            continue
        yield Step(0.0, _LEARNING)
        use = one.known > 0.5
        picked.append(features[z][use])
        targets.append(one.masks[:, use].T)
    crossing = drawn.known.copy()
    for z in drawn.slices:
        crossing[z] = 0
    k, y, x = (index[:: 1 + len(index) // _MOST_PIXELS] for index in np.nonzero(crossing))
    if len(k):
        height, width = drawn.frame.work_shape
        rows = y * height // drawn.frame.box.shape[0]
        columns = x * width // drawn.frame.box.shape[1]
        picked.append(features[k, rows, columns])
        classes = torch.from_numpy(crossing[k, y, x].astype(np.int64) - 1)
        targets.append(torch.nn.functional.one_hot(classes, drawn.classes).float())
    yield Step(0.0, _LEARNING)
    return torch.cat(picked), torch.cat(targets)


@dataclass(frozen=True, eq=False)
class PixelClassifier:
    """A small network from pixel features to classes; made by :func:`fit_pixels`.

    :param frequency: ``[C]``, share of each class among the drawn pixels.
    """

    frequency: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    layers: tuple
    correction: torch.Tensor

    def log_probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """``[..., C]`` for features ``[..., F]``."""
        with torch.no_grad():
            flat = ((features - self.mean) / self.scale).reshape(-1, features.shape[-1])
            out = F.log_softmax(_network(self.layers, flat) + self.correction, 1)
        return out.view(*features.shape[:-1], -1)


@one_threaded
def fit_pixels(features: torch.Tensor, targets: torch.Tensor, seed: int, steps: int) -> Steps[PixelClassifier]:
    """A classifier fitted to drawn pixels.

    :param features: ``[n, F]``.
    :param targets: ``[n, C]``, soft class memberships (rows sum to 1).
    :param steps: training steps.
    """
    yield Step(0.0, _LEARNING)
    generator = torch_generator(seed, 41)
    mean = features.mean(0)
    yield Step(0.0, _LEARNING)
    scale = features.std(0, correction=0) + 1e-3
    yield Step(0.0, _LEARNING)
    sizes = (features.shape[1], _HIDDEN, _HIDDEN, targets.shape[1])
    layers = tuple(_linear(a, b, generator) for a, b in pairwise(sizes))
    count = targets.sum(0)
    share = count.sqrt() / count.sqrt().sum()
    weights = (targets * (share / count.clamp(min=1e-6))).sum(1)
    yield Step(0.0, _LEARNING)
    picked = yield from _weighted_picks(weights, min(steps * _BATCH, 2**20), generator)
    parameters = [p.requires_grad_() for layer in layers for p in layer]
    optimizer = OneCycleAdamW(parameters, 6e-3, 1e-2, steps)
    for start in range(0, steps, _STEPS_AT_ONCE):
        yield Step(start / steps, _LEARNING)
        for step in range(start, min(start + _STEPS_AT_ONCE, steps)):
            place = (step * _BATCH) % max(1, len(picked) - _BATCH + 1)
            index = picked[place : place + _BATCH]
            batch = (features[index] - mean) / scale + torch.randn(len(index), 1, generator=generator) * _JITTER / scale
            batch = batch + torch.randn(batch.shape, generator=generator) * _NOISE
            loss = -(targets[index] * F.log_softmax(_network(layers, batch), 1)).sum(1).mean()
            loss.backward()
            optimizer.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
    # Drawn with frequency^0.5, so half the correction of the prior is owed afterwards.
    correction = 0.5 * (torch.log((count / count.sum()).clamp(min=1e-6)) - torch.log(share.clamp(min=1e-6)))
    return PixelClassifier((count / count.sum()).clamp(min=1e-4), mean, scale, layers, correction)


def _network(layers, x: torch.Tensor) -> torch.Tensor:
    (w1, b1), (w2, b2), (w3, b3) = layers
    return F.linear(F.relu(F.linear(F.relu(F.linear(x, w1, b1)), w2, b2)), w3, b3)


def _weighted_picks(weights: torch.Tensor, count: int, generator: torch.Generator) -> Steps[torch.Tensor]:
    """``count`` indices drawn with ``weights``; by inversion, since torch.multinomial is limited to 2^24 entries."""
    edges = torch.cumsum(weights.double(), 0)
    draws = torch.rand(count, generator=generator, dtype=torch.float64) * edges[-1]
    picked = []
    for part in draws.split(_PICKS_A_STEP):
        yield Step(0.0, _LEARNING)
        picked.append(torch.searchsorted(edges, part).clamp(max=len(weights) - 1))
    return torch.cat(picked)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    limit = inputs**-0.5
    draw = lambda *shape: (torch.rand(*shape, generator=generator) * 2 - 1) * limit  # noqa: E731
    return draw(outputs, inputs), draw(outputs)


class OneCycleAdamW:
    """Decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101) under the one-cycle policy (Smith and Topin, arXiv
    1708.07120), equal to torch's own. Written out because ``torch.optim`` loads torch's compiler when it is first used,
    which takes seconds in which Slicer's window would stand still.

    :param parameters: what :meth:`step` changes, by their gradients.
    :param rate: the highest learning rate.
    :param steps: number of steps in all.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], rate: float, decay: float, steps: int):
        self._parameters, self._rate, self._decay, self._steps = list(parameters), rate, decay, steps
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self._done = 0

    @torch.no_grad()
    def step(self) -> None:
        """One change of the parameters; their gradients are cleared."""
        rate, momentum = self._now()
        self._done += 1
        unbiased_squares = (1 - _SQUARES**self._done) ** 0.5
        unbiased = 1 - momentum**self._done  # torch's, which takes the present momentum for all steps
        for p, mean, square in zip(self._parameters, self._means, self._squares, strict=True):
            if p.grad is None:
                raise ValueError("a parameter has no gradient")
            p.mul_(1 - rate * self._decay)
            mean.lerp_(p.grad, 1 - momentum)
            square.mul_(_SQUARES).addcmul_(p.grad, p.grad, value=1 - _SQUARES)
            p.addcdiv_(mean, (square.sqrt() / unbiased_squares).add_(_EPSILON), value=-rate / unbiased)
            p.grad = None

    def _now(self) -> tuple[float, float]:
        """Learning rate and momentum of the next step."""
        top, end = _RISE * self._steps - 1, self._steps - 1
        low, high = _MOMENTA
        if self._done <= top:
            share = self._done / top
            return _between(_FIRST * self._rate, self._rate, share), _between(low, high, share)
        share = (self._done - top) / (end - top)
        return _between(self._rate, _LAST * self._rate, share), _between(high, low, share)


def _between(start: float, stop: float, share: float) -> float:
    """From ``start`` (share 0) to ``stop`` (share 1) along half a cosine."""
    return stop + (start - stop) / 2 * (1 + cos(pi * share))
