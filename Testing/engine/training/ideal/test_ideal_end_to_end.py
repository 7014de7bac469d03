"""Pre-training and fine-tuning with the real trainer, from a cohort folder of synthetic volumes to labels of unseen ones."""

import dataclasses

import numpy as np
import pytest
import torch
from phantoms import CLASSES, phantom, write_phantom_cohort

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning
from S3NetSegmentLib.engine.training.ideal.pretraining import IdealPretraining
from S3NetSegmentLib.engine.training.ideal.settings import finetuning_preset, pretraining_preset
from S3NetSegmentLib.engine.training.settings import TrainerSettings
from S3NetSegmentLib.engine.training.slices.bank import build_bank
from S3NetSegmentLib.engine.training.slices.batches import SliceBatches, TwoStreamBatches
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout
from S3NetSegmentLib.engine.training.trainer.trainer import Trainer

SHAPE = (4, 64, 64)
STRIDE = 8


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_phantom_cohort(folder, labelled=2, unlabelled=16, shape=SHAPE)
    cohort = run_to_end(read_cohort(folder))
    return run_to_end(build_bank(cohort.cases, cohort.classes, SliceLayout("axial", 1.5, 64)))


@pytest.fixture(scope="module")
def encoder(bank):
    """Pre-trained; with its measures before and after on slices of volumes that it has not seen."""
    settings = dataclasses.replace(pretraining_preset("tiny"), rotation=30.0)  # 60 steps are few for views turned by 90
    task = IdealPretraining(settings, seed=1)
    unseen = torch.from_numpy(np.concatenate([phantom(seed, SHAPE)[0] for seed in range(500, 506)]))[:, None].clamp(
        0, 1
    )
    views = {"image": unseen, "seed": 9, "step": 0, "rank": 0}
    with torch.no_grad():
        before = task(views, 0.0)
    run_to_end(Trainer(task, SliceBatches(bank, 12, 1), TrainerSettings(steps=60, learning_rate=3e-3)).run())
    with torch.no_grad():
        return task.predictor(), before, task(views, 1.0)


def test_pre_training_finds_places_again_in_volumes_it_has_not_seen(encoder):
    _, before, after = encoder
    chance = 4 / (
        (SHAPE[1] // STRIDE) * (SHAPE[2] // STRIDE)
    )  # four cells lie within one cell of a place between cells
    assert after["_correspondence_accuracy"] > 5 * chance
    assert after["_correspondence_accuracy"] > 2 * before["_correspondence_accuracy"]
    assert after["contrast"] < before["contrast"]
    assert after["_positive_cosine"] > after["_negative_cosine"] + 0.1
    assert after["_embedding_std"] > 0.5, "the embeddings have not collapsed"


def test_two_labelled_volumes_suffice_to_label_others(bank, encoder):
    weights = encoder[0].state_dict()
    settings = dataclasses.replace(finetuning_preset("tiny"), average_decay=0.9)
    task = IdealFinetuning(len(CLASSES) + 1, settings, encoder=weights, seed=1)
    run_to_end(Trainer(task, TwoStreamBatches(bank, 4, 3, 1), TrainerSettings(steps=300, learning_rate=4e-3)).run())
    network = task.predictor().eval()
    overlaps = {label: [] for label in CLASSES}
    for seed in range(500, 506):
        image, truth = phantom(seed, SHAPE)
        with torch.no_grad():
            scaled = torch.from_numpy(image / np.quantile(image, 0.995))[:, None].clamp(0, 1)
            found = network(scaled).argmax(1).numpy()
        for label, values in overlaps.items():
            ours, theirs = found == label, truth == label
            values.append(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))
    for label, name in CLASSES.items():
        assert np.mean(overlaps[label]) > 0.7, name
