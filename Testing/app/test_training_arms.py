"""The arms of the benchmark of training are what their names say."""

import argparse
import dataclasses
import sys

import numpy as np
import pytest
import torch
from paths import REPOSITORY

from S3NetSegmentLib.engine.images import Volume
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.training.configuration import finetuning_configuration
from S3NetSegmentLib.engine.training.ideal.settings import finetuning_preset
from S3NetSegmentLib.engine.training.settings import CohortSettings


@pytest.fixture
def arms(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "Testing" / "benchmarks" / "training"), *sys.path])
    import train_arms

    return train_arms


def recipe_of(arms, **changes):
    options = {"change": [], "pretraining_change": [], "steps": None, "pretraining_steps": None, "paper_steps": None}
    options |= {"full": False, "device": "cpu"}
    return arms.Recipe.of(argparse.Namespace(**{**options, **changes}))


def test_the_arm_with_the_papers_name_has_the_published_settings_optimiser_and_schedule(arms):
    recipe = recipe_of(arms, paper_steps=30_000, change=["rotation=5"])
    published = finetuning_configuration("paper")
    assert arms.arm_settings("paper", recipe) == dataclasses.replace(published.task, network="tiny")
    assert recipe.paper_trainer == dataclasses.replace(published.trainer, precision="bf16")
    assert recipe.trainer.optimizer != recipe.paper_trainer.optimizer
    assert recipe_of(arms, steps=12).paper_trainer.steps == 12


def test_in_full_size_the_arms_are_the_presets(arms):
    recipe = recipe_of(arms, full=True)
    published, plus = finetuning_configuration("paper"), finetuning_configuration("plus")
    assert arms.arm_settings("paper", recipe) == published.task and recipe.paper_trainer.steps == 30_000
    assert arms.arm_settings("plus", recipe) == plus.task and recipe.cohort == plus.cohort
    assert (recipe.trainer.steps, recipe.slices, recipe.unlabelled) == (10_000, 24, 12)


def test_in_full_size_whole_slices_are_seen(arms, monkeypatch, tmp_path):
    import train_cases

    volume = Volume(np.zeros((3, 200, 240), np.int16), np.diag((1.5, 1.5, 10.0, 1.0)))
    (tmp_path / "mr_cardiac_acdc").mkdir()
    write_image(volume, tmp_path / "mr_cardiac_acdc" / "p_ED_image.nii.gz")
    monkeypatch.setattr(train_cases, "SHARED_DATA", tmp_path)
    seen = train_cases.SETS["acdc"].seen_by(CohortSettings(), whole=True).layout
    assert (seen.spacing, seen.plane) == (1.5, "axial") and 240 <= seen.side <= 256
    assert train_cases.SETS["acdc"].seen_by(CohortSettings()).layout == train_cases.SETS["acdc"].layout


def test_the_arm_cross_has_the_published_losses_and_all_else_of_the_other_arms(arms):
    settings, paper = arms.arm_settings("cross", recipe_of(arms)), finetuning_preset("paper")
    others = finetuning_preset("tiny")
    for field in dataclasses.fields(settings):
        source = paper if field.name in arms.LOSSES_OF_PAPER else others
        assert getattr(settings, field.name) == getattr(source, field.name), field.name
    differ = {f.name for f in dataclasses.fields(paper) if getattr(paper, f.name) != getattr(others, f.name)}
    changed = {
        "network",
        "average_decay",
        "weak_intensities",
        "rotation",
        "rotation_steps",
        "scaling",
        "shear",
        "shift",
        "flip",
    }
    assert differ - set(arms.LOSSES_OF_PAPER) == changed


def test_the_arm_consistent_adds_that_answers_move_with_their_slices(arms):
    settings = arms.arm_settings("consistent", recipe_of(arms))
    assert settings == arms.arm_settings("supervised", recipe_of(arms))
    task, alone = (kind(2, settings) for kind in (arms.ConsistentFinetuning, arms.IdealFinetuning))
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    labels[:, 8:20, 8:24] = 1
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = {"labelled": images[:2], "labels": labels, "unlabelled": images, "seed": 0, "step": 1000}
    losses = task(batch, 0.5)
    assert torch.equal(losses["supervised"], alone(batch, 0.5)["supervised"]) and losses["consistency"] > 0
    losses["consistency"].backward()
    assert all(p.grad.abs().sum() > 0 for p in task.network.encoder.levels[0].parameters() if p.ndim > 1)


def test_an_answer_to_each_pixel_by_itself_moves_with_the_slice(arms, monkeypatch):
    task = arms.ConsistentFinetuning(2, arms.arm_settings("consistent", recipe_of(arms)))
    smooth = torch.linspace(0, 1, 32).expand(3, 1, 32, 32)
    places = torch.linspace(0, 1, 32)[:, None].expand(32, 32)

    def consistency(answer):
        monkeypatch.setattr(task.network, "forward", answer)
        return task({"unlabelled": smooth, "seed": 0, "step": 1000}, 0.5)["consistency"].item()

    monkeypatch.setattr(arms.IdealFinetuning, "forward", lambda *_: {})
    of_each = consistency(lambda image: torch.cat((image, -image), 1).log_softmax(1))
    of_places = consistency(lambda image: torch.stack((places, -places)).expand(len(image), 2, 32, 32).log_softmax(1))
    assert of_each < 0.05 * of_places
