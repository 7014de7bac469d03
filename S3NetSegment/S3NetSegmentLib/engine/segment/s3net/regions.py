"""``FittedS3Net``: the region labels that a fitted S3-Net gives to the slices of a stack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from ...common.affine2d import Affine2d, Spacing, random_ranges
from ...common.device import BatchFallback, one_thread_if
from ...common.errors import InputError
from ...common.progress import Step, Steps
from ...common.tensors import summed, torch_generator
from ...nets.s3net import RegionNetwork
from ..settings import SegmentSettings
from .input import SliceChannels, guided_filter

_BATCH_PIXELS = {"cpu": 1 << 16}  # pixels labelled at once; keeps a step short and the memory small
_BATCH_PIXELS_OTHERWISE = 1 << 20
_VIEW_STREAM = 7  # of the seed


class FittedS3Net:
    """Region labels of a stack ``[Z, H, W, C]``: 0 to count - 1 by ascending mean intensity over the whole stack, so that
    a label means the same in every slice. Made by :func:`~.fit.fit_s3net`.

    :param networks: their probabilities are averaged; none at all means one region (a stack without contrast).
    :param grouping: ``[responses, sum(counts)]``, which response belongs to which region of each count, 0 or 1.

    Attributes: ``counts`` (ascending), ``notes`` (sentences for the user). Slices are given as ``first`` and ``stop``
    (excluded; None: the end of the stack); soft labels and what follows from them are computed when they are asked for.
    """

    def __init__(
        self,
        stack: np.ndarray,
        channels: SliceChannels | None,
        networks: list[RegionNetwork],
        grouping: torch.Tensor | None,
        settings: SegmentSettings,
        device: torch.device,
        notes: list[str],
    ):
        self.counts = settings.region_counts
        self.notes = notes
        self._channels = channels
        self._networks = networks
        self._grouping = grouping
        self._settings = settings
        self._shape = stack.shape[:3]
        pixels = _BATCH_PIXELS.get(device.type, _BATCH_PIXELS_OTHERWISE)
        batch = min(self._shape[0], max(1, pixels // (self._shape[1] * self._shape[2])))
        self._fallback = BatchFallback(device, batch, notes, "labelling the slices")
        self._order = {count: np.arange(count) for count in self.counts}  # network's label of each canonical label
        self._labels = {count: np.zeros(self._shape, np.uint8) for count in self.counts}

    @property
    def device(self) -> torch.device:
        """Where the network computes now (the CPU, if the memory of the chosen device was full)."""
        return self._fallback.device

    @property
    def _fitted_channels(self) -> SliceChannels:
        """What the networks see; where there are none, nothing asks for it."""
        if self._channels is None:
            raise ValueError("no network was fitted")
        return self._channels

    def label_maps(self) -> dict[int, np.ndarray]:
        """Labels of all slices for every count, uint8 ``[Z, H, W]``; do not write."""
        return self._labels

    def soft(self, count: int, first: int = 0, stop: int | None = None) -> np.ndarray:
        """Soft labels, float32 ``[z, count, H, W]``, at least 0, adding up to 1; their largest is the label."""
        stop = self._stop(count, first, stop)
        if not self._networks:
            one = np.zeros((stop - first, count, *self._shape[1:]), np.float32)
            one[:, 0] = 1
            return one

        def work(a, b, device):
            return self._regions(a, b, device, count)[:, self._order[count]].cpu().numpy()

        return np.concatenate(list(self._batches(first, stop, work)))

    def margin(self, count: int, first: int = 0, stop: int | None = None) -> np.ndarray:
        """Probability of the label minus that of the next best, float32 ``[z, H, W]``, 0 to 1."""
        stop = self._stop(count, first, stop)
        if not self._networks:
            return np.ones((stop - first, *self._shape[1:]), np.float32)

        def work(a, b, device):
            return margin_of(self._regions(a, b, device, count)).cpu().numpy()

        return np.concatenate(list(self._batches(first, stop, work)))

    def stability(self, count: int, first: int = 0, stop: int | None = None, views: int = 4) -> np.ndarray:
        """Agreement of the soft labels with those of ``views`` random affine views, float32 ``[z, H, W]``, 0 to 1.

        Computed at the size of the fit and enlarged; the views follow from the seed alone.
        """
        stop = self._stop(count, first, stop)
        if not self._networks:
            return np.ones((stop - first, *self._shape[1:]), np.float32)
        s, channels = self._settings, self._fitted_channels
        extent = (channels.fit_size[0] * channels.fit_spacing[0], channels.fit_size[1] * channels.fit_spacing[1])
        generator = torch_generator(s.seed, _VIEW_STREAM)
        drawn = [Affine2d.random(generator, extent, **random_ranges(s)) for _ in range(views)]

        def work(a, b, device):
            image = channels.fit[a:b].to(device).contiguous(memory_format=torch.channels_last)
            agreement = stability_of(
                lambda x: _rescaled(self._part(self._probabilities(x, x, device), count)),
                image,
                channels.fit_spacing,
                drawn,
            )
            return F.interpolate(agreement[:, None], self._shape[1:], mode="bilinear")[:, 0].cpu().numpy()

        return np.concatenate(list(self._batches(first, stop, work)))

    def label_all(self, stack: np.ndarray) -> Steps[None]:
        """Labels every slice once, one step per batch, and brings the labels into canonical order."""
        if not self._networks:
            return
        depth = self._shape[0]
        sums = {count: np.zeros(count) for count in self.counts}
        sizes = {count: np.zeros(count) for count in self.counts}

        def work(a, b, device):
            parts = self._regions(a, b, device).split(self.counts, 1)
            for count, part in zip(self.counts, parts, strict=True):
                self._labels[count][a:b] = _largest(part).cpu().numpy()
            return b

        for done in self._batches(0, depth, work):
            yield Step(done / depth, f"Labelling slices ({done} of {depth})" if depth > 1 else "Labelling the image")
        for count, labels in self._labels.items():
            for z in range(depth):
                flat = labels[z].ravel()
                sizes[count] += np.bincount(flat, minlength=count)
                sums[count] += np.bincount(flat, weights=stack[z, ..., 0].ravel(), minlength=count)
            means = np.where(sizes[count] > 0, sums[count] / np.maximum(sizes[count], 1), np.inf)
            self._order[count] = np.argsort(means, kind="stable")
            rank = np.argsort(self._order[count]).astype(np.uint8)
            for z in range(depth):
                labels[z] = rank[labels[z]]

    def _stop(self, count: int, first: int, stop: int | None) -> int:
        """``stop``, or the end of the stack; raises InputError for a count or slices that are not there."""
        stop = self._shape[0] if stop is None else stop
        if count not in self.counts:
            raise InputError(f"there are no labels for {count} regions; choose one of {self.counts}")
        if not 0 <= first < stop <= self._shape[0]:
            raise InputError(
                f"slices {first} to {stop} are not in the stack, which has slices 0 to {self._shape[0] - 1}"
            )
        return stop

    def _batches(self, first: int, stop: int, work):
        """Results of ``work(a, b, device)`` for consecutive slices; smaller batches or the CPU when memory is short."""
        while first < stop:

            def one(device, batch, first=first):
                last = min(first + batch, stop)
                with torch.inference_mode(), one_thread_if(self._shape[0] == 1):
                    return last, work(first, last, device)

            first, result = self._fallback.run(one)
            yield result

    def _regions(self, first: int, stop: int, device: torch.device, count: int | None = None) -> torch.Tensor:
        """Soft labels of ``count`` regions ``[n, count, H, W]`` at the stack's size, in the network's order; None: those
        of all counts side by side, as the guided filter leaves them (it can overshoot a little)."""
        s, channels = self._settings, self._fitted_channels
        small = channels.fit[first:stop].to(device).contiguous(memory_format=torch.channels_last)
        full = channels.full(first, stop, device)
        part = self._part(self._probabilities(small, full, device), count)
        part = guided_filter(part, full[:, :1], s.guided_radius, s.guided_smoothness)
        return part if count is None else _rescaled(part)

    def _probabilities(self, small: torch.Tensor, full: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Mean probabilities ``[n, responses, H, W]`` of the networks: features of ``small``, labels at ``full``."""
        networks = (network.to(device) for network in self._networks)
        found = summed(network.heads(network.encoder(small)[0], full).exp_() for network in networks)
        return found / len(self._networks)

    def _part(self, probabilities: torch.Tensor, count: int | None) -> torch.Tensor:
        """From responses ``[n, responses, H, W]`` to the regions of ``count``, or of all counts side by side."""
        if self._grouping is not None:
            if self._settings.merging == "labels":
                probabilities = most_probable(probabilities)
            probabilities = torch.einsum("nrhw,rk->nkhw", probabilities, self._grouping.to(probabilities))
        if count is None:
            return probabilities
        return probabilities.split(self.counts, 1)[self.counts.index(count)]


def most_probable(probabilities: torch.Tensor) -> torch.Tensor:
    """1 for the largest of the responses ``[n, responses, H, W]`` of each pixel, 0 for the others."""
    return torch.zeros_like(probabilities).scatter_(1, probabilities.argmax(1, keepdim=True), 1.0)


def _rescaled(soft: torch.Tensor) -> torch.Tensor:
    soft = soft.clamp_min(0)
    return soft / soft.sum(1, keepdim=True).clamp_min(1e-6)


def _largest(scores: torch.Tensor) -> torch.Tensor:
    """argmax over dim 1 of ``[N, K, H, W]`` as uint8; map by map, which is several times faster than ``argmax``."""
    best = scores[:, 0]
    label = torch.zeros_like(best, dtype=torch.uint8)
    for k in range(1, scores.shape[1]):
        larger = scores[:, k] > best
        best = torch.where(larger, scores[:, k], best)
        label.masked_fill_(larger, k)
    return label


def margin_of(probabilities: torch.Tensor) -> torch.Tensor:
    """Largest minus second largest of ``probabilities`` ``[N, K, H, W]``; ``[N, H, W]`` from 0 (a tie) to 1."""
    if probabilities.shape[1] < 2:
        return torch.ones_like(probabilities[:, 0])
    best = probabilities.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


def stability_of(
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
