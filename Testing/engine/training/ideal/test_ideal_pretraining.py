"""IDEAL's pre-training: exact correspondences, key branch, determinism, and that it learns."""

import dataclasses

import pytest
import torch

from S3NetSegmentLib.engine.common.errors import InputError
from S3NetSegmentLib.engine.nets.unet import UNetFeatures
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning
from S3NetSegmentLib.engine.training.ideal.pretraining import IdealPretraining
from S3NetSegmentLib.engine.training.ideal.settings import finetuning_preset, pretraining_preset
from S3NetSegmentLib.engine.training.model.model_file import build_network, describe_network, network_tensors

TINY = dataclasses.replace(pretraining_preset("tiny"), negatives_from="batch")


def batch(count=4, size=(32, 40), step=0, seed=0, padded=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.nn.functional.interpolate(torch.rand(count, 1, 8, 10, generator=generator), size, mode="bicubic")
    valid = torch.ones(count, 1, *size, dtype=torch.bool)
    if padded:
        valid[..., -padded:] = False
    image = (image * valid).clamp(0, 1)
    return {"image": image, "valid": valid, "z": torch.linspace(0, 1, count), "seed": seed, "step": step, "rank": 0}


def test_the_same_batch_gives_the_same_losses_whatever_the_global_random_state():
    results = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        results.append(IdealPretraining(TINY, seed=3)(batch(), 0.0))
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name
    assert not torch.equal(IdealPretraining(TINY, seed=3)(batch(step=1), 0.0)["contrast"], results[0]["contrast"])


@pytest.mark.parametrize(
    "changes",
    [
        {"match": "feature"},
        {"symmetric": True},
        {"same_height": 0.5},
        {"head_layers": 1},
        {"level": 2},
        {"queries": 7},
        {"negatives": 9},
        {"negatives_from": "slice"},
        {"normalization": "group"},
        {"global_weight": 0.5},
        {"global_weight": 0.5, "same_height": 0.5},
        {"decoder_weight": 1.0},
        {"decoder_weight": 0.5, "decoder_level": 0, "same_height": 0.2, "match": "feature"},
    ],
)
def test_every_option_gives_a_loss_that_teaches_the_query_branch_alone(changes):
    task = IdealPretraining(dataclasses.replace(TINY, **changes))
    losses = task(batch(padded=9), 0.0)
    wanted = [name for name in losses if not name.startswith("_")]
    sum(losses[name] for name in wanted).backward()
    assert ("global_contrast" in wanted) is ("global_weight" in changes)
    assert ("decoder_contrast" in wanted) is ("decoder_weight" in changes)
    for name in wanted:
        assert torch.isfinite(losses[name])
        assert losses[name] > 0
    assert task.encoder.levels[0][0].weight.grad.abs().max() > 0
    assert all(p.grad is None for p in task.key.parameters())
    for name in ("_positive_cosine", "_negative_cosine", "_embedding_std", "_correspondence_accuracy"):
        for measure in (name, f"_decoder{name}") if "decoder_weight" in changes else (name,):
            assert -1 <= losses[measure] <= 1.0001
            assert not losses[measure].requires_grad
    unused = [name for name, p in task.query.named_parameters() if p.grad is None]
    assert task.has_unused_parameters is bool(unused), unused


def test_the_parts_of_the_loss_have_their_weights():
    """The same first weights, so the same contrasts; only their weights differ."""
    slices = batch()
    plain = IdealPretraining(TINY)(slices, 0.0)["contrast"]
    halves = IdealPretraining(dataclasses.replace(TINY, global_weight=0.25))(slices, 0.0)
    more = IdealPretraining(dataclasses.replace(TINY, global_weight=0.5))(slices, 0.0)
    assert halves["contrast"].item() == pytest.approx(0.75 * plain.item(), rel=1e-5)
    assert more["global_contrast"].item() == pytest.approx(2 * halves["global_contrast"].item(), rel=1e-5)
    light, heavy = (
        IdealPretraining(dataclasses.replace(TINY, decoder_weight=weight))(slices, 0.0)["decoder_contrast"].item()
        for weight in (0.5, 2.0)
    )
    assert heavy == pytest.approx(4 * light, rel=1e-5)


@pytest.mark.parametrize("level", [0, 1])
def test_decoders_are_pre_trained_as_far_as_the_contrasted_level_and_serve_fine_tuning(level):
    few = {"queries": 64, "negatives": 256}
    task = IdealPretraining(dataclasses.replace(TINY, decoder_weight=1.0, decoder_level=level, **few), seed=3)
    before = {name: t.clone() for name, t in task.query.network.decoders.state_dict().items()}
    optimizer = torch.optim.SGD(task.query.parameters(), lr=0.1)
    losses = task(batch(), 0.0)
    (losses["contrast"] + losses["decoder_contrast"]).backward()
    optimizer.step()
    network = task.predictor()
    assert isinstance(network, UNetFeatures)
    after = network.decoders.state_dict()
    for way in (0, 1):
        learnt = [
            not torch.equal(after[f"{way}.levels.{n}.0.weight"], before[f"{way}.levels.{n}.0.weight"]) for n in range(3)
        ]
        assert learnt == [True, True, level == 0], "the finest level is the last"
    weights = {"encoder": network.encoder.state_dict(), "decoders": after}
    fine = IdealFinetuning(3, finetuning_preset("tiny"), **weights, seed=9)
    fresh = IdealFinetuning(3, finetuning_preset("tiny"), seed=9)
    for given, own, first in zip(network.decoders, fine.network.decoders, fresh.network.decoders, strict=True):
        assert torch.equal(own.levels[1][0].weight, given.levels[1][0].weight)
        assert torch.equal(own.head.weight, first.head.weight), "the last layer begins anew"
    maps = network.eval()(torch.rand(1, 1, 32, 40))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (channels, 32 // stride, 40 // stride)
        for channels, stride in zip(network.channels, network.strides, strict=True)
    ]
    rebuilt = build_network(describe_network(network), network_tensors(network))(torch.rand(1, 1, 32, 40))
    assert len(rebuilt) == len(maps)


def test_the_model_keeps_the_branch_that_is_asked_for():
    for branch in ("query", "key"):
        task = IdealPretraining(dataclasses.replace(TINY, init_from=branch))
        with torch.no_grad():
            task.query.encoder.levels[0][0].weight.add_(1.0)
        task.after_step(0.0)
        kept = task.predictor().levels[0][0].weight
        assert torch.equal(kept, getattr(task, branch).encoder.levels[0][0].weight)
    assert not torch.equal(task.query.encoder.levels[0][0].weight, task.key.encoder.levels[0][0].weight)


def test_other_slices_can_be_left_out_of_the_negatives():
    near = dataclasses.replace(TINY, neighbourhood=16.0)  # no cell of the same slice is a negative
    assert IdealPretraining(near)(batch(), 0.0)["contrast"] > 0.5
    alone = dataclasses.replace(near, negatives_from="slice")
    assert IdealPretraining(alone)(batch(), 0.0)["contrast"].item() == pytest.approx(0, abs=1e-6)
    within = dataclasses.replace(TINY, negatives_from="slice")
    assert 0.5 < IdealPretraining(within)(batch(), 0.0)["contrast"] < IdealPretraining(TINY)(batch(), 0.0)["contrast"]


def test_slices_at_the_same_height_are_no_negatives_at_the_same_place():
    slices = batch() | {"z": torch.linspace(0, 0.9, 4)}
    level = dataclasses.replace(TINY, same_height=1.0, neighbourhood=16.0)  # everything is near and at one height
    assert IdealPretraining(level)(slices, 0.0)["contrast"].item() == pytest.approx(0, abs=1e-6)
    apart = dataclasses.replace(level, same_height=0.01)
    assert IdealPretraining(apart)(slices, 0.0)["contrast"] > 0.5
    whole = dataclasses.replace(level, global_weight=1.0)
    assert IdealPretraining(whole)(slices, 0.0)["global_contrast"].item() == pytest.approx(0, abs=1e-6)


def test_sizes_that_are_no_multiple_of_the_stride_are_padded():
    losses = IdealPretraining(TINY)(batch(size=(37, 43)), 0.0)
    assert torch.isfinite(losses["contrast"])


def test_the_key_branch_follows_slowly():
    task = IdealPretraining(dataclasses.replace(TINY, momentum=0.9, last_momentum=1.0))
    start = task.key.encoder.levels[0][0].weight.clone()
    with torch.no_grad():
        task.encoder.levels[0][0].weight.add_(1.0)
    task.after_step(0.0)
    assert torch.allclose(task.key.encoder.levels[0][0].weight, start + 0.1, atol=1e-6)
    task.after_step(1.0)
    assert torch.allclose(task.key.encoder.levels[0][0].weight, start + 0.1, atol=1e-6)


def test_the_published_way_asks_the_most_similar_cell_with_a_head_of_one_layer_and_moves_keys_slowly():
    task = IdealPretraining(dataclasses.replace(pretraining_preset("paper"), network="tiny"), seed=3)
    assert [type(layer).__name__ for layer in task.query.head] == ["Conv2d"]
    found = task(batch(), 0.0)
    exact = IdealPretraining(dataclasses.replace(pretraining_preset("paper"), network="tiny", match="affine"), seed=3)
    assert not torch.equal(found["contrast"], exact(batch(), 0.0)["contrast"])
    with torch.no_grad():
        for parameter in task.query.parameters():
            parameter.add_(1.0)
    before = next(task.key.parameters()).clone()
    task.after_step(0.0)
    assert torch.allclose(next(task.key.parameters()), before + 0.001, atol=1e-6)


def test_impossible_levels_and_presets_are_refused():
    with pytest.raises(InputError, match="levels 0 to 3"):
        IdealPretraining(dataclasses.replace(TINY, level=4))
    with pytest.raises(InputError, match="levels 0 to 2"):
        IdealPretraining(dataclasses.replace(TINY, decoder_weight=1.0, decoder_level=3))
    with pytest.raises(InputError, match="default, paper or tiny"):
        pretraining_preset("large")
