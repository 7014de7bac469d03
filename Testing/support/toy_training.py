"""A small task and batches for tests of the trainer, here and in other processes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from keep_threads import threads_of_gloo
from torch import nn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "S3NetSegment"))

from S3NetSegmentLib.engine.common.tensors import torch_generator, torch_random_numbers
from S3NetSegmentLib.engine.training.settings import TrainerSettings
from S3NetSegmentLib.engine.training.trainer.optimisation import TrainingTask
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder
from S3NetSegmentLib.engine.training.trainer.trainer import Trainer


class ToyTask(TrainingTask):
    """A network with dropout and a moving average that learns whether noisy pixels are bright.

    :param poison: the loss is NaN from this step on.
    """

    def __init__(self, seed=0, dropout=0.2, poison=None, frozen=False):
        super().__init__()
        with torch_random_numbers(seed):
            self.net = nn.Sequential(
                nn.Conv2d(1, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(6, 2, 1)
            )
            self.backbone = nn.Conv2d(1, 1, 1).requires_grad_(False)
        self.register_buffer("average", self.net[0].weight.detach().clone())
        self._poison = poison
        if frozen:
            self.requires_grad_(False)

    @property
    def unchanging(self):
        return ("backbone.weight", "backbone.bias")

    def forward(self, batch, progress):
        with torch_random_numbers(batch["seed"] * 1_000_003 + batch["step"] * 1009 + batch["rank"]):
            logits = self.net(self.backbone(batch["image"]))
        loss = nn.functional.cross_entropy(logits, batch["labels"])
        if self._poison is not None and batch["step"] >= self._poison:
            loss = loss * float("nan")
        return {"match": loss, "_sure": logits.softmax(1).amax(1).mean()}

    def after_step(self, progress):
        self.average.lerp_(self.net[0].weight.detach(), 0.1)

    def predictor(self):
        return self.net


class ToyBatches:
    """Noise with bright discs; the sample at each position of the endless row is its own."""

    def __init__(self, batch=4, seed=0, side=12):
        self._batch, self._seed, self._side = batch, seed, side

    def __call__(self, step, rank=0, processes=1):
        first = (step * processes + rank) * self._batch
        images = []
        for position in range(first, first + self._batch):
            images.append(torch.rand(1, self._side, self._side, generator=torch_generator(self._seed, position)))
        image = torch.stack(images)
        return {
            "image": image, "labels": (image[:, 0] > 0.6).long(), "seed": self._seed, "step": step, "rank": rank,
            "processes": processes,
        }  # fmt: skip


SMALL = {"steps": 12, "learning_rate": 0.05, "precision": "fp32", "log_every": 1}


def toy_trainer(
    folder=None,
    *,
    task=None,
    batch=4,
    side=12,
    processes=None,
    validate=None,
    keep_best=None,
    clock=None,
    stop=None,
    **settings,
):
    """A trainer of the toy task; ``folder`` is a path."""
    more = {} if clock is None else {"clock": clock}
    run = None if folder is None else RunFolder(folder)
    if run:
        run.make()
    return Trainer(
        task or ToyTask(), ToyBatches(batch, side=side), TrainerSettings(**{**SMALL, **settings}), folder=run,
        processes=processes, validate=validate, keep_best=keep_best, stop=stop, **more,
    )  # fmt: skip


def train_in_processes(out: Path) -> None:
    """In each of several processes: trains without dropout and keeps the weights of rank 0."""
    from S3NetSegmentLib.engine.common.progress import run_to_end
    from S3NetSegmentLib.engine.training.trainer.processes import joined_processes

    torch.set_num_threads(1)
    with joined_processes("cpu") as (processes, _):
        task = ToyTask(dropout=0.0)
        run_to_end(toy_trainer(out, task=task, batch=2, processes=processes, optimizer="sgd").run())
        torch.save(task.state_dict(), out / f"rank{processes.rank}.pt")
    (out / f"threads{processes.rank}.txt").write_text(" ".join(threads_of_gloo()))


def train_into_nothing(out: Path) -> None:
    """In each of several processes: the loss of one process alone becomes NaN; each keeps what it was told."""
    from S3NetSegmentLib.engine.common.progress import run_to_end
    from S3NetSegmentLib.engine.training.trainer.processes import joined_processes
    from S3NetSegmentLib.engine.training.trainer.trainer import TrainingError

    torch.set_num_threads(1)
    with joined_processes("cpu") as (processes, _):
        task = ToyTask(poison=5 if processes.rank == 1 else None)
        try:
            run_to_end(toy_trainer(out, task=task, batch=2, processes=processes, checkpoint_minutes=0.0).run())
        except TrainingError as error:
            (out / f"told{processes.rank}.txt").write_text(str(error))


def _run_slowly(out: str) -> None:
    """Trains for long, saving after each step; stops orderly on SIGTERM and SIGINT."""
    import signal

    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(1))
    trainer = toy_trainer(out, steps=100_000, schedule="constant", warmup=0.0, checkpoint_minutes=0.0)
    trainer.resume()
    steps = trainer.run()
    for step in steps:
        print(step.message, flush=True)
        if stopped:
            steps.close()
            return


if __name__ == "__main__":
    _run_slowly(sys.argv[1])
