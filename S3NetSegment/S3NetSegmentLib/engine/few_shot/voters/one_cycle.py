"""AdamW with one cycle of the learning rate, for the few hundred small steps in which the appearance is learned."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi

import torch

_RISE = 0.3  # share of the steps in which the learning rate rises
_FIRST, _LAST = 1 / 25, 1 / 250_000  # of the highest rate, at the first and at the last step
_MOMENTA = (0.95, 0.85)  # at the lowest and at the highest rate
_SQUARES, _EPSILON = 0.999, 1e-8


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
