"""Pre-training without labels: a network learns to find each place of a slice again in another view of it.

Source: Basak et al., "IDEAL: Improved DEnse locAL Contrastive Learning", arXiv 2210.15075: a convolutional projection head
on a feature map instead of global pooling, a query and a key branch, contrast of cells. The positives are at the exact
place that the two affine views give, or as in DenseCL (arXiv 2011.09157) at the most similar cell. The authors published no
complete code: constants come from DenseCL and from our measurements. The decoders can be pre-trained with the encoder, as in
Chaitanya et al., arXiv 2006.10511, and Pix2Rep, arXiv 2407.20395.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ...common.affine2d import Affine2d, random_ranges
from ...common.errors import InputError
from ...common.tensors import summed
from ...nets.unet import CHANNELS, UNetEncoder, UNetFeatures, seeded
from ..slices.augmentation import VIEW, change_intensities
from ..trainer.optimisation import TrainingTask, averaged_copy, update_average
from .contrast import (
    Contrast,
    View,
    correspondences,
    dense_info_nce,
    drawn_cells,
    image_info_nce,
    near_on_slice,
    nearest_cells,
)
from .settings import PretrainingSettings

_STREAM = 2 << 60
_PIXELS = (1.0, 1.0)


class IdealPretraining(TrainingTask):
    """A U-Net, or its encoder alone, with the dense local contrastive loss.

    :param seed: first weights follow from it.
    """

    def __init__(self, settings: PretrainingSettings | None = None, *, in_channels: int = 1, seed: int = 0):
        super().__init__()
        self.settings = s = PretrainingSettings() if settings is None else settings
        levels = len(CHANNELS[s.network])
        if not -levels <= s.level < levels:
            raise InputError(f"setting level is {s.level}; the network {s.network} has the levels 0 to {levels - 1}")
        if s.decoder_weight > 0 and s.decoder_level > levels - 2:
            raise InputError(
                f"setting decoder_level is {s.decoder_level}; the decoders of the network {s.network} have the levels 0 to "
                f"{levels - 2}"
            )
        self.query = _Branch(s, in_channels, seed)
        self.key = averaged_copy(self.query)
        self.stride = max(self.query.strides)
        deepest = s.level in (-1, levels - 1) or s.decoder_weight > 0 or s.global_weight > 0
        finest = s.decoder_weight <= 0 or s.decoder_level == 0
        self.has_unused_parameters = not (deepest and finest)

    @property
    def encoder(self) -> UNetEncoder:
        """The encoder that learns."""
        return self.query.encoder

    def forward(self, batch: Mapping, progress: float) -> dict[str, torch.Tensor]:
        """What is to be minimised: "contrast" of the encoder's cells, and where they have a weight "decoder_contrast" and
        "global_contrast"; and measures that show a collapse or success without labels: "_positive_cosine",
        "_negative_cosine"; "_embedding_std", the standard deviation of the normalised embeddings over cells, 0 if all are
        equal and 1 if they fill the sphere; "_correspondence_accuracy", the share of the asked cells whose most similar key
        cell is at most one cell from the true place. Those of the decoders begin with "_decoder".

        :param batch: "image" ``[N, C, H, W]``, 0 to 1; if there is padding, "valid", bool ``[N, 1, H, W]``; "z" ``[N]``,
            the relative height of each slice (only for ``same_height``); "seed", "step" and "rank".
        """
        s = self.settings
        generator = self.random_numbers(batch, _STREAM)
        images, valid = self._whole_cells(batch["image"], batch.get("valid"))
        views = [self._view(images, valid, generator) for _ in range(2)]
        directions = [(views[0], views[1])] + [(views[1], views[0])] * s.symmetric
        alike = None  # slices at the same height
        if s.same_height > 0:
            heights = batch["z"]
            alike = (heights[:, None] - heights[None]).abs() < s.same_height
        results = [self._losses(query, key, alike, generator) for query, key in directions]
        return {name: summed(result[name] for result in results) / len(results) for name in results[0]}

    def after_step(self, progress: float) -> None:
        """Updates the key branch."""
        s = self.settings
        update_average(self.key, self.query, s.momentum + (s.last_momentum - s.momentum) * progress)

    def predictor(self) -> UNetEncoder | UNetFeatures:
        """What was trained, for fine-tuning or as a feature extractor: the encoder, or with decoders the whole network."""
        branch = self.query if self.settings.init_from == "query" else self.key
        return branch.network

    def _whole_cells(self, images, valid):
        """Both padded, so that all grids of cells have the image's centre."""
        if valid is None:
            valid = torch.ones_like(images[:, :1], dtype=torch.bool)
        down, right = (-n % self.stride for n in images.shape[-2:])
        padding = (0, right, 0, down)
        return F.pad(images, padding), F.pad(valid.to(images.dtype), padding)

    def _view(self, images, valid, generator) -> View:
        affine = Affine2d.random(generator, images.shape[-2:], len(images), **random_ranges(self.settings))
        image = change_intensities(affine.warp(images, _PIXELS), VIEW, generator)
        return View(affine, image, affine.warp(valid, _PIXELS))

    def _losses(self, query: View, key: View, alike, generator) -> dict[str, torch.Tensor]:
        s = self.settings
        asked = self.query(query)
        with torch.no_grad():
            answers = self.key(key)
        losses = {}
        if s.global_weight > 0:
            contrast = image_info_nce(asked.whole, answers.whole, temperature=s.temperature, excluded=alike)
            losses["global_contrast"] = s.global_weight * contrast.loss
        first, *decoded = (
            self._cells(query, key, maps, alike, generator) for maps in zip(asked.cells, answers.cells, strict=True)
        )
        losses["contrast"] = (1 - s.global_weight) * first.pop("loss")
        losses |= first
        if decoded:
            mean = {name: summed(each[name] for each in decoded) / len(decoded) for name in decoded[0]}
            losses["decoder_contrast"] = s.decoder_weight * mean.pop("loss")
            losses |= {f"_decoder{name}": value for name, value in mean.items()}
        return losses

    def _cells(self, query: View, key: View, maps, alike, generator) -> dict[str, torch.Tensor]:
        """The contrast of one map of cells, "loss", and its measures."""
        s = self.settings
        (features, embedded, stride), (key_features, key_embedded, _) = maps
        places, shared = correspondences(query, key, stride)
        known = key.known(stride)
        chosen = drawn_cells(shared, s.queries, generator)
        drawn = drawn_cells(known, s.negatives, generator).flatten().nonzero()[:, 0]
        slice_of, slice_of_negative = chosen.nonzero()[:, 0], drawn // known[0].numel()
        excluded = None
        if s.negatives_from == "slice":
            excluded = slice_of[:, None] != slice_of_negative[None]
        elif alike is not None:
            excluded = near_on_slice(query, key, stride, chosen, drawn, s.neighbourhood)
            excluded &= alike[slice_of][:, slice_of_negative]
        positives = places if s.match == "affine" else nearest_cells(features, key_features, chosen, known)
        contrast = dense_info_nce(
            embedded, key_embedded, positives, chosen,
            temperature=s.temperature, neighbourhood=s.neighbourhood, drawn=drawn, excluded=excluded,
        )  # fmt: skip
        return {"loss": contrast.loss, **_measures(contrast, embedded, key_embedded, places, chosen, known)}


class _Branch(nn.Module):
    """A network with its projection heads: one for the encoder's cells, one for those of each decoder, one for slices."""

    def __init__(self, s: PretrainingSettings, in_channels: int, seed: int):
        super().__init__()
        channels, normalization = CHANNELS[s.network], s.normalization
        self.level, self.decoder_level = s.level, s.decoder_level
        self.network: UNetFeatures | UNetEncoder
        if s.decoder_weight > 0:
            self.network = seeded(lambda: UNetFeatures(in_channels, channels, normalization=normalization), seed)
        else:
            self.network = seeded(
                lambda: UNetEncoder(in_channels, channels, dropout=False, normalization=normalization), seed
            )
        self.head = seeded(lambda: _projection(channels[s.level], s.embedding, s.head_layers), seed + 1)
        finer = range(2 if s.decoder_weight > 0 else 0)
        self.decoder_heads = nn.ModuleList(
            seeded(lambda: _projection(channels[s.decoder_level], s.embedding, s.head_layers), seed + 2 + n)
            for n in finer
        )
        self.slice_head = None
        if s.global_weight > 0:
            self.slice_head = seeded(lambda: _projection(channels[-1], s.embedding, 2), seed + 4)

    @property
    def encoder(self) -> UNetEncoder:
        return self.network.encoder if isinstance(self.network, UNetFeatures) else self.network

    @property
    def strides(self) -> tuple[int, ...]:
        """Those of the cells that are contrasted."""
        own = self.encoder.strides
        return (own[self.level], *(own[self.decoder_level] for _ in self.decoder_heads))

    def forward(self, view: View) -> _Embedded:
        maps = self.encoder(view.image)
        cells = [(maps[self.level], self.head(maps[self.level]), self.strides[0])]
        decoders = self.network.decoders if isinstance(self.network, UNetFeatures) else ()
        for decoder, head in zip(decoders, self.decoder_heads, strict=True):
            decoded = decoder.features(maps, self.decoder_level)[0]
            cells.append((decoded, head(decoded), self.strides[1]))
        whole = None
        if self.slice_head is not None:
            whole = self.slice_head(_mean_where_shown(maps[-1], view.shown))[:, :, 0, 0]
        return _Embedded(cells, whole)


@dataclass(frozen=True)
class _Embedded:
    """What a branch makes of a view: (features ``[N, C, h, w]``, their projections, stride) of the encoder and of each decoder,
    and the projections ``[N, D]`` of whole slices if these are contrasted."""

    cells: list[tuple[torch.Tensor, torch.Tensor, int]]
    whole: torch.Tensor | None


def _measures(contrast: Contrast, embedded, key_embedded, places, chosen, known) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        unit = F.normalize(embedded.float(), dim=1).permute(0, 2, 3, 1)[chosen]
        spread = unit.std(0, correction=0).square().sum().sqrt() if len(unit) else unit.new_zeros(())
        off = (nearest_cells(embedded, key_embedded, chosen, known) - places).abs().amax(3)
        right = ((off <= 1.0) & chosen).sum() / chosen.sum().clamp_min(1)
    return {
        "_positive_cosine": contrast.positive_cosine,
        "_negative_cosine": contrast.negative_cosine,
        "_embedding_std": spread,
        "_correspondence_accuracy": right,
    }


def _mean_where_shown(maps: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
    """The mean over the cells ``[N, C, 1, 1]``, weighed by how much of the slice each shows."""
    weight = F.interpolate(shown, maps.shape[-2:], mode="area").to(maps.dtype)
    return (maps * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp_min(1e-6)


def _projection(channels: int, embedding: int, layers: int) -> nn.Sequential:
    if layers == 1:
        return nn.Sequential(nn.Conv2d(channels, embedding, 1))
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, embedding, 1))
