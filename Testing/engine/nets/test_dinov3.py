"""DINOv3: rotary positions, the files of its publisher and of transformers, and its place in the user's folder of weights.

Tokens are compared with those of transformers in ``test_dinov2.py``.
"""

import json

import numpy as np
import pytest
import torch
from dinov2_references import NAMES, REFERENCED, in_transformers

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.few_shot.voters.encoders import load_encoder
from S3NetSegmentLib.engine.nets import dinov2
from S3NetSegmentLib.engine.nets.dinov2 import ARCHITECTURES, Architecture, Dinov2Encoder, recognise
from S3NetSegmentLib.engine.nets.weights import CATALOGUE, WeightsFile, WeightsStore
from S3NetSegmentLib.engine.nets.weights.checkpoint import read_weights, recognise_file
from S3NetSegmentLib.engine.nets.weights.download import download_weights

TINY = Architecture(16, 2, 2, 32, registers=4, patch=16, rotary=True)
TINY_NAME = "dinov3-tiny16"


def by_publisher(model) -> dict[str, torch.Tensor]:
    """The weights of ``model`` as the publisher's program keeps them: with buffers, and with numbers behind a mask where the keys
    have no offset."""
    found = {}
    for name, tensor in model.state_dict().items():
        name = {"register_tokens": "storage_tokens"}.get(name, name)
        if name.endswith("attn.qkv.bias"):
            third = len(tensor) // 3
            tensor = tensor.clone()
            tensor[third : 2 * third] = float("nan")
            found[f"{name}_mask"] = torch.ones_like(tensor)
            found[f"{name}_mask"][third : 2 * third] = 0
        found[name] = tensor
    found["rope_embed.periods"] = torch.ones(model.width // model.heads // 4)
    return found


def file_of(path, tensors):
    torch.save({name: tensor.clone() for name, tensor in tensors.items()}, path)
    return path


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(dinov2, "ARCHITECTURES", {**ARCHITECTURES, TINY_NAME: TINY})
    monkeypatch.setitem(CATALOGUE, TINY_NAME, WeightsFile(TINY_NAME, 10_000))


@pytest.fixture
def model():
    model = TINY.build().initialize(torch.Generator().manual_seed(3))
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.bias[16:32] = 0
    return model.eval()


def test_patches_are_turned_by_their_place_and_the_others_are_not(model):
    cosine, sine = model.rotation(3, 5)
    assert cosine.shape == sine.shape == (15, 8)
    # The middle of the image is not turned; its mirror images are turned by opposite angles.
    assert torch.allclose(cosine[7], torch.ones(8)) and torch.allclose(sine[7], torch.zeros(8), atol=1e-6)
    assert torch.allclose(cosine, cosine.flip(0), atol=1e-6) and torch.allclose(sine, -sine.flip(0), atol=1e-6)
    row, column = np.divmod(4, 5)
    angle = 2 * np.pi * ((row + 0.5) / 3 * 2 - 1), 2 * np.pi * ((column + 0.5) / 5 * 2 - 1)
    expected = [angle[0], angle[0] / 10, angle[1], angle[1] / 10] * 2  # periods 1 and 100 ** 0.5
    assert np.allclose(sine[4].numpy(), np.sin(expected), atol=1e-5)


def test_turning_keeps_what_depends_on_the_distance_of_two_patches_only(model):
    from S3NetSegmentLib.engine.nets.vit import _turned

    cosine, sine = model.rotation(4, 4)
    query, key = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))
    turned = [
        _turned(v.expand(1, 1, 21, 8), (cosine, sine)) for v in (query, key)
    ]  # five tokens without a place come first
    assert torch.equal(turned[0][0, 0, :5], query[0, 0].expand(5, 8))
    products = turned[0][0, 0, 5:] @ turned[1][0, 0, 5:].T
    assert torch.allclose(products[0, 5], products[10, 15], atol=1e-4)  # one down, one to the right
    assert not torch.allclose(products[0, 5], products[5, 0], atol=1e-2)


def test_names_of_transformers_and_of_the_publisher_become_ours(model, tmp_path):
    written = {n: torch.zeros(shape) for n, shape in json.loads(NAMES.read_text(encoding="utf-8"))["rotary"].items()}
    found = read_weights(file_of(tmp_path / "hub.pth", written))
    assert {n: tuple(t.shape) for n, t in found.items()} == REFERENCED["rotary"].shapes()
    for number, tensors in enumerate((by_publisher(model), in_transformers(model))):
        found = read_weights(file_of(tmp_path / f"{number}.pth", tensors))
        assert found.keys() == model.state_dict().keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


def test_its_files_are_recognised_strictly(known, model, tmp_path):
    shapes = ARCHITECTURES["dinov3-vitb16"].shapes()
    assert recognise({n: torch.empty(s, device="meta") for n, s in shapes.items()}) == "dinov3-vitb16"
    tensors = in_transformers(model)
    assert recognise_file(file_of(tmp_path / "right.pth", tensors)) == TINY_NAME
    del tensors["model.layer.1.attention.v_proj.weight"]
    with pytest.raises(InputError, match=r"'blocks.1.attn.qkv.weight' there are 2 of 3 parts"):
        recognise_file(file_of(tmp_path / "less.pth", tensors))
    single = {n: torch.tensor(1.0) if "layer.0.attention." in n else t for n, t in in_transformers(model).items()}
    with pytest.raises(InputError, match="or they differ in shape"):
        recognise_file(file_of(tmp_path / "single.pth", single))
    gated = {**in_transformers(model), "model.layer.0.mlp.gate_proj.weight": torch.ones(32, 16)}
    with pytest.raises(InputError, match=r"looks like dinov3-tiny16.*1 unknown \(blocks.0.mlp.gate_proj.weight\)"):
        recognise_file(file_of(tmp_path / "gated.pth", gated))


def test_any_size_is_enlarged_to_whole_patches_of_16_pixels(model):
    encoder = Dinov2Encoder(model)
    assert encoder.strides == (16,)
    assert encoder(torch.rand(2, 1, 40, 64))[0].shape == (2, 16, 3, 4)
    with pytest.raises(InputError, match="multiples of 16 pixels; got 40 x 64"):
        model(torch.rand(1, 3, 40, 64))


def test_a_file_that_its_user_got_is_kept_and_serves_as_an_encoder(known, model, tmp_path):
    store = WeightsStore(tmp_path / "weights")
    file = file_of(tmp_path / "dinov3_tiny16_pretrain_lvd1689m-00.pth", by_publisher(model))
    stored = run_to_end(store.add(file))
    assert stored.name == TINY_NAME and "digest of the published file is not known" in stored.remark
    image = torch.rand(1, 1, 32, 48)
    expected = Dinov2Encoder(model)(image)[0]
    for encoder in (
        load_encoder(file, "cpu", store),
        load_encoder(TINY_NAME, "cpu", store),
        load_encoder("auto", "cpu", store),
    ):
        assert encoder.name in (TINY_NAME, file.name)
        assert torch.allclose(encoder.network(image)[0], expected, atol=0.05)  # bfloat16 where that is native


def test_it_is_not_downloaded_but_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"accept its licence: ask for it at https://ai.meta.com.*weights add FILE"):
        run_to_end(download_weights("dinov3-vits16", WeightsStore(tmp_path)))
    assert not list(tmp_path.iterdir())
