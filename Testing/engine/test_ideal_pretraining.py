"""IDEAL's pre-training: exact correspondences, key branch, determinism, and that it learns."""

import dataclasses

import pytest
import torch

from S3NetSegmentLib.engine.affine2d import Affine2d
from S3NetSegmentLib.engine.contrast import sample_cells
from S3NetSegmentLib.engine.errors import InputError
from S3NetSegmentLib.engine.methods.ideal_pretraining import (
    IdealPretraining,
    _View,
    correspondences,
    pretraining_preset,
)

TINY = pretraining_preset("tiny")


def batch(count=4, size=(32, 40), step=0, seed=0, padded=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.nn.functional.interpolate(torch.rand(count, 1, 8, 10, generator=generator), size, mode="bicubic")
    valid = torch.ones(count, 1, *size, dtype=torch.bool)
    if padded:
        valid[..., -padded:] = False
    image = (image * valid).clamp(0, 1)
    return {"image": image, "valid": valid, "z": torch.linspace(0, 1, count), "seed": seed, "step": step, "rank": 0}


def coordinate_ramp(height, width):
    """An image that shows at each pixel its own (row, column)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((rows, columns)).float()[None]


@pytest.mark.parametrize("stride", [1, 8])
def test_corresponding_cells_show_the_same_place_also_when_mirrored(stride):
    generator, size, count = torch.Generator().manual_seed(4), (64, 48), 12
    ranges = {"rotation": 30.0, "scaling": 0.25, "shear": 0.1, "shift": 0.15, "flip": True}
    affines = [Affine2d.random(generator, size, count, **ranges) for _ in range(2)]
    assert all((torch.tensor(a.matrix[:, :, :2]).det() < 0).any() for a in affines), "some are mirrored"
    ramp = coordinate_ramp(*size).expand(count, -1, -1, -1)
    cells, known = [], []
    for affine in affines:
        warped = affine.warp(ramp, (1.0, 1.0))
        cells.append(torch.nn.functional.avg_pool2d(warped, stride))
        inside = affine.warp(torch.ones(count, 1, *size), (1.0, 1.0))
        known.append(torch.nn.functional.avg_pool2d(inside, stride)[:, 0] > 1 - 1e-6)
    views = [_View(affine, ramp, there) for affine, there in zip(affines, known, strict=True)]
    places, shared = correspondences(*views, stride)
    height, width = known[0].shape[1:]
    # away from the rim of the key view and of the image, the ramp is linear, so bilinear sampling is exact
    row, column = places.unbind(-1)
    shared = shared & (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    shared &= sample_cells(known[1][:, None].float(), places)[:, 0] > 1 - 1e-6
    assert shared.float().mean() > 0.2
    error = (sample_cells(cells[1], places) - cells[0]).abs().amax(1)[shared]
    assert error.max() < 2e-4


def test_padding_is_neither_asked_nor_a_place_to_be_found():
    generator, count, size = torch.Generator().manual_seed(4), 6, (64, 64)
    affine = Affine2d.random(generator, size, count, rotation=20.0)
    half = torch.ones(count, 8, 8, dtype=torch.bool)
    half[:, :, 4:] = False
    image = torch.zeros(count, 1, *size)
    everywhere = torch.ones_like(half)
    query, key = _View(Affine2d.identity(), image, everywhere), _View(affine, image, half)
    places, shared = correspondences(query, key, 8)
    assert shared.any()
    assert (places[shared][:, 1] <= 3.5 + 1e-4).all()
    _, shared = correspondences(dataclasses.replace(query, known=half), key, 8)
    assert not (shared & ~half).any()


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
        {"normalization": "group"},
    ],
)
def test_every_option_gives_a_loss_that_teaches_the_query_branch_alone(changes):
    task = IdealPretraining(dataclasses.replace(TINY, **changes))
    losses = task(batch(padded=9), 0.0)
    losses["contrast"].backward()
    assert torch.isfinite(losses["contrast"])
    assert losses["contrast"] > 0
    assert task.encoder.levels[0][0].weight.grad.abs().max() > 0
    assert all(p.grad is None for p in (*task.key_encoder.parameters(), *task.key_head.parameters()))
    for name in ("_positive_cosine", "_negative_cosine", "_embedding_std", "_correspondence_accuracy"):
        assert -1 <= losses[name] <= 1.0001
        assert not losses[name].requires_grad


def test_slices_at_the_same_height_are_no_negatives_at_the_same_place():
    slices = batch() | {"z": torch.linspace(0, 0.9, 4)}
    level = dataclasses.replace(TINY, same_height=1.0, neighbourhood=16.0)  # everything is near and at one height
    assert IdealPretraining(level)(slices, 0.0)["contrast"].item() == pytest.approx(0, abs=1e-6)
    apart = dataclasses.replace(level, same_height=0.01)
    assert IdealPretraining(apart)(slices, 0.0)["contrast"] > 0.5


def test_sizes_that_are_no_multiple_of_the_stride_are_padded():
    losses = IdealPretraining(TINY)(batch(size=(37, 43)), 0.0)
    assert torch.isfinite(losses["contrast"])


def test_the_key_branch_follows_slowly():
    task = IdealPretraining(dataclasses.replace(TINY, momentum=0.9, last_momentum=1.0))
    start = task.key_encoder.levels[0][0].weight.clone()
    with torch.no_grad():
        task.encoder.levels[0][0].weight.add_(1.0)
    task.after_step(0.0)
    assert torch.allclose(task.key_encoder.levels[0][0].weight, start + 0.1, atol=1e-6)
    task.after_step(1.0)
    assert torch.allclose(task.key_encoder.levels[0][0].weight, start + 0.1, atol=1e-6)


def test_impossible_levels_and_presets_are_refused():
    with pytest.raises(InputError, match="levels 0 to 3"):
        IdealPretraining(dataclasses.replace(TINY, level=4))
    with pytest.raises(InputError, match="default or tiny"):
        pretraining_preset("large")
