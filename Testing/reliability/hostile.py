"""Files made to harm: headers that claim too much, archives that unpack without end, pipes and devices in the place of voxels,
endless lists of segments, nested descriptions. Each must be read or refused with the engine's own errors, soon, and with a
bounded amount of memory, which is measured in a process of its own for every file."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_kinds import kinds as kinds_of_files

SECONDS, MEGABYTES = 60, 700  # for one file, which has a few hundred kilobytes; much time, since machines are busy


def run(count: int, seed: int) -> list[str]:
    """Tries ``count`` files; prints how many of which kind and the most memory; returns what went wrong."""
    if not hasattr(os, "fork"):
        print("hostile  0 files: they need processes that can be forked, which this system has not")
        return []
    failures: list[str] = []
    tried, refused, most, slowest, began = Counter(), Counter(), 0.0, 0.0, time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = kinds_of_files(folder)
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            kind = sorted(kinds)[number % len(kinds)]
            work = folder / "work"
            work.mkdir()
            read = kinds[kind](work, rng)
            before = {str(p) for p in folder.rglob("*")}
            ended = _in_a_process(read)
            tried[kind] += 1
            refused[kind] += ended["end"] == "refused"
            most, slowest = max(most, ended["megabytes"]), max(slowest, ended["seconds"])
            told = f"hostile --seed {seed}, file {number} ({kind})"
            if ended["end"] not in ("read", "refused"):
                failures.append(f"{told}: {ended['end']}"[:500])
            if ended["megabytes"] > MEGABYTES:
                failures.append(f"{told}: it took {ended['megabytes']:.0f} MB")
            if new := {str(p) for p in folder.rglob("*")} - before:
                failures.append(f"{told}: it wrote {sorted(new)[:3]}")
            for path in sorted(work.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            work.rmdir()
    for kind in sorted(tried):
        print(f"hostile  {kind:<12} {tried[kind]:>6,} files, {refused[kind]:>6,} refused, the others read")
    print(
        f"hostile  {count:,} files in {time.monotonic() - began:.0f} s, the slowest {slowest:.1f} s, at most {most:.0f} MB, "
        f"{len(failures)} failures"
    )
    return failures


def _in_a_process(read: Callable) -> dict:
    """Calls ``read`` in a process of its own: how it ended, its seconds and the megabytes that it took more than before."""
    from S3NetSegmentLib.engine import InputError, ResourceError

    ours, theirs = os.pipe()
    began, process = time.monotonic(), os.fork()
    if not process:
        ended, before = "read", _peak()
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10 * SECONDS)
            warnings.simplefilter("ignore")
            read()
        except (InputError, ResourceError):
            ended = "refused"
        except BaseException as error:
            ended = f"{type(error).__name__}: {error}"
        os.write(theirs, json.dumps({"end": ended[:400], "megabytes": _peak() - before}).encode())
        os._exit(0)
    os.close(theirs)
    _, status = os.waitpid(process, 0)
    with os.fdopen(ours, "rb") as file:
        told = file.read()
    seconds = time.monotonic() - began
    if not told:
        number = os.waitstatus_to_exitcode(status)
        why = f"longer than {10 * SECONDS} s" if number == -signal.SIGALRM else f"its process ended with {number}"
        return {"end": why, "megabytes": 0.0, "seconds": seconds}
    return {**json.loads(told), "seconds": seconds}


def _peak() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
