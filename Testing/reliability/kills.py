"""Disturbs a batch: kills its workers and the batch itself, or a worker of a cluster, and lets it go on, until it is finished."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import command_line
from command_line import start

_AGAIN = "tried once more"  # what a batch says when a worker died
_FINISHED = re.compile(r"\[(\d+)/\d+\] ")


@dataclass
class Story:
    """What happened.

    :param lost: cases that were finished before a kill and are not, or were made anew, afterwards.
    :param finished: how many cases were finished before a kill, over all kills.
    """

    told: str = ""
    finished: int = 0
    lost: int = 0
    failures: list[str] = field(default_factory=list)


s3net = partial(command_line.s3net, patience=None)  # runs to its end, however long that takes


def disturbed_runs(manifest: Path, folder: Path, count: int, jobs: int, seed: int) -> Story:
    """A worker is killed after a fifth of the cases, the batch after two fifths, and again after a further fifth.

    Small cases may all be finished before the second moment comes: the story counts the batches that a kill has met.
    """
    rng, story, known, killed = random.Random(seed), Story(), {}, 0
    command = ["batch", manifest, "-o", folder, "--jobs", jobs, "--keep-going", "--device", "cpu"]
    again, fifth = 0, max(1, count // 5)
    for options, kills in (((), (("worker", fifth), ("batch", 2 * fifth))), (("--resume",), (("batch", fifth),))):
        with start(*command, *options) as process:
            for victim, after in kills:
                again += _wait_for(process, after)
                time.sleep(rng.uniform(0, 0.3))
                workers = _children(process.pid)
                if victim == "batch" or workers:
                    os.kill(rng.choice(workers) if victim == "worker" else process.pid, signal.SIGKILL)
            again += _AGAIN in process.stderr.read()
        killed += process.returncode == -signal.SIGKILL
        if options and process.returncode == 1:
            continue  # it had come to its end
        _check_end(story, process.returncode, -signal.SIGKILL, "the killed batch")
        if not _all_end(workers):
            story.failures.append("a worker outlived its batch")
        _check_state(story, manifest, folder, known)
    _finish(story, command, folder, known)
    story.told = f"1 worker and {killed} batches killed with SIGKILL, {again} case begun anew at once by its batch"
    return story


def disturbed_on_cluster(manifest: Path, folder: Path, count: int, jobs: int, seed: int) -> Story:
    """A worker of a local dask cluster is killed after a fifth of the cases, the client interrupted after two fifths."""
    import distributed

    story, known, fifth = Story(), {}, max(1, count // 5)
    with distributed.LocalCluster(
        n_workers=jobs, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50, memory_limit=0
    ) as cluster:
        command = ["batch", manifest, "-o", folder, "--keep-going", "--device", "cpu"]
        command += ["--scheduler", cluster.scheduler_address]
        with start(*command) as process:
            _wait_for(process, fifth)
            os.kill(next(iter(cluster.workers.values())).process.process.pid, signal.SIGKILL)
            _wait_for(process, 2 * fifth)
            process.send_signal(signal.SIGINT)
            process.stderr.read()
        _check_end(story, process.returncode, 130, "the interrupted client")
        _check_state(story, manifest, folder, known)
        _finish(story, command, folder, known)
    story.told = "1 dask worker killed with SIGKILL, the client stopped with Ctrl-C"
    return story


def _finish(story: Story, command: list, folder: Path, known: dict[str, int]) -> None:
    """Goes on to the end, and once more, when nothing but the failed case may be left to do."""
    for last in (False, True):
        done = s3net(*command, "--resume", "--json", "--quiet")
        _check_end(story, done.returncode, 1, "the resumed batch")  # 1: one image is cut off
        with contextlib.suppress(ValueError):
            computed = json.loads(done.stdout)["computed"]
            if last and computed != 1:
                story.failures.append(f"a finished batch computed {computed} cases again")
    story.lost = sum(_made(folder, name) != time_made for name, time_made in known.items())
    if story.lost:
        story.failures.append(f"{story.lost} finished cases were lost or computed again")
    left = [p for p in folder.rglob("*") if p.name.startswith(".s3net-")]
    story.failures += [f"{path.name} was left behind" for path in left]


def _wait_for(process: subprocess.Popen, finished: int) -> int:
    """Reads what the batch tells until so many cases are finished; how many were lost and tried again."""
    again = 0
    for line in process.stderr:
        again += _AGAIN in line
        found = _FINISHED.search(line)
        if found and int(found[1]) >= finished:
            return again
    return again


def _check_state(story: Story, manifest: Path, folder: Path, known: dict[str, int]) -> None:
    """Right after a kill: every record is whole and so is what it speaks of; the report can be made from them."""
    for path in (folder / "records").rglob("*.json"):
        if path.name.startswith("."):
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["status"] != "done":
            continue
        for entry in record["outputs"].values():
            if (folder / entry["name"]).stat().st_size != entry["bytes"]:
                story.failures.append(f"{entry['name']} is not what its record says")
        known.setdefault(record["name"], _made(folder, record["name"]))
    story.finished = len(known)
    done = s3net("batch", manifest, "-o", folder, "--report-only", "--json")
    counts = json.loads(done.stdout)["counts"] if done.returncode == 0 else {}
    if counts.get("done") != len(known):
        story.failures.append(f"after a kill the report counts {counts}, but {len(known)} cases are finished")


def _check_end(story: Story, code: int, expected: int, what: str) -> None:
    if code != expected:
        story.failures.append(f"{what} ended with {code}, not {expected}")


def _made(folder: Path, name: str) -> int:
    try:
        return (folder / f"{name}.seg.nrrd").stat().st_mtime_ns
    except FileNotFoundError:
        return -1


def _children(pid: int) -> list[int]:
    """The workers of a batch (Linux)."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in path.read_text().split()]
    return [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _all_end(pids: list[int], seconds: float = 600) -> bool:
    until = time.monotonic() + seconds
    while any(map(_is_running, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    return not any(map(_is_running, pids))


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
