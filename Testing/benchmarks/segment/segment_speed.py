"""Seconds and memory of Segment, from the image in memory to the object: ``python3 Testing/benchmarks/segment/segment_speed.py``.

    --pictures      2D pictures and slices on one CPU thread: search, first object, granularity step, further point
    --volumes       whole volumes (256x256x100 and, with --large, 512x512x300), each in a process of its own, with the peak
                    memory above the loaded volume and the longest step of progress, in which a window stands still (in
                    brackets the same in seconds of the processor, which a busy machine changes less)

Without options both are run. Volumes are shipped or shared images resampled to the size, so that their contents are real.
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
if "--pictures" in sys.argv:
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(threads, "1")

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
from paths import SAMPLE_DATA  # noqa: E402

from S3NetSegmentLib.engine import Volume, run_to_end  # noqa: E402
from S3NetSegmentLib.engine.images.reading import read_image  # noqa: E402
from S3NetSegmentLib.engine.images.resample import resized  # noqa: E402
from S3NetSegmentLib.engine.segment.find_regions import find_regions  # noqa: E402
from S3NetSegmentLib.engine.segment.prompts import Prompts  # noqa: E402

REPEATS = 5
VOLUMES = {"256x256x100": (100, 256, 256), "512x512x300": (300, 512, 512)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--volumes", action="store_true")
    parser.add_argument("--large", action="store_true", help="also 512x512x300")
    parser.add_argument("--one", choices=VOLUMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        volume_row(options.one)
        return
    both = not (options.pictures or options.volumes)
    if options.pictures:
        pictures()
    elif both:  # threads are counted when a process starts
        subprocess.run([sys.executable, __file__, "--pictures"], check=True)
    if options.volumes or both:
        print(
            "\n| volume | search, s | first object, s | other step, s | further point, s | longest step, ms | peak above volume, GB |"
        )
        print("|---|---|---|---|---|---|---|")
        for name in list(VOLUMES)[: 2 if options.large else 1]:
            sys.stdout.flush()
            subprocess.run([sys.executable, __file__, "--one", name], check=True)


def pictures() -> None:
    """A table of the median seconds over repeats, one thread; the network is imported before."""
    import SimpleITK
    import torch

    torch.set_num_threads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    print(f"| picture | search, s | first object, s | other step, ms | further point, ms |  (median of {REPEATS})")
    print("|---|---|---|---|---|")
    skin, slice_ = read_image(SAMPLE_DATA / "skin_lesion_1.jpg"), read_image(SAMPLE_DATA / "brain_slice.png")
    larger = Volume(resized(skin.array, (1, 384, 512)).round().astype(np.uint8), skin.ijk_to_ras)
    ct = read_image(SAMPLE_DATA / "ct_abdomen.nii.gz")
    big = Volume(resized(ct.array[27:28], (1, 512, 512)).round().astype(np.int16), np.eye(4))
    for name, image in (
        ("colour 256x192", skin),
        ("colour 512x384", larger),
        ("grey 256x256", slice_),
        ("grey 512x512", big),
    ):
        run_to_end(find_regions(image))  # imports and first use
        rows = [timed(image)[0] for _ in range(REPEATS)]
        search, first, step, point = np.median(rows, 0)
        print(f"| {name} | {search:.2f} | {first:.2f} | {1000 * step:.0f} | {1000 * point:.0f} |", flush=True)


def timed(image: Volume) -> tuple[list[float], list]:
    """Seconds of the search, of the first object, of another step of granularity and of a further point; the longest step
    of the first two, see :func:`stepped`."""
    i, j, k = (n // 2 for n in image.size)
    search, regions, *found = stepped(find_regions(image))
    object_seconds, choice, *chosen = stepped(regions.object_steps(Prompts(((i, j, k),))))
    longest = [max(both) for both in zip(found, chosen, strict=True)]
    marks = [time.perf_counter()]
    _ = choice.mask
    marks.append(time.perf_counter())
    _ = choice.at(choice.index + 1).mask
    marks.append(time.perf_counter())
    beside = (i + image.size[0] // 5, j + image.size[1] // 7, k)
    _ = regions.object_at([(i, j, k), beside]).mask
    marks.append(time.perf_counter())
    first, step, point = np.diff(marks)
    return [search, object_seconds + first, step, point], longest


def stepped(steps) -> tuple[float, object, tuple[float, str], tuple[float, str]]:
    """Seconds and result of long work; the longest time between two steps of progress and what was being done then, in
    seconds and in those of the processor."""
    start = wall = time.perf_counter()
    busy, message = time.process_time(), "start"
    longest = busiest = (0.0, "")
    while True:
        try:
            step, result = next(steps), None
        except StopIteration as stop:
            step, result = None, stop.value
        now, used = time.perf_counter(), time.process_time()
        longest, busiest = max(longest, (now - wall, message)), max(busiest, (used - busy, message))
        if step is None:
            return now - start, result, longest, busiest
        wall, busy, message = now, used, step.message


def volume_row(name: str) -> None:
    """One row of the table of volumes, measured in this process alone."""
    sample = read_image(SAMPLE_DATA / "ct_abdomen.nii.gz")
    shape = VOLUMES[name]
    matrix = sample.ijk_to_ras.copy()
    matrix[:3, :3] *= np.array(sample.size) / np.array(shape[::-1])
    array = np.empty(shape, np.int16)
    small = resized(sample.array, (shape[0], *sample.array.shape[1:]))
    for k in range(shape[0]):  # slice by slice, so that making the volume does not set the peak
        array[k] = resized(small[k], shape[1:])
    array += np.random.default_rng(0).normal(0, 12, shape[1:]).astype(np.int16)
    del small
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (search, first, step, point), (longest, busiest) = timed(Volume(array, matrix))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(
        f"| {name} | {search:.1f} | {first:.1f} | {step:.2f} | {point:.2f} | "
        f"{1000 * longest[0]:.0f} ({1000 * busiest[0]:.0f}, {busiest[1]}) | {peak:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
