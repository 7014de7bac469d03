"""Faults at random moments: a process that is killed or stopped, a disk that becomes full or read-only, too little memory, clocks
that jump, files that others hold open, two processes in one folder. After each one nothing may be half-written, and the same
command, where there is one with --resume, must come to the very bytes of the run without a fault."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from faults_disk import Disk, empty
from faults_processes import Ended, lives, start, wait
from faults_works import WORKS, digest, prepare
from fuzz import Hang

_STOPS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) if os.name != "nt" else ()


FAULTS = (
    "killed",
    "stopped",
    "interrupted",
    "full disk",
    "read-only",
    "no memory",
    "clock",
    "held open",
    "two at once",
)


def run(count: int, seed: int) -> list[str]:
    """Tries ``count`` faults; prints which were survived; returns what went wrong."""
    if not hasattr(os, "fork"):
        print("faults  0 tried: they need processes that can be forked, which this system has not")
        return []
    failures: list[str] = []
    tried, struck, lost, kept, began = Counter(), Counter(), 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        disk = Disk(folder / "out")
        usual: dict[str, dict] = {}
        pairs = [(work, fault) for fault in FAULTS for work in WORKS]
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            # The first trials go through all faults, one work each; then through all pairs.
            work, fault = pairs[(number * (len(WORKS) + 1)) % len(pairs)]
            tried[fault] += 1
            if work not in usual:
                usual[work] = _undisturbed(work, folder)
            with _named(f"faults --seed {seed}, trial {number} ({fault} during {work})", failures):
                found = _tried(work, fault, folder, disk, usual[work], rng)
                lost, kept, struck[fault] = lost + found[0], kept + found[1], struck[fault] + found[2]
    for fault in FAULTS:
        how = f" ({disk.how})" if fault in ("full disk", "read-only") else ""
        print(f"faults  {fault:<12} {tried[fault]:>5,} tried, {struck[fault]:>5,} of them ended the work early{how}")
    print(f"faults  finished cases: {kept:,} kept, {lost:,} lost")
    print(
        f"faults  {count:,} faults in {time.monotonic() - began:.0f} s, {count - len(failures):,} survived, {len(failures)} failures"
    )
    return failures


@contextlib.contextmanager
def _named(trial: str, failures: list[str]):
    try:
        yield
    except (AssertionError, Hang) as error:
        failures.append(f"{trial}: {error}"[:900])


def _tried(work: str, fault: str, folder: Path, disk: Disk, usual: dict, rng) -> tuple[int, int, bool]:
    """One trial. Returns how many finished cases were lost and how many kept, and whether the fault ended the work before
    its end; AssertionError for what is wrong."""
    out = folder / "out"
    disk.begin(int(rng.uniform(0.02, 1.1) * usual["bytes"]) + 8192 if fault == "full disk" else None)
    try:
        if fault == "two at once":
            first = [start(work, out, resume=False), start(work, out, resume=False)]
            ends = [wait(process) for process in first]
            assert any(e.code == 0 for e in ends), [e.said for e in ends]
            ends = [e for e in ends if e.code]
        else:
            ends = [_disturbed(work, fault, out, disk, usual["seconds"], rng)]
        for end in ends:
            _check_words(end, fault)
        _check_whole(work, out, usual)
        finished = _finished_cases(out) if work == "batch" else {}
        disk.end()
        if fault == "clock":  # clocks jump while nothing runs, too
            for path in out.rglob("*"):
                os.utime(path, (time.time() + rng.uniform(-1e8, 1e8),) * 2) if path.is_file() else None
        again = wait(start(work, out, resume=True))
        assert again.code == 0, f"the second run ended with {again.code}: {again.said[-300:]}"
        _check_same(work, out, usual)
        left = [str(p.relative_to(out)) for p in out.rglob(".*") if p.name not in (".lock", ".running")]
        hard = fault == "killed" and work not in ("batch", "finetune", "pretrain")  # nobody is left who could clear up
        assert not left or hard, f"it left {left}"
        still = _finished_cases(out) if work == "batch" else {}
        lost = sum(still.get(name) != stamp for name, stamp in finished.items())
        assert not lost or fault == "clock", f"{lost} finished cases were done again"
        return lost, len(finished) - lost, any(end.code for end in ends)
    finally:
        disk.clear()


def _disturbed(work: str, fault: str, out: Path, disk: Disk, seconds: float, rng) -> Ended:
    """Runs ``work`` and lets ``fault`` happen at a random moment."""
    stops = dict(zip(("killed", "stopped", "interrupted"), _STOPS, strict=True))
    process = start(work, out, resume=False, fault=fault, number=int(rng.integers(1 << 30)))
    if fault in stops or fault == "read-only":
        moment = time.monotonic() + float(rng.uniform(0, 1.05)) * seconds
        while time.monotonic() < moment and lives(process):
            time.sleep(0.002)
        if fault == "read-only":
            disk.forbid()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process[0], stops[fault])
    return wait(process)


def _check_words(end: Ended, fault: str) -> None:
    """A process that could still speak says what happened, in a sentence."""
    if fault == "killed" or end.code == 0 or (end.code in (-signal.SIGTERM, -signal.SIGINT) and not end.said):
        return  # the last: it had not begun to listen yet
    assert end.code in (1, 2, 130, 143) or (fault == "no memory" and end.code == -signal.SIGKILL), (
        f"it ended with {end.code}: {end.said[-300:]}"
    )
    assert "Traceback" not in end.said and "a defect" not in end.said, end.said[-600:]
    assert "s3net: " in end.said or "FAILED" in end.said, f"it ended with {end.code} and said {end.said[-300:]!r}"


def _check_whole(work: str, out: Path, usual: dict) -> None:
    """What has its final name is whole: the very bytes, or for training a state and a model that can be loaded."""
    from S3NetSegmentLib.engine.training.model.model_file import load_model
    from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder

    for name, expected in usual["files"].items():
        if (out / name).exists():
            assert digest(out / name) == expected, f"{name} is half-written or another one"
    if work in ("finetune", "pretrain") and out.exists():
        folder = RunFolder(out)
        if folder.has_state:
            folder.read_state()
        if (out / "model.pt").exists():
            load_model(out / "model.pt")
    for path in (out / "records").glob("*.json") if work == "batch" else ():
        json.loads(path.read_text())


def _check_same(work: str, out: Path, usual: dict) -> None:
    """The results of the second run are those of the run without a fault."""
    for name, expected in usual["files"].items():
        assert (out / name).exists() and digest(out / name) == expected, f"{name} differs from the undisturbed one"
    if usual["weights"] is not None:
        assert _weights(out) == usual["weights"], "the weights differ from those of the undisturbed run"


def _finished_cases(out: Path) -> dict[str, tuple]:
    """Cases that are done, with what changes when they are done again."""
    found = {}
    for path in (out / "records").glob("*.json"):
        record = json.loads(path.read_text())
        if record["status"] == "done":
            found[record["name"]] = (record["started"], os.stat(out / f"{record['name']}.seg.nrrd").st_ino)
    return found


def _undisturbed(work: str, folder: Path) -> dict:
    """Digests of the results of ``work``, its weights, bytes and seconds."""
    out, began = folder / "out", time.monotonic()
    done = wait(start(work, out, resume=False))
    seconds = time.monotonic() - began
    assert done.code == 0, f"{work} without a fault ended with {done.code}: {done.said}"
    facts = {
        "files": {name: digest(out / name) for name in WORKS[work].compared}, "seconds": seconds,
        "weights": _weights(out) if work in ("finetune", "pretrain") else None,
        "bytes": sum(p.stat().st_size + 4096 for p in out.rglob("*") if p.is_file()),
    }  # fmt: skip
    empty(out)
    return facts


def _weights(out: Path) -> str:
    """Digest of all weights of the model in a run folder."""
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(torch.load(out / "model.pt", weights_only=True)["tensors"].items()):
        total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()
