"""Accuracy of Segment on single slices and pictures, beside simple methods on the same images and clicks.

    python3 Testing/benchmarks/segment/segment_2d.py                        the confirm images of all sets, one seed
    python3 Testing/benchmarks/segment/segment_2d.py --seeds 10             the full table (stochastic methods ten times)
    python3 Testing/benchmarks/segment/segment_2d.py --split development    the images on which settings may be chosen
    python3 Testing/benchmarks/segment/segment_2d.py --parts                what each part of the method contributes
    python3 Testing/benchmarks/segment/segment_2d.py --points               further points, in and out of the object

Rules (Dice with the true outline, mean over images; the share of images under 0.5 in brackets):
R1 automatic: no click, pictures of one object only (dermoscopy). R2 one click: at the object's innermost point, and at a
random one. Best of 3: the best of the three offered answers; best candidate: the best that the granularity control can
reach (random click). R3: at most eight regions, each given to the object that it overlaps most. The last three look at
the true outline, so the row "blank image" says what the whole slice as the answer scores.

Needs the labelled data of ``data_sets.py``. Times are of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import baselines  # noqa: E402
import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from contestants_2d import Baseline, Blank, Contestant, Part, Product  # noqa: E402
from data_sets import GREY_SETS, SETS, SPLITS, Case, cases  # noqa: E402
from simulated_clicks import corrective_point, innermost_point, random_point  # noqa: E402

RULES = ("R1 automatic", "R2 innermost", "R2 random", "best of 3", "best candidate", "R3")
PARTS = ("graph", "k-means", "ranker", "consensus and ranker", "hand-made score")
CORRECTIONS = 3  # further points after the first
RADIUS_NOISE = 0.3


def main() -> None:
    options = parsed()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    contestants = chosen_contestants(options)
    scores = {name: {s: [] for s in options.sets} for name in contestants}  # one dict of rules for each seed
    for name, (make, stochastic) in contestants.items():
        for seed in range(options.seeds if stochastic else 1):
            for set_name in options.sets:
                found = list(islice(cases(set_name, options.split), options.limit))
                if found:
                    scores[name][set_name].append(scored_set(found, lambda c, s=seed, m=make: m(c, s), options))
                    print(f"{name}, seed {seed}, {set_name}: {len(found)} images", file=sys.stderr, flush=True)
    print_tables(scores, options)
    if options.json:
        options.json.write_text(json.dumps({"options": str(vars(options)), "scores": scores}, indent=1))


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=SPLITS, default="confirm", help="default: %(default)s")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="default: all")
    parser.add_argument("--limit", type=int, help="at most so many images of each set")
    parser.add_argument("--seeds", type=int, default=1, help="runs of stochastic methods (default %(default)s)")
    parser.add_argument(
        "--sources", nargs="+", choices=("auto", "classical", "all", "s3net"), default=["auto", "classical", "s3net"],
        help="sources of the product's regions, one row each; classical: without the network (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--parts", action="store_true", help="also the product without each of its parts")
    parser.add_argument("--points", action="store_true", help="also Dice after further points, and with a radius")
    parser.add_argument("--no-baselines", action="store_true", help="leave the simple methods out")
    parser.add_argument("--json", type=Path, help="also write all numbers there")
    return parser.parse_args()


def chosen_contestants(options) -> dict:
    """Name to (maker of a contestant from a case and a seed, whether it is stochastic), in the order of the table."""
    rows = {}
    for sources in options.sources:
        rows[f"Segment, sources {sources}"] = (lambda c, s, k=sources: Product(c, s, sources=k)), True
    if options.parts:
        for part in PARTS:
            rows[f"classical without {part}"] = (lambda c, s, p=part: Part(c, s, p)), True
    if not options.no_baselines:
        for name, make in baselines.methods().items():
            rows[name] = (lambda c, s, m=make: Baseline(c, s, m)), name in baselines.STOCHASTIC
        rows["blank image"] = Blank, False
    return rows


def scored_set(found: list[Case], make, options) -> dict[str, list[float]]:
    """All rules on the cases of one set: rule to one value per image."""
    values = defaultdict(list)
    for number, case in enumerate(found):
        contestant = make(case)
        values["seconds"].append(contestant.seconds)
        if case.set_name == "dermoscopy":
            values["R1 automatic"].append(dice(contestant.automatic(), case.objects[0]))
        of_objects = defaultdict(list)
        for truth in case.objects:
            score_clicks(of_objects, contestant, truth, number, options, case)
        labels = contestant.labels()
        if labels is not None:
            values["R3"].append(oracle_merge(labels, case.objects))
        for rule, of_rule in of_objects.items():
            values[rule].append(float(np.mean(of_rule)))
    return dict(values)


def score_clicks(out: dict, contestant: Contestant, truth: np.ndarray, number: int, options, case: Case) -> None:
    """The rules of one click, and of further points, on one object."""
    rng = np.random.default_rng(number)
    clicks = {"R2 innermost": innermost_point(truth), "R2 random": random_point(truth, rng)}
    for rule, click in clicks.items():
        start = time.perf_counter()
        masks, offered = contestant.answers(click)
        out["answer seconds"].append(time.perf_counter() - start)
        of_masks = [dice(mask, truth) for mask in masks]
        out[rule].append(of_masks[offered[0]])
        if rule == "R2 random":
            out["best of 3"].append(max(of_masks[i] for i in offered))
            out["best candidate"].append(max(of_masks))
    if options.points:
        score_points(out, contestant, truth, clicks["R2 random"], rng, case)


def score_points(out: dict, contestant: Contestant, truth: np.ndarray, click, rng, case: Case) -> None:
    """Dice after 1 to 4 points, each further one in the middle of the largest error, and with a rough radius."""
    inside, outside = [click], []
    answer = contestant.with_points(inside, outside)
    if answer is None:
        return
    out["1 point"].append(dice(answer, truth))
    for points in range(2, CORRECTIONS + 2):
        correction = corrective_point(answer, truth)
        if correction is not None:
            (inside if correction[1] else outside).append(correction[0])
            start = time.perf_counter()
            answer = contestant.with_points(inside, outside)
            out["further point seconds"].append(time.perf_counter() - start)
        out[f"{points} points"].append(dice(answer, truth))
    pixel_mm2 = case.volume.spacing[0] * case.volume.spacing[1]
    radius = np.sqrt(truth.sum() * pixel_mm2 / np.pi) * np.exp(RADIUS_NOISE * rng.standard_normal())
    out["1 point, rough radius"].append(dice(contestant.with_radius(click, float(radius)), truth))


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * np.count_nonzero(mask & truth) / max(1, np.count_nonzero(mask) + np.count_nonzero(truth)))


def oracle_merge(labels: np.ndarray, objects) -> float:
    """Mean Dice of the objects when each region goes to the object (or the rest) that it overlaps most."""
    truth = np.zeros(labels.shape, np.int64)
    for number, mask in enumerate(objects, 1):
        truth[mask] = number
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    counts = np.zeros((labels.max() + 1, len(objects) + 1), np.int64)
    np.add.at(counts, (labels.ravel(), truth.ravel()), 1)
    answer = counts.argmax(1)[labels]
    return float(np.mean([dice(answer == n, truth == n) for n in range(1, len(objects) + 1)]))


def print_tables(scores: dict, options) -> None:
    sets = [s for s in options.sets if any(of_sets[s] for of_sets in scores.values())]
    grey = [s for s in sets if s in GREY_SETS]
    for set_name in [*sets, *(["mean of the grey sets"] if len(grey) > 1 else [])]:
        members = grey if set_name.startswith("mean") else [set_name]
        rules = [r for r in RULES if any(r in run for of in scores.values() for m in members for run in of[m])]
        images = sum(len(next(of[m][0]["seconds"] for of in scores.values() if of[m])) for m in members)
        print(f"\n### {set_name}, {options.split}, {images} images")
        print(f"| method | {' | '.join(rules)} | s | s per click |\n|{'---|' * (len(rules) + 3)}")
        for name, of_sets in scores.items():
            runs = [of_sets[m] for m in members]
            if all(runs):
                cells = [cell(runs, rule) for rule in rules]
                print(f"| {name} | {' | '.join(cells)} | {cell(runs, 'seconds')} | {cell(runs, 'answer seconds')} |")
        if options.points:
            print_points(scores, members)


def print_points(scores: dict, members: list[str]) -> None:
    columns = ["1 point", *(f"{n} points" for n in range(2, CORRECTIONS + 2)), "1 point, rough radius"]
    print(f"\n| method | {' | '.join(columns)} | s per further point |\n|{'---|' * (len(columns) + 2)}")
    for name, of_sets in scores.items():
        runs = [of_sets[m] for m in members]
        if all(runs) and columns[0] in runs[0][0]:
            cells = [cell(runs, column) for column in columns]
            print(f"| {name} | {' | '.join(cells)} | {cell(runs, 'further point seconds')} |")


def cell(runs: list[list[dict]], rule: str) -> str:
    """Mean over sets of the mean over images, with the share under 0.5 in percent; over seeds, +- the deviation."""
    if any(rule not in run for of_set in runs for run in of_set):
        return "-"
    means = [np.mean([np.mean(of_set[seed][rule]) for of_set in runs]) for seed in range(len(runs[0]))]
    if rule.endswith("seconds"):
        return f"{np.mean(means):.2f}"
    failed = np.mean([np.mean(np.array(run[rule]) < 0.5) for of_set in runs for run in of_set])
    spread = f" ±{np.std(means):.3f}" if len(means) > 1 else ""
    return f"{np.mean(means):.3f}{spread} ({100 * failed:.0f} %)"


if __name__ == "__main__":
    main()
