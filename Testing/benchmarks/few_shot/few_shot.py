"""Accuracy of Few-shot in one volume, beside what Slicer offers today for the same drawn slices.

    python3 Testing/benchmarks/few_shot/few_shot.py                                     both groups of cases, 1, 3 and 5 drawn slices
    python3 Testing/benchmarks/few_shot/few_shot.py --groups development --sets acdc ms --k 3 --limit 1
    python3 Testing/benchmarks/few_shot/few_shot.py --methods Few-shot --set regrow=0   other settings
    python3 Testing/benchmarks/few_shot/few_shot.py --methods Few-shot --k 1 3 --placings spread middle --limit 1    expected Dice and ends
    python3 Testing/benchmarks/few_shot/few_shot.py --k 1 --placings first-tenth last-tenth                          tips

Task: k slices are drawn fully (shares 1/2; 1/6, 1/2, 5/6; .1, .3, .5, .7, .9 of the labelled extent), every other slice is
wanted, at the image's own resolution. Dice over the volume without the drawn slices, mean over the labels that were drawn,
mean over cases. Failed: labels with a Dice under .5. Seconds are of one thread, from the image in memory to the answer.
"Few-shot from boxes" has a box with an error of 7 % a side around each label of the drawn slices in place of the drawing.
Confidence: how well the Dice that Few-shot expects agrees with the true one, also where slices are drawn in the middle of the
labelled extent alone, and how many failed labels are shown with more than .7. Tips: the drawn slices lie in the first or last
tenth of the labelled extent. Ends: Dice on the slices that hold the label beside the whole, the share of the answer past the end, how
many of the labels with a tenth or more of it past their end are named as such, and how many of the named ones are not.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections import defaultdict
from itertools import product
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

import numpy as np  # noqa: E402
from few_shot_cases import DRAWN_AT, FOLDERS, GROUPS, PLACINGS, FewShotCase, few_shot_cases  # noqa: E402
from few_shot_contestants import BOXES, CONTESTANTS, OURS, Answer, missing_package  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from S3NetSegmentLib.engine.few_shot.settings import FewShotSettings  # noqa: E402
from S3NetSegmentLib.engine.images.volume import slices_first  # noqa: E402

FAILED = 0.5
SHOWN_GOOD = 0.7
PAST = 0.1  # share of an answer past the end of the label
COLUMNS = (
    "group", "set", "case", "placing", "k", "method", "seed", "label", "dice", "inside", "expected", "past", "named", "seconds", "remark",
)  # fmt: skip


def main() -> None:
    options = parsed()
    methods = []
    for name in options.methods:
        package = missing_package(name)
        if package:
            print(f"{name} is left out: the package {package!r} is not installed", file=sys.stderr)
        else:
            methods.append(name)
    rows: list[dict] = []
    for group in options.groups:
        for set_name in options.sets:
            for case in few_shot_cases(group, set_name, options.limit):
                rows += measured(case, group, methods, options)
                if options.csv:
                    write_csv(options.csv, rows)
    for group in options.groups:
        print_group(group, [r for r in rows if r["group"] == group], methods, options.k)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--sets", nargs="+", choices=FOLDERS, default=list(FOLDERS))
    parser.add_argument("--k", nargs="+", type=int, choices=DRAWN_AT, default=list(DRAWN_AT), help="drawn slices")
    parser.add_argument(
        "--placings", nargs="+", choices=PLACINGS, default=["spread"], help="where the drawn slices lie"
    )
    parser.add_argument("--methods", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--limit", type=int, help="cases of each set and group")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of Few-shot (default %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of Few-shot")
    parser.add_argument("--csv", type=Path, help="one row for each label, case, k and method")
    return parser.parse_args()


def measured(case: FewShotCase, group: str, methods: list[str], options) -> list[dict]:
    """A row for each k, method, seed and label."""
    rows = []
    truth = slices_first(case.labels, case.axis)
    for placing, k in product(options.placings, options.k):
        drawn = case.drawn(k, placing)
        for method in methods:
            for seed in range(options.seeds if method in (OURS, BOXES) else 1):
                settings = FewShotSettings(seed=seed).with_texts(options.set)
                start = time.perf_counter()
                answer = CONTESTANTS[method](case, drawn, settings)
                seconds = time.perf_counter() - start
                scores, inside = label_dice(answer.labels, truth, drawn), label_dice(answer.labels, truth, drawn, True)
                for label, dice in scores.items():
                    values = (
                        group, case.set_name, case.name, placing, k, method, seed, label, dice, inside[label],
                        answer.expected.get(label, ""), past_end(answer.labels == label, truth == label, drawn), label in answer.named, seconds, answer.remark,
                    )  # fmt: skip
                    rows.append(dict(zip(COLUMNS, values, strict=True)))
                report(case, f"{k} ({placing})", method, seed, scores, answer, seconds)
    return rows


def label_dice(found: np.ndarray, truth: np.ndarray, drawn: list[int], inside: bool = False) -> dict[int, float]:
    """Dice of each drawn label over the slices that are not drawn; labels that end there have no score.

    :param inside: only over slices that hold the label.
    """
    open_slices = np.ones(len(truth), bool)
    open_slices[drawn] = False
    found, wanted, scores = found[open_slices], truth[open_slices], {}
    for label in np.unique(truth[drawn]):
        mine, right = found == label, wanted == label
        if inside:
            mine = mine & right.any((1, 2), keepdims=True)
        if label and right.any():
            total = np.count_nonzero(mine) + np.count_nonzero(right)
            scores[int(label)] = 2 * np.count_nonzero(mine & right) / total
    return scores


def past_end(found: np.ndarray, truth: np.ndarray, drawn: list[int]) -> float:
    """Share of ``found`` on undrawn slices that lies on slices without the label."""
    areas, there = np.delete(found.sum((1, 2)), drawn), np.delete(truth.any((1, 2)), drawn)
    return float(areas[~there].sum() / max(1, areas.sum()))


def report(case, k: str, method: str, seed: int, scores: dict, answer: Answer, seconds: float) -> None:
    each = " ".join(
        f"{label}: {100 * dice:.1f}" + (f" ({100 * answer.expected[label]:.0f})" if label in answer.expected else "")
        for label, dice in scores.items()
    )
    mean = 100 * np.mean(list(scores.values())) if scores else float("nan")
    print(
        f"{case.set_name} {case.name} k={k} {method} seed {seed}: {mean:.1f}  [{each}]  {seconds:.1f} s  {answer.remark}",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def write_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def print_group(group: str, rows: list[dict], methods: list[str], counts: list[int]) -> None:
    """Dice of each set and k, ours last less the best of the others; then failures, seconds and the confidence."""
    cases = {(r["set"], r["case"]) for r in rows}
    print(f"\n== {group}: {len(cases)} cases\n\nDice %, mean over cases\n")
    others = [m for m in methods if m not in (OURS, BOXES)]
    columns = [*methods, "gain"] if OURS in methods and others else methods
    print(f"| set (cases) | k | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    gains = defaultdict(list)
    for set_name in dict.fromkeys(r["set"] for r in rows):
        count = len({case for s, case in cases if s == set_name})
        for k, placing in product(counts, dict.fromkeys(r["placing"] for r in rows)):
            own = [r for r in rows if r["set"] == set_name and r["k"] == k and r["placing"] == placing]
            if not own:
                continue
            means = {m: 100 * case_mean(r for r in own if r["method"] == m) for m in methods}
            cells = [f"{means[m]:.1f}" for m in methods]
            if len(columns) > len(methods):
                gains[k].append(means[OURS] - max(means[m] for m in others))
                cells.append(f"{gains[k][-1]:+.1f}")
            print(f"| {set_name} ({count}) | {k}{'' if placing == 'spread' else f' {placing}'} | {' | '.join(cells)} |")
    if gains:
        print(
            "\nMean gain over the best of the others: "
            + ", ".join(f"k={k} {np.mean(g):+.1f}" for k, g in gains.items())
        )
    print()
    for method in methods:
        own = [r for r in rows if r["method"] == method]
        failed = sum(r["dice"] < FAILED for r in own)
        seconds = np.unique([r["seconds"] for r in own])
        print(
            f"{method}: {failed} of {len(own)} labels failed; seconds median {np.median(seconds):.1f}, "
            f"longest {seconds.max():.1f}"
        )
    ours = [r for r in rows if r["method"] == OURS]
    print_ends(ours)
    print_expected(ours)


def print_ends(rows: list[dict]) -> None:
    """Dice of Few-shot on the slices that hold the label, beside the whole, and the share of its voxels past the end."""
    if rows:
        print("\nEnds of Few-shot, %, mean over labels\n\n| set | k | Dice | inside the true extent | voxels past it |")
        print("|---|---|---|---|---|")
    for key in dict.fromkeys((r["set"], r["k"], r["placing"]) for r in rows):
        own = [r for r in rows if (r["set"], r["k"], r["placing"]) == key]
        means = (f"{100 * np.mean([r[name] for r in own]):.1f}" for name in ("dice", "inside", "past"))
        print(f"| {key[0]} | {key[1]}{'' if key[2] == 'spread' else f' {key[2]}'} | {' | '.join(means)} |")
    if rows:
        print()


def print_expected(rows: list[dict]) -> None:
    """How well the expected Dice agrees with the true one, and how well ends that are run past are named."""
    for placing, k in dict.fromkeys((r["placing"], r["k"]) for r in rows):
        pairs = np.array([(r["expected"], r["dice"]) for r in rows if (r["placing"], r["k"]) == (placing, k)], float)
        if len(pairs) > 2:
            error = pairs[:, 0] - pairs[:, 1]
            print(
                f"Expected Dice, k={k} ({placing}), {len(pairs)} labels: Spearman {spearmanr(*pairs.T)[0]:.2f}, mean absolute "
                f"error {np.abs(error).mean():.3f}, bias {error.mean():+.3f}"
            )
    past, named = (np.array([r[name] for r in rows], float) for name in ("past", "named"))
    failed = [float(r["expected"]) for r in rows if r["dice"] < FAILED and r["expected"] != ""]
    if failed:
        print(f"Failed labels shown above {SHOWN_GOOD}: {sum(e > SHOWN_GOOD for e in failed)} of {len(failed)}")
    if len(rows):
        print(
            f"Ends: {int((past >= PAST).sum())} of {len(rows)} labels have {PAST:.0%} or more of the answer past their end, "
            f"{int(((past >= PAST) & (named > 0)).sum())} of these are named; {int(named.sum())} are named in all"
        )


def case_mean(rows) -> float:
    """Mean over cases and seeds of the mean over labels."""
    by_case = defaultdict(list)
    for row in rows:
        by_case[row["case"], row["seed"]].append(row["dice"])
    return float(np.mean([np.mean(scores) for scores in by_case.values()]))


if __name__ == "__main__":
    main()
