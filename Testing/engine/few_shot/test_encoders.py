"""Encoders for Few-shot by name, from the user's folder of weights, and from files."""

import io

import numpy as np
import pytest
import torch

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.few_shot.voters.encoders import load_encoder
from S3NetSegmentLib.engine.nets import dinov2
from S3NetSegmentLib.engine.nets.dinov2 import Architecture
from S3NetSegmentLib.engine.nets.weights import CATALOGUE, DEFAULT_WEIGHTS, WeightsFile, WeightsStore

TINY, LARGER = "dinov2-tiny14", "dinov2-larger14"
SHAPES = {TINY: Architecture(12, 1, 2, 24), LARGER: Architecture(16, 1, 2, 32)}


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    monkeypatch.setattr(dinov2, "ARCHITECTURES", {**dinov2.ARCHITECTURES, **SHAPES})
    for name in SHAPES:
        monkeypatch.setitem(CATALOGUE, name, WeightsFile(name, 10_000, "0" * 64))


@pytest.fixture
def store(tmp_path):
    return WeightsStore(tmp_path / "weights")


def weights_at(path, name=TINY):
    model = SHAPES[name].build().initialize(torch.Generator().manual_seed(0))
    buffer = io.BytesIO()
    torch.save(dict(model.state_dict()), buffer)
    path.write_bytes(buffer.getvalue())
    return path


def test_default_is_no_encoder_and_auto_is_none_where_there_are_no_weights(store):
    assert load_encoder("default", "cpu", store) is None
    assert load_encoder("auto", "cpu", store) is None


def test_auto_takes_what_is_there_and_a_name_takes_its_own(store, tmp_path):
    for name in (LARGER, TINY):
        run_to_end(store.add(weights_at(tmp_path / f"{name}.pth", name)))
    named = load_encoder(LARGER, "cpu", store)
    assert named.name == LARGER and named.network.channels == (16,) and named.digest == store.find(LARGER).sha256
    assert load_encoder("auto", "cpu", store).name == TINY  # the first in the catalogue that is there
    assert DEFAULT_WEIGHTS in CATALOGUE and named.device.type == "cpu"
    features = named.network(torch.rand(1, 1, 28, 42))[0]
    assert features.shape == (1, 16, 2, 3) and torch.isfinite(features).all()


def test_a_file_of_weights_need_not_be_in_the_folder(store, tmp_path):
    encoder = load_encoder(weights_at(tmp_path / "mine.pth"), "cpu", store)
    assert encoder.name == "mine.pth" and len(encoder.digest) == 64
    assert not any(p.requires_grad for p in encoder.network.parameters())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dinov2-vits14", "not on this computer; get them with 's3net weights get dinov2-vits14'"),
        ("resnet", "it must be auto, default, a file, or one of"),
        ("there/is/none.pth", "there is no file"),
    ],
)
def test_what_is_not_there_is_refused_with_the_remedy(store, name, said):
    with pytest.raises(InputError, match=said):
        load_encoder(name, "cpu", store)


def test_a_wrong_or_truncated_file_is_refused(store, tmp_path):
    whole = weights_at(tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other.pth").write_bytes(b"not weights at all")
    buffer = io.BytesIO()
    torch.save({"layer.weight": torch.zeros(3)}, buffer)
    (tmp_path / "foreign.pth").write_bytes(buffer.getvalue())
    for name, said in (("cut", "cut off"), ("other", "no file of weights"), ("foreign", "not those of a DINOv2")):
        with pytest.raises(InputError, match=said):
            load_encoder(tmp_path / f"{name}.pth", "cpu", store)


def test_weights_that_are_not_numbers_are_refused(store, tmp_path):
    tensors = SHAPES[TINY].build().initialize(torch.Generator().manual_seed(0)).state_dict()
    tensors["norm.weight"] = torch.full_like(tensors["norm.weight"], np.nan)
    torch.save(dict(tensors), tmp_path / "nan.pth")
    with pytest.raises(InputError, match="not all finite"):
        load_encoder(tmp_path / "nan.pth", "cpu", store)
