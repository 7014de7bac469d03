"""Losses of self-supervised segmentation, as pure functions of per-pixel log-probabilities.

Shapes: log-probabilities ``[N, K, H, W]`` are the log-softmax of K responses. Several heads may lie side by side in K
(each normalised by itself) in the losses that sum over K; dividing by the number of heads then gives their mean.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from .affine2d import Affine2d, Spacing


def clustering_loss(log_probabilities: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy to ``labels`` ``[N, H, W]`` (int64), or to the network's own most probable labels if None.

    Source: Kanezaki 2018 and Kim et al. 2020 (self-training on the argmax). With own labels alone the trivial optimum
    is one label for everything; combine it with :func:`entropy_floor_loss`.
    """
    if labels is None:
        labels = log_probabilities.detach().argmax(1)
    return F.nll_loss(log_probabilities, labels)


def entropy_floor_loss(log_probabilities: torch.Tensor, floor: float) -> torch.Tensor:
    """How far the entropy of the mean label distribution is below ``floor`` x log K, in nats; 0 above it.

    One-sided, unlike a balance term: small objects are allowed, only the collapse to few labels is not.
    """
    mean = log_probabilities.exp().mean((0, 2, 3))
    entropy = -(mean * mean.clamp_min(1e-8).log()).sum()
    return F.relu(floor * math.log(log_probabilities.shape[1]) - entropy)


def affine_consistency_loss(
    log_probabilities: torch.Tensor, log_probabilities_of_view: torch.Tensor, affine: Affine2d, spacing: Spacing
) -> torch.Tensor:
    """Symmetrised KL divergence between the labels of an image and the labels of its transformed view.

    ``log_probabilities`` come from the image x, ``log_probabilities_of_view`` from ``affine.warp(x)``, by the *same*
    head. Each side is pulled to the other, which is held fixed and warped into its place; pixels that show something
    from outside the image do not count. 0 for a network that commutes with the transformation.
    """
    shape = log_probabilities.shape[-2:]
    there, back = affine, affine.inverse()
    loss = log_probabilities.new_zeros(())
    for fixed, moving, transform in (
        (log_probabilities, log_probabilities_of_view, there),
        (log_probabilities_of_view, log_probabilities, back),
    ):
        target = transform.warp(fixed.detach().exp(), spacing, padding="border")
        valid = transform.validity(shape, spacing, target.device)
        divergence = (target * (target.clamp_min(1e-8).log() - moving)).sum(1, keepdim=True)
        pixels = valid.expand(len(divergence), -1, -1, -1).sum()
        loss = loss + 0.5 * (divergence * valid).sum() / pixels.clamp_min(1)
    return loss


def spatial_consistency_loss(
    probabilities: torch.Tensor, image: torch.Tensor, spacing: Spacing, contrast: float
) -> torch.Tensor:
    """Mean label difference |p_i - p_j| of neighbouring pixels, weighted down across edges and over distance.

    The weight of a pair is exp(-|x_i - x_j|^2 / (2 C contrast^2)) / d_ij, with x the ``image`` ``[N, C, H, W]`` and d_ij
    the distance of the pixels in mm. Unlike a Sobel filter on coloured labels it has a gradient and prefers no direction.
    """
    total, weights = probabilities.new_zeros(()), probabilities.new_zeros(())
    for dim, distance in ((2, spacing[0]), (3, spacing[1])):
        count = probabilities.shape[dim] - 1
        if count == 0:
            continue
        step = (image.narrow(dim, 1, count) - image.narrow(dim, 0, count)).square().sum(1)
        weight = torch.exp(-step / (2 * contrast**2 * image.shape[1])) / distance
        change = (probabilities.narrow(dim, 1, count) - probabilities.narrow(dim, 0, count)).abs().sum(1)
        total = total + (change * weight).sum()
        weights = weights + weight.sum()
    return total / weights.clamp_min(1e-12)
