"""LoRA adapters on a small transformer."""

import pytest
import torch

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.nets.dinov2 import ARCHITECTURES, Dinov2Encoder
from S3NetSegmentLib.engine.nets.encoder import (
    AdaptedLinear,
    add_lora,
    remove_lora,
)
from S3NetSegmentLib.engine.nets.s3net import S3Net
from S3NetSegmentLib.engine.nets.vit import VisionTransformer


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(seed=1, width=48, **options):
    return VisionTransformer(width, 2, 3, 96, **options).initialize(generator(seed)).eval()


IMAGE = torch.randn(1, 3, 42, 42, generator=generator(2))


def trained(model, seed=3):
    """Adapters that do something."""
    for parameter in add_lora(model, 4, generator(seed)):
        with torch.no_grad():
            parameter.normal_(0, 0.1, generator=generator(seed + parameter.numel()))
    return model


def lora_state(model):
    """A copy of the adapters' tensors by name."""
    return {name: t.clone() for name, t in model.state_dict().items() if name.endswith((".down", ".up"))}


def test_adapters_change_nothing_before_training_and_are_all_that_trains():
    model = tiny()
    before = model(IMAGE)[0].detach()
    adapters = add_lora(model, 4, generator())
    assert torch.equal(model(IMAGE)[0], before)
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in adapters}
    model(IMAGE)[0].square().sum().backward()
    ups = [m.up for m in model.modules() if isinstance(m, AdaptedLinear)]
    assert len(ups) == 2 * 4 and all(up.grad.abs().sum() > 0 for up in ups)


@pytest.mark.parametrize(("size", "count"), [("s", 294_912), ("b", 589_824), ("l", 1_572_864)])
def test_rank_4_on_the_published_models_has_the_published_number_of_parameters(size, count):
    with torch.device("meta"):
        model = ARCHITECTURES[f"dinov2-vit{size}14"].build()
    assert sum(p.numel() for p in add_lora(model, 4, generator())) == count


def test_the_down_projection_is_drawn_with_deviation_1_over_rank_and_follows_the_generator():
    first, again, other = (lora_state(m) for m in (tiny(), tiny(), tiny()) if add_lora(m, 8, generator(0)))
    assert all(torch.equal(first[name], again[name]) for name in first) and other.keys() == first.keys()
    downs = torch.cat([t.flatten() for name, t in first.items() if name.endswith("down")])
    assert abs(float(downs.std()) - 1 / 8) < 0.01


def test_adapters_are_few_and_load_with_the_encoders_own_state():
    model = trained(tiny())
    assert sum(tensor.numel() for tensor in lora_state(model).values()) < 15_000  # not the encoder
    other = tiny()
    add_lora(other, 4, generator())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(IMAGE)[0], model(IMAGE)[0])


def test_merged_adapters_give_the_same_features_without_adapters():
    model = trained(tiny())
    expected = model(IMAGE)[0]
    remove_lora(model, merge=True)
    assert (model(IMAGE)[0] - expected).abs().max() < 1e-4
    assert not lora_state(model) and model.state_dict().keys() == tiny().state_dict().keys()


def test_removed_adapters_leave_the_encoder_as_it_was():
    model = trained(tiny())
    remove_lora(model)
    assert torch.equal(model(IMAGE)[0], tiny()(IMAGE)[0])


def test_adapters_train_beside_weights_in_bfloat16():
    encoder = Dinov2Encoder(tiny(), precision="bfloat16")
    adapters = add_lora(encoder, 2, generator())
    encoder(IMAGE)[0].square().sum().backward()
    assert all(p.dtype == torch.float32 for p in adapters)
    assert any(p.grad.abs().sum() > 0 for p in adapters)


def test_wrong_ranks_second_adapters_and_other_networks_are_refused():
    with pytest.raises(InputError, match="rank is 0"):
        add_lora(tiny(), 0, generator())
    with pytest.raises(InputError, match="already"):
        add_lora(trained(tiny()), 2, generator())
    with pytest.raises(InputError, match="no transformer blocks"):
        add_lora(S3Net(1), 2, generator())
