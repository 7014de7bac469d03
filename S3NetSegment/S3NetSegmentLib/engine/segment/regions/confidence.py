"""How far an assignment of pixels to regions can be trusted: its margin, and its stability under affine views."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...common.affine2d import Affine2d, Spacing


def margin(probabilities: torch.Tensor) -> torch.Tensor:
    """Largest minus second largest of ``probabilities`` ``[N, K, H, W]``; ``[N, H, W]`` from 0 (a tie) to 1."""
    if probabilities.shape[1] < 2:
        return torch.ones_like(probabilities[:, 0])
    best = probabilities.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


def stability(
    labelled: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, spacing: Spacing, views: list[Affine2d]
) -> torch.Tensor:
    """Mean agreement (shared probability, 0 to 1) of the labels of ``image`` with those of its transformed views.

    :param labelled: image ``[N, C, H, W]`` to probabilities ``[N, K, H, W]``.
    :return: ``[N, H, W]``. Outside of a view that pixel's agreement does not count; where no view reaches it is taken
        from the views' borders.
    """
    own = labelled(image)
    seen = torch.full_like(own[:, :1], 1e-3)
    total = torch.zeros_like(seen)
    for view in views:
        back = view.inverse()
        other = labelled(view.warp(image, spacing, padding="reflection"))
        agreement = torch.minimum(own, back.warp(other, spacing, padding="border")).sum(1, keepdim=True)
        weight = back.validity(own.shape[-2:], spacing, own.device).float() + 1e-3 / len(views)
        total = total + weight * agreement
        seen = seen + weight
    return (total / (seen - 1e-3)).clamp(0, 1)[:, 0]
