"""What ALPNet's head compares with: the prototypes of each class in a drawn slice, its mean and those of local windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from .alpnet import HeadSettings, SupportSlice

LEAST_NORM = 1e-4
_SUM_EPS = 1e-5
_ADAPTIVE_SHARE = 0.75  # of the best covered window: what a thin structure's windows must reach
_REJECTED = 0.05  # share of an object's own cells that a slice without background would give away
_KMEANS_STEPS = 4


@dataclass(frozen=True, eq=False)
class ClassPrototypes:
    """Of one class in one slice: its mean prototype and its local ones with the places that they stand for."""

    mean: torch.Tensor  # [C]
    local: torch.Tensor  # [P, C]
    places: torch.Tensor  # [P, 2], (row, column) as shares of the view
    covered: np.ndarray | None  # bool [h, w], for the place of the mean; None without neighbourhood
    widest: float  # best coverage of a window of fallback_window


def prototypes_of(support: SupportSlice, settings: HeadSettings) -> list[ClassPrototypes | None]:
    """The prototypes of one slice, one entry per class; None for a class that it does not show."""
    features, coverage = support.features, support.coverage
    if features.dtype.itemsize < 4:
        features = features.float()
    coverage = coverage.to(features)
    window = min(settings.window, *features.shape[1:])
    pooled = F.avg_pool2d(coverage[None], window)[0]  # [classes, h', w']
    means = F.avg_pool2d(features[None], window)[0]  # [C, h', w']
    wide = None
    if settings.fallback_window:
        side = min(settings.fallback_window, *features.shape[1:])
        wide = F.avg_pool2d(coverage[None], side)[0].flatten(1).amax(1)
    totals = coverage.flatten(1).sum(1)
    rows, columns = ((torch.arange(n, device=features.device) + 0.5) / n for n in pooled.shape[1:])
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)
    made: list[ClassPrototypes | None] = []
    for c, mask in enumerate(coverage):
        if not totals[c] > 0:
            made.append(None)
            continue
        if settings.adaptive:
            least = min(settings.threshold, _ADAPTIVE_SHARE * float(pooled[c].max()))
            chosen = pooled[c] >= max(least, 1e-12)
            averages = (
                F.avg_pool2d((features * mask)[None], window)[0] / pooled[c].clamp_min(1e-12) if window > 1 else means
            )
        else:
            chosen, averages = pooled[c] > settings.threshold, means
        local, where = averages[:, chosen].T, places[chosen]
        if settings.most_prototypes and len(local) > settings.most_prototypes:
            local, where = _joined(local, where, settings.most_prototypes)
        made.append(
            ClassPrototypes(
                (features * mask).flatten(1).sum(1) / (totals[c] + _SUM_EPS),
                local,
                where.to(features),
                (mask > 0).cpu().numpy() if settings.neighbourhood > 0 else None,
                1.0 if wide is None else float(wide[c]),
            )
        )
    return made


def chosen_prototypes(own: list[ClassPrototypes], mode: str):
    """The prototypes of a group in ``mode``: vectors ``[P, C]``, places ``[P, 2]``, and for each mean where it is drawn."""
    centre = own[0].places.new_full((1, 2), 0.5)
    if mode == "mask":
        shown = own[0].covered
        for p in own[1:]:
            other = p.covered
            shown = None if shown is None or other is None or shown.shape != other.shape else shown | other
        return torch.stack([p.mean for p in own]).mean(0, keepdim=True), centre, [shown]
    local, places = torch.cat([p.local for p in own]), torch.cat([p.places for p in own])
    everywhere: list[np.ndarray | None] = [None] * len(local)
    if mode == "gridconv" and len(local):
        return local, places, everywhere
    # a class that no window is good enough for still has its mean: nothing drawn is ever without a prototype
    means = torch.stack([p.mean for p in own])
    return (
        torch.cat((local, means)),
        torch.cat((places, centre.expand(len(means), 2))),
        everywhere + [p.covered for p in own],
    )


def unit_vectors(vectors: torch.Tensor, dim: int) -> torch.Tensor:
    return vectors / vectors.norm(dim=dim, keepdim=True).clamp_min(LEAST_NORM)


def _joined(vectors: torch.Tensor, places: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``count`` means of similar ``vectors`` with the means of their ``places``: k-means on the sphere, from starts that
    lie farthest from each other. Same input, same result."""
    units = unit_vectors(vectors, 1)
    nearest = units @ unit_vectors(units.mean(0, keepdim=True), 1)[0]
    starts = [int(nearest.argmax())]
    best = units @ units[starts[0]]
    for _ in range(count - 1):
        starts.append(int(best.argmin()))
        best = torch.maximum(best, units @ units[starts[-1]])
    centres = units[starts]
    for _ in range(_KMEANS_STEPS):
        member = (units @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, member, units)
        sizes = torch.bincount(member, minlength=count)
        centres = torch.where(sizes[:, None] > 0, unit_vectors(sums, 1), centres)
    sizes = sizes.clamp_min(1)[:, None].to(vectors)
    means = torch.zeros_like(centres).index_add_(0, member, vectors) / sizes
    where = torch.zeros(count, 2, device=places.device, dtype=places.dtype).index_add_(0, member, places) / sizes.to(
        places
    )
    used = torch.bincount(member, minlength=count) > 0
    return means[used], where[used]


def rejection_similarity(support, made) -> float:
    """The similarity that stands for "something else" where no slice shows background: all but a few of the drawn cells
    resemble the mean of their class more."""
    likes = []
    for drawn, classes in zip(support, made, strict=True):
        for c, own in enumerate(classes):
            if own is not None:
                mask = drawn.coverage[c].to(drawn.features.device)
                cells = drawn.features[:, mask >= mask.max() / 2].detach().float().T
                likes.append(unit_vectors(cells, 1) @ unit_vectors(own.mean.detach().float()[None], 1)[0])
    return float(torch.quantile(torch.cat(likes), _REJECTED)) if likes else 0.0
