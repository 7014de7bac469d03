#!/usr/bin/env python3
"""Cases per hour of ``s3net batch`` against --jobs, what a case costs beyond its method, dask, and resuming a large cohort.

    python3 Testing/benchmarks/batch/batch_throughput.py
    python3 Testing/benchmarks/batch/batch_throughput.py --cases 24 --jobs 1,2,4 --records 1000 --repeats 5
    python3 Testing/benchmarks/batch/batch_throughput.py --size 256x256x60 --cases 8 --only jobs

The cohort is synthetic: volumes with a ball and noise (64 x 64 x 12 voxels, or what --size says), segmented at a point with
default settings. Each number of processes is run several times, in turn; the table has the median, and the least and the most
of the efficiency. Figures of a busy machine mean little: the load is printed with them.
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

_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
from paths import MODULE  # noqa: E402

from S3NetSegmentLib.engine import Volume  # noqa: E402
from S3NetSegmentLib.engine.batch.cluster import Cluster  # noqa: E402
from S3NetSegmentLib.engine.batch.machine import cores  # noqa: E402
from S3NetSegmentLib.engine.batch.manifest import read_manifest  # noqa: E402
from S3NetSegmentLib.engine.batch.records import input_facts, read_record, settings_hash, write_record  # noqa: E402
from S3NetSegmentLib.engine.batch.resume import make_plan  # noqa: E402
from S3NetSegmentLib.engine.batch.run import run_plan  # noqa: E402
from S3NetSegmentLib.engine.images.writing import write_image  # noqa: E402

PARTS = ("jobs", "dask", "resume")


def main() -> None:
    """Runs everything and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--jobs", default="1,2", help="numbers of processes, separated by commas")
    parser.add_argument("--records", type=int, default=1000, help="finished cases to resume over")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each number of processes")
    parser.add_argument("--size", default="64x64x12", help="voxels of each volume")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be repeated")
    parser.add_argument("--keep", metavar="DIR", help="an empty folder for everything that is made; it stays")
    options = parser.parse_args()
    parts = options.only or PARTS
    with contextlib.ExitStack() as stack:
        folder = Path(options.keep or stack.enter_context(tempfile.TemporaryDirectory()))
        manifest = write_cohort(folder, options.cases, tuple(int(n) for n in options.size.split("x"))[::-1])
        print(f"{options.cases} cases of {options.size} voxels, {cores()} cores, load {_load()}")
        if "jobs" in parts:
            jobs_table(manifest, folder, [int(n) for n in options.jobs.split(",")], options.cases, options.repeats)
        if "dask" in parts:
            dask_overhead(manifest, folder, options.cases)
        if "resume" in parts:
            resume_time(manifest, folder, options.records)


def write_cohort(folder: Path, count: int, shape: tuple[int, int, int]) -> Path:
    """``count`` volumes of ``shape`` [k, j, i] and their manifest."""
    grid = np.mgrid[tuple(slice(n) for n in shape)]
    middle = [n // 2 for n in shape]
    radius = shape[2] / 4
    ball = sum(((g - m) * w) ** 2 for g, m, w in zip(grid, middle, (3, 1, 1), strict=True)) < radius**2
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 15, shape)
        volume = Volume((100 + 150 * ball + noise).astype(np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]), f"v{number}")
        write_image(volume, folder / f"v{number}.nii.gz")
    manifest = folder / "cohort.csv"
    place = ",".join(map(str, middle[::-1]))
    manifest.write_text("image,pixels\n" + "".join(f'v{n}.nii.gz,"{place}"\n' for n in range(count)), encoding="utf-8")
    return manifest


def jobs_table(manifest: Path, folder: Path, jobs: list[int], count: int, repeats: int) -> None:
    """Cases per hour, efficiency, overhead and memory for each number of processes."""
    runs: dict[int, list[dict]] = {number: [] for number in jobs}
    for repeat in range(repeats):  # in turn, so that a change of the machine's load meets all of them
        for number in jobs:
            runs[number].append(_timed(manifest, folder / f"jobs{number}_{repeat}", number, count))
    print(
        "\njobs  seconds  cases/hour  efficiency (least to most)  per case: method  reading+hashing+writing  start and giving out  "
        "peak MB of a worker"
    )
    alone = [run["wall"] * jobs[0] for run in runs[jobs[0]]]
    for number in jobs:
        shares = [one / (run["wall"] * number) for one, run in zip(alone, runs[number], strict=True)]
        middle = {name: float(np.median([run[name] for run in runs[number]])) for name in runs[number][0]}
        most = max(run["memory"] for run in runs[number])
        print(
            f"{number:>4}  {middle['wall']:>7.1f}  {3600 * count / middle['wall']:>10,.0f}  {np.median(shares):>10.0%} ({min(shares):.0%} to "
            f"{max(shares):.0%})  {middle['method']:>21.2f}  {middle['files']:>23.2f}  {middle['rest']:>20.2f}  {most:>19,.0f}   load {_load()}"
        )


def _timed(manifest: Path, out: Path, jobs: int, count: int) -> dict:
    """One run; seconds in all and per case, MB."""
    began = time.perf_counter()
    facts = s3net("batch", manifest, "-o", out, "--jobs", jobs, "--device", "cpu")
    wall = time.perf_counter() - began
    method, total = (np.mean([case["seconds"][part] for case in facts["cases"]]) for part in ("method", "total"))
    rest = (wall * jobs - total * count) / count
    memory = max(case["memory_mb"] or 0 for case in facts["cases"])
    return {"wall": wall, "method": method, "files": total - method, "rest": rest, "memory": memory}


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


def resume_time(manifest: Path, folder: Path, count: int) -> None:
    """Seconds to find out that ``count`` cases are finished. They are copies of one that was really computed."""
    place = folder / "many"
    place.mkdir()
    pixels = manifest.read_text(encoding="utf-8").splitlines()[1].partition(",")[2]
    (place / "m.csv").write_text(
        "image,pixels,output\n" + "".join(f"v{n}.nii.gz,{pixels},c{n}\n" for n in range(count))
    )
    source, done = folder / "v0.nii.gz", folder / "one"
    (folder / "one.csv").write_text(f"image,pixels\nv0.nii.gz,{pixels}\n")
    s3net("batch", folder / "one.csv", "-o", done, "--device", "cpu")
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
