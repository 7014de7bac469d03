"""What a prompt is worth in one slice: a click or a box, beside simple methods that get the same.

    python3 Testing/benchmarks/segment/prompts.py                      the confirm slices, one seed
    python3 Testing/benchmarks/segment/prompts.py --sets development   the slices on which settings may be chosen
    python3 Testing/benchmarks/segment/prompts.py --seeds 10           random points and boxes drawn ten times
    python3 Testing/benchmarks/segment/prompts.py --room 0.15          boxes of a hand that leaves room around the object
    python3 Testing/benchmarks/segment/prompts.py --effort             one to five prompts, each where the answer is most wrong

Clicks: the object's innermost point, and a random one. Boxes: the object's bounding box, each side moved by a normal error of 7 % of
its length, with ``--room`` farther out by that share of it. Strokes (with --effort): straight, between the farthest of four pairs of random points. Further points: the middle of the
largest error, and ("a free hand") a random point of its inner part. Dice with the true outline, mean over the objects of a set; in
brackets the share of objects under 0.5; with several seeds the deviation of the mean over them (the innermost point, simple methods
after a click and the best candidate: one).
"best candidate" looks at the true outline, "expected" does not: it is what Few-shot from boxes and clicks says of its slices.
Needs the labelled data of ``data_sets.py``. Times are of one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from functools import partial
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
from data_sets import GREY_SETS, SETS, SPLITS, Case, cases  # noqa: E402
from effort import colour_model, confidence_connected, effort, effort_table  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402
from simulated_boxes import BOX_ERROR  # noqa: E402
from simulated_clicks import drawn_stroke, innermost_point, random_point  # noqa: E402

from S3NetSegmentLib.engine.common.arrays import dice  # noqa: E402
from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.images import Extent  # noqa: E402
from S3NetSegmentLib.engine.images.intensity import intensity_scale  # noqa: E402
from S3NetSegmentLib.engine.segment.find_regions import find_regions  # noqa: E402
from S3NetSegmentLib.engine.segment.objects.box_network import default_box_network  # noqa: E402
from S3NetSegmentLib.engine.segment.objects.box_part import BoxPart  # noqa: E402
from S3NetSegmentLib.engine.segment.objects.colour_split import colour_split  # noqa: E402
from S3NetSegmentLib.engine.segment.prompts import Box  # noqa: E402
from S3NetSegmentLib.engine.segment.settings import SegmentSettings  # noqa: E402

CLICK_BASELINES = ("k-means 3", baselines.felzenszwalb_name())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", choices=SPLITS, default="confirm", help="which slices (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS), help="default: all sets")
    parser.add_argument("--limit", type=int, help="at most so many slices of each set")
    parser.add_argument("--seeds", type=int, default=1, help="draws of boxes and random points (default %(default)s)")
    parser.add_argument("--room", type=float, default=0.0, help="left around the object, as a share of its sides")
    parser.add_argument("--effort", action="store_true", help="Dice after further prompts, instead of the table of one")
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    values: dict[str, dict[str, list]] = defaultdict(
        lambda: defaultdict(list)
    )  # of [seed, value] or of what effort found
    for set_name in options.only:
        for number, case in enumerate(islice(cases(set_name, options.sets), options.limit)):
            settings = SegmentSettings(sources="classical")
            extent = Extent.slab(case.volume, "z", case.slice_index, case.slice_index)
            regions = run_to_end(find_regions(case.volume, extent=extent, axis="z", settings=settings, device="cpu"))
            features = intensity_scale(case.volume).apply(case.volume.array[case.slice_index])
            for seed in range(options.seeds):
                for place, truth in enumerate(case.objects):
                    rng = np.random.default_rng([seed, number, place])
                    if options.effort:
                        score_effort(values, case, regions, features, truth, rng)
                    else:
                        score_clicks(values, case, regions, features, truth, rng, seed)
                        score_box(values, case, regions, features, truth, rng, seed, options.room)
        print(f"{set_name} done", file=sys.stderr, flush=True)
    print(f"\n{options.sets}, {options.seeds} seed(s)\n")
    if options.effort:
        effort_table(values, GREY_SETS)
    else:
        print_table(values, options)
        print_expected(values)


def score_effort(values, case: Case, regions, features: np.ndarray, truth: np.ndarray, rng) -> None:
    click, box = random_point(truth, rng), drawn_box(truth, rng, case.slice_index)
    hand = int(rng.integers(1 << 32))
    line = drawn_stroke(truth, rng)
    stroke = [(x, y, case.slice_index) for y, x in line]

    def segment(inside, outside, **first) -> np.ndarray:
        voxels = ([(x, y, case.slice_index) for y, x in points] for points in (inside, outside))
        return regions.object_at(*voxels, **first).mask[0]

    answers = {
        "click: Segment": (segment, click),
        "click: ConfidenceConnected": (partial(confidence_connected, features), click),
        "box: Segment": (partial(segment, boxes=[box]), None),
        "box: split by colours (GrabCut-like)": (partial(colour_model, features, edges_of(box)), None),
        "stroke: Segment": (partial(segment, strokes=[stroke]), None),
        "stroke: ConfidenceConnected": (
            lambda inside, out: confidence_connected(features, [*line, *inside], out),
            None,
        ),
    }
    for name, (answer, first) in answers.items():
        values[name][case.set_name].append(effort(answer, truth, first))
        found = effort(answer, truth, first, np.random.default_rng(hand))
        values[f"{name}, a free hand"][case.set_name].append(found)


def score_clicks(values, case: Case, regions, features: np.ndarray, truth: np.ndarray, rng, seed: int) -> None:
    points = {"random": random_point(truth, rng)}
    if seed == 0:
        points = {"innermost": innermost_point(truth), **points}
    for name, point in points.items():
        choice = regions.object_at([(point[1], point[0], case.slice_index)])
        values[f"click, {name}: Segment, expected"][case.set_name].append((seed, choice.expected_at_point))
        masks = {"Segment": choice.mask[0]}
        if seed == 0:
            made = baselines.methods()
            masks |= {m: baselines.clicked_region(made[m](features, rng), point) for m in CLICK_BASELINES}
            masks["ConfidenceConnected"] = confidence_connected(features, [point])
        for method, mask in masks.items():
            values[f"click, {name}: {method}"][case.set_name].append((seed, dice(mask, truth)))


def score_box(
    values, case: Case, regions, features: np.ndarray, truth: np.ndarray, rng, seed: int, room: float
) -> None:
    box = drawn_box(truth, rng, case.slice_index, room)
    start = time.process_time()
    choice = regions.object_at(boxes=[box])
    mask = choice.mask[0]
    seconds = time.process_time() - start
    part = BoxPart.around(truth.shape, edges_of(box))
    _, split = colour_split(part.of(features), part.box, part.radius)
    whole = slice(0, truth.shape[0]), slice(0, truth.shape[1])
    network = default_box_network().answer(features, edges_of(box)).at(*whole) > 0.5
    rows = {
        "box: Segment": dice(mask, truth),
        "box: the network alone": dice(network, truth),
        "box: Segment, expected": choice.expected_in_box,
        "box: best of the offered answers": max(dice(choice.at(n).mask[0], truth) for n in choice.alternatives),
        "box: split by colours (GrabCut-like)": dice(part.whole(split, truth.shape), truth),
        "box: ellipse": dice(part.whole(part.box & (part.radius <= 1), truth.shape), truth),
        "seconds from box to answer": seconds,
    }
    if seed == 0:
        rows["box: best candidate"] = max(dice(choice.at(n).mask[0], truth) for n in range(choice.steps))
    for name, value in rows.items():
        values[name][case.set_name].append((seed, value))


def edges_of(box: Box) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box in a slice across k, counted from the outer corner."""
    return box.low[1], box.high[1] + 1, box.low[0], box.high[0] + 1


def drawn_box(truth: np.ndarray, rng: np.random.Generator, k: int, room: float = 0.0) -> Box:
    """The bounding box of ``truth`` as a hand draws it, in slice ``k``; ``room``: left on all sides, as a share of them."""
    sides = []
    for axis in (1, 0):
        filled = np.flatnonzero(truth.any(1 - axis))
        error = rng.normal(0, BOX_ERROR, 2) + np.array((-room, room))
        low, high = np.array([filled[0], filled[-1] + 1]) + error * (filled[-1] + 1 - filled[0])
        first = int(np.clip(round(low), 0, truth.shape[axis] - 2))
        sides.append((first, int(np.clip(round(high) - 1, first + 1, truth.shape[axis] - 1))))
    return Box((sides[0][0], sides[1][0], k), (sides[0][1], sides[1][1], k))


def print_table(values, options) -> None:
    sets = [s for s in options.only if any(of[s] for of in values.values())]
    grey = [s for s in sets if s in GREY_SETS]
    print(f"| | mean of the grey sets | {' | '.join(sets)} |")
    print("|---" * (len(sets) + 2) + "|")
    for name, of in values.items():
        cells = [cell([of[s]], name) for s in sets]
        print(f"| {name} | {cell([of[s] for s in grey], name) if grey else '-'} | {' | '.join(cells)} |")


def print_expected(values) -> None:
    """How well what is expected agrees with what is reached, over the objects of all sets."""
    print(
        "\n| expected of | rank correlation | error | bias | under 0.5 | of these expected above 0.7 |\n|---|---|---|---|---|---|"
    )
    for name in sorted(name for name in values if name.endswith(", expected")):
        told, true = (
            np.array([value for _, of_set in sorted(values[row].items()) for _, value in of_set])
            for row in (name, name.removesuffix(", expected"))
        )
        failed = true < 0.5
        print(
            f"| {name.removesuffix(', expected')} | {spearmanr(told, true)[0]:.2f} | {np.abs(told - true).mean():.3f} | "
            f"{(told - true).mean():+.3f} | {failed.sum()} of {len(true)} | {(failed & (told > 0.7)).sum()} |"
        )


def cell(found: list[list[tuple[int, float]]], name: str) -> str:
    """Mean over the sets, +- its deviation over seeds, and the share of objects under 0.5."""
    table = [np.array(of_set) for of_set in found]
    means = [np.mean([t[t[:, 0] == seed, 1].mean() for t in table]) for seed in np.unique(table[0][:, 0])]
    spread = f" ±{np.std(means):.3f}" if len(means) > 1 else ""
    if name.startswith("seconds"):
        return f"{np.mean(means):.3f}"
    return f"{np.mean(means):.3f}{spread} ({100 * np.mean(np.concatenate(table)[:, 1] < 0.5):.0f} %)"


if __name__ == "__main__":
    main()
