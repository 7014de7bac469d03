#!/usr/bin/env python3
"""Cases per hour of ``s3net batch`` against --jobs, what a case costs beyond its method, dask, and resuming a large cohort.

    python3 Testing/benchmarks/batch_throughput.py
    python3 Testing/benchmarks/batch_throughput.py --cases 24 --jobs 1,2,4 --records 1000

The cohort is synthetic: volumes of 64 x 64 x 12 voxels with a ball and noise, segmented at a point with default settings.
Figures of a busy machine mean little: the load is printed with them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_testing = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_testing), str(_testing.parent / "S3NetSegment")]

import numpy as np  # noqa: E402
from paths import MODULE  # noqa: E402

from S3NetSegmentLib.engine import Volume  # noqa: E402
from S3NetSegmentLib.engine.batch.cluster import Cluster  # noqa: E402
from S3NetSegmentLib.engine.batch.fingerprint import input_facts, settings_hash  # noqa: E402
from S3NetSegmentLib.engine.batch.machine import cores  # noqa: E402
from S3NetSegmentLib.engine.batch.manifest import read_manifest  # noqa: E402
from S3NetSegmentLib.engine.batch.records import read_record, write_record  # noqa: E402
from S3NetSegmentLib.engine.batch.resume import make_plan  # noqa: E402
from S3NetSegmentLib.engine.batch.run import run_plan  # noqa: E402
from S3NetSegmentLib.engine.images.writing import write_image  # noqa: E402

SIZE = (12, 64, 64)  # k, j, i


def main() -> None:
    """Runs everything and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--jobs", default="1,2", help="numbers of processes, separated by commas")
    parser.add_argument("--records", type=int, default=1000, help="finished cases to resume over")
    parser.add_argument("--keep", metavar="DIR", help="an empty folder for everything that is made; it stays")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(options.keep or stack.enter_context(tempfile.TemporaryDirectory()))
        manifest = write_cohort(folder, options.cases)
        print(f"{options.cases} cases of {' x '.join(map(str, SIZE[::-1]))} voxels, {cores()} cores, load {_load()}")
        jobs_table(manifest, folder, [int(n) for n in options.jobs.split(",")], options.cases)
        dask_overhead(manifest, folder, options.cases)
        resume_time(folder, options.records)


def write_cohort(folder: Path, count: int) -> Path:
    """``count`` volumes and their manifest."""
    k, j, i = np.mgrid[: SIZE[0], : SIZE[1], : SIZE[2]]
    ball = ((k - 6) * 3) ** 2 + (j - 30) ** 2 + (i - 34) ** 2 < 15**2
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 15, SIZE)
        volume = Volume((100 + 150 * ball + noise).astype(np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]), f"v{number}")
        write_image(volume, folder / f"v{number}.nii.gz")
    manifest = folder / "cohort.csv"
    rows = "".join(f'v{n}.nii.gz,"34,30,6"\n' for n in range(count))
    manifest.write_text(f"image,pixels\n{rows}", encoding="utf-8")
    return manifest


def jobs_table(manifest: Path, folder: Path, jobs: list[int], count: int) -> None:
    """Cases per hour and overhead for each number of processes."""
    print("\njobs  seconds  cases/hour  efficiency  per case: method  reading+hashing+writing  start and giving out")
    first = None
    for number in jobs:
        began = time.perf_counter()
        facts = s3net("batch", manifest, "-o", folder / f"jobs{number}", "--jobs", number, "--device", "cpu")
        wall = time.perf_counter() - began
        seconds = [case["seconds"] for case in facts["cases"]]
        method = np.mean([s["method"] for s in seconds])
        total = np.mean([s["total"] for s in seconds])
        first = first or wall * number
        rest = (wall * number - total * count) / count
        print(
            f"{number:>4}  {wall:>7.1f}  {3600 * count / wall:>10,.0f}  {first / (wall * number):>10.0%}  {method:>16.2f}  "
            f"{total - method:>23.2f}  {rest:>20.2f}   load {_load()}"
        )


def dask_overhead(manifest: Path, folder: Path, count: int) -> None:
    """Seconds per case that a dask scheduler with one worker adds."""
    try:
        import distributed
    except ImportError:
        print("\ndask: dask.distributed is not installed (pip install distributed): LEFT OUT")
        return
    out = folder / "dask"
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50, memory_limit=0
    ) as cluster:
        cases = read_manifest(manifest, out)
        run_plan(make_plan(cases[:1], out, False), out, Cluster(out, cluster.scheduler_address, "cpu"))  # imports
        workers = Cluster(out, cluster.scheduler_address, "cpu")
        ends, began = [], time.perf_counter()
        records = run_plan(
            make_plan(cases, out, False), out, workers, on_event=lambda event: ends.append(time.perf_counter())
        )
        wall = ends[-1] - began
    inside = sum(record["seconds"]["total"] for record in records.values())
    print(f"\ndask, one worker: {1000 * (wall - inside) / count:.0f} ms per case beyond the case itself")


def resume_time(folder: Path, count: int) -> None:
    """Seconds to find out that ``count`` cases are finished. They are copies of one that was really computed."""
    place = folder / "many"
    place.mkdir()
    (place / "m.csv").write_text(
        "image,pixels,output\n" + "".join(f'v{n}.nii.gz,"34,30,6",c{n}\n' for n in range(count))
    )
    source, done = folder / "v0.nii.gz", folder / "jobs1"
    if not done.exists():
        done = next(folder.glob("jobs*"))
    for n in range(count):
        os.link(source, place / f"v{n}.nii.gz")
    out = place / "out"
    out.mkdir()
    cases = read_manifest(place / "m.csv", out)
    record, known = read_record(done, "v0"), {}
    for case in cases:
        outputs = {}
        for what, name in case.outputs().items():
            with contextlib.suppress(FileExistsError):
                os.link(done / record["outputs"][what]["name"], out / name)
            outputs[what] = {**record["outputs"][what], "name": name}
        facts = input_facts(case, known)
        write_record(out, {**record, "name": case.name, "inputs": facts, "outputs": outputs, "settings_hash": settings_hash(case)})  # fmt: skip
    began, before = time.perf_counter(), os.times()
    facts = s3net("batch", place / "m.csv", "-o", out, "--resume")
    took, after = time.perf_counter() - began, os.times()
    computed = after.children_user + after.children_system - before.children_user - before.children_system
    assert facts["skipped"] == count, facts["counts"]
    size = (out / "report.html").stat().st_size / 1e6
    print(
        f"resume of {count:,} finished cases: {took:.1f} s, {computed:.1f} s of them on a core, with the report ({size:.1f} MB), load {_load()}"
    )


def s3net(*arguments) -> dict:
    """Runs s3net; its JSON."""
    command = [sys.executable, str(MODULE / "s3net"), *map(str, arguments), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"


if __name__ == "__main__":
    main()
