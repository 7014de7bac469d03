"""Seconds, memory and the longest pause of Few-shot: ``python3 Testing/benchmarks/few_shot/few_shot_speed.py [--threads 2 1]``.

A real CT resampled to 256x256x100, three segments, three drawn slices. Rows: small segments (kidneys and aorta) and large ones
(liver, spleen, right kidney). First the visible slice, quickly; then the whole volume; then one drawn slice is changed and
both are asked for again. Longest pause: the longest time between two steps of progress, in which a window would stand
still. Each row is measured in a process of its own; memory is the peak above the loaded volume. In brackets the seconds of
the processor, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

SEGMENTS = {"small": (3, 4, 5), "large": (1, 2, 3)}
SHAPE = (100, 256, 256)
DRAWN = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", nargs="+", type=int, default=[2, 1])
    parser.add_argument("--segments", nargs="+", choices=SEGMENTS, default=list(SEGMENTS))
    parser.add_argument("--one", choices=SEGMENTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one)
        return
    print(
        "| segments | threads | first slice, s | volume, s | edit: slice, s | edit: volume, s | longest pause, ms | peak memory, GB |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for threads in options.threads:
        counts = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
        for name in options.segments:
            sys.stdout.flush()
            subprocess.run([sys.executable, __file__, "--one", name], check=True, env=os.environ | counts)


def measure(name: str) -> None:
    import torch

    from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot

    volume, labels = volume_and_labels(SEGMENTS[name])
    warm_up()
    filled = labels.any((1, 2)).nonzero()[0]
    first, last = int(filled[0]), int(filled[-1])
    drawn = [round(first + share * (last - first)) for share in (1 / 6, 1 / 2, 5 / 6)][:DRAWN]
    visible = (drawn[0] + drawn[1]) // 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    product = FewShot(volume, axis="z")
    support = [DrawnSlice("z", z, labels[z]) for z in drawn]
    product.set_support(support)
    runs = [timed(product.propagate((visible, visible), quick=True)), timed(product.propagate())]
    changed = support[1].labels.copy()
    changed[:, : int(changed.any(0).nonzero()[0].mean())] = 0  # the user takes one side away
    support[1] = DrawnSlice("z", drawn[1], changed)
    product.set_support(support)
    runs += [timed(product.propagate((visible, visible), quick=True)), timed(product.propagate())]
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    seconds = " | ".join(f"{total:.2f} ({busy:.2f})" for total, busy, _, _ in runs)
    longest, message = max((pause, message) for *_, pause, message in runs)
    print(
        f"| {name} | {torch.get_num_threads()} | {seconds} | {1000 * longest:.0f} ({message}) | {peak:.2f} |",
        flush=True,
    )


def timed(steps) -> tuple[float, float, float, str]:
    """Seconds in all, of the processor, the longest of one step, and what was being done before it."""
    start, busy = time.perf_counter(), time.process_time()
    last = start
    longest, where, message = 0.0, "", "start"
    while True:
        try:
            step = next(steps)
        except StopIteration:
            step = None
        now = time.perf_counter()
        if now - last > longest:
            longest, where = now - last, message
        if step is None:
            return now - start, time.process_time() - busy, longest, where
        last, message = now, step.message


def volume_and_labels(values: tuple[int, ...]):
    """The shipped CT at :data:`SHAPE`, with the noise of its thinner slices, and labels 1, 2, ... for ``values``."""
    import numpy as np
    from paths import SAMPLE_DATA

    from S3NetSegmentLib.engine.images import Volume
    from S3NetSegmentLib.engine.images.reading import read_image
    from S3NetSegmentLib.engine.images.resample import resized

    sample, truth = (read_image(SAMPLE_DATA / f"ct_abdomen{part}.nii.gz") for part in ("", "_labels"))
    matrix = sample.ijk_to_ras.copy()
    matrix[:3, :3] *= np.array(sample.size) / np.array(SHAPE[::-1])
    noise = np.random.default_rng(0).normal(0, 12, SHAPE)
    array = (resized(sample.array, SHAPE) + noise).astype(np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    for number, value in enumerate(values, 1):
        labels[resized(truth.array == value, SHAPE) > 0.5] = number
    return Volume(array, matrix, "ct"), labels


def warm_up() -> None:
    """Imports and first use, on a volume of a few voxels."""
    import numpy as np

    from S3NetSegmentLib.engine.common.progress import run_to_end
    from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot
    from S3NetSegmentLib.engine.images import Volume

    array = np.zeros((4, 16, 16), np.float32)
    array[:, 4:10, 4:10] = 1
    product = FewShot(Volume(array, np.eye(4)))
    product.set_support([DrawnSlice("z", 1, array[1].astype(np.uint8))])
    run_to_end(product.propagate())


if __name__ == "__main__":
    main()
