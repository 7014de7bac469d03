"""What training gains from unlabelled volumes: the same few labelled patients, with and without the others.

    python3 Testing/benchmarks/train_arms.py                            ACDC, 3 labelled patients of 10, seeds 0 to 2
    python3 Testing/benchmarks/train_arms.py --set hippocampus          4 labelled cases of 24
    python3 Testing/benchmarks/train_arms.py --labelled 1 --arms supervised,plus
    python3 Testing/benchmarks/train_arms.py --seeds 100,101 --change threshold=0.7      for choosing settings

Arms: ``supervised`` sees labelled slices alone; ``paper`` is cross pseudo supervision as published; ``plus`` the default of
fine-tuning; ``pretrained`` the same from an encoder that was pre-trained on the training patients' images. All take the same
number of steps with the same number of slices in each (supervised: all of them labelled), so the first three cost
about the same time; pre-training comes on top.

A seed draws patients: those for training (of which the first are labelled) and those for the test; no image of a test
patient is seen before. Nothing is chosen by the test: the last moving average of the weights answers. Scored on the volumes'
own voxels: Dice of each class and volume, a missed structure counts as 0. The network is the tiny one (0.12 million weights),
computed in bfloat16. Settings were chosen on seeds 100 and 101: other divisions, but of the same patients for ACDC.

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
_testing = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_testing), str(_testing.parent / "S3NetSegment")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from paths import SHARED_DATA  # noqa: E402

from S3NetSegmentLib.engine.methods import ideal_finetuning  # noqa: E402
from S3NetSegmentLib.engine.methods.ideal_finetuning import IdealFinetuning, finetuning_preset  # noqa: E402
from S3NetSegmentLib.engine.methods.ideal_pretraining import IdealPretraining  # noqa: E402
from S3NetSegmentLib.engine.methods.ideal_pretraining_settings import pretraining_preset  # noqa: E402
from S3NetSegmentLib.engine.progress import drain  # noqa: E402
from S3NetSegmentLib.engine.training.cohort import Case, Cohort, read_cohort  # noqa: E402
from S3NetSegmentLib.engine.training.slice_bank import (  # noqa: E402
    SliceBank,
    SliceBatches,
    TwoStreamBatches,
    build_bank,
)
from S3NetSegmentLib.engine.training.slice_layout import SliceLayout  # noqa: E402
from S3NetSegmentLib.engine.training.trainer import Trainer  # noqa: E402
from S3NetSegmentLib.engine.training.trainer_settings import TrainerSettings  # noqa: E402

ARMS = ("supervised", "paper", "plus", "pretrained")
FAILED = 0.1  # Dice below which a structure counts as a failure
LABELLED, UNLABELLED = 2, 6  # slices in a step
PRETRAINING_BATCH = 16


@dataclass(frozen=True)
class DataSet:
    """A labelled set: ``train`` and ``test`` patients are drawn from it, ``labelled`` of the former have labels."""

    folder: str
    classes: tuple[str, ...]
    layout: SliceLayout
    train: int
    test: int
    labelled: int


SETS = {
    "acdc": DataSet("mr_cardiac_acdc", ("RV", "myocardium", "LV"), SliceLayout("axial", 4.0, 48), 10, 5, 3),
    "hippocampus": DataSet("mr_hippocampus_msd", ("anterior", "posterior"), SliceLayout("axial", 1.0, 56), 24, 12, 4),
}


def main() -> None:
    options = parsed()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    data = SETS[options.set]
    if SHARED_DATA is None or not (SHARED_DATA / data.folder).is_dir():
        sys.exit(f"the labelled set {data.folder!r} is not here; see Testing/README.md")
    options.labelled = options.labelled or data.labelled
    print(
        f"{options.set}: {options.labelled} labelled of {data.train} training patients, {data.test} test patients; "
        f"{options.steps} steps of {LABELLED + UNLABELLED} slices, pre-training {options.pretraining_steps} steps",
        flush=True,
    )
    results = Results(options)
    for seed in options.seeds:
        missing = [arm for arm in options.arms if not results.has(arm, seed)]
        for arm, dice, seconds in arm_results(data, missing, seed, options) if missing else ():
            results.add(arm, seed, dice)
            print(f"seed {seed}, {arm}: {described(dice, data.classes)}; {seconds:.0f} s", flush=True)
    print_table(results.scores, data.classes)


class Results:
    """Dice ``[test volumes, classes]`` (NaN: the structure is absent) by arm and seed; kept in a file if one is given."""

    def __init__(self, options):
        self._file = options.json
        self._conditions = {
            name: getattr(options, name)
            for name in (
                "set",
                "labelled",
                "steps",
                "pretraining_steps",
                "learning_rate",
                "change",
                "pretraining_change",
            )
        }
        self.scores: dict[str, dict[int, np.ndarray]] = {arm: {} for arm in options.arms}
        if self._file and self._file.is_file():
            stored = json.loads(self._file.read_text())
            if stored["conditions"] != self._conditions:
                sys.exit(f"{self._file} holds results of other conditions: {stored['conditions']}")
            for arm, found in stored["scores"].items():
                self.scores[arm] = {int(seed): np.array(dice, float) for seed, dice in found.items()}

    def has(self, arm: str, seed: int) -> bool:
        return seed in self.scores[arm]

    def add(self, arm: str, seed: int, dice: np.ndarray) -> None:
        self.scores[arm][seed] = dice
        if self._file:
            plain = {a: {seed: dice.tolist() for seed, dice in found.items()} for a, found in self.scores.items()}
            self._file.write_text(json.dumps({"conditions": self._conditions, "scores": plain}, indent=1) + "\n")


def arm_results(data: DataSet, arms: list[str], seed: int, options):
    """For each of ``arms`` its name, the Dice ``[test volumes, classes]`` and the seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        train, test = drawn_cohorts(data, options.labelled, seed, Path(folder))
        bank = drain(build_bank(train.cases, train.classes, data.layout))
        for arm in arms:
            encoder, before = pretrained(bank, seed, options) if arm == "pretrained" else (None, 0.0)
            batches = arm_batches(arm, bank, seed)
            task = IdealFinetuning(len(data.classes) + 1, arm_settings(arm, options), encoder=encoder, seed=seed)
            seconds = before + trained(task, batches, options.steps, options.learning_rate, seed)
            yield (
                arm,
                np.array([volume_dice(task.predictor(), case, data.layout, test) for case in test.cases]),
                seconds,
            )


def arm_batches(arm: str, bank: SliceBank, seed: int) -> TwoStreamBatches:
    labelled, unlabelled = (LABELLED + UNLABELLED, 0) if arm == "supervised" else (LABELLED, UNLABELLED)
    return TwoStreamBatches(bank, labelled, unlabelled, seed)


def arm_settings(arm: str, options) -> ideal_finetuning.FinetuningSettings:
    if arm == "paper":
        return dataclasses.replace(finetuning_preset("paper"), network="tiny")
    settings = finetuning_preset("tiny").with_texts(options.change)
    return dataclasses.replace(settings, unlabelled_weight=0.0) if arm == "supervised" else settings


def pretrained(bank: SliceBank, seed: int, options):
    """Weights of an encoder that was trained on all slices of ``bank`` without their labels, and the seconds it took."""
    settings = pretraining_preset("tiny").with_texts(options.pretraining_change)
    task = IdealPretraining(settings, seed=seed)
    batches = SliceBatches(bank, PRETRAINING_BATCH, seed)
    seconds = trained(task, batches, options.pretraining_steps, 1e-3, seed)
    with torch.no_grad():
        found = task(batches(0, 0, 1), 1.0)
    measures = ", ".join(f"{name.lstrip('_').replace('_', ' ')} {float(value):.2f}" for name, value in found.items())
    print(f"  seed {seed}, pre-training: {measures}; {seconds:.0f} s", flush=True)
    return task.predictor().state_dict(), seconds


def trained(task: torch.nn.Module, batches, steps: int, learning_rate: float, seed: int) -> float:
    settings = TrainerSettings(seed=seed, steps=steps, learning_rate=learning_rate, precision="bf16")
    start = time.perf_counter()
    drain(Trainer(task, batches, settings).run())
    return time.perf_counter() - start


def drawn_cohorts(data: DataSet, labelled: int, seed: int, folder: Path) -> tuple[Cohort, Cohort]:
    """Training cohort, whose first patients have labels, and test cohort, as folders of links."""
    images: dict[str, list[Path]] = {}
    for path in sorted((SHARED_DATA / data.folder).glob("*_image.nii.gz")):
        images.setdefault("_".join(path.name.split("_")[: -2 if data.folder.endswith("acdc") else -1]), []).append(path)
    patients = sorted(images)
    if len(patients) < data.train + data.test:
        sys.exit(f"{SHARED_DATA / data.folder} holds {len(patients)} patients; {data.train + data.test} are needed")
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    groups = {"train": order[: data.train], "test": order[data.train : data.train + data.test]}
    cohorts = []
    for name, members in groups.items():
        known = {}
        for number, patient in enumerate(members):
            for path in images[patient]:
                case = path.name.removesuffix("_image.nii.gz")
                known[case] = patient
                link(path, folder / name / "images" / f"{case}.nii.gz")
                if name == "test" or number < labelled:
                    link(path.with_name(f"{case}_label.nii.gz"), folder / name / "labels" / f"{case}.nii.gz")
        classes = [{"name": c, "value": n} for n, c in enumerate(data.classes, 1)]
        (folder / name / "cohort.json").write_text(json.dumps({"patients": known, "classes": classes}))
        cohorts.append(drain(read_cohort(folder / name)))
    return tuple(cohorts)


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


@torch.inference_mode()
def volume_dice(network: torch.nn.Module, case: Case, layout: SliceLayout, cohort: Cohort) -> list[float]:
    """Dice of each class on the volume's own voxels; NaN if neither side has the structure."""
    volume = case.read_volume()
    truth = case.read_labels(cohort.classes, volume)
    slices, found = layout.of(volume), np.zeros(volume.array.shape, np.uint8)
    planes = slices.oriented(found)
    network.eval()
    for first, last in slices.chunks():
        images = torch.from_numpy(slices.prepared(first, last))[:, None]
        planes[first:last] = slices.restored(network(images).softmax(1)).argmax(1).numpy()
    values = []
    for label in range(1, len(cohort.classes) + 1):
        ours, theirs = found == label, truth == label
        size = int(ours.sum() + theirs.sum())
        values.append(2 * int((ours & theirs).sum()) / size if size else float("nan"))
    return values


def described(dice: np.ndarray, classes) -> str:
    each = ", ".join(f"{name} {100 * value:.1f}" for name, value in zip(classes, np.nanmean(dice, 0), strict=True))
    return f"Dice {100 * np.nanmean(dice):.1f} ({each}), failures {failures(dice)} of {np.isfinite(dice).sum()}"


def failures(dice: np.ndarray) -> int:
    return int((dice < FAILED).sum())


def print_table(scores: dict, classes) -> None:
    """Mean and standard deviation over seeds, the difference to supervised-only in every seed, and failures."""
    print(f"\n| arm | Dice | {' | '.join(classes)} | seeds | minus supervised, by seed | failures |")
    print("|---" * (5 + len(classes)) + "|")
    for arm, found in ((arm, found) for arm, found in scores.items() if found):
        means = np.array([100 * np.nanmean(dice) for dice in found.values()])
        each = np.mean([100 * np.nanmean(dice, 0) for dice in found.values()], 0)
        spread = f" ± {means.std(ddof=1):.1f}" if len(means) > 1 else ""
        first = scores.get("supervised", {})
        gains = [
            f"{100 * (np.nanmean(dice) - np.nanmean(first[seed])):+.1f}"
            for seed, dice in found.items()
            if seed in first
        ]
        every, total = sum(map(failures, found.values())), sum(int(np.isfinite(d).sum()) for d in found.values())
        print(
            f"| {arm} | {means.mean():.1f}{spread} | {' | '.join(f'{v:.1f}' for v in each)} | "
            f"{', '.join(f'{v:.1f}' for v in means)} | {'' if arm == 'supervised' else ', '.join(gains)} | {every} of {total} |"
        )


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="acdc", help="data set (default acdc)")
    parser.add_argument(
        "--labelled", type=int, default=0, help="labelled patients (default 3 for acdc, 4 for hippocampus)"
    )
    parser.add_argument(
        "--arms",
        type=lambda t: t.split(","),
        default=["supervised", "plus", "pretrained"],
        help="some of " + ", ".join(ARMS),
    )
    parser.add_argument(
        "--seeds", type=lambda t: [int(v) for v in t.split(",")], default=[0, 1, 2], help="default 0,1,2"
    )
    parser.add_argument("--steps", type=int, default=900, help="fine-tuning steps (default 900)")
    parser.add_argument("--pretraining-steps", type=int, default=300, help="default 300")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="highest learning rate (default 0.002)")
    parser.add_argument(
        "--change", action="append", default=[], metavar="NAME=VALUE", help="setting of plus and supervised"
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
