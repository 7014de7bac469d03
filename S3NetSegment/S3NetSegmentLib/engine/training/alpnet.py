"""ALPNet's training without annotation: an encoder learns features by which superpixels are found again. One superpixel of a
slice, seen twice, is the object to find: an episode (section 3.2 and the augmentation of the published code).

Source: Ouyang et al., "Self-supervision with Superpixels: Training Few-shot Medical Image Segmentation without
Annotation", ECCV 2020, arXiv 2007.09886; with the DINOv2 encoder: arXiv 2403.03273.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from ..common.errors import InputError
from ..common.settings_record import SettingsRecord, setting
from ..common.tensors import area_average, torch_generator
from ..few_shot.voters.alpnet import PUBLISHED, PrototypeHead, SupportSlice
from ..nets.encoder import Encoder
from ..segment.regions.graph import graph_regions
from .settings import TrainerSettings
from .trainer.optimisation import TrainingTask

_STREAM = 3_000_000  # episodes of step n are drawn from stream _STREAM + n
# The published scale is 1 for intensities 0 to 255, in the library's unit of 1/255: nearly all merging is left to the
# smallest size.
PUBLISHED_SCALE = 1 / 255**2
_PUBLISHED_PIXELS = 256 * 256
_LEAST_BODY = 0.01  # share of the slice


@dataclass(frozen=True)
class AlpnetSettings(SettingsRecord):
    """Settings of ALPNet's training; see :func:`alpnet_preset`."""

    episodes: int = setting(1, "Episodes of each step.", 1, 64)
    side: int = setting(252, "Side of the square views, pixels; a multiple of 14 for DINOv2.", 28, 1024)
    grid: int = setting(32, "Side of the grid on which features are compared, cells.", 8, 128)
    prototype_grid: int = setting(8, "Windows of local prototypes along each side of the grid.", 1, 128)
    threshold: float = setting(0.95, "Least share of a window that the object covers.", 0.0, 1.0)
    temperature: float = setting(20.0, "Factor of the cosine similarity.", 0.1, 1000.0)
    background_weight: float = setting(0.05, "Weight of background pixels in the loss of the query.", 0.0, 10.0)
    alignment_weight: float = setting(1.0, "Weight of the prototype alignment loss.", 0.0, 10.0)
    smallest_superpixel: int = setting(400, "Least size of a superpixel, pixels of a slice of 256 x 256.", 1, 65536)
    body_threshold: float = setting(0.0, "Grey value, 0 to 1, that the body exceeds.", 0.0, 1.0)

    def __post_init__(self):
        super().__post_init__()
        if self.grid < self.prototype_grid:
            raise InputError(f"prototype_grid is {self.prototype_grid}; it must not be larger than grid ({self.grid})")


def alpnet_preset(name: str) -> tuple[AlpnetSettings, TrainerSettings]:
    """Settings by name. ``default``: a short schedule with AdamW, for one user's own volumes. ``paper``: as published
    (100,100 steps of SGD, learning rate 0.001 with momentum 0.9, one episode each); only the masks on the feature grid
    are area averages and not bilinear samples."""
    stairs = TrainerSettings(schedule="stairs", warmup=0.0, decay=0.95, decay_steps=1000, weight_decay=5e-4)
    if name == "default":
        return AlpnetSettings(), dataclasses.replace(stairs, steps=2000, learning_rate=1e-4)
    if name == "paper":
        trainer = dataclasses.replace(stairs, seed=1234, steps=100_100, optimizer="sgd", learning_rate=1e-3)
        return AlpnetSettings(side=256), trainer
    raise InputError(f"preset is {name!r}; it must be default or paper")


class AlpnetTask(TrainingTask):
    """An encoder with its losses: ``forward(batch, progress)`` returns them by name; their sum is to be minimised.

    :param encoder: any :class:`~..nets.encoder.Encoder`; its first level is used.
    """

    has_unused_parameters = True  # levels of the encoder beyond the one that is compared

    def __init__(self, encoder: Encoder, settings: AlpnetSettings):
        super().__init__()
        self.encoder = encoder
        self.settings = settings
        window = settings.grid // settings.prototype_grid
        self.head = dataclasses.replace(
            PUBLISHED,
            window=window,
            fallback_window=window,
            threshold=settings.threshold,
            temperature=settings.temperature,
        )

    @property
    def unchanging(self) -> tuple[str, ...]:
        """The frozen weights, which the state of a training need not hold."""
        return tuple(f"encoder.{name}" for name, p in self.encoder.named_parameters() if not p.requires_grad)

    def predictor(self) -> nn.Module:
        return self.encoder

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Features of ``images`` ``[N, C, H, W]`` on the grid, ``[N, channels, grid, grid]``."""
        level = self.encoder(images)[0]
        size = (self.settings.grid, self.settings.grid)
        if min(level.shape[-2:]) > self.settings.grid:
            return area_average(level, size)
        return F.interpolate(level, size, mode="bilinear", align_corners=False) if level.shape[-2:] != size else level

    def forward(self, batch: Mapping[str, torch.Tensor], progress: float = 0.0) -> dict[str, torch.Tensor]:
        """Losses of the episodes ``batch`` (see :func:`random_episodes`): "query", weighted cross-entropy of
        the query by prototypes of the support, and "alignment", cross-entropy of the support by prototypes of the
        predicted query. ``progress`` (0 to 1) is not used."""
        support, query = batch["support_image"], batch["query_image"]
        count = len(support)
        found = self.features(torch.cat((support, query)))
        losses = {"query": found.new_zeros(()), "alignment": found.new_zeros(())}
        weights = found.new_tensor((self.settings.background_weight, 1.0))
        for n in range(count):
            known, asked = found[n], found[count + n]
            scores = self._scores(known, area_average(batch["support_mask"][n].float(), known.shape[1:]), asked)
            losses["query"] = losses["query"] + _cross_entropy(scores, batch["query_mask"][n], weights) / count
            if self.settings.alignment_weight > 0:
                back = self._scores(asked, scores.detach().argmax(0).float(), known)
                loss = _cross_entropy(back, batch["support_mask"][n], None) / count
                losses["alignment"] = losses["alignment"] + self.settings.alignment_weight * loss
        return losses

    def _scores(self, known: torch.Tensor, mask: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """Scores ``[2, grid, grid]`` of the features ``asked`` by prototypes of ``known`` under ``mask``."""
        head = PrototypeHead([SupportSlice(known, torch.stack((1 - mask, mask)))], self.head)
        return head.scores(asked[None])[0]


def _cross_entropy(scores: torch.Tensor, mask: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    logits = F.interpolate(scores[None], mask.shape, mode="bilinear", align_corners=False)
    return F.cross_entropy(logits, mask[None], weights)


class EpisodeBatches:
    """Episodes of each step for :class:`AlpnetTask`, see :func:`random_episodes`.

    :param slices: grey slices ``[H, W]``, 0 to 1, of any number of volumes.
    :raises InputError: there is no slice.
    """

    def __init__(self, slices: Slices, settings: AlpnetSettings, seed: int, device: torch.device | str = "cpu"):
        self._slices = SuperpixelSlices(
            slices, smallest=settings.smallest_superpixel, threshold=settings.body_threshold
        )
        self._settings, self._seed, self._device = settings, seed, device

    def __call__(self, step: int, rank: int = 0, processes: int = 1) -> dict[str, torch.Tensor]:
        generator = torch_generator(self._seed, _STREAM + step * processes + rank)
        batch = random_episodes(self._slices, self._settings.episodes, ViewRanges(), self._settings.side, generator)
        return {name: tensor.to(self._device) for name, tensor in batch.items()}


@dataclass(frozen=True)
class ViewRanges:
    """How much two views of a slice may differ; the defaults are the published ones.

    :param rotation, shear: largest angles, degrees. :param shift: largest shift, pixels of a slice of 256.
    :param scale: smallest and largest magnification, uniform.
    :param elastic, elastic_sigma: amplitude and smoothing of the random displacements, pixels of a slice of 256.
    :param gamma: smallest and largest exponent of the grey values.
    """

    rotation: float = 5.0
    shear: float = 5.0
    shift: float = 5.0
    scale: tuple[float, float] = (0.9, 1.2)
    elastic: float = 10.0
    elastic_sigma: float = 5.0
    gamma: tuple[float, float] = (0.5, 1.5)


def random_view(
    image: torch.Tensor, mask: torch.Tensor, ranges: ViewRanges, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random affine and elastic view of ``image`` ``[C, H, W]`` and of its ``mask`` ``[H, W]`` (bool), with random gamma.

    Both transformations are one resampling here (published: one after the other).
    """
    height, width = image.shape[-2:]
    grid = _sampling_grid(height, width, ranges, generator)
    moved = F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]
    seen = F.grid_sample(mask[None, None].to(image), grid, padding_mode="zeros", align_corners=False)[0, 0] > 0.5
    low, high = moved.amin(), moved.amax()
    exponent = ranges.gamma[0] + (ranges.gamma[1] - ranges.gamma[0]) * _uniform(generator, 1)[0]
    extent = (high - low).clamp_min(1e-6)
    return ((moved - low) / extent) ** float(exponent) * extent + low, seen


def _sampling_grid(height: int, width: int, ranges: ViewRanges, generator: torch.Generator) -> torch.Tensor:
    """Where each pixel of the view comes from, ``[1, H, W, 2]`` as ``grid_sample`` wants it."""
    angle, slant, right, down, size = _uniform(generator, 5).tolist()
    unit = max(height, width) / 256
    turn = math.radians((2 * angle - 1) * ranges.rotation)
    lean = math.tan(math.radians((2 * slant - 1) * ranges.shear))
    factor = 1 / (ranges.scale[0] + (ranges.scale[1] - ranges.scale[0]) * size)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = factor * rotation @ np.array([[1.0, lean], [0.0, 1.0]])
    offset = np.array([2 * right - 1, 2 * down - 1]) * ranges.shift * unit
    columns, rows = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    points = np.stack((columns, rows), -1)
    if ranges.elastic > 0:
        field = 2 * torch.rand(2, height, width, generator=generator, dtype=torch.float64).numpy() - 1
        smooth = [ndimage.gaussian_filter(f, ranges.elastic_sigma * unit, mode="reflect") for f in field]
        points = points + np.stack(smooth, -1) * ranges.elastic * unit
    source = (points @ matrix.T + offset) / (np.array([width, height]) / 2)
    return torch.from_numpy(source)[None].float()


def _uniform(generator: torch.Generator, count: int) -> torch.Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64)


def random_episodes(
    slices: SuperpixelSlices, count: int, ranges: ViewRanges, side: int, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """``count`` episodes: a random superpixel of a random slice in two views of that slice.

    :param side: views are squares of so many pixels; longer slices are padded to squares with their lowest value first.
    :return: ``support_image`` and ``query_image`` float32 ``[count, 1, side, side]``, ``support_mask`` and ``query_mask``
        int64 ``[count, side, side]``, 0 and 1.
    :raises InputError: no slice has a superpixel.
    """
    views: defaultdict[str, list[torch.Tensor]] = defaultdict(list)
    for _ in range(count):
        plane, labels = _drawn_slice(slices, generator)
        wanted = 1 + int(torch.randint(int(labels.max()), (1,), generator=generator))
        seen = episode(torch.from_numpy(plane)[None], torch.from_numpy(labels == wanted), ranges, side, generator)
        for name, view in seen.items():
            views[name].append(view)
    return {name: torch.stack(tensors) for name, tensors in views.items()}


def episode(
    image: torch.Tensor, mask: torch.Tensor, ranges: ViewRanges, side: int, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Two random views of ``image`` ``[C, H, W]`` and of the object in it, ``mask`` ``[H, W]`` (bool): ``support_image`` and
    ``query_image`` ``[C, side, side]``, ``support_mask`` and ``query_mask`` int64 ``[side, side]``, 0 and 1."""
    views = {}
    image, mask = _as_square(image, mask, side)
    for role in ("support", "query"):
        views[f"{role}_image"], seen = random_view(image, mask, ranges, generator)
        views[f"{role}_mask"] = seen.long()
    return views


def _drawn_slice(slices: SuperpixelSlices, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random slice that has superpixels."""
    order = torch.randperm(len(slices), generator=generator)
    for index in order.tolist():
        image, labels = slices[index]
        if labels.max() > 0:
            return image, labels
    raise InputError(
        f"none of the {len(slices)} slices holds anything above the body threshold; check the intensities or lower it"
    )


def _as_square(image: torch.Tensor, mask: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``image`` ``[C, H, W]`` and ``mask`` padded to squares and resized to ``side``."""
    height, width = mask.shape
    longest = max(height, width)
    down, along = (longest - height) // 2, (longest - width) // 2
    pads = (along, longest - width - along, down, longest - height - down)
    image = F.pad(image, pads, value=float(image.min()))
    mask = F.pad(mask.float(), pads)
    size = (side, side)
    image = F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=longest > side)[0]
    mask = F.interpolate(mask[None, None], size, mode="bilinear", align_corners=False, antialias=longest > side)[0, 0]
    return image, mask > 0.5


def body_mask(image: np.ndarray, threshold: float) -> np.ndarray:
    """The body in a slice ``[H, W]``: the largest connected part above ``threshold``, its holes filled. Bool; all False
    if that is under 1 % of the slice."""
    parts, count = ndimage.label(np.asarray(image) > threshold)
    if not count:
        return np.zeros(parts.shape, bool)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    body = ndimage.binary_fill_holes(parts == areas.argmax())
    return body if body.mean() >= _LEAST_BODY else np.zeros(parts.shape, bool)


def superpixels(
    image: np.ndarray,
    *,
    smallest: int = 400,
    sigma: float = 1.0,
    scale: float = PUBLISHED_SCALE,
    threshold: float = 0.0,
) -> np.ndarray:
    """Superpixels of a slice ``[H, W]`` with grey values 0 to 1: int32 ``[H, W]``, 1 to n inside the body, 0 outside.

    Every superpixel can be drawn as an object: unlike in the published code none is lost, and outside the body is none.

    :param smallest: least size in pixels of a slice of 256 x 256 (published: 400); in proportion for other slices.
    :param sigma: smoothing beforehand, pixels.
    :param scale: k of the merging criterion, in grey values times pixels; larger: larger superpixels.
    :param threshold: grey value that the body exceeds.
    """
    image = np.asarray(image, np.float32)
    if image.ndim != 2 or 0 in image.shape or not np.isfinite(image).all():
        raise InputError(f"superpixels need a slice [H, W] of finite grey values; got shape {image.shape}")
    body = body_mask(image, threshold)
    least = max(1, round(smallest * image.size / _PUBLISHED_PIXELS))
    (regions,) = graph_regions(image[..., None], (scale,), (least,), sigma=sigma)
    labels = np.where(body, regions.astype(np.int32) + 1, 0)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    number = np.zeros(len(sizes), np.int32)
    # at the rim of the body slivers are left of superpixels that reach beyond it
    kept = np.flatnonzero(sizes >= max(1, least // 4))
    number[kept] = np.arange(1, len(kept) + 1)
    return number[labels]


class Slices(Protocol):
    """Grey slices ``[H, W]``, 0 to 1, one at a time."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> np.ndarray: ...


class SuperpixelSlices:
    """Slices with their superpixels, which are made when they are first asked for.

    :param slices: grey slices ``[H, W]``, 0 to 1.
    :param options: of :func:`superpixels`.
    """

    def __init__(self, slices: Slices, **options):
        if not len(slices):
            raise InputError("there is no slice to train on")
        self._slices = slices
        self._options = options
        self._labels: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Slice ``index`` and its superpixels."""
        image = np.asarray(self._slices[index], np.float32)
        if index not in self._labels:
            labels = superpixels(image, **self._options)
            self._labels[index] = labels.astype(np.uint16 if labels.max() < 65536 else np.int32)
        return image, self._labels[index]
