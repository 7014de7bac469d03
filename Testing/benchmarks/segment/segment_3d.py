"""Accuracy of one click in a volume, beside simple methods on the same volumes and clicks.

    python3 Testing/benchmarks/segment/segment_3d.py                                 the twelve organs and the confirm cases
    python3 Testing/benchmarks/segment/segment_3d.py --seeds 10                      the full table (stochastic methods ten times)
    python3 Testing/benchmarks/segment/segment_3d.py --groups development            the cases on which settings may be chosen
    python3 Testing/benchmarks/segment/segment_3d.py --points                        further points, in and out of the object
    python3 Testing/benchmarks/segment/segment_3d.py --large 300x512x512             time and memory on a volume of that size

Rule R2: Dice with the true object on the image's own voxels after one click, at the object's innermost voxel and at a
random one. Best of 3: the best of the three offered answers; bound: the best candidate of the granularity control.
Seconds are of one thread: preparation of the volume, and one click.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from volume_cases import GROUPS, VolumeCase, volume_cases  # noqa: E402
from volume_clicks import corrective_voxel, innermost_voxel, random_voxel  # noqa: E402
from volume_contestants import GrowingRegion, Product, ScoredKMeans  # noqa: E402

METHODS = {
    "Segment": Product,
    "k-means, plain score": ScoredKMeans,
    "ConfidenceConnected 2.0": lambda volume, seed: GrowingRegion(volume, 2.0),
    "ConfidenceConnected 2.5": lambda volume, seed: GrowingRegion(volume, 2.5),
}
STOCHASTIC = ("Segment", "k-means, plain score")
CLICKS = ("innermost", "random")
CLICK_SEED = 1
CORRECTIONS = 3


def main() -> None:
    options = parsed()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if options.large:
        measure_large(tuple(int(n) for n in options.large.split("x")))
        return
    for group in options.groups:
        cases = list(volume_cases(group))
        print(f"\n== {group}: {sum(len(c.objects) for c in cases)} objects in {len(cases)} volumes\n", flush=True)
        if options.points:
            print_points(cases)
            continue
        results = {}
        for name in options.methods:
            for seed in range(options.seeds if name in STOCHASTIC else 1):
                rows = [row for case in cases for row in scored(case, name, seed)]
                results[name, seed] = rows
                print(f"{name}, seed {seed}: {means(rows)}", file=sys.stderr, flush=True)
        print_table(results, options)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=["twelve", "confirm"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=1, help="seeds of the stochastic methods (default %(default)s)")
    parser.add_argument("--points", action="store_true", help="add and remove regions by further points")
    parser.add_argument("--large", metavar="KxJxI", help="time and peak memory on a synthetic volume of this size")
    return parser.parse_args()


def scored(case: VolumeCase, name: str, seed: int) -> list[dict]:
    """One row for each object and click of a case."""
    start = time.perf_counter()
    method = METHODS[name](case.volume, seed)
    prepared = time.perf_counter() - start
    rows = []
    for object_name, truth in case.objects.items():
        for click, point in zip(CLICKS, clicks(case, truth), strict=True):
            start = time.perf_counter()
            answers, choice = method.answers(point)
            seconds = time.perf_counter() - start
            found = [dice(a, truth) for a in answers]
            bound = max(method.bound(choice, truth), max(found)) if choice is not None else max(found)
            rows.append(
                {
                    "case": case.name, "kind": case.kind, "object": object_name, "click": click, "dice": found[0],
                    "three": max(found), "bound": bound, "prepared": prepared, "seconds": seconds,
                }
            )  # fmt: skip
    return rows


def clicks(case: VolumeCase, truth: np.ndarray):
    spacing = case.volume.spacing[::-1]
    return innermost_voxel(truth, spacing), random_voxel(truth, spacing, np.random.default_rng(CLICK_SEED))


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    total = np.count_nonzero(mask) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(mask & truth) / total if total else 0.0


def means(rows: list[dict]) -> str:
    parts = []
    for click in CLICKS:
        own = [r for r in rows if r["click"] == click]
        values = [np.mean([r[key] for r in own]) for key in ("dice", "three", "bound")]
        failed = 100 * np.mean([r["dice"] < 0.5 for r in own])
        parts.append(
            f"{click} {values[0]:.3f} ({failed:.0f} % under .5), best of 3 {values[1]:.3f}, bound {values[2]:.3f}"
        )
    seconds = [np.mean([r[key] for r in rows]) for key in ("prepared", "seconds")]
    return "; ".join(parts) + f"; {seconds[0]:.1f} s + {seconds[1]:.2f} s"


def print_table(results: dict, options) -> None:
    """Per method the mean over objects (and over seeds with their spread), then each object, then each kind."""
    for name in options.methods:
        runs = [rows for (n, _), rows in results.items() if n == name]
        print(f"{name}: {means([row for rows in runs for row in rows])}")
        if len(runs) > 1:
            for click in CLICKS:
                each = [np.mean([r["dice"] for r in rows if r["click"] == click]) for rows in runs]
                print(f"    {click}: mean over objects {min(each):.3f} to {max(each):.3f} in {len(runs)} seeds")
    first = {name: results[name, 0] for name in options.methods}
    print("\nSeed 0, Dice innermost / random" + "".join(f" | {n}" for n in first) + " | bound of Segment")
    reference = next(iter(first.values()))
    for number in range(0, len(reference), 2):
        row = reference[number]
        line = f"{row['case']} {row['object']}"
        for rows in first.values():
            line += f" | {rows[number]['dice']:.2f} / {rows[number + 1]['dice']:.2f}"
        print(f"{line} | {reference[number]['bound']:.2f} / {reference[number + 1]['bound']:.2f}")
    print()
    for name, rows in first.items():
        by_kind = defaultdict(list)
        for row in rows:
            by_kind[row["kind"]].append(row["dice"])
        print(f"{name}: " + ", ".join(f"{kind} {np.mean(v):.3f}" for kind, v in by_kind.items()))


def print_points(cases: list[VolumeCase]) -> None:
    """Mean Dice after 1 to 4 points, each further one in the middle of the largest error."""
    curves = []
    for case in cases:
        product = Product(case.volume, 0)
        for truth in case.objects.values():
            curves.append(corrected(product, case, truth))
    print("Dice after 1, 2, ... points (random first click): " + " ".join(f"{v:.3f}" for v in np.mean(curves, 0)))


def corrected(product: Product, case: VolumeCase, truth: np.ndarray) -> list[float]:
    spacing = case.volume.spacing[::-1]
    inside, outside, curve = [clicks(case, truth)[1]], [], []
    for number in range(CORRECTIONS + 1):
        mask = product.object_at(inside, outside).mask
        curve.append(dice(mask, truth))
        found = corrective_voxel(mask, truth, spacing) if number < CORRECTIONS else None
        if found is None:
            curve += [curve[-1]] * (CORRECTIONS - number)
            break
        where, add = found
        (inside if add else outside).append(where)
    return curve


def measure_large(shape: tuple[int, int, int]) -> None:
    """Preparation and clicks on a synthetic volume of ``shape`` (k, j, i), with the peak memory of the process."""
    import resource

    from S3NetSegmentLib.engine.images import Volume

    volume = Volume(synthetic_volume(shape), np.diag((0.8, 0.8, 1.5, 1.0)), "large")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    product = Product(volume, 0)
    print(f"{shape}: prepared in {time.perf_counter() - start:.1f} s")
    for point in [tuple(n // 2 for n in shape), tuple(n // 3 for n in shape)]:
        start = time.perf_counter()
        choice = product.object_at([point])
        print(f"click {time.perf_counter() - start:.2f} s ({choice.steps} steps); ", end="")
        start = time.perf_counter()
        choice.at(0).mask.any()
        print(f"a step of the ladder {1000 * (time.perf_counter() - start):.0f} ms; ", end="")
        start = time.perf_counter()
        product.object_at([point, tuple(n // 4 for n in shape)]).mask.any()
        print(f"a further point {1000 * (time.perf_counter() - start):.0f} ms")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"peak memory {after:.0f} MB, of which {before:.0f} MB before the search (volume {volume.array.nbytes / 2**20:.0f} MB)"
    )


def synthetic_volume(shape: tuple[int, int, int]) -> np.ndarray:
    """A noisy int16 volume of smooth bodies, made slice by slice."""
    rng = np.random.default_rng(0)
    z, y, x = (np.linspace(0, 1, n, dtype=np.float32) for n in shape)
    centres = rng.uniform(0.1, 0.9, (20, 3)).astype(np.float32)
    out = np.empty(shape, np.int16)
    for k in range(shape[0]):
        values = np.zeros(shape[1:], np.float32)
        for number, (cz, cy, cx) in enumerate(centres):
            inside = (z[k] - cz) ** 2 + ((y - cy) ** 2)[:, None] + ((x - cx) ** 2)[None] < 0.015
            values[inside] = 100 + 40 * number
        out[k] = values + rng.normal(0, 20, shape[1:]).astype(np.float32)
    return out


if __name__ == "__main__":
    main()
