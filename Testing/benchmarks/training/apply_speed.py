"""Seconds and memory of a model on a volume of 256 x 256 x 100: ``python3 Testing/benchmarks/training/apply_speed.py``.

The network of the presets plus and paper (1.8 million weights and a second decoder) with random weights, which take as long as
trained ones, labels and confidence; the volume is a shipped image resampled to the size. Each row is a process of its own; the
peak is memory above the loaded volume. On a busy machine the CPU seconds (of all threads) tell more. In Slicer's window the work
is done in short steps: its seconds, and the longest of these steps, in which the window stands still, by the clock and in CPU
time of the thread.

    --threads N     CPU threads (default: as many as the machine has)
    --large         also 512 x 512 x 300
    --depth D       a 3D network on patches of up to D slices (default 1: slices)
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

import numpy as np  # noqa: E402
import torch  # noqa: E402
from paths import SAMPLE_DATA  # noqa: E402

from S3NetSegmentLib.engine import Volume, run_to_end  # noqa: E402
from S3NetSegmentLib.engine.apply import ModelSegmenter  # noqa: E402
from S3NetSegmentLib.engine.common.device import describe_device  # noqa: E402
from S3NetSegmentLib.engine.images.reading import read_image  # noqa: E402
from S3NetSegmentLib.engine.images.resample import resized  # noqa: E402
from S3NetSegmentLib.engine.nets.unet import CHANNELS, TwoStreamUNet, seeded  # noqa: E402
from S3NetSegmentLib.engine.training.cohort.label_classes import LabelClass  # noqa: E402
from S3NetSegmentLib.engine.training.model.model_file import (  # noqa: E402
    Model,
    describe_network,
    network_tensors,
)
from S3NetSegmentLib.engine.training.preparation import choose_layout  # noqa: E402

SIZES = {"256x256x100": (100, 256, 256), "512x512x300": (300, 512, 512)}
NETWORKS = ("unet", "tiny")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        size, network = options.one
        row(size, network, options.depth)
        return
    print(
        f"{describe_device()}\n\n| volume | network | seconds | CPU seconds | peak above the volume, MB | in the window, s | longest step, ms | "
        "CPU ms |\n|---|---|---|---|---|---|---|---|"
    )
    for size in list(SIZES)[: 2 if options.large else 1]:
        for network in NETWORKS:
            sys.stdout.flush()
            command = [
                sys.executable,
                __file__,
                "--threads",
                str(options.threads),
                "--depth",
                str(options.depth),
                "--one",
                size,
                network,
            ]
            subprocess.run(command, check=True)


def row(size: str, name: str, depth: int) -> None:
    small = read_image(SAMPLE_DATA / "mr_brain_tumour.nii.gz")
    array = resized(small.array, SIZES[size]).astype(np.int16)
    volume = Volume(array, np.diag((0.9, 0.9, 1.5, 1.0)))
    layout, _ = choose_layout([volume], depth=depth)
    channels = CHANNELS[name]
    network = seeded(lambda: TwoStreamUNet(4, 1, channels, across=layout.across(len(channels))), 0)
    classes = tuple(LabelClass(n, v, (1.0, 0, 0)) for v, n in enumerate("abc", 1))
    model = Model("segmenter", describe_network(network), network_tensors(network), layout, classes)
    segmenter = ModelSegmenter(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter(), time.process_time()
    answer = run_to_end(segmenter.segment(volume, confidence=True))
    seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    steps, shown = step_seconds(segmenter.segment(volume, confidence=True, short_steps=True))
    assert (shown.labels == answer.labels).mean() > 0.9999  # batches of another size may differ in the last bit
    print(
        f"| {size} | {name} | {seconds[0]:.1f} | {seconds[1]:.1f} | {peak:.0f} | {sum(wall for wall, _ in steps):.1f} | "
        f"{1000 * max(wall for wall, _ in steps):.0f} | {1000 * max(cpu for _, cpu in steps):.0f} |"
    )


def step_seconds(steps) -> tuple[list[tuple[float, float]], object]:
    """How long each of ``steps`` takes by the clock and in CPU time of this thread, and what they return."""
    taken = []
    while True:
        began = time.perf_counter(), time.thread_time()
        try:
            next(steps)
        except StopIteration as end:
            return taken, end.value
        finally:
            taken.append((time.perf_counter() - began[0], time.thread_time() - began[1]))


if __name__ == "__main__":
    main()
