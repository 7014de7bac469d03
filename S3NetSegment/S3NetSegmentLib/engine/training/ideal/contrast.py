"""The dense contrastive loss: each cell of a view finds its own place again in another view of the same image.

Source: InfoNCE (van den Oord et al., arXiv 1807.03748) on feature cells as in DenseCL (Wang et al., arXiv 2011.09157),
with positives at the exact place given by the geometry of the views.

Grids: cells ``[N, h, w]``; a position is (row, column) in fractional cells, the centre of the first cell is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ...common.affine2d import Affine2d


@dataclass(frozen=True)
class Contrast:
    """``loss``, and without gradient the mean cosine of the positive and of the negative pairs; all are scalars."""

    loss: torch.Tensor
    positive_cosine: torch.Tensor
    negative_cosine: torch.Tensor


def dense_info_nce(
    queries: torch.Tensor,
    keys: torch.Tensor,
    positions: torch.Tensor,
    chosen: torch.Tensor,
    *,
    temperature: float = 0.2,
    neighbourhood: float = 1.5,
    key_valid: torch.Tensor | None = None,
    drawn: torch.Tensor | None = None,
    excluded: torch.Tensor | None = None,
) -> Contrast:
    """Mean of -log(e^(q.p / t) / (e^(q.p / t) + sum_n e^(q.k_n / t))) over the chosen query cells, in float32.

    p is the key at the position of the query, bilinear and normalised again; the k_n are the key cells of all images but
    those of the same image within ``neighbourhood`` cells of that position (Chebyshev distance), the cells that are not
    ``key_valid``, and the ``excluded`` ones. Only the queries get a gradient. The loss is 0 if no cell is chosen.

    :param queries, keys: features ``[N, D, h, w]``; normalised here.
    :param positions: ``[N, h, w, 2]``, where each query cell lies in the key grid of the same image.
    :param chosen: bool ``[N, h, w]``, the query cells that count.
    :param key_valid: bool ``[N, h, w]``, False for key cells that show padding.
    :param drawn: numbers ``[K]`` of the key cells that may be negatives, counted over ``[N, h, w]``; None: all of them.
    :param excluded: bool ``[Q, K]`` with a row for each chosen cell, in the order of ``chosen.nonzero()``.
    """
    with torch.autocast(queries.device.type, enabled=False):
        q = F.normalize(queries.float(), dim=1)
        k = F.normalize(keys.detach().float(), dim=1)
        place = chosen.nonzero()  # [Q, 3]
        if len(place) == 0:
            return Contrast(queries.sum() * 0.0, q.new_zeros(()), q.new_zeros(()))
        target = positions[chosen].to(q.dtype)  # [Q, 2]
        own = q.permute(0, 2, 3, 1)[chosen]  # [Q, D]
        positive = (own * F.normalize(sample_cells(k, positions).permute(0, 2, 3, 1)[chosen], dim=1)).sum(1)
        count, _, height, width = k.shape
        cells = torch.arange(count * height * width, device=q.device) if drawn is None else drawn
        cosine = own @ k.permute(1, 0, 2, 3).flatten(1)[:, cells]  # [Q, K]
        left_out = _near(cells, place[:, 0], target, height, width, neighbourhood)
        if key_valid is not None:
            left_out |= ~key_valid.flatten()[cells]
        if excluded is not None:
            left_out |= excluded
        negatives = (cosine / temperature).masked_fill(left_out, -torch.inf)
        scores = torch.cat((positive[:, None] / temperature, negatives), 1)
        loss = (scores.logsumexp(1) - scores[:, 0]).mean()
        kept = ~left_out
        negative = (cosine.detach() * kept).sum() / kept.sum().clamp_min(1)
        return Contrast(loss, positive.detach().mean(), negative)


def image_info_nce(
    queries: torch.Tensor,
    keys: torch.Tensor,
    *,
    temperature: float = 0.2,
    excluded: torch.Tensor | None = None,
) -> Contrast:
    """The same contrast of whole images, as in MoCo (He et al., arXiv 1911.05722): each is to be told by its other view
    from the other images.

    :param queries, keys: features ``[N, D]``; normalised here.
    :param excluded: bool ``[N, N]``, for each query the images that are not negatives.
    """
    nowhere = torch.zeros(len(queries), 1, 1, 2, device=queries.device)
    everyone = torch.ones(len(queries), 1, 1, dtype=torch.bool, device=queries.device)
    return dense_info_nce(
        queries[:, :, None, None], keys[:, :, None, None], nowhere, everyone,
        temperature=temperature, neighbourhood=0.0, excluded=excluded,
    )  # fmt: skip


def sample_cells(maps: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """``maps`` ``[N, D, h, w]`` at ``positions`` ``[N, h', w', 2]``: ``[N, D, h', w']``, bilinear, constant beyond the
    outermost centres."""
    size = positions.new_tensor(maps.shape[-2:])
    grid = ((2 * positions + 1) / size - 1).flip(-1).to(maps.dtype)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def nearest_cells(
    queries: torch.Tensor, keys: torch.Tensor, chosen: torch.Tensor, key_valid: torch.Tensor | None = None
) -> torch.Tensor:
    """Positions ``[N, h, w, 2]`` of the key cell of the same image that is most similar (cosine) to each ``chosen`` query
    cell; 0 for the others."""
    q, k = (F.normalize(maps.detach().float(), dim=1).flatten(2) for maps in (queries, keys))
    best = torch.zeros(chosen.shape, dtype=torch.int64, device=q.device)
    for image, here in enumerate(chosen):  # one at a time: all at once would take too much memory on fine grids
        similarity = q[image, :, here.flatten()].T @ k[image]  # [query cells, key cells]
        if key_valid is not None:
            similarity = similarity.masked_fill(~key_valid[image].flatten(), -torch.inf)
        best[image, here] = similarity.argmax(1)
    width = keys.shape[-1]
    return torch.stack((best // width, best % width), -1).to(torch.float32)


def _near(
    cells: torch.Tensor, image: torch.Tensor, target: torch.Tensor, height: int, width: int, reach: float
) -> torch.Tensor:
    """Which key ``cells`` ``[K]`` lie in the same ``image`` ``[Q]`` within ``reach`` of each ``target`` ``[Q, 2]``: bool
    ``[Q, K]``."""
    number = cells // (height * width)
    row, column = cells % (height * width) // width, cells % width
    down = (row[None] - target[:, :1]).abs() <= reach
    right = (column[None] - target[:, 1:]).abs() <= reach
    return (number[None] == image[:, None]) & down & right


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
