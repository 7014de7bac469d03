"""How long a step of fine-tuning takes, and which part of it data and augmentation are.

    python3 Testing/benchmarks/training/train_speed.py [--network tiny|unet] [--side 64] [--device cpu]

Prints for the labelled slices alone and for the preset ``plus``: the time of a step of the real trainer, the part of it for
batches, views and CutMix, and beside it the floor, forward and backward of the same network on as many random slices. On a CPU
all are CPU milliseconds, which other programs disturb less than seconds; on CUDA the device is waited for.

Aims: data and augmentation at most 15 % of a step, a step at most twice the floor. The volumes are phantoms.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import torch  # noqa: E402
from phantoms import CLASSES, write_phantom_cohort  # noqa: E402

from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort  # noqa: E402
from S3NetSegmentLib.engine.training.ideal import finetuning as ideal_finetuning  # noqa: E402
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning  # noqa: E402
from S3NetSegmentLib.engine.training.ideal.settings import finetuning_preset  # noqa: E402
from S3NetSegmentLib.engine.training.settings import TrainerSettings  # noqa: E402
from S3NetSegmentLib.engine.training.slices.bank import SliceBank, build_bank  # noqa: E402
from S3NetSegmentLib.engine.training.slices.batches import TwoStreamBatches  # noqa: E402
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout  # noqa: E402
from S3NetSegmentLib.engine.training.trainer.trainer import Trainer  # noqa: E402

STEPS, FIRST_STEPS = 30, 4


class Clock:
    """Seconds of computation on ``device``, and those spent in functions that are :meth:`counted`."""

    def __init__(self, device: torch.device):
        self._device = device
        self.spent = 0.0

    def now(self) -> float:
        if self._device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def counted(self, function):
        def call(*arguments, **named):
            start = self.now()
            result = function(*arguments, **named)
            self.spent += self.now() - start
            return result

        return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("tiny", "unet"), default="tiny", help="size of the U-Net (default tiny)")
    parser.add_argument("--side", type=int, default=64, help="pixels along the side of a slice (default 64)")
    parser.add_argument(
        "--batch", type=int, default=8, help="slices in a step, half of them unlabelled in plus (default 8)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    clock = Clock(torch.device(options.device))
    for name in ("change_intensities", "random_boxes", "mixed"):
        setattr(ideal_finetuning, name, clock.counted(getattr(ideal_finetuning, name)))
    IdealFinetuning._moved = clock.counted(IdealFinetuning._moved)
    bank = phantom_bank(options)
    print(f"{options.network}, {options.side} x {options.side}, {options.batch} slices a step, {options.device}")
    for arm in ("supervised", "plus"):
        print(measured(arm, bank, clock, options), flush=True)


def phantom_bank(options) -> SliceBank:
    with tempfile.TemporaryDirectory() as folder:
        write_phantom_cohort(Path(folder), 3, 7, shape=(8, options.side, options.side))
        cohort = run_to_end(read_cohort(folder))
        layout = SliceLayout("axial", 1.5, options.side)
        return run_to_end(build_bank(cohort.cases, cohort.classes, layout, device=options.device))


def measured(arm: str, bank: SliceBank, clock: Clock, options) -> str:
    settings, unlabelled = dataclasses.replace(finetuning_preset("plus"), network=options.network), options.batch // 2
    if arm == "supervised":
        settings, unlabelled = dataclasses.replace(settings, unlabelled_weight=0.0), 0
    batches = clock.counted(TwoStreamBatches(bank, options.batch, unlabelled, 0))
    task = IdealFinetuning(len(CLASSES) + 1, settings).to(options.device)
    task.trust.weights = lambda: torch.ones(len(CLASSES) + 1, device=options.device)  # as late in a run
    for steps in (FIRST_STEPS, STEPS):  # torch prepares its kernels in the first
        trainer = Trainer(task, batches, TrainerSettings(steps=steps, precision="fp32"), device=options.device)
        clock.spent, start = 0.0, clock.now()
        run_to_end(trainer.run())
        step = (clock.now() - start) / STEPS
    data, floor = clock.spent / STEPS, network_floor(task.network, clock, options)
    return (
        f"{arm}: {1000 * step:.1f} ms a step, of which data and augmentation {1000 * data:.1f} ms ({100 * data / step:.0f} %); "
        f"the network alone {1000 * floor:.1f} ms (step / floor {step / floor:.2f})"
    )


def network_floor(network: torch.nn.Module, clock: Clock, options) -> float:
    """Seconds of forward and backward of both streams on random slices."""
    images, start = torch.rand(options.batch, 1, options.side, options.side, device=options.device), 0.0
    network.train()
    for repeat in range(FIRST_STEPS + STEPS):
        if repeat == FIRST_STEPS:
            start = clock.now()
        first, second = network.streams(images)
        (first.mean() + second.mean()).backward()
    return (clock.now() - start) / STEPS


if __name__ == "__main__":
    main()
