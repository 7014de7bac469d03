"""Processes in which the works of the faults suite run, and the faults that happen inside them."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faults_works import WORKS
from fuzz import Hang, time_limit

SECONDS = 240  # for one process, also on a busy machine


@dataclass
class Ended:
    """How a process ended: its code (below 0: a signal), what it said."""

    code: int
    said: str


def start(work: str, out: Path, resume: bool, fault: str = "", number: int = 0) -> tuple[int, Path]:
    """Forks a process that does ``work`` in ``out``; its number and the file of what it says."""
    file, name = tempfile.mkstemp()
    process = os.fork()
    if process:
        os.close(file)
        return process, Path(name)
    code = 70
    try:  # from here on this is the new process, which must never return
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        os.chdir(out)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
        os.environ["S3NET_WEIGHTS"] = str(out)
        _in_this_process()
        _afflict(fault, np.random.default_rng(number))
        from S3NetSegmentLib.cli.main import launch

        more = WORKS[work].resume if resume else ()
        code = launch("s3net", [*WORKS[work].arguments, *more])
        sys.stdout.flush()
    except BaseException as error:
        print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def _in_this_process() -> None:
    """Batches work in the process that was forked: workers of their own would take seconds to start. Lost workers are the
    matter of kill_and_resume.py."""
    from S3NetSegmentLib.engine.batch import workers

    class Here(workers.InThisProcess):
        def __init__(self, folder, jobs=1, device="auto", **_):
            super().__init__(folder, device)
            self.shares = []

    workers.Processes = Here


def _afflict(fault: str, rng) -> None:
    """Makes ``fault`` part of this process."""
    if fault == "no memory":
        import resource

        with open("/proc/self/status") as file:
            data = next(int(line.split()[1]) for line in file if line.startswith("VmData")) << 10
        most = data + int(rng.uniform(0, 60e6))
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    elif fault == "clock":
        real, moved = time.time, [0.0]

        def jumping():
            moved[0] += rng.uniform(-1e7, 1e7) if rng.random() < 0.3 else 0.0
            return real() + moved[0]

        time.time = jumping
    elif fault == "held open":
        real_replace, patience = os.replace, [int(rng.integers(0, 12))]

        def held(source, target, **options):
            if patience[0] and rng.random() < 0.7:
                patience[0] -= 1
                raise PermissionError(
                    errno.EACCES, "The process cannot access the file because it is being used", str(target)
                )
            return real_replace(source, target, **options)

        os.replace = held
    elif fault == "full disk" and os.environ.get("FAULTS_LIMIT"):
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        most = int(os.environ["FAULTS_LIMIT"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def lives(process: tuple[int, Path]) -> bool:
    """Whether it works still."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{process[0]}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def wait(process: tuple[int, Path]) -> Ended:
    """Waits for its end; Hang if that does not come."""
    number, words = process
    try:
        with time_limit(SECONDS):
            _, status = os.waitpid(number, 0)
    except Hang:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
        raise
    said = words.read_text(errors="replace")
    words.unlink()
    return Ended(os.waitstatus_to_exitcode(status), said)
