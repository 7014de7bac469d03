"""The dense contrastive loss: each cell of a view finds its own place again in another view of the same image.

Source: InfoNCE (van den Oord et al., arXiv 1807.03748) on feature cells as in DenseCL (Wang et al., arXiv 2011.09157),
with positives at the exact place given by the geometry of the views.

Grids: cells ``[N, h, w]``; a position is (row, column) in fractional cells, the centre of the first cell is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


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
    :param excluded: bool ``[Q, N x h x w]`` with a row for each chosen cell, in the order of ``chosen.nonzero()``.
    """
    with torch.autocast(queries.device.type, enabled=False):
        q = F.normalize(queries.float(), dim=1)
        k = F.normalize(keys.detach().float(), dim=1)
        count, _, height, width = k.shape
        place = chosen.nonzero()  # [Q, 3]
        if len(place) == 0:
            return Contrast(queries.sum() * 0.0, q.new_zeros(()), q.new_zeros(()))
        image = place[:, 0]
        target = positions[chosen].to(q.dtype)  # [Q, 2]
        own = q.permute(0, 2, 3, 1)[chosen]  # [Q, D]
        positive = (own * F.normalize(sample_cells(k, positions).permute(0, 2, 3, 1)[chosen], dim=1)).sum(1)
        cosine = own @ k.permute(1, 0, 2, 3).flatten(1)  # [Q, N * h * w]
        left_out = torch.zeros(len(place), count, height * width, dtype=torch.bool, device=q.device)
        left_out[torch.arange(len(place), device=q.device), image] = _near(target, height, width, neighbourhood)
        left_out = left_out.flatten(1)
        if key_valid is not None:
            left_out = left_out | ~key_valid.flatten()
        if excluded is not None:
            left_out = left_out | excluded
        negatives = (cosine / temperature).masked_fill(left_out, -torch.inf)
        scores = torch.cat((positive[:, None] / temperature, negatives), 1)
        loss = (scores.logsumexp(1) - scores[:, 0]).mean()
        kept = ~left_out
        negative = (cosine.detach() * kept).sum() / kept.sum().clamp_min(1)
        return Contrast(loss, positive.detach().mean(), negative)


def sample_cells(maps: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """``maps`` ``[N, D, h, w]`` at ``positions`` ``[N, h', w', 2]``: ``[N, D, h', w']``, bilinear, constant beyond the
    outermost centres."""
    size = positions.new_tensor(maps.shape[-2:])
    grid = ((2 * positions + 1) / size - 1).flip(-1).to(maps.dtype)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def nearest_cells(queries: torch.Tensor, keys: torch.Tensor, key_valid: torch.Tensor | None = None) -> torch.Tensor:
    """Positions ``[N, h, w, 2]`` of the key cell of the same image that is most similar (cosine) to each query cell."""
    q, k = (F.normalize(maps.detach().float(), dim=1).flatten(2) for maps in (queries, keys))
    similarity = q.transpose(1, 2) @ k  # [N, query cells, key cells]
    if key_valid is not None:
        similarity = similarity.masked_fill(~key_valid.flatten(1)[:, None], -torch.inf)
    best = similarity.argmax(2).view(len(q), *queries.shape[-2:])
    width = keys.shape[-1]
    return torch.stack((best // width, best % width), -1).to(torch.float32)


def _near(target: torch.Tensor, height: int, width: int, reach: float) -> torch.Tensor:
    """Which key cells lie within ``reach`` of each ``target`` ``[Q, 2]``: bool ``[Q, height * width]``."""
    rows = torch.arange(height, device=target.device, dtype=target.dtype)
    columns = torch.arange(width, device=target.device, dtype=target.dtype)
    down = (rows[None] - target[:, :1]).abs() <= reach
    right = (columns[None] - target[:, 1:]).abs() <= reach
    return (down[:, :, None] & right[:, None, :]).flatten(1)
