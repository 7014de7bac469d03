"""Losses of self-supervised and semi-supervised segmentation, as pure functions; the dense contrastive loss has a file of
its own.

Shapes: those of slices; what supervises and mixes streams takes patches, with one axis more before H, just as well.
Log-probabilities ``[N, K, H, W]`` are the log-softmax of K responses. Several heads may lie side by side in K
(each normalised by itself) in the losses that sum over K; dividing by the number of heads then gives their mean. Logits
``[N, K, H, W]`` are not normalised. All losses of logits are computed in float32.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..common.affine2d import Affine2d, Spacing

_SMOOTH = 1e-5


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


def affine_label_loss(
    log_probabilities: torch.Tensor, log_probabilities_of_view: torch.Tensor, affine: Affine2d, spacing: Spacing
) -> torch.Tensor:
    """Cross-entropy of the view's labels to the most probable labels of the image, moved with it; as
    :func:`affine_consistency_loss`, but as the authors of S3-Net wrote it: one way, and to labels."""
    labels = affine.warp_labels(log_probabilities.detach().argmax(1), spacing, outside=-1)
    each = F.nll_loss(log_probabilities_of_view, labels, ignore_index=-1, reduction="sum")
    return each / (labels >= 0).sum().clamp_min(1)


def spatial_consistency_loss(
    probabilities: torch.Tensor, image: torch.Tensor, spacing: Spacing, contrast: float
) -> torch.Tensor:
    """Mean label difference |p_i - p_j| of neighbouring pixels, weighted down across edges and over distance.

    The weight of a pair is exp(-|x_i - x_j|^2 / (2 C contrast^2)) / d_ij, with x the ``image`` ``[N, C, H, W]`` and d_ij
    the distance of the pixels in mm. Unlike a Sobel filter on coloured labels it has a gradient and prefers no direction.
    """
    total, weights = probabilities.new_zeros(()), probabilities.new_zeros(())
    for dim, distance in ((-2, spacing[0]), (-1, spacing[1])):
        count = probabilities.shape[dim] - 1
        if count == 0:
            continue
        step = (image.narrow(dim, 1, count) - image.narrow(dim, 0, count)).square().sum(1)
        weight = torch.exp(-step / (2 * contrast**2 * image.shape[1])) / distance
        change = (probabilities.narrow(dim, 1, count) - probabilities.narrow(dim, 0, count)).abs().sum(1)
        total = total + (change * weight).sum()
        weights = weights + weight.sum()
    return total / weights.clamp_min(1e-12)


def dice_and_cross_entropy_loss(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Half the cross-entropy plus half (1 - soft Dice), the mean over all classes with the background.

    The Dice of a class is 2 sum(p y) / (sum p^2 + sum y^2) over the batch, as in the protocol of SSL4MIS.

    :param labels: ``[N, H, W]`` (int64), 0 to K - 1; negative pixels do not count.
    :param mask: ``[N, H, W]``, what each pixel counts: bool, or 0 to 1. 0 if no pixel counts.
    """
    truth = labels.clamp_min(0)
    weight = (labels >= 0).to(torch.float32)
    if mask is not None:
        weight = weight * mask
    with torch.autocast(logits.device.type, enabled=False):
        log_probabilities = logits.float().log_softmax(1)
        pixels = weight.sum()
        entropy = (F.nll_loss(log_probabilities, truth, reduction="none") * weight).sum() / pixels.clamp_min(1)
        probabilities = log_probabilities.exp() * weight[:, None]
        hot = torch.zeros_like(probabilities).scatter_(1, truth[:, None], 1.0) * weight[:, None]
        places = (0, *range(2, hot.ndim))
        overlap = (probabilities * hot).sum(places)
        total = probabilities.square().sum(places) + hot.sum(places)
        dice = (2 * overlap + _SMOOTH) / (total + _SMOOTH)
        return 0.5 * entropy + 0.5 * (1 - dice).mean() * (pixels > 0)


def pseudo_labels(logits: torch.Tensor, threshold: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """The most probable classes ``[N, H, W]`` (int64), and where their probability is at least ``threshold`` (bool).

    They carry no gradient: who learns from them does not move them.
    """
    confidence, labels = logits.detach().float().softmax(1).max(1)
    return labels, confidence >= threshold


def cross_pseudo_loss(
    first: torch.Tensor,
    second: torch.Tensor,
    of_first: tuple[torch.Tensor, torch.Tensor],
    of_second: tuple[torch.Tensor, torch.Tensor],
    loss=None,
) -> torch.Tensor:
    """Each stream learns what the other one believes: the loss of ``first`` by the labels ``of_second``, plus that of
    ``second`` by the labels ``of_first``.

    Source: Chen et al., "Cross Pseudo Supervision", CVPR 2021, arXiv 2106.01226.

    :param first, second: logits ``[N, K, H, W]`` of the two streams.
    :param of_first, of_second: labels and mask of each stream, from :func:`pseudo_labels` (of the same or another view).
    :param loss: function of (logits, labels, mask); the masked cross-entropy if None.
    """
    loss = masked_cross_entropy if loss is None else loss
    return loss(first, *of_second) + loss(second, *of_first)


def masked_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Cross-entropy to ``labels`` ``[N, H, W]``, weighed by ``mask`` (bool, or 0 to 1), without negative labels, and divided by
    the number of *all* pixels with a label: an unsure batch weighs less."""
    with torch.autocast(logits.device.type, enabled=False):
        each = F.cross_entropy(logits.float(), labels, ignore_index=-1, reduction="none")
        return (each * mask).sum() / (labels >= 0).sum().clamp_min(1)


def ramp(progress: float, length: float) -> float:
    """exp(-5 (1 - t)^2) with t = ``progress`` / ``length`` up to 1: from 0.007 to 1. Source: Laine and Aila, arXiv
    1610.02242."""
    t = 1.0 if length <= 0 else min(max(progress / length, 0.0), 1.0)
    return math.exp(-5.0 * (1.0 - t) ** 2)
