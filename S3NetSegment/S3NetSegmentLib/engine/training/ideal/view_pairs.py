"""Two random views of the same slices, and where a cell of one lies in the other.

Cells are those of a grid with a stride, pixels per cell; a position is (row, column) in fractional cells, the centre of the
first cell is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ...common.affine2d import Affine2d
from .contrast import sample_cells


@dataclass(frozen=True)
class View:
    """A batch of slices under random transformations.

    :param image: ``[N, C, H, W]``, sides that are multiples of every stride asked for.
    :param shown: float ``[N, 1, H, W]``, 1 where the view shows the slice and 0 where it shows padding.
    """

    affine: Affine2d
    image: torch.Tensor
    shown: torch.Tensor

    def known(self, stride: int) -> torch.Tensor:
        """The cells of which more than half shows the slice, bool ``[N, h, w]``."""
        return F.avg_pool2d(self.shown, stride)[:, 0] > 0.5


def correspondences(query: View, key: View, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each cell of ``query`` lies in the grid of ``key``, ``[N, h, w, 2]``, and for which cells that is inside the view
    and known in both, bool ``[N, h, w]``."""
    known, known_there = query.known(stride), key.known(stride)
    positions, inside = query.affine.correspond(key.affine, known.shape[1:], (float(stride), float(stride)))
    places = torch.from_numpy(positions.astype(np.float32)).to(known.device)
    there = sample_cells(known_there[:, None].float(), places)[:, 0] > 0.5
    return places, torch.from_numpy(inside).to(known.device) & known & there


def near_on_slice(
    query: View, key: View, stride: int, chosen: torch.Tensor, cells: torch.Tensor, reach: float
) -> torch.Tensor:
    """Which key ``cells`` ``[K]`` (counted over ``[N, h, w]``, of whatever slice) show a place on their slice within ``reach``
    cells of the place that each ``chosen`` query cell (bool ``[N, h, w]``) shows on its own: bool ``[Q, K]``."""
    spacing = (float(stride), float(stride))
    own, other = (
        torch.from_numpy(view.affine.correspond(Affine2d.identity(), chosen.shape[1:], spacing)[0]).to(cells.device)
        for view in (query, key)
    )
    return (own[chosen][:, None] - other.flatten(0, 2)[cells][None]).abs().amax(2) <= reach


def drawn_cells(cells: torch.Tensor, limit: int, generator: torch.Generator) -> torch.Tensor:
    """At most ``limit`` of the true ``cells`` (bool, any shape), drawn without replacement."""
    lot = torch.rand(cells.shape, generator=generator).to(cells.device)
    lot = torch.where(cells, lot, 2.0).flatten()
    if limit >= len(lot):
        return cells
    last = lot.kthvalue(limit).values
    return cells & (lot <= last).view_as(cells)
