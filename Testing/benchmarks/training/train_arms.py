"""What training gains from unlabelled volumes: the same few labelled patients, with and without the others.

    python3 Testing/benchmarks/training/train_arms.py                            ACDC, 3 labelled patients of 10, seeds 0 to 2
    python3 Testing/benchmarks/training/train_arms.py --set hippocampus          4 labelled cases of 24
    python3 Testing/benchmarks/training/train_arms.py --labelled 1 --arms supervised,plus
    python3 Testing/benchmarks/training/train_arms.py --json acdc3.json          keeps each arm and seed, and goes on from there
    python3 Testing/benchmarks/training/train_arms.py --seeds 101,102,103 --change spatial_weight=0.1      for choosing settings
    python3 Testing/benchmarks/training/train_arms.py --arms supervised,plus --change neighbours=1         2.5D: three slices side by side
    python3 Testing/benchmarks/training/train_arms.py --arms supervised,plus --change dimensions=3         3D: patches of up to 16 slices
    python3 Testing/benchmarks/training/train_arms.py --full --device cuda --labelled 7 --arms supervised,paper,plus
                                                                                 the published size and number of steps, for a graphics card

Arms: ``supervised`` sees labelled slices alone; ``paper`` is the preset ``paper`` of fine-tuning: cross pseudo supervision with the
published optimiser, learning rate, schedule and transformations, which takes part of its 30,000 steps (``--paper-steps``; all
are days on a CPU); ``cross`` has its losses with the optimiser, schedule and transformations of the other arms; ``plus`` is the
default of fine-tuning; ``consistent`` sees labelled slices and learns that the answer to an unlabelled one moves with it, as S3-Net's
does (weight 1, no pseudo-labels); ``pretrained`` the same from a network that was pre-trained on the training patients' images; ``ceiling`` is
``supervised`` with labels of all training patients. Steps, learning rate and slices in a step are, but for ``paper``, those of the
preset ``tiny`` of ``s3net finetune`` and ``s3net pretrain``; all arms have as many slices in a step, of which half are unlabelled in
``paper``, ``cross`` and ``consistent`` and, once the teacher deserves trust, in ``plus``. The teacher's answers take a third of a step more; pre-training
comes on top.

A seed draws patients: those for training (of which the first are labelled) and those for the test; no image of a test
patient is seen before. Nothing is chosen by the test: the last moving average of the weights answers. Scored on the volumes'
own voxels: Dice of each class and volume, a missed structure counts as 0; one below 0.5 counts as a failure. The network is
the tiny one (0.12 million weights), computed in bfloat16, in 3D in float32. With ``--full`` all is that of the presets ``plus``,
``default`` and ``paper``: 1.8 million weights, whole slices of at most 256 pixels, 30,000 steps of ``paper``. Settings were chosen on seeds 101 to 103: other divisions, but of
the same patients for ACDC.

Needs the labelled data of ``data_sets.py``. Times are of one thread unless OMP_NUM_THREADS says otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from consistency import ConsistentFinetuning  # noqa: E402
from paths import SHARED_DATA  # noqa: E402
from train_cases import SETS, DataSet, drawn_cohorts, volume_dice  # noqa: E402

from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.nets.unet import CHANNELS, UNetFeatures  # noqa: E402
from S3NetSegmentLib.engine.training.configuration import finetuning_configuration, pretraining_configuration  # noqa: E402
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning  # noqa: E402
from S3NetSegmentLib.engine.training.ideal.pretraining import IdealPretraining  # noqa: E402
from S3NetSegmentLib.engine.training.ideal.settings import (  # noqa: E402
    FinetuningSettings,
    PretrainingSettings,
    finetuning_preset,
)
from S3NetSegmentLib.engine.training.settings import CohortSettings, TrainerSettings, TwoStreamBatchSettings  # noqa: E402
from S3NetSegmentLib.engine.training.slices.bank import SliceBank, build_bank  # noqa: E402
from S3NetSegmentLib.engine.training.slices.batches import SliceBatches, TwoStreamBatches  # noqa: E402
from S3NetSegmentLib.engine.training.trainer.optimisation import TrainingTask  # noqa: E402
from S3NetSegmentLib.engine.training.trainer.trainer import Trainer  # noqa: E402

ARMS = ("supervised", "paper", "cross", "consistent", "plus", "pretrained", "ceiling")
LOSSES_OF_PAPER = ("unlabelled_weight", "ramp_share", "views", "teacher", "threshold", "pseudo_dice", "trust", "mix")
FAILED = 0.5  # Dice below which a structure counts as a failure


def main() -> None:
    options = parsed()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    recipe = Recipe.of(options)
    data = SETS[options.set]
    if SHARED_DATA is None or not (SHARED_DATA / data.folder).is_dir():
        sys.exit(f"the labelled set {data.folder!r} is not here; see Testing/README.md")
    options.labelled = options.labelled or data.labelled
    if not 1 <= options.labelled <= data.train:
        sys.exit(f"--labelled is {options.labelled}; {options.set} has 1 to {data.train} training patients")
    print(
        f"{options.set}: {options.labelled} labelled of {data.train} training patients, {data.test} test patients; "
        f"{recipe.trainer.steps} steps of {recipe.slices} slices, of which up to {recipe.unlabelled} unlabelled, pre-training "
        f"{recipe.pretrainer.steps} steps",
        flush=True,
    )
    data = data.seen_by(recipe.cohort, whole=options.full)
    if data.layout.is_3d and "consistent" in options.arms:
        sys.exit("the arm consistent is one of slices; leave it out in 3D")
    if data.layout.is_3d:
        print(f"3D: patches of {data.layout.depth} slices that lie {data.layout.thickness:.3g} mm apart", flush=True)
    results = Results(options, recipe)
    for seed in options.seeds:
        missing = [arm for arm in options.arms if not results.has(arm, seed)]
        for arm, dice, seconds in arm_results(data, missing, seed, options.labelled, recipe) if missing else ():
            results.add(arm, seed, dice)
            print(f"seed {seed}, {arm}: {described(dice, data.classes)}; {seconds:.0f} s", flush=True)
    print_tables({arm: results.scores.get(arm, {}) for arm in options.arms}, data.classes)


@dataclass(frozen=True)
class Recipe:
    """How the arms are trained: the presets ``tiny``, or those in full size, with what the options change."""

    finetuning: FinetuningSettings
    pretraining: PretrainingSettings
    trainer: TrainerSettings
    pretrainer: TrainerSettings
    paper_trainer: TrainerSettings
    slices: int
    unlabelled: int
    pretraining_batch: int
    cohort: CohortSettings
    device: str

    @classmethod
    def of(cls, options) -> Recipe:
        fine = finetuning_configuration("plus" if options.full else "tiny")
        before = pretraining_configuration("ideal", "default" if options.full else "tiny")
        fine, before = fine.with_texts(options.change), before.with_texts(options.pretraining_change)
        if options.steps:
            fine = fine.replaced(steps=options.steps)
        if options.pretraining_steps:
            before = before.replaced(steps=options.pretraining_steps)
        batches, paper = fine.batches, finetuning_configuration("paper").trainer
        steps = options.paper_steps or (paper.steps if options.full else fine.trainer.steps)
        paper = dataclasses.replace(paper, steps=steps, precision="bf16")
        is_3d = fine.cohort.dimensions == 3
        return cls(
            fine.task, before.task, dataclasses.replace(fine.trainer, precision="fp32" if is_3d else "bf16"),
            dataclasses.replace(before.trainer, precision="bf16"), paper, batches.batch, batches.unlabelled_batch,
            before.batches.batch, fine.cohort, options.device,
        )  # fmt: skip


class Results:
    """Dice ``[test volumes, classes]`` (NaN: the structure is absent) by arm and seed; kept in a file if one is given."""

    def __init__(self, options, recipe: Recipe):
        self._file = options.json
        self._conditions = json.loads(
            json.dumps({"set": options.set, "labelled": options.labelled, **dataclasses.asdict(recipe)})
        )
        self.scores: dict[str, dict[int, np.ndarray]] = {}
        if self._file and self._file.is_file():
            stored = json.loads(self._file.read_text())
            then, now = stored["conditions"], self._conditions
            other = [name for name in then.keys() | now.keys() if then.get(name) != now.get(name)]
            if other:
                sys.exit(
                    f"{self._file} holds results of other conditions ({', '.join(sorted(other))}); give another file"
                )
            for arm, found in stored["scores"].items():
                self.scores[arm] = {int(seed): np.array(dice, float) for seed, dice in found.items()}

    def has(self, arm: str, seed: int) -> bool:
        return seed in self.scores.get(arm, {})

    def add(self, arm: str, seed: int, dice: np.ndarray) -> None:
        self.scores.setdefault(arm, {})[seed] = dice
        if self._file:
            plain = {a: {seed: dice.tolist() for seed, dice in found.items()} for a, found in self.scores.items()}
            text = json.dumps({"conditions": self._conditions, "scores": plain}, indent=1) + "\n"
            fresh = self._file.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(self._file)


def arm_results(data: DataSet, arms: list[str], seed: int, labelled: int, recipe: Recipe):
    """For each of ``arms`` its name, the Dice ``[test volumes, classes]`` and the seconds of training."""
    for count, members in (
        (labelled, [a for a in arms if a != "ceiling"]),
        (data.train, [a for a in arms if a == "ceiling"]),
    ):
        if not members:
            continue
        with tempfile.TemporaryDirectory() as folder:
            train, test = drawn_cohorts(data, count, seed, Path(folder))
            bank = run_to_end(build_bank(train.cases, train.classes, data.layout, device=recipe.device))
            for arm in members:
                before, seconds = pretrained(bank, seed, recipe) if arm == "pretrained" else ({}, 0.0)
                kind = ConsistentFinetuning if arm == "consistent" else IdealFinetuning
                task = kind(
                    len(data.classes) + 1,
                    arm_settings(arm, recipe),
                    in_channels=data.layout.inputs,
                    across=data.layout.across(len(CHANNELS[recipe.finetuning.network])),
                    seed=seed,
                    **before,
                )
                trainer = recipe.paper_trainer if arm == "paper" else recipe.trainer
                seconds += trained(task, arm_batches(arm, bank, seed, recipe), trainer, seed, recipe.device)
                dice = [volume_dice(task.predictor(), case, data.layout, test, recipe.device) for case in test.cases]
                yield arm, np.array(dice), seconds


def arm_batches(arm: str, bank: SliceBank, seed: int, recipe: Recipe) -> TwoStreamBatches:
    slices, unlabelled = TwoStreamBatchSettings(recipe.slices, recipe.unlabelled).patches(bank.layout.depth)
    if arm in ("supervised", "ceiling"):
        return TwoStreamBatches(bank, slices, 0, seed)
    if arm in ("paper", "cross", "consistent"):
        return TwoStreamBatches(bank, slices - unlabelled, unlabelled, seed)
    return TwoStreamBatches(bank, slices, unlabelled, seed)  # these take the place of labelled ones


def arm_settings(arm: str, recipe: Recipe) -> FinetuningSettings:
    if arm == "paper":
        return dataclasses.replace(finetuning_preset("paper"), network=recipe.finetuning.network)
    if arm == "cross":
        paper = finetuning_preset("paper")
        return dataclasses.replace(
            FinetuningSettings(network=recipe.finetuning.network),
            **{name: getattr(paper, name) for name in LOSSES_OF_PAPER},
        )
    if arm in ("supervised", "consistent", "ceiling"):
        return dataclasses.replace(recipe.finetuning, unlabelled_weight=0.0)
    return recipe.finetuning


def pretrained(bank: SliceBank, seed: int, recipe: Recipe):
    """Weights of a network that was trained on all slices of ``bank`` without their labels, by part, and the seconds it took."""
    task = IdealPretraining(recipe.pretraining, in_channels=bank.layout.inputs, seed=seed)
    batches = SliceBatches(bank, recipe.pretraining_batch, seed)
    seconds = trained(task, batches, recipe.pretrainer, seed, recipe.device)
    with torch.no_grad():
        found = task(batches(recipe.pretrainer.steps, 0, 1), 1.0)
    measures = ", ".join(f"{name.lstrip('_').replace('_', ' ')} {float(value):.2f}" for name, value in found.items())
    print(f"  seed {seed}, pre-training: {measures}; {seconds:.0f} s", flush=True)
    network = task.predictor()
    if isinstance(network, UNetFeatures):
        return {"encoder": network.encoder.state_dict(), "decoders": network.decoders.state_dict()}, seconds
    return {"encoder": network.state_dict()}, seconds


def trained(task: TrainingTask, batches, settings: TrainerSettings, seed: int, device: str = "cpu") -> float:
    start = time.perf_counter()
    run_to_end(Trainer(task.to(device), batches, dataclasses.replace(settings, seed=seed), device=device).run())
    return time.perf_counter() - start


def described(dice: np.ndarray, classes) -> str:
    each = ", ".join(f"{name} {100 * value:.1f}" for name, value in zip(classes, np.nanmean(dice, 0), strict=True))
    return f"Dice {100 * np.nanmean(dice):.1f} ({each}), failures {failures(dice)} of {np.isfinite(dice).sum()}"


def failures(dice: np.ndarray) -> int:
    return int((dice < FAILED).sum())


def print_tables(scores: dict, classes) -> None:
    """Mean and standard deviation over seeds with the difference to ``supervised`` in every seed; then each seed's classes."""
    print(f"\n| arm | Dice | {' | '.join(classes)} | by seed | minus supervised, by seed | failures |")
    print("|---" * (5 + len(classes)) + "|")
    first = scores.get("supervised", {})
    for arm, found in ((arm, found) for arm, found in scores.items() if found):
        means = np.array([100 * np.nanmean(dice) for dice in found.values()])
        each = np.mean([100 * np.nanmean(dice, 0) for dice in found.values()], 0)
        spread = f" ± {means.std(ddof=1):.1f}" if len(means) > 1 else ""
        gains = [
            f"{100 * (np.nanmean(dice) - np.nanmean(first[seed])):+.1f}"
            for seed, dice in found.items()
            if seed in first
        ]
        failed, total = sum(map(failures, found.values())), sum(int(np.isfinite(d).sum()) for d in found.values())
        print(
            f"| {arm} | {means.mean():.1f}{spread} | {' | '.join(f'{v:.1f}' for v in each)} | "
            f"{', '.join(f'{v:.1f}' for v in means)} | {'' if arm == 'supervised' else ', '.join(gains)} | {failed} of {total} |"
        )
    print(f"\n| arm | seed | Dice | {' | '.join(classes)} | failures |")
    print("|---" * (4 + len(classes)) + "|")
    for arm, found in scores.items():
        for seed, dice in sorted(found.items()):
            each = " | ".join(f"{100 * value:.1f}" for value in np.nanmean(dice, 0))
            print(
                f"| {arm} | {seed} | {100 * np.nanmean(dice):.1f} | {each} | {failures(dice)} of {np.isfinite(dice).sum()} |"
            )


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="acdc", help="data set (default acdc)")
    parser.add_argument(
        "--labelled", type=int, default=0, help="labelled patients (default 3 for acdc, 4 for hippocampus)"
    )
    parser.add_argument(
        "--arms", type=lambda t: t.split(","), default=["supervised", "plus", "pretrained"],
        help="some of " + ", ".join(ARMS),
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=lambda t: [int(v) for v in t.split(",")], default=[0, 1, 2], help="default 0,1,2"
    )
    parser.add_argument("--full", action="store_true", help="the presets' own sizes and steps; weeks on a CPU")
    parser.add_argument("--device", default="cpu", help="where to train: cpu, cuda, cuda:1 (default cpu)")
    parser.add_argument("--steps", type=int, help="fine-tuning steps (default: the preset's)")
    parser.add_argument("--pretraining-steps", type=int, help="the same for pre-training")
    parser.add_argument(
        "--paper-steps", type=int, help="the same for the arm paper (published: 30000; default: as the others)"
    )
    parser.add_argument(
        "--change",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="setting of fine-tuning, in all arms but paper and cross",
    )
    parser.add_argument("--pretraining-change", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--json", type=Path, help="keep the Dice of every volume and class in this file, and go on from it"
    )
    options = parser.parse_args()
    unknown = set(options.arms) - set(ARMS)
    if unknown:
        parser.error(f"unknown arms {', '.join(sorted(unknown))}; choose from {', '.join(ARMS)}")
    return options


if __name__ == "__main__":
    main()
