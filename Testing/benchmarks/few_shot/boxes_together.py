"""Boxes in place of drawings: each label of a slice by its own box, and all boxes of the slice answered together.

    python3 Testing/benchmarks/few_shot/boxes_together.py --sets acdc ct --limit 2      labels that touch or lie inside one another

Dice of each label in its slice, development cases, three slices each (at 1/6, 1/2 and 5/6 of the labelled extent); a box has an error
of 7 % a side. Times are of one thread.
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
from few_shot_cases import FOLDERS, few_shot_cases  # noqa: E402
from simulated_boxes import boxes_of_slice  # noqa: E402

from S3NetSegmentLib.engine.common.arrays import dice  # noqa: E402
from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.few_shot.drawings.boxes import boxed_slices  # noqa: E402
from S3NetSegmentLib.engine.images.volume import slices_first  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=FOLDERS, default=["acdc", "ct"])
    parser.add_argument("--limit", type=int, help="cases of each set")
    parser.add_argument("--seed", type=int, default=3, help="of the errors of the boxes (default %(default)s)")
    options = parser.parse_args()
    rows = defaultdict(list)
    for set_name in options.sets:
        for case in few_shot_cases("development", set_name, options.limit):
            truth = slices_first(case.labels, case.axis)
            for z in case.drawn(3):
                boxes = boxes_of_slice(case, z, np.random.default_rng([options.seed, z]))
                start = time.perf_counter()
                together = answered(case, boxes) if boxes else None
                seconds = time.perf_counter() - start
                for label, own in boxes.items():
                    alone = dice(answered(case, {label: own}) == label, truth[z] == label)
                    rows[set_name, label].append((alone, dice(together == label, truth[z] == label), seconds))
    print("| set, label | slices | its own box | all boxes together | seconds for the slice |\n|---|---|---|---|---|")
    for (set_name, label), own in rows.items():
        alone, together, seconds = np.mean(own, 0)
        print(f"| {set_name}, {label} | {len(own)} | {alone:.3f} | {together:.3f} | {seconds:.1f} |")


def answered(case, boxes) -> np.ndarray:
    """The labels that the boxes of one slice give."""
    (found,) = run_to_end(boxed_slices(case.volume, boxes))
    return found.labels


if __name__ == "__main__":
    main()
