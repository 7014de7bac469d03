"""What a prompt is worth in one slice: a click or a box, beside simple methods that get the same.

    python3 Testing/benchmarks/prompts.py                      the confirm slices, one seed
    python3 Testing/benchmarks/prompts.py --sets development   the slices on which settings may be chosen
    python3 Testing/benchmarks/prompts.py --seeds 10           boxes drawn ten times

Clicks: the object's innermost point, and a random one. Boxes: the object's bounding box, each side moved by a normal error
of 7 % of its length. Dice with the true outline, mean over the objects of a set; in brackets the share of objects under 0.5.
"best clipped candidate" looks at the true outline, "expected" does not: it is what Few-shot from boxes and clicks says of its slices.
Needs the labelled data of ``data_sets.py``. Times are of one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_testing / "benchmarks"), str(_testing), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import baselines  # noqa: E402
import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from data_sets import GREY_SETS, SETS, SPLITS, Case, cases  # noqa: E402
from simulated_boxes import BOX_ERROR  # noqa: E402
from simulated_clicks import innermost_point, random_point  # noqa: E402

from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.images import Extent  # noqa: E402
from S3NetSegmentLib.engine.images.intensity import intensity_scale  # noqa: E402
from S3NetSegmentLib.engine.segment.find_regions import find_regions  # noqa: E402
from S3NetSegmentLib.engine.segment.objects.box_candidates import BoxPart, colour_split  # noqa: E402
from S3NetSegmentLib.engine.segment.prompts import Box  # noqa: E402
from S3NetSegmentLib.engine.segment.settings import SegmentSettings  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", choices=SPLITS, default="confirm", help="which slices (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS), help="default: all sets")
    parser.add_argument("--limit", type=int, help="at most so many slices of each set")
    parser.add_argument("--seeds", type=int, default=1, help="draws of boxes and random points (default %(default)s)")
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for set_name in options.only:
        for number, case in enumerate(islice(cases(set_name, options.sets), options.limit)):
            settings = SegmentSettings(sources="classical")
            extent = Extent.slab(case.volume, "z", case.slice_index, case.slice_index)
            regions = run_to_end(find_regions(case.volume, extent=extent, axis="z", settings=settings, device="cpu"))
            features = intensity_scale(case.volume).apply(case.volume.array[case.slice_index])
            for seed in range(options.seeds):
                for place, truth in enumerate(case.objects):
                    rng = np.random.default_rng([seed, number, place])
                    score_clicks(values, case, regions, features, truth, rng)
                    score_box(values, case, regions, features, truth, rng)
        print(f"{set_name} done", file=sys.stderr, flush=True)
    print_table(values, options)


def score_clicks(values, case: Case, regions, features: np.ndarray, truth: np.ndarray, rng) -> None:
    for name, point in (("innermost", innermost_point(truth)), ("random", random_point(truth, rng))):
        choice = regions.object_at([(point[1], point[0], case.slice_index)])
        values[f"click, {name}: Segment"][case.set_name].append(dice(choice.mask[0], truth))
        values[f"click, {name}: Segment, expected"][case.set_name].append(choice.expected_at_point)
        made = baselines.methods()
        for method in ("k-means 3", baselines.felzenszwalb_name()):
            region = baselines.clicked_region(made[method](features, rng), point)
            values[f"click, {name}: {method}"][case.set_name].append(dice(region, truth))
        grown = confidence_connected(features[..., 0], point)
        values[f"click, {name}: ConfidenceConnected"][case.set_name].append(dice(grown, truth))


def score_box(values, case: Case, regions, features: np.ndarray, truth: np.ndarray, rng) -> None:
    box = drawn_box(truth, rng, case.slice_index)
    start = time.process_time()
    choice = regions.object_at(boxes=[box])
    mask = choice.mask[0]
    seconds = time.process_time() - start
    masks = [choice.at(n).mask[0] for n in range(choice.steps)]
    edges = (box.low[1], box.high[1] + 1, box.low[0], box.high[0] + 1)
    part = BoxPart.around(truth.shape, edges)
    _, split = colour_split(part.of(features), part.box, part.radius)
    rows = {
        "box: Segment": dice(mask, truth),
        "box: Segment, expected": choice.expected_in_box,
        "box: best of the offered answers": max(dice(masks[n], truth) for n in choice.alternatives),
        "box: best clipped candidate": max(dice(m, truth) for m in masks),
        "box: split by colours (GrabCut-like)": dice(part.whole(split, truth.shape), truth),
        "box: ellipse": dice(part.whole(part.box & (part.radius <= 1), truth.shape), truth),
    }
    for name, value in rows.items():
        values[name][case.set_name].append(value)
    values["seconds from box to answer"][case.set_name].append(seconds)


def drawn_box(truth: np.ndarray, rng: np.random.Generator, k: int) -> Box:
    """The bounding box of ``truth`` as a hand draws it, in slice ``k``."""
    sides = []
    for axis in (1, 0):
        filled = np.flatnonzero(truth.any(1 - axis))
        low, high = np.array([filled[0], filled[-1] + 1]) + rng.normal(0, BOX_ERROR, 2) * (filled[-1] + 1 - filled[0])
        first = int(np.clip(round(low), 0, truth.shape[axis] - 2))
        sides.append((first, int(np.clip(round(high) - 1, first + 1, truth.shape[axis] - 1))))
    return Box((sides[0][0], sides[1][0], k), (sides[0][1], sides[1][1], k))


def confidence_connected(light: np.ndarray, point: tuple[int, int]) -> np.ndarray:
    image = sitk.GetImageFromArray(np.ascontiguousarray(light))
    seed = [(int(point[1]), int(point[0]))]
    return sitk.GetArrayFromImage(sitk.ConfidenceConnected(image, seed, 2, 2.5, 2)) > 0


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * np.count_nonzero(mask & truth) / max(1, np.count_nonzero(mask) + np.count_nonzero(truth)))


def print_table(values, options) -> None:
    sets = [s for s in options.only if any(of[s] for of in values.values())]
    grey = [s for s in sets if s in GREY_SETS]
    print(f"\n{options.sets}, {options.seeds} seed(s)\n\n| | mean of the grey sets | {' | '.join(sets)} |")
    print("|---" * (len(sets) + 2) + "|")
    for name, of in values.items():
        if name.startswith("seconds"):
            cells = [f"{np.mean(of[s]):.3f}" for s in sets]
            mean = f"{np.mean([np.mean(of[s]) for s in grey]):.3f}" if grey else "-"
        else:
            cells = [f"{np.mean(of[s]):.3f} ({100 * np.mean(np.array(of[s]) < 0.5):.0f} %)" for s in sets]
            failed = np.mean(np.concatenate([of[s] for s in grey]) < 0.5) if grey else 0
            mean = f"{np.mean([np.mean(of[s]) for s in grey]):.3f} ({100 * failed:.0f} %)" if grey else "-"
        print(f"| {name} | {mean} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
