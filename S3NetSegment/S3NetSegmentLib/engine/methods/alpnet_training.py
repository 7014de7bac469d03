"""ALPNet's training without annotation: an encoder learns features by which superpixels are found again.

Source: Ouyang et al., "Self-supervision with Superpixels: Training Few-shot Medical Image Segmentation without
Annotation", ECCV 2020, arXiv 2007.09886; with the DINOv2 encoder: arXiv 2403.03273.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..coverage import area_average
from ..episodes import ViewRanges, random_episodes
from ..errors import InputError
from ..images.files import replacing
from ..progress import Step, Steps
from ..prototypes import PUBLISHED, PrototypeHead, SupportSlice
from ..randomness import torch_generator
from ..setting_fields import SettingsRecord, setting
from ..superpixels import SuperpixelSlices

_KIND = "S3NetSegment ALPNet training"
_STREAM = 3_000_000  # episodes of step n are drawn from stream _STREAM + n


@dataclass(frozen=True)
class AlpnetSettings(SettingsRecord):
    """Settings of ALPNet's training; see :func:`alpnet_preset`."""

    seed: int = setting(0, "Random seed.", 0, 2**31 - 1)
    steps: int = setting(2000, "Optimisation steps.", 1, 10_000_000)
    episodes: int = setting(1, "Episodes of each step.", 1, 64)
    side: int = setting(252, "Side of the square views, pixels; a multiple of 14 for DINOv2.", 28, 1024)
    grid: int = setting(32, "Side of the grid on which features are compared, cells.", 8, 128)
    prototype_grid: int = setting(8, "Windows of local prototypes along each side of the grid.", 1, 128)
    threshold: float = setting(0.95, "Least share of a window that the object covers.", 0.0, 1.0)
    temperature: float = setting(20.0, "Factor of the cosine similarity.", 0.1, 1000.0)
    optimizer: str = setting("adamw", "How weights are changed.", choices=("sgd", "adamw"))
    learning_rate: float = setting(1e-4, "Learning rate at the start.", 1e-7, 1.0)
    weight_decay: float = setting(5e-4, "Weight decay.", 0.0, 1.0)
    decay: float = setting(0.95, "Factor of the learning rate every decay_steps steps.", 0.01, 1.0)
    decay_steps: int = setting(1000, "Steps between two changes of the learning rate.", 1, 10_000_000)
    background_weight: float = setting(0.05, "Weight of background pixels in the loss of the query.", 0.0, 10.0)
    alignment_weight: float = setting(1.0, "Weight of the prototype alignment loss.", 0.0, 10.0)
    smallest_superpixel: int = setting(400, "Least size of a superpixel, pixels of a slice of 256 x 256.", 1, 65536)
    body_threshold: float = setting(0.0, "Grey value, 0 to 1, that the body exceeds.", 0.0, 1.0)

    def __post_init__(self):
        super().__post_init__()
        if self.grid < self.prototype_grid:
            raise InputError(f"prototype_grid is {self.prototype_grid}; it must not be larger than grid ({self.grid})")


def alpnet_preset(name: str) -> AlpnetSettings:
    """Settings by name. ``default``: a short schedule with AdamW, for one user's own volumes. ``paper``: as published
    (100,100 steps of SGD, learning rate 0.001 with momentum 0.9, one episode each); only the masks on the feature grid
    are area averages and not bilinear samples."""
    if name == "default":
        return AlpnetSettings()
    if name == "paper":
        return AlpnetSettings(seed=1234, steps=100_100, side=256, optimizer="sgd", learning_rate=1e-3)
    raise InputError(f"preset is {name!r}; it must be default or paper")


class AlpnetTask(nn.Module):
    """An encoder with its losses: ``forward(batch, progress)`` returns them by name; their sum is to be minimised.

    :param encoder: any :class:`~..nets.encoder.Encoder`; its first level is used.
    """

    def __init__(self, encoder: nn.Module, settings: AlpnetSettings):
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


@dataclass(frozen=True)
class AlpnetResult:
    """What :func:`train_alpnet` did: ``losses[step]`` is the mean total loss of each hundred steps."""

    steps: int
    losses: tuple[float, ...]


def train_alpnet(
    encoder: nn.Module,
    slices: Sequence[np.ndarray],
    settings: AlpnetSettings,
    *,
    device: torch.device | str = "cpu",
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 500,
) -> Steps[AlpnetResult]:
    """Trains those weights of ``encoder`` that require a gradient (all, or LoRA adapters alone), in place.

    Stopped at any time and called again with the same arguments, it goes on from the last checkpoint and ends with the
    same weights as without the stop (on the same device and number of threads).

    :param slices: grey slices ``[H, W]``, 0 to 1, of any number of volumes.
    :param checkpoint: file to keep the state in every ``checkpoint_every`` steps; read first if it is there.
    :raises InputError: nothing to train, no slice with a body, or a checkpoint of another training.
    """
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    if not parameters:
        raise InputError("no weight of the encoder is to be trained; thaw it or put LoRA adapters on it")
    pseudo = SuperpixelSlices(slices, smallest=settings.smallest_superpixel, threshold=settings.body_threshold)
    task = AlpnetTask(encoder, settings).to(device).train()
    optimizer = _optimizer(parameters, settings)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, settings.decay_steps, settings.decay)
    first, losses = 0, []
    if checkpoint is not None and Path(checkpoint).exists():
        first, losses = _restore(checkpoint, encoder, optimizer, schedule, settings)
        yield Step(first / settings.steps, f"Going on from step {first}")
    for step in range(first, settings.steps):
        generator = torch_generator(settings.seed, _STREAM + step)
        batch = random_episodes(pseudo, settings.episodes, ViewRanges(), settings.side, generator)
        parts = task({name: tensor.to(device) for name, tensor in batch.items()}, step / settings.steps)
        loss = sum(parts.values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        done = step + 1
        if checkpoint is not None and (done % checkpoint_every == 0 or done == settings.steps):
            _keep(checkpoint, encoder, optimizer, schedule, settings, done, losses)
        yield Step(done / settings.steps, f"Training step {done} of {settings.steps}, loss {losses[-1]:.3f}")
    encoder.eval()
    return AlpnetResult(settings.steps, tuple(float(np.mean(losses[i : i + 100])) for i in range(0, len(losses), 100)))


def _optimizer(parameters, settings: AlpnetSettings) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, settings.learning_rate, momentum=0.9, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)


def _changing(encoder: nn.Module) -> dict[str, torch.Tensor]:
    """What training changes: the weights with a gradient, and buffers."""
    trained = {name: p.detach() for name, p in encoder.named_parameters() if p.requires_grad}
    return trained | dict(encoder.named_buffers())


def _keep(path, encoder, optimizer, schedule, settings, done: int, losses: list[float]) -> None:
    content = {
        "kind": _KIND, "settings": dataclasses.asdict(settings), "step": done, "losses": losses,
        "tensors": _changing(encoder), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
    }  # fmt: skip
    with replacing(path) as temporary:
        torch.save(content, temporary)


def _restore(path, encoder, optimizer, schedule, settings) -> tuple[int, list[float]]:
    from ..weights.checkpoint import read_torch_file

    content = read_torch_file(path)
    shown = repr(os.fspath(path))
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise InputError(f"{shown} is no checkpoint of this training; name another file")
    other = {k: v for k, v in content["settings"].items() if v != getattr(settings, k, None)}
    if other.keys() - {"steps"}:
        raise InputError(
            f"{shown} belongs to a training with other settings ({', '.join(f'{k}={v}' for k, v in other.items())}); use "
            "the same settings to go on, or another file to begin anew"
        )
    own = _changing(encoder)
    if {k: tuple(t.shape) for k, t in content["tensors"].items()} != {k: tuple(t.shape) for k, t in own.items()}:
        raise InputError(f"{shown} belongs to another encoder; use the same encoder to go on, or another file")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(content["tensors"][name])
    optimizer.load_state_dict(content["optimizer"])
    schedule.load_state_dict(content["schedule"])
    return content["step"], list(content["losses"])
