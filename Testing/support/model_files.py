"""Model files for tests: quick to make, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from S3NetSegmentLib.engine.nets.unet import TwoStreamUNet, seeded
from S3NetSegmentLib.engine.training.cohort.label_classes import LabelClass
from S3NetSegmentLib.engine.training.model.model_file import Model, describe_network, network_tensors, save_model
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout

CLASSES = (
    LabelClass("Ring", 1, (1.0, 0.5, 0.0), "Segmentation category and type~SCT^85756007^Tissue~SCT^1^Tissue~^^~~^^~^^"),
    LabelClass("Core", 2, (0.0, 0.2, 1.0)),
)
LAYOUT = SliceLayout("axial", 1.0, 48)
PROVENANCE = {
    "method": "finetune, IDEAL", "preset": "tiny", "steps": 50, "seed": 4, "training_cases": 6, "labelled_cases": 3,
    "labelled_patients": 2,
}  # fmt: skip


def write_model(path: Path, *, seed: int = 0, classes=CLASSES, layout=LAYOUT, **options) -> Path:
    """A segmenter of ``classes`` with random weights."""
    network = seeded(
        lambda: TwoStreamUNet(len(classes) + 1, layout.inputs, (8, 16), across=layout.across(2)), seed
    ).eval()
    size = (*((layout.depth,) if layout.is_3d else ()), 48, 48)
    noise = torch.from_numpy(np.random.default_rng(0).random((1, layout.inputs, *size), np.float32))
    with torch.no_grad():  # no class wins everywhere
        shift = network(noise).transpose(0, 1).flatten(1).mean(1)
        for decoder in network.decoders:
            decoder.head.bias -= shift
    options = {
        "provenance": PROVENANCE,
        "validation": {"score": 0.8, "dice Ring": 0.7, "dice Core": 0.9, "cases": 2},
        **options,
    }
    model = Model("segmenter", describe_network(network), network_tensors(network), layout, classes, **options)
    return save_model(model, path)
