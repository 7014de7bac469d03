"""A tiny DINOv2 model as its publisher would give it: its file, its entry in the catalogue, a folder of weights."""

import hashlib
import io

import pytest
import torch
from tiny_weights import TINY

from S3NetSegmentLib.engine.nets import dinov2
from S3NetSegmentLib.engine.nets.dinov2 import Architecture
from S3NetSegmentLib.engine.nets.weights import (
    CATALOGUE,
    WeightsFile,
    WeightsStore,
)


@pytest.fixture(scope="module")
def published():
    """The bytes of a file as the publisher would make it, of a tiny model."""
    model = Architecture(12, 1, 2, 24).build().initialize(torch.Generator().manual_seed(0))
    buffer = io.BytesIO()
    torch.save(dict(model.state_dict()), buffer)
    return buffer.getvalue()


@pytest.fixture
def tiny(monkeypatch, published):
    """The tiny model in the catalogue, its digest known."""
    entry = WeightsFile(TINY, 17_000, hashlib.sha256(published).hexdigest(), len(published))
    monkeypatch.setattr(dinov2, "ARCHITECTURES", {**dinov2.ARCHITECTURES, TINY: Architecture(12, 1, 2, 24)})
    monkeypatch.setitem(CATALOGUE, TINY, entry)
    return entry


@pytest.fixture
def folder(tmp_path):
    return WeightsStore(tmp_path / "weights")


@pytest.fixture
def local(tmp_path, published):
    path = tmp_path / "from a stick.pth"
    path.write_bytes(published)
    return path
