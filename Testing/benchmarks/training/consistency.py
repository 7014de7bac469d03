"""S3-Net's consistency over transformation as a regulariser of fine-tuning: the arm ``consistent`` of ``train_arms.py``."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from S3NetSegmentLib.engine.common.tensors import torch_generator
from S3NetSegmentLib.engine.nets.losses import affine_consistency_loss
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning

_PIXELS, _STREAM = (1.0, 1.0), 8_000_000


class ConsistentFinetuning(IdealFinetuning):
    """Learns labelled slices, and that the answer to an unlabelled slice moves with it: S3-Net's affine loss, between the answer to the
    slice and that to the slice turned, scaled, sheared and shifted as labelled ones are. No pseudo-label is learnt. Slices, not patches.
    """

    weight = 1.0

    def forward(self, batch: Mapping, progress: float) -> dict[str, torch.Tensor]:
        images, step = batch["unlabelled"], int(batch["step"])
        affine = self._affine(images, step, torch_generator(int(batch["seed"]), _STREAM + step))
        moved = affine.warp(images, _PIXELS, padding="reflection")
        here, there = self.network(torch.cat((images, moved))).float().chunk(2)
        consistency = self.weight * affine_consistency_loss(here, there, affine, _PIXELS)
        return {**super().forward(batch, progress), "consistency": consistency}
