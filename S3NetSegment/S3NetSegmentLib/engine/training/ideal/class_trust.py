"""How far a teacher's pseudo-labels deserve trust, class by class."""

from __future__ import annotations

import torch
from torch import nn

_DECAY = 0.9  # of the counts, with each observed batch
_LEAST, _ENOUGH = 0.4, 0.8  # Dice from which a class deserves some trust, and from which all


class ClassTrust(nn.Module):
    """A running Dice of each class on labelled slices, and what it says about answers on others.

    A network that does not find a class even where it was told of it gives no pseudo-label of that class, and takes its
    pixels for background: neither is to be learnt. Later the measure says little, as labelled slices become known by heart.

    :param classes: number of classes, the background (label 0) included.
    """

    overlap: torch.Tensor
    total: torch.Tensor

    def __init__(self, classes: int):
        super().__init__()
        self.register_buffer("overlap", torch.zeros(classes))
        self.register_buffer("total", torch.zeros(classes))

    @torch.no_grad()
    def observe(self, found: torch.Tensor, labels: torch.Tensor) -> None:
        """Counts in answers ``[N, H, W]`` to slices with ``labels`` ``[N, H, W]`` (both int64; negative labels do not count)."""
        count, known = len(self.total), labels >= 0
        found, labels = found[known], labels[known]
        ours, theirs = (torch.bincount(v, minlength=count) for v in (found, labels))
        both = torch.bincount(labels[found == labels], minlength=count)
        self.overlap.mul_(_DECAY).add_(2.0 * both)
        self.total.mul_(_DECAY).add_(ours + theirs)

    def dice(self) -> torch.Tensor:
        """``[classes]``, 0 for classes that were never seen."""
        return self.overlap / self.total.clamp_min(1e-6)

    def weights(self) -> torch.Tensor:
        """What a pseudo-label of each class counts, ``[classes]``, 0 to 1. The background counts as much as the class that is
        found worst among those seen, as it may hide that class; 0 before anything was observed."""
        each = ((self.dice() - _LEAST) / (_ENOUGH - _LEAST)).clamp(0.0, 1.0)
        seen = self.total[1:] > 0
        worst = torch.where(seen, each[1:], 1.0).min() * seen.any()
        return torch.cat((worst[None], each[1:]))
