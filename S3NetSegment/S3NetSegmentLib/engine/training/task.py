"""What the trainer expects of a method, and nothing more."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch


@runtime_checkable
class Task(Protocol):
    """A network with its losses, an ``nn.Module``.

    ``forward(batch, progress)`` takes a batch (a dictionary of tensors, whose first axis is that of the samples, and whole
    numbers) and how much of the training is done (0 to 1), and returns scalar tensors by name. Their sum is minimised, or the
    entry "loss" alone where there is one; entries whose names begin with "_" are only logged.

    Random numbers of a task follow from the batch's "seed", "step" and "rank" alone. A batch may arrive in several parts, each
    with a "rank" of its own.

    Optional members, used where they exist:

    - ``after_step(progress)``: after each change of the weights (moving averages).
    - ``parameter_groups()``: a list of ``{"params": [...], "rate": factor of the learning rate}``; else all parameters
      that require a gradient.
    - ``predictor()``: the network of the model file, slices ``[B, C, H, W]`` to logits ``[B, K, H, W]``.
    - ``has_unused_parameters``: whether some parameters have no part in the losses (asked where several processes train).
    - ``unchanging``: names of entries of the state that training never changes (a frozen backbone) and that need not be kept.
    """

    def __call__(self, batch: dict, progress: float) -> dict[str, torch.Tensor]: ...
