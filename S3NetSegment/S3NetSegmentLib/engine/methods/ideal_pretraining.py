"""Pre-training without labels: an encoder learns to find each place of a slice again in another view of it.

Source: Basak et al., "IDEAL: Improved DEnse locAL Contrastive Learning", arXiv 2210.15075: a convolutional projection head
on a feature map instead of global pooling, a query and a key branch, contrast of cells. The positives are at the exact
place that the two affine views give, or as in DenseCL (arXiv 2011.09157) at the most similar cell. The authors published no
complete code: constants come from DenseCL and from our measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..affine2d import Affine2d
from ..augmentation import VIEW, change_intensities
from ..contrast import Contrast, dense_info_nce, nearest_cells, sample_cells
from ..errors import InputError
from ..nets.moving_average import averaged_copy, update_average
from ..nets.unet import CHANNELS, UNetEncoder, seeded
from ..randomness import torch_generator
from ..setting_fields import SettingsRecord, setting

_STREAM = 2 << 60  # random numbers of step n on rank r: stream _STREAM + (n << 16) + r
_PIXELS = (1.0, 1.0)


@dataclass(frozen=True)
class PretrainingSettings(SettingsRecord):
    """Settings of the pre-training; see :func:`pretraining_preset`."""

    network: str = setting(
        "unet", "Size of the U-Net: unet (1.8 million weights) or tiny (0.12).", choices=("unet", "tiny")
    )
    normalization: str = setting("batch", "Normalisation layers.", choices=("batch", "group"))
    level: int = setting(-1, "Level of the encoder that is contrasted: 0 the finest; -1, -2: from the coarsest.", -5, 4)
    match: str = setting(
        "affine",
        "Where the positive lies: affine (the exact place) or feature (the most similar cell).",
        choices=("affine", "feature"),
    )
    head_layers: int = setting(2, "Convolutions of the projection head.", 1, 2)
    embedding: int = setting(128, "Channels of the projection.", 8, 1024)
    temperature: float = setting(0.2, "Temperature of the contrast.", 0.01, 2.0)
    neighbourhood: float = setting(1.5, "Cells around the positive that are no negatives.", 0.0, 16.0)
    same_height: float = setting(
        0.0,
        "Slices whose relative heights differ by less are no negatives of each other at the same place (0: all are).",
        0.0,
        1.0,
    )
    queries: int = setting(1024, "Largest number of cells that are asked in a step.", 1, 1_000_000)
    symmetric: bool = setting(False, "Whether each view is asked for the other, at twice the cost.")
    momentum: float = setting(0.99, "Decay of the key encoder's moving average at the start.", 0.0, 1.0)
    last_momentum: float = setting(0.999, "The same at the end of the run.", 0.0, 1.0)
    rotation: float = setting(30.0, "Largest random rotation, degrees.", 0.0, 180.0)
    scaling: float = setting(0.22, "Largest logarithm of the random scaling (0.22: 0.8 to 1.25).", 0.0, 0.7)
    shear: float = setting(0.1, "Largest random shear.", 0.0, 0.5)
    shift: float = setting(0.15, "Largest random shift, as a share of half the image.", 0.0, 0.5)
    flip: bool = setting(True, "Whether views may be mirrored at random.")


def pretraining_preset(name: str) -> PretrainingSettings:
    """Settings by name. ``default``: the U-Net of 1.8 million weights. ``tiny``: for a CPU, with
    a key branch that follows faster since its runs are short."""
    if name == "default":
        return PretrainingSettings()
    if name == "tiny":
        return PretrainingSettings(network="tiny", embedding=64, momentum=0.9, last_momentum=0.99)
    raise InputError(f"preset is {name!r}; it must be default or tiny")


class IdealPretraining(nn.Module):
    """A U-Net encoder with the dense local contrastive loss.

    :param seed: first weights follow from it.
    """

    def __init__(self, settings: PretrainingSettings | None = None, *, in_channels: int = 1, seed: int = 0):
        super().__init__()
        self.settings = s = PretrainingSettings() if settings is None else settings
        channels = CHANNELS[s.network]
        if not -len(channels) <= s.level < len(channels):
            raise InputError(
                f"setting level is {s.level}; the network {s.network} has the levels 0 to {len(channels) - 1}"
            )
        self.encoder = seeded(
            lambda: UNetEncoder(in_channels, channels, normalization=s.normalization, dropout=False), seed
        )
        self.stride = self.encoder.strides[s.level]
        self.has_unused_parameters = s.level not in (-1, len(channels) - 1)  # the levels below
        self.has_unused_parameters = s.level not in (-1, len(channels) - 1)  # the levels below it learn nothing
        self.head = seeded(lambda: _projection(channels[s.level], s.embedding, s.head_layers), seed + 1)
        self.key_encoder, self.key_head = averaged_copy(self.encoder), averaged_copy(self.head)

    def forward(self, batch: Mapping, progress: float) -> dict[str, torch.Tensor]:
        """The "contrast" to be minimised, and measures that show a collapse or success without labels:
        "_positive_cosine", "_negative_cosine"; "_embedding_std", the standard deviation of the normalised embeddings over
        cells, 0 if all are equal and 1 if they fill the sphere; "_correspondence_accuracy", the share of cells whose most
        similar key cell is at most one cell from the true place.

        :param batch: "image" ``[N, C, H, W]``, 0 to 1; if there is padding, "valid", bool ``[N, 1, H, W]``; "z" ``[N]``,
            the relative height of each slice (only for ``same_height``); "seed", "step" and "rank".
        """
        s = self.settings
        numbers = _STREAM + (int(batch["step"]) << 16) + int(batch.get("rank", 0))
        generator = torch_generator(int(batch["seed"]), numbers)
        images, valid = self._whole_cells(batch["image"], batch.get("valid"))
        views = [self._view(images, valid, generator) for _ in range(2)]
        directions = (views, views[::-1]) if s.symmetric else (views,)
        results = [self._contrast(*pair, batch.get("z"), generator) for pair in directions]
        return {name: sum(result[name] for result in results) / len(results) for name in results[0]}

    def after_step(self, progress: float) -> None:
        """Updates the key branch."""
        s = self.settings
        decay = s.momentum + (s.last_momentum - s.momentum) * progress
        update_average(self.key_encoder, self.encoder, decay)
        update_average(self.key_head, self.head, decay)

    def predictor(self) -> UNetEncoder:
        """The encoder, for fine-tuning or as a feature extractor."""
        return self.encoder

    def _whole_cells(self, images, valid):
        """Both padded, so that the grid of cells has the image's centre."""
        if valid is None:
            valid = torch.ones_like(images[:, :1], dtype=torch.bool)
        down, right = (-n % self.stride for n in images.shape[-2:])
        padding = (0, right, 0, down)
        return F.pad(images, padding), F.pad(valid.to(images.dtype), padding)

    def _view(self, images, valid, generator) -> _View:
        s = self.settings
        affine = Affine2d.random(
            generator, images.shape[-2:], len(images),
            rotation=s.rotation, scaling=s.scaling, shear=s.shear, shift=s.shift, flip=s.flip,
        )  # fmt: skip
        seen = F.avg_pool2d(affine.warp(valid, _PIXELS), self.stride)[:, 0]
        return _View(affine, change_intensities(affine.warp(images, _PIXELS), VIEW, generator), seen > 0.5)

    def _contrast(self, query: _View, key: _View, heights, generator) -> dict[str, torch.Tensor]:
        s = self.settings
        features = self.encoder(query.image)[s.level]
        embedded = self.head(features)
        with torch.no_grad():
            key_features = self.key_encoder(key.image)[s.level]
            key_embedded = self.key_head(key_features)
        places, shared = correspondences(query, key, self.stride)
        asked = _sampled(shared, s.queries, generator)
        excluded = None
        if s.same_height > 0:
            excluded = self._same_places(query, key, asked, heights)
        positives = places if s.match == "affine" else nearest_cells(features, key_features, key.known)
        contrast = dense_info_nce(
            embedded, key_embedded, positives, asked,
            temperature=s.temperature, neighbourhood=s.neighbourhood, key_valid=key.known, excluded=excluded,
        )  # fmt: skip
        return {"contrast": contrast.loss, **_measures(contrast, embedded, key_embedded, places, shared, key.known)}

    def _same_places(self, query: _View, key: _View, asked, heights) -> torch.Tensor:
        """For each asked cell, the key cells of slices at the same height that show the same place: bool ``[Q, N h w]``."""
        shape, cell = asked.shape[1:], (self.stride, self.stride)
        own, other = (
            torch.from_numpy(view.affine.correspond(Affine2d.identity(), shape, cell)[0]).float().to(asked.device)
            for view in (query, key)
        )
        far = (own[asked][:, None] - other.flatten(0, 2)[None]).abs().amax(2)
        image = asked.nonzero()[:, 0]
        apart = (heights[image][:, None] - heights[None]).abs().repeat_interleave(shape[0] * shape[1], 1)
        return (far <= self.settings.neighbourhood) & (apart < self.settings.same_height)


@dataclass(frozen=True)
class _View:
    """A batch of slices under random transformations; ``known`` ``[N, h, w]``: cells that show the slice and no padding."""

    affine: Affine2d
    image: torch.Tensor
    known: torch.Tensor


def correspondences(query: _View, key: _View, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each cell of ``query`` lies in the grid of ``key``, ``[N, h, w, 2]`` (row, column), and for which cells that is
    inside the view and known in both, bool ``[N, h, w]``."""
    shape = tuple(query.known.shape[1:])
    positions, inside = query.affine.correspond(key.affine, shape, (float(stride), float(stride)))
    places = torch.from_numpy(positions.astype(np.float32)).to(query.known.device)
    known_there = sample_cells(key.known[:, None].float(), places)[:, 0] > 0.5
    return places, torch.from_numpy(inside).to(query.known.device) & query.known & known_there


def _sampled(cells: torch.Tensor, limit: int, generator: torch.Generator) -> torch.Tensor:
    """At most ``limit`` of the true ``cells``, drawn without replacement."""
    lot = torch.rand(cells.shape, generator=generator).to(cells.device)
    lot = torch.where(cells, lot, 2.0).flatten()
    if limit >= len(lot):
        return cells
    last = lot.kthvalue(limit).values
    return cells & (lot <= last).view_as(cells)


def _measures(contrast: Contrast, embedded, key_embedded, places, shared, key_known) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        unit = F.normalize(embedded.float(), dim=1).permute(0, 2, 3, 1)[shared]
        spread = unit.std(0, correction=0).square().sum().sqrt() if len(unit) else unit.new_zeros(())
        off = (nearest_cells(embedded, key_embedded, key_known) - places).abs().amax(3)
        right = ((off <= 1.0) & shared).sum() / shared.sum().clamp_min(1)
    return {
        "_positive_cosine": contrast.positive_cosine,
        "_negative_cosine": contrast.negative_cosine,
        "_embedding_std": spread,
        "_correspondence_accuracy": right,
    }


def _projection(channels: int, embedding: int, layers: int) -> nn.Sequential:
    if layers == 1:
        return nn.Sequential(nn.Conv2d(channels, embedding, 1))
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, embedding, 1))
