"""What the trainer expects of a method, and nothing more."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


class TrainingTask(nn.Module):
    """A network with its losses.

    ``forward(batch, progress)`` takes a batch (a dictionary of tensors, whose first axis is that of the samples, and whole
    numbers) and how much of the training is done (0 to 1), and returns scalar tensors by name. Their sum is minimised, or the
    entry "loss" alone where there is one; entries whose names begin with "_" are only logged.

    Random numbers of a task follow from the batch's "seed", "step" and "rank" alone. A batch may arrive in several parts, each
    with a "rank" of its own.

    Attribute ``has_unused_parameters``: whether some parameters have no part in the losses (asked where several processes
    train).
    """

    has_unused_parameters: bool = False

    @property
    def unchanging(self) -> Iterable[str]:
        """Names of entries of the state that training never changes (a frozen backbone) and that need not be kept."""
        return ()

    def after_step(self, progress: float) -> None:
        """Called after each change of the weights (moving averages)."""

    def parameter_groups(self) -> list[dict]:
        """``{"params": [...], "rate": factor of the learning rate}``; of the parameters those that require a gradient are
        trained."""
        return [{"params": list(self.parameters())}]
