"""Fitting S3-Net to an image, a slab or a whole volume, without any label.

Two ways. From k-means (the default): the labels of k-means with 2, 3, ... regions are distilled into one network with
one linear head each, in few steps and together with two consistency losses; the early stop keeps the large structures
and drops the speckle. From random weights (as published): one head of many responses trains itself on its own most
probable labels; the surviving clusters are then merged, most similar first, into 2, 3, ... nested regions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ...common.affine2d import Affine2d, random_ranges
from ...common.device import BatchFallback, one_thread_if
from ...common.errors import InputError
from ...common.progress import Step, Steps, as_part_of
from ...common.tensors import numpy_generator, torch_generator
from ...nets.layers import in_channels_last
from ...nets.losses import (
    affine_consistency_loss,
    affine_label_loss,
    clustering_loss,
    entropy_floor_loss,
    spatial_consistency_loss,
)
from ...nets.s3net import RegionNetwork, S3Net, freeze_statistics
from ..regions.clustering import kmeans, merge_clusters, nearest_centre
from ..settings import SegmentSettings
from .input import SliceChannels
from .regions import FittedS3Net, most_probable

_MOMENTUM = 0.9
_STEP_BYTES = 1 << 30  # what one step may keep for its backward pass; slices per step follow from it
_SMALL_MAP = 200_000  # values of a feature map, both views
_STATISTICS_SLICES = 16  # slices whose statistics are frozen for all
_PROTOTYPE_TEMPERATURE = 0.1
_LEAST_STEPS, _STILL_STEPS, _STILL_SHARE = 5, 3, 0.001  # self-training ends when the labels stop changing
_KMEANS_STREAM, _FIT_STREAM = 1, 16


def fit_s3net(
    stack: np.ndarray, spacing_mm: tuple[float, float, float], settings: SegmentSettings, device: torch.device
) -> Steps[FittedS3Net]:
    """Fits one network to all slices of ``stack`` and labels them, as a generator with one step per optimisation step.

    Same stack, settings and device: same labels, bit for bit, whatever the global random state. (The number of torch
    threads belongs to the device here: it changes the order of sums and with it the last bits of the weights.)

    :param stack: float32 ``[Z, H, W, C]``, grey 0 to 1 (C = 1) or Lab / 100 (C = 3); Z = 1 for one image.
    :param spacing_mm: (slice distance, row, column).
    :raises InputError: wrong shape or type, values that are not finite, spacing that is not positive.
    :raises ResourceError: not even one slice fits into memory.
    """
    _check(stack, spacing_mm)
    notes: list[str] = []
    channels = SliceChannels(stack, spacing_mm, settings)
    yield Step(0.02, "Preparing the image")
    if not channels.contrast:
        return FittedS3Net(stack, None, [], None, settings, torch.device("cpu"), notes)
    centres = targets = None
    if settings.start == "kmeans":
        centres, targets = yield from as_part_of(_cluster(channels, settings), 0.02, 0.1)
    fallback = BatchFallback(device, _slices_per_step(channels, settings), notes, "fitting")
    networks, losses = [], []
    for restart in range(settings.restarts):
        start, stop = (0.1 + 0.7 * (restart + i) / settings.restarts for i in (0, 1))
        network, loss = yield from as_part_of(
            _fit_network(channels, centres, targets, settings, restart, fallback, notes), start, stop
        )
        networks.append(network)
        losses.append(loss)
    grouping = None
    if targets is None:
        # the labels of different random starts have nothing in common, so there is nothing to average
        networks = [networks[int(np.argmin(losses))]]
        grouping = _grouping(channels, networks[0], settings, fallback)
        yield Step(0.8, "Merging clusters")
    fitted = FittedS3Net(stack, channels, networks, grouping, settings, fallback.device, notes)
    yield from as_part_of(fitted.label_all(stack), 0.8, 1.0)
    return fitted


def _check(stack: np.ndarray, spacing_mm) -> None:
    if stack.ndim != 4 or stack.shape[3] not in (1, 3) or 0 in stack.shape or stack.dtype != np.float32:
        raise InputError(
            f"S3-Net needs a float32 stack [Z, H, W, 1 or 3] with pixels in it; got {stack.dtype} {stack.shape}"
        )
    if not all(np.isfinite(plane).all() for plane in stack):
        raise InputError("the stack holds values that are not finite (NaN or infinity); replace them first")
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise InputError(f"spacing is {tuple(spacing_mm)}; it must be three positive lengths in mm")


def _cluster(channels: SliceChannels, settings: SegmentSettings):
    """k-means of the blurred small slices for each count: centres ``[K, C]`` and labels ``[Z, h, w]`` (int64)."""
    values = channels.targets()
    flat = values.reshape(-1, values.shape[-1])
    rng = numpy_generator(settings.seed, _KMEANS_STREAM)
    centres, targets = [], []
    for i, count in enumerate(settings.region_counts):
        found = kmeans(flat, count, rng, samples=2500 if channels.depth == 1 else 6000)
        centres.append(torch.from_numpy(found))
        targets.append(torch.from_numpy(nearest_centre(values, found).astype(np.int64)))
        yield Step((i + 1) / len(settings.region_counts), "Clustering")
    return centres, targets


def _slices_per_step(channels: SliceChannels, settings: SegmentSettings) -> int:
    """How many slices fit a step's memory; a CPU does not say when it has too little, so it is estimated."""
    responses = sum(settings.region_counts) if settings.start == "kmeans" else settings.channels
    kept = (14 * settings.blocks + 8 + 10 * settings.deformable) * settings.channels + 8 * responses  # maps, measured
    per_slice = 2 * 4 * kept * channels.fit_size[0] * channels.fit_size[1]
    return max(1, min(settings.fit_slices, channels.depth, _STEP_BYTES // per_slice))


def _new_network(channels: SliceChannels, centres, settings: SegmentSettings, generator) -> RegionNetwork:
    reach = settings.deformable_reach if settings.deformable else None
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation must not move the global random state
        encoder = S3Net(
            channels.count,
            settings.channels,
            blocks=settings.blocks,
            attention=settings.attention,
            deformable_reach=reach,
            activated=settings.head == "image",
        )
        responses = settings.region_counts if settings.start == "kmeans" else (settings.channels,)
        network = RegionNetwork(
            encoder, responses, balanced=settings.start != "kmeans", sees_image=settings.head == "image"
        )
    network.initialize(generator)
    wanted = {"on": True, "off": False, "auto": channels.intensities == 1}[settings.prototypes]
    if centres is not None and settings.context_channels and settings.head == "image" and wanted:
        network.set_prototypes(centres, channels.blurred.start, _PROTOTYPE_TEMPERATURE)
    return in_channels_last(network)


def _fit_network(channels: SliceChannels, centres, targets, settings: SegmentSettings, restart: int, fallback, notes):
    """One network from its own random start; returns it with frozen statistics, and its last loss."""
    generator = torch_generator(settings.seed, _FIT_STREAM + restart)
    network = _new_network(channels, centres, settings, generator)
    descent = _MomentumDescent(network, settings.learning_rate)
    extent = tuple(n * s for n, s in zip(channels.fit_size, channels.fit_spacing, strict=True))
    distil = settings.steps if targets is not None else 0
    steps = distil + settings.self_training_steps
    watch = _LabelWatch(settings.stop_labels)
    value = float("inf")
    for step in range(steps):
        slices = torch.randperm(channels.depth, generator=generator)[: fallback.batch].sort().values
        affine = None
        if settings.affine_weight > 0:
            quarter = settings.transformation == "quarter"
            affine = (
                Affine2d.quarter_turn() if quarter else Affine2d.random(generator, extent, **random_ranges(settings))
            )

        def work(device, batch, slices=slices, affine=affine, own=step >= distil):
            network.to(device)
            picked = slices[:batch]
            given = None if targets is None else [target[picked].to(device) for target in targets]
            loss, log_probabilities = _loss(network, channels, picked, given, own, affine, settings, device)
            descent.step(loss)
            return float(loss.detach()), picked, log_probabilities.detach()

        size = 2 * fallback.batch * channels.fit_size[0] * channels.fit_size[1] * settings.channels
        with one_thread_if(size <= _SMALL_MAP):
            value, picked, log_probabilities = fallback.run(work)
        yield Step((step + 1) / steps, f"Fitting S3-Net ({restart * steps + step + 1} of {settings.restarts * steps})")
        if step >= distil and watch.still(picked, log_probabilities, network.responses):
            break
    network.requires_grad_(False)
    shown = min(channels.depth, _STATISTICS_SLICES, 4 * fallback.batch)
    measuring = BatchFallback(fallback.device, shown, notes, "fitting")

    def freeze(device, batch):
        slices = np.linspace(0, channels.depth - 1, batch).round().astype(int)
        freeze_statistics(network.to(device), channels.fit[slices].to(device))

    measuring.run(freeze)
    fallback.device = measuring.device
    return network, value


def _loss(network, channels: SliceChannels, picked, given, own: bool, affine, settings: SegmentSettings, device):
    """The loss of some slices, and their log-probabilities ``[n, responses, h, w]``.

    :param given: labels ``[n, h, w]`` of each head to learn, or None.
    :param own: whether the network trains on its own labels (``given`` is then only an anchor).
    """
    image = channels.fit[picked].to(device).contiguous(memory_format=torch.channels_last)
    spacing = channels.fit_spacing
    count, heads = len(image), len(network.responses)
    if affine is None:
        log_probabilities = network(image)
    else:
        view = affine.warp(image, spacing, padding="reflection")
        both = network(torch.cat((image, view)).contiguous(memory_format=torch.channels_last))
        log_probabilities, of_view = both[:count], both[count:]
    loss = log_probabilities.new_zeros(())
    for i, part in enumerate(log_probabilities.split(network.responses, 1)):
        if own:
            loss = loss + settings.clustering_weight * clustering_loss(part)
            loss = loss + settings.entropy_weight * entropy_floor_loss(part, settings.entropy_floor)
        if given is not None:
            weight = settings.anchor_weight if own else settings.clustering_weight
            loss = loss + weight * clustering_loss(part, given[i])
    if settings.spatial_weight > 0:
        intensities = image[:, : channels.intensities]
        roughness = spatial_consistency_loss(log_probabilities.exp(), intensities, spacing, settings.edge_contrast)
        loss = loss + settings.spatial_weight * roughness
    if affine is not None:
        if settings.consistency == "labels":
            parts = zip(log_probabilities.split(network.responses, 1), of_view.split(network.responses, 1), strict=True)
            consistency = sum(affine_label_loss(part, seen, affine, spacing) for part, seen in parts)
        else:
            consistency = affine_consistency_loss(log_probabilities, of_view, affine, spacing)
        loss = loss + settings.affine_weight * consistency
    return loss / heads, log_probabilities


class _LabelWatch:
    """Whether the labels have stopped changing: under 0.1 % in three steps in a row, after at least five steps.

    :param few: end instead when at most so many labels are left, after at least six steps; 0: do not.
    """

    def __init__(self, few: int = 0):
        self._few = few
        self._seen: dict[int, torch.Tensor] = {}
        self._steps = self._still = 0

    def still(self, picked, log_probabilities: torch.Tensor, responses) -> bool:
        """Takes the labels of one more step and says whether that is enough."""
        labels = torch.stack([part.argmax(1) for part in log_probabilities.split(responses, 1)], 1).to(
            "cpu", torch.uint8
        )
        self._steps += 1
        if self._few:
            left = max(len(labels[:, head].unique()) for head in range(labels.shape[1]))
            return self._steps > _LEAST_STEPS and left <= self._few
        changed, known = 0.0, 0
        for z, now in zip(picked.tolist(), labels, strict=True):
            if z in self._seen:
                changed += float((self._seen[z] != now).float().mean())
                known += 1
            self._seen[z] = now
        if known:  # slices seen for the first time say nothing
            self._still = self._still + 1 if changed / known < _STILL_SHARE else 0
        return self._steps >= _LEAST_STEPS and self._still >= _STILL_STEPS


def _grouping(channels: SliceChannels, network: RegionNetwork, settings: SegmentSettings, fallback) -> torch.Tensor:
    """Which cluster belongs to which region, ``[responses, sum(counts)]``, by the clusters' mean intensities."""
    total = network.responses[0]
    sizes, sums = torch.zeros(total, dtype=torch.float64), torch.zeros(total, channels.intensities, dtype=torch.float64)

    def work(first: int) -> Callable:
        def one(device, batch):
            image = channels.fit[first : first + batch].to(device)
            with torch.inference_mode():
                soft = network.to(device)(image).exp_()
                soft = (most_probable(soft) if settings.merging == "labels" else soft).flatten(2)
                values = image[:, : channels.intensities].flatten(2)
                size, mass = soft.sum((0, 2)), torch.einsum("nrp,ncp->rc", soft, values)
            return len(image), size.double().cpu(), mass.double().cpu()

        return one

    first = 0
    while first < channels.depth:
        count, size, mass = fallback.run(work(first))
        first, sizes, sums = first + count, sizes + size, sums + mass
    means = (sums / sizes.clamp_min(1e-9)[:, None]).numpy()
    groups = merge_clusters(means, sizes.numpy(), settings.region_counts)
    columns = [torch.nn.functional.one_hot(torch.from_numpy(groups[k]), k) for k in settings.region_counts]
    return torch.cat(columns, 1).float()


class _MomentumDescent:
    """Stochastic gradient descent with momentum. Written out because ``torch.optim`` loads torch's compiler when it is
    first used, which would stop the window for seconds."""

    def __init__(self, network, rate: float):
        self._parameters = list(network.parameters())
        self._rate = rate
        self._velocity: list[torch.Tensor] = []

    def step(self, loss: torch.Tensor) -> None:
        gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            if not self._velocity:
                self._velocity = [torch.zeros_like(g) for g in gradients]
            self._velocity = [v.to(g.device) for v, g in zip(self._velocity, gradients, strict=True)]
            torch._foreach_mul_(self._velocity, _MOMENTUM)
            torch._foreach_add_(self._velocity, gradients)
            torch._foreach_add_(self._parameters, self._velocity, alpha=-self._rate)
