"""The arms of the benchmark of training are what their names say."""

import argparse
import dataclasses
import sys

import pytest
from paths import REPOSITORY

from S3NetSegmentLib.engine.training.configuration import finetuning_configuration
from S3NetSegmentLib.engine.training.ideal.settings import finetuning_preset


@pytest.fixture
def arms(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "Testing" / "benchmarks" / "training"), *sys.path])
    import train_arms

    return train_arms


def recipe_of(arms, **changes):
    options = {"change": [], "pretraining_change": [], "steps": None, "pretraining_steps": None, "paper_steps": None}
    return arms.Recipe.of(argparse.Namespace(**{**options, **changes}))


def test_the_arm_with_the_papers_name_has_the_published_settings_optimiser_and_schedule(arms):
    recipe = recipe_of(arms, paper_steps=30_000, change=["rotation=5"])
    published = finetuning_configuration("paper")
    assert arms.arm_settings("paper", recipe) == dataclasses.replace(published.task, network="tiny")
    assert recipe.paper_trainer == dataclasses.replace(published.trainer, precision="bf16")
    assert recipe.trainer.optimizer != recipe.paper_trainer.optimizer
    assert recipe_of(arms, steps=12).paper_trainer.steps == 12


def test_the_arm_cross_has_the_published_losses_and_all_else_of_the_other_arms(arms):
    settings, paper = arms.arm_settings("cross", recipe_of(arms)), finetuning_preset("paper")
    others = finetuning_preset("tiny")
    for field in dataclasses.fields(settings):
        source = paper if field.name in arms.LOSSES_OF_PAPER else others
        assert getattr(settings, field.name) == getattr(source, field.name), field.name
    differ = {f.name for f in dataclasses.fields(paper) if getattr(paper, f.name) != getattr(others, f.name)}
    changed = {"network", "average_decay", "rotation", "rotation_steps", "scaling", "shear", "shift", "flip"}
    assert differ - set(arms.LOSSES_OF_PAPER) == changed
