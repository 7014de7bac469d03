"""What every voter of Few-shot is: somebody with an opinion on each voxel, of which the vote finds out how far it counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...common.progress import Steps

if TYPE_CHECKING:
    from ..drawings.drawing import SoftDrawing


class Voter(ABC):
    """A voter has a ``name`` (as it appears in the answer's mix) and :meth:`masks`; all else has a default.

    Attributes: ``prior_share``, its share of the vote where fewer than two drawn slices tell how good it is;
    ``undrawn_share``, its share where nothing is drawn in the volume itself; ``trust``, 0 to 1, what the expected Dice is
    multiplied by there, and ``most``, label value -> the most that is expected there; ``foretold``, the Dice with which it predicts what
    is drawn in the volume without having seen it (None: not known); ``knows_places``, whether it knows where segments lie and end
    even where nothing is drawn; ``notes``, what the user should know.
    """

    name: str
    prior_share = 0.0
    undrawn_share = 0.0
    trust = 1.0
    most: Mapping[int, float] = MappingProxyType({})
    foretold: float | None = None
    knows_places = False
    notes: Sequence[str] = ()

    @abstractmethod
    def masks(self, drawn: SoftDrawing, first: int, last: int, without: int | None = None) -> Steps[torch.Tensor]:
        """Class memberships ``[n, C, h, w]`` on the working grid of slices ``first`` to ``last`` (rows sum to 1).

        :param drawn: what is drawn, in the frame that is worked on.
        :param without: a drawn slice that must not be used, nor what was fitted to it.
        """

    def projection(self, axis: str) -> np.ndarray | None:
        """Class image ``[H, W]`` of where it finds segments, seen along ``axis``; None: it does not know beforehand."""
        return None

    def cut_off(self, axis: str) -> Mapping[int, frozenset[str]]:
        """Segments that it knows in part: label value -> on which sides along ``axis``, some of "before" and "after", what it
        knows ends within the segment."""
        return {}

    def silenced(self) -> Voter:
        """The same without a prior share of the vote."""
        voter = copy(self)
        voter.prior_share = voter.trust = 0.0
        return voter
