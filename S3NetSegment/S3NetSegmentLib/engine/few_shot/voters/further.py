"""Further parts of the vote: masks that come from elsewhere than the drawn slices themselves."""

from __future__ import annotations

from typing import Protocol

import torch

from ...common.progress import Steps
from ..frame import Frame


class FurtherPart(Protocol):
    """A part of the vote besides carried masks, GrowCut and appearance.

    Attributes: ``name``, as it appears in the answer's mix; ``prior_share``, its share of the vote where fewer than two
    drawn slices tell how good it is; ``undrawn_share``, its share where nothing is drawn in the volume itself; ``trust``,
    0 to 1, what the expected Dice is multiplied by there; ``notes``, what the user should know.
    """

    name: str
    prior_share: float
    undrawn_share: float
    trust: float
    notes: list[str]

    def masks(self, frame: Frame, first: int, last: int, without: int | None = None) -> Steps[torch.Tensor]:
        """Class memberships ``[n, C, h, w]`` on the working grid of slices ``first`` to ``last`` (rows sum to 1).

        :param without: a drawn slice that must not be used, nor what was fitted to it.
        """
        ...
