"""ALPNet's training without annotation: an encoder learns features by which superpixels are found again.

Source: Ouyang et al., "Self-supervision with Superpixels: Training Few-shot Medical Image Segmentation without
Annotation", ECCV 2020, arXiv 2007.09886; with the DINOv2 encoder: arXiv 2403.03273.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ...common.errors import InputError
from ...common.randomness import torch_generator
from ...common.settings_record import SettingsRecord, setting
from ...common.tensors import area_average
from ...few_shot.alpnet.prototypes import PUBLISHED, PrototypeHead, SupportSlice
from ...nets.encoder import Encoder
from ..optimisation import TrainingTask
from ..settings import TrainerSettings
from .episodes import Slices, SuperpixelSlices, ViewRanges, random_episodes

_STREAM = 3_000_000  # episodes of step n are drawn from stream _STREAM + n


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
        """Losses of the episodes ``batch`` (see :func:`~..episodes.random_episodes`): "query", weighted cross-entropy of
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
    """Episodes of each step for :class:`AlpnetTask`, see :func:`~..episodes.random_episodes`.

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
