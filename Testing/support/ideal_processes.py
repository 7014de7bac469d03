"""IDEAL's real tasks in several processes, and in one that computes the same batches in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.training.configuration import finetuning_configuration, pretraining_configuration
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning
from S3NetSegmentLib.engine.training.ideal.pretraining import IdealPretraining
from S3NetSegmentLib.engine.training.slices.bank import SliceBank
from S3NetSegmentLib.engine.training.slices.batches import SliceBatches, TwoStreamBatches
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout
from S3NetSegmentLib.engine.training.trainer.processes import Processes, joined_processes
from S3NetSegmentLib.engine.training.trainer.trainer import Trainer

BATCH, STEPS, SIDE, SLICES = 3, 4, 32, 24


def ideal_trainer(kind: str, batch: int = BATCH, processes: Processes | None = None, **changes) -> Trainer:
    """A trainer of the tiny preset on noisy slices with a bright disc, the first half of them labelled.

    With group normalisation nothing is shared by the slices of a batch but the losses, so that the parts of a batch are the
    same whoever computes them.
    """
    settings = {"steps": STEPS, "precision": "fp32", "log_every": 1, "normalization": "group"}
    settings = {**settings, "optimizer": "sgd", "learning_rate": 0.05, **changes}
    if kind == "finetune":
        configuration = finetuning_configuration("tiny").replaced(batch=batch, unlabelled_batch=batch, **settings)
        batches = TwoStreamBatches(_bank(), batch, batch, 0)
        task = IdealFinetuning(2, configuration.task, seed=0)
    else:
        configuration = pretraining_configuration("ideal", "tiny").replaced(batch=batch, **settings)
        batches = SliceBatches(_bank(), batch, 0)
        task = IdealPretraining(configuration.task, seed=0)
    return Trainer(task, batches, configuration.trainer, processes=processes)


def _bank() -> SliceBank:
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:SIDE, :SIDE]
    centres = rng.integers(10, SIDE - 10, (SLICES, 2))
    discs = np.stack([(row - r) ** 2 + (column - c) ** 2 < 40 for r, c in centres])
    images = (60 + 120 * discs + rng.normal(0, 12, discs.shape)).clip(0, 255).astype(np.uint8)
    half = SLICES // 2
    rows = np.where(np.arange(SLICES) < half, np.arange(SLICES), -1)
    return SliceBank(
        torch.device("cpu"), SliceLayout("axial", 1.0, SIDE), ("a", "b"), torch.from_numpy(images)[:, None], torch.from_numpy(discs[:half].astype(np.uint8)), rows,
        (np.arange(SLICES) >= half).astype(np.int64), np.linspace(0, 1, SLICES).astype(np.float32),
        np.tile([0, 0, SIDE, SIDE], (SLICES, 1)), {"a": "1", "b": "2"},
    )  # fmt: skip


def train_in_processes(kind: str, out: Path) -> None:
    """In each of several processes: trains and keeps its weights in ``out``."""
    torch.set_num_threads(1)
    with joined_processes("cpu") as (processes, _):
        weights = _trained(kind, processes)
        torch.save(weights, out / f"rank{processes.rank}.pt")


def _trained(kind: str, processes: Processes) -> dict:
    trainer = ideal_trainer(kind, processes=processes)
    run_to_end(trainer.run())
    return trainer.task.state_dict()
