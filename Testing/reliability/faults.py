"""Faults at random moments: a process that is killed or stopped, a disk that becomes full or read-only, too little memory, clocks
that jump, files that others hold open, two processes in one folder. After each one nothing may be half-written, and the same
command, where there is one with --resume, must come to the very bytes of the run without a fault."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from batch_cases import write_cohort as write_pictures
from batch_cases import write_disk, write_drawn_ball
from cohort_files import write_cohort
from fuzz import Hang, time_limit
from model_files import write_model

SECONDS = 240  # for one process, also on a busy machine
_TINY = (
    "--preset", "tiny", "--steps", "6", "--set", "slice_side=32", "--set", "batch=2", "--set", "validate_every=3", "--set",
    "checkpoint_minutes=0", "--set", "log_every=1", "--device", "cpu",
)  # fmt: skip
_STOPS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) if os.name != "nt" else ()


@dataclass(frozen=True)
class Work:
    """A command whose results lie in the folder ``out``.

    :param resume: what is added to its arguments the second time.
    :param compared: names of results that must be the same bytes; for training the weights are compared instead.
    """

    arguments: tuple[str, ...]
    resume: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()


WORKS = {
    "segment": Work(
        ("segment", "../a.png", "-o", "a.seg.nrrd", "--confidence", "sure.nii.gz", "--overlay", "a.png", "--set", "work_size=64"),
        compared=("a.seg.nrrd", "sure.nii.gz", "a.png"),
    ),
    "few-shot": Work(
        ("few-shot", "../ball.nii.gz", "--support", "../drawn.seg.nrrd", "-o", "b.seg.nrrd", "--overlay", "b.png", "--set",
         "work_voxels=20000", "--set", "appearance_steps=20"),
        compared=("b.seg.nrrd", "b.png"),
    ),
    "apply": Work(
        ("apply", "../model.pt", "../ball.nii.gz", "-o", "c.seg.nrrd", "--confidence", "c.nrrd", "--device", "cpu"),
        compared=("c.seg.nrrd", "c.nrrd"),
    ),
    "batch": Work(
        ("batch", "../cohort.csv", "-o", ".", "--keep-going", "--device", "cpu"),
        ("--resume",),
        tuple(f"d{n}{end}" for n in range(5) for end in (".seg.nrrd", "_overlay.png")),
    ),
    "finetune": Work(("finetune", "../cohort", "-o", ".", *_TINY), ("--resume",)),
    "pretrain": Work(("pretrain", "../cohort", "-o", ".", *_TINY), ("--resume",)),
    "weights": Work(("weights", "add", "../tiny.pth"), compared=("dinov2_tiny14_pretrain.pth",)),
}  # fmt: skip
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


@dataclass
class Ended:
    """How a process ended: its code (below 0: a signal), what it said."""

    code: int
    said: str


def run(count: int, seed: int) -> list[str]:
    """Tries ``count`` faults; prints which were survived; returns what went wrong."""
    if not hasattr(os, "fork"):
        print("faults  0 tried: they need processes that can be forked, which this system has not")
        return []
    failures: list[str] = []
    tried, struck, lost, kept, began = Counter(), Counter(), 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder)
        disk = _Disk(folder / "out")
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


def _tried(work: str, fault: str, folder: Path, disk: _Disk, usual: dict, rng) -> tuple[int, int, bool]:
    """One trial. Returns how many finished cases were lost and how many kept, and whether the fault ended the work before
    its end; AssertionError for what is wrong."""
    out = folder / "out"
    disk.begin(int(rng.uniform(0.02, 1.1) * usual["bytes"]) + 8192 if fault == "full disk" else None)
    try:
        if fault == "two at once":
            first = [_start(work, out, resume=False), _start(work, out, resume=False)]
            ends = [_wait(process) for process in first]
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
        again = _wait(_start(work, out, resume=True))
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


def _disturbed(work: str, fault: str, out: Path, disk: _Disk, seconds: float, rng) -> Ended:
    """Runs ``work`` and lets ``fault`` happen at a random moment."""
    stops = dict(zip(("killed", "stopped", "interrupted"), _STOPS, strict=True))
    process = _start(work, out, resume=False, fault=fault, number=int(rng.integers(1 << 30)))
    if fault in stops or fault == "read-only":
        moment = time.monotonic() + float(rng.uniform(0, 1.05)) * seconds
        while time.monotonic() < moment and _lives(process):
            time.sleep(0.002)
        if fault == "read-only":
            disk.forbid()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process[0], stops[fault])
    return _wait(process)


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
    from S3NetSegmentLib.engine.training.model_file import load_model
    from S3NetSegmentLib.engine.training.run_folder import RunFolder

    for name, digest in usual["files"].items():
        if (out / name).exists():
            assert _digest(out / name) == digest, f"{name} is half-written or another one"
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
    for name, digest in usual["files"].items():
        assert (out / name).exists() and _digest(out / name) == digest, f"{name} differs from the undisturbed one"
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


# -- the works


def _prepare(folder: Path) -> None:
    """Inputs of all works; everything imported, so that a forked process begins at once."""
    import torch

    import S3NetSegmentLib.cli.main
    import S3NetSegmentLib.engine.batch.one_case
    import S3NetSegmentLib.engine.methods.finetune
    import S3NetSegmentLib.engine.methods.pretrain  # noqa: F401
    from S3NetSegmentLib.engine.nets import dinov2
    from S3NetSegmentLib.engine.weights import CATALOGUE, WeightsFile

    torch.set_num_threads(1)
    write_pictures(folder, 5)
    write_disk(folder / "a.png")
    write_drawn_ball(folder)
    write_cohort(folder / "cohort", 2, 1)
    write_model(folder / "model.pt")
    tiny = dinov2.Architecture(12, 1, 2, 24)
    torch.save(dict(tiny.build().initialize(torch.Generator().manual_seed(0)).state_dict()), folder / "tiny.pth")
    dinov2.ARCHITECTURES["dinov2-tiny14"] = tiny
    size = os.path.getsize(folder / "tiny.pth")
    CATALOGUE["dinov2-tiny14"] = WeightsFile("dinov2-tiny14", 17_000, _digest(folder / "tiny.pth"), size)
    (folder / "out").mkdir()


def _undisturbed(work: str, folder: Path) -> dict:
    """Digests of the results of ``work``, its weights, bytes and seconds."""
    out, began = folder / "out", time.monotonic()
    done = _wait(_start(work, out, resume=False))
    seconds = time.monotonic() - began
    assert done.code == 0, f"{work} without a fault ended with {done.code}: {done.said}"
    facts = {
        "files": {name: _digest(out / name) for name in WORKS[work].compared}, "seconds": seconds,
        "weights": _weights(out) if work in ("finetune", "pretrain") else None,
        "bytes": sum(p.stat().st_size + 4096 for p in out.rglob("*") if p.is_file()),
    }  # fmt: skip
    _empty(out)
    return facts


def _start(work: str, out: Path, resume: bool, fault: str = "", number: int = 0) -> tuple[int, Path]:
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
    matter of night.py."""
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


def _lives(process: tuple[int, Path]) -> bool:
    with contextlib.suppress(OSError):
        with open(f"/proc/{process[0]}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def _wait(process: tuple[int, Path]) -> Ended:
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


def _weights(out: Path) -> str:
    """Digest of all weights of the model in a run folder."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(torch.load(out / "model.pt", weights_only=True)["tensors"].items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


# -- the disk


class _Disk:
    """The folder of the results: a small disk of its own where one can be mounted, else a folder with bounded files."""

    def __init__(self, folder: Path):
        self._folder, self._mounted = folder, False
        self.can_mount = self._mount("64m")
        self.clear()
        self.how = "a small tmpfs" if self.can_mount else "files of bounded size instead; nothing can be mounted here"

    def begin(self, size: int | None) -> None:
        """:param size: bytes of the disk; None: enough."""
        if size is not None and not self.can_mount:
            os.environ["FAULTS_LIMIT"] = str(size // 8)
        elif self.can_mount:
            self._mount("256m" if size is None else str(size))

    def forbid(self) -> None:
        """Makes the disk read-only, also under files that are being written."""
        if not self.can_mount:
            self._folder.chmod(0o555)
            return
        for _ in range(200):  # a disk on which a file is open for writing is busy
            if self._remount("ro"):
                return
            time.sleep(0.002)

    def end(self) -> None:
        """The fault is over; everything is there still."""
        os.environ.pop("FAULTS_LIMIT", None)
        if self.can_mount:
            assert self._remount("rw,size=256m")
        else:
            self._folder.chmod(0o755)

    def clear(self) -> None:
        os.environ.pop("FAULTS_LIMIT", None)
        if self._mounted:
            done = subprocess.run(["umount", str(self._folder)], capture_output=True, check=False)
            if done.returncode:
                subprocess.run(["umount", "-l", str(self._folder)], check=True)
            self._mounted = False
        else:
            self._folder.chmod(0o755)
            _empty(self._folder)

    def _mount(self, size: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self._folder)]
        try:
            self._mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            self._mounted = False
        return self._mounted

    def _remount(self, options: str) -> bool:
        command = ["mount", "-o", f"remount,{options}", str(self._folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
