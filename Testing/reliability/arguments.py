"""Random argument lists for every command of ``s3net``, made from its own parser: each must end with exit code 0, 1 or 2, soon,
with a sentence that says what is wrong, and without a file anywhere but where an output was named."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
from batch_cases import write_disk, write_drawn_ball
from cohort_files import write_cohort
from command_line import s3net, s3net_here
from fuzz import Hang, bound_memory, time_limit
from image_files import write_dicom_series
from model_files import write_model

SECONDS = 60  # for one list of arguments
AS_PROCESS = 100  # every so many lists is also given to a process of its own
CLOSED = "http://127.0.0.1:9"  # a proxy that nobody answers: nothing is ever downloaded here
HOSTILE = (
    "", " ", "-", "--", ",", "=", ";", "nan", "inf", "-inf", "-1", "0", "1", "1.5", "1e308", "1e400", "9" * 40, "9" * 5000,
    "0x10", "1_000", "é", "٣", "\u202e", "\udcff", "a b", "x" * 300, "x" * 6000, "a\nb", "1,2", "1,2,3", "1,2,3,4", "nan,0,0",
    "1e400,0,0", "99999,99999,99999", "-5,-5,-5", "3:1", "0:99999", "all", "cpu", "cuda", "cuda:99", "mps", "auto", "default",
    "paper", "https://example.org/a.nii.gz", "http://127.0.0.1:9/w.pth", "file:///etc/passwd", "tcp://127.0.0.1:9",
    "/proc/self/mem", "/dev/zero", "/dev/null", "/proc/new.seg.nrrd", "/sys/new.nii.gz", "C:\\new.nrrd", "..", "../..", ".",
    "~", "*", "**/*", "$HOME", "`id`", "work_size=64", "work_size=nan", "work_size=-1", "seed=1e9", "=5", "no_such=1", "sources=",
    "regions=99", "method=apply", "output=/etc", "batch=0", "learning_rate=1e400", "steps=1",
)  # fmt: skip
# Keeps lists that happen to be valid short.
_SHORT = {
    "few-shot": ["--set", "appearance_steps=20", "--set", "work_voxels=20000"],
    "segment": ["--set", "work_size=64"],
    "finetune": ["--preset", "tiny", "--steps", "1", "--set", "batch=2", "--set", "slice_side=32"],
    "pretrain": ["--preset", "tiny", "--steps", "1", "--set", "batch=2", "--set", "slice_side=32"],
    "demo": ["-o", "text.txt"],
}
_OUTPUTS = ("output", "confidence", "overlay", "explain")


def run(count: int, seed: int) -> list[str]:
    """Tries ``count`` lists; prints how many of which command and how they ended; returns what went wrong."""
    bound_memory()
    failures: list[str] = []
    tried, codes, texts = Counter(), Counter(), Counter()  # lists by command, by exit code; messages
    began, slowest = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory() as name, _prepared(Path(name)) as (sandbox, watch):
        grammar = _grammar()
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            command = sorted(grammar)[number % len(grammar)]
            arguments = _arguments(command, grammar[command], rng)
            tried[command] += 1
            found, code, seconds, told = _tried(arguments, sandbox, watch, number % AS_PROCESS == AS_PROCESS - 1)
            codes[code] += 1
            texts.update(told)
            slowest = max(slowest, seconds)
            failures += [f"arguments --seed {seed}, list {number} ({_shown(arguments)}): {text}" for text in found]
    for command in sorted(tried):
        print(f"arguments  {command:<14} {tried[command]:>6,} lists")
    ends = ", ".join(f"{codes[code]:,} ended with {code}" for code in sorted(codes, key=str))
    print(f"arguments  {ends}; {len(texts):,} different messages, {count // AS_PROCESS:,} lists also as processes")
    print(
        f"arguments  {count:,} lists in {time.monotonic() - began:.0f} s, the slowest {slowest:.1f} s, {len(failures)} failures"
    )
    if path := os.environ.get("S3NET_MESSAGES"):
        Path(path).write_text("\n".join(sorted(texts)), encoding="utf-8", errors="replace")
    return failures


def _tried(
    arguments: list[str], sandbox: Path, watch: _Writes, as_process: bool
) -> tuple[list[str], object, float, set]:
    """What is wrong with how ``arguments`` end, the exit code, the seconds, the messages."""
    before, started = _state(sandbox), time.monotonic()
    watch.seen.clear()
    try:
        with time_limit(SECONDS):
            done = s3net_here(*arguments)
    except (Hang, Exception) as error:
        return [f"{type(error).__name__}: {error}"[:400]], type(error).__name__, time.monotonic() - started, set()
    seconds = time.monotonic() - started
    wrong, told = _complaints(done, arguments)
    allowed = [os.path.realpath(sandbox / value) for value in _named_outputs(arguments)]
    if "--dry-run" in arguments:
        allowed.append(os.path.realpath(tempfile.gettempdir()))  # a run that is thrown away
    wrong += [f"it wrote {path}" for path in watch.seen if not _lies_in(path, allowed)]
    after = _state(sandbox)
    for path in sorted(before.keys() | after.keys()):
        # What was there may be replaced only if it is itself what an output names.
        is_meant = path in allowed if path in before else _lies_in(path, allowed)
        if before.get(path) != after.get(path) and not is_meant:
            wrong.append(f"{path} was {'made' if path not in before else 'changed' if path in after else 'removed'}")
    if as_process and not any("\0" in a for a in arguments):
        again = s3net(*arguments, folder=sandbox)
        wrong += [f"as a process: {text}" for text in _complaints(again, arguments)[0]]
        if again.returncode != done.returncode and not wrong:
            wrong.append(f"it ended with {done.returncode}, as a process with {again.returncode}")
    _restore(sandbox, before)
    return wrong, done.returncode, seconds, told


def _complaints(done, arguments: list[str]) -> tuple[list[str], set[str]]:
    """What is wrong with an exit code and what was printed, and the messages in it."""
    wrong, told, debug = [], set(), "--debug" in arguments
    if done.returncode not in (0, 1, 2):
        wrong.append(f"exit code {done.returncode}")
    for sign in ("Traceback (most recent", "a defect"):
        if sign in done.stderr + done.stdout and not (debug and sign.startswith("Trace")):
            wrong.append(f"it printed {sign!r}: {done.stderr[-300:]}")
    errors = [line for line in done.stderr.splitlines() if line.startswith("s3net: error: ")]
    told |= {error.removeprefix("s3net: error: ")[:200] for error in errors}
    if (
        done.returncode
        and not errors
        and not any(word in done.stderr + done.stdout for word in ("failed", "FAILS", '"works": false'))
    ):
        wrong.append(f"exit code {done.returncode} without a word")
    for error in errors:
        if not any(sign in error.removeprefix("s3net: error: ") for sign in (";", ":", ",", "(", ". ")):
            wrong.append(f"its message gives no remedy: {error}")
    if "--json" in arguments and done.returncode == 0 and done.stdout.lstrip()[:1] in ("{", "["):
        try:
            json.loads(done.stdout)
        except ValueError as error:
            wrong.append(f"its --json is none: {error}")
    return wrong, told


# -- making lists


def _grammar() -> dict[str, list[argparse.Action]]:
    """Command (with its action, where it has some) -> what its parser takes."""
    from S3NetSegmentLib.cli.main import build_parser

    grammar = {}
    for name, parser in _commands(build_parser()):
        inner = _commands(parser)
        for words, each in [(f"{name} {action}", p) for action, p in inner] or [(name, parser)]:
            grammar[words] = [a for a in each._actions if not isinstance(a, argparse._SubParsersAction)]
    return grammar


def _commands(parser) -> list[tuple[str, argparse.ArgumentParser]]:
    return [c for a in parser._actions if isinstance(a, argparse._SubParsersAction) for c in a.choices.items()]


def _arguments(command: str, actions: list[argparse.Action], rng: np.random.Generator) -> list[str]:
    """A list that is valid at heart, with a few things wrong, or all of it random."""
    wildness = rng.choice([0.0, 0.05, 0.3, 0.9], p=[0.15, 0.35, 0.3, 0.2])
    parts = []
    for action in actions:
        needed = action.required or not action.option_strings
        if rng.random() > (0.97 - 0.3 * wildness if needed else 0.12):
            continue
        if isinstance(action, argparse._HelpAction) and rng.random() > 0.1:
            continue
        for _ in range(1 + (rng.random() < 0.1)):
            parts.append(_part(command, action, wildness, rng))
    if rng.random() < 0.2:
        rng.shuffle(parts)
    if rng.random() < 0.1 * (wildness > 0):
        parts.insert(
            int(rng.integers(0, len(parts) + 1)), [str(rng.choice(["--no-such", "-x", "--jobs", "--output", "--"]))]
        )
    words = [word for part in parts for word in part]
    if wildness > 0.2 and words and rng.random() < 0.2:
        del words[int(rng.integers(0, len(words)))]
    return [*command.split(), *words, *_SHORT.get(command, [])]


def _part(command: str, action: argparse.Action, wildness: float, rng) -> list[str]:
    """An option with its value, or a positional value."""
    option = [str(rng.choice(action.option_strings))] if action.option_strings else []
    if action.nargs == 0:
        return option
    value = str(rng.choice(HOSTILE)) if rng.random() < wildness else str(rng.choice(_usual(command, action)))
    if option and rng.random() < 0.15:
        return [f"{option[0]}={value}"]
    return [*option, value]


def _usual(command: str, action: argparse.Action) -> tuple[str, ...]:
    """Values that are possible, at least in some image."""
    if action.choices:
        return tuple(map(str, action.choices))
    images = (
        "a.png",
        "ball.nii.gz",
        "series",
        "ball.nrrd",
        "empty.png",
        "text.txt",
        "missing.nii.gz",
        "link.png",
        "fifo",
    )
    outputs = (
        "out/new.seg.nrrd", "out/new.nii.gz", "new.png", "out", "a.png", "link.png", "text.txt/new.nrrd", "old.seg.nrrd",
        "closed/new.seg.nrrd", "ball.nii.gz", "fifo",
    )  # fmt: skip
    folders = ("results", "out", "text.txt", "closed/results", "cohort", "fifo", "run")
    by_name = {
        "image": images, "confidence": ("sure.nii.gz", "sure.png", *outputs), "overlay": ("seen.png", *outputs),
        "support": ("drawn.seg.nrrd", "empty.png", "ball.nii.gz", "fifo"), "support_image": images, "found": ("drawn.seg.nrrd", *images),
        "reference": ("drawn.seg.nrrd", "ball.nii.gz"), "model": ("model.pt", "text.txt", "run", "fifo", "state.pt"),
        "init": ("model.pt", "text.txt"), "cohort": ("cohort", "out", "text.txt", "cohort/images"),
        "manifest": ("m.csv", "m.json", "bad.csv", ".", "text.txt", "fifo"), "file": ("model.pt", "text.txt", "fifo"),
        "output": folders if command.split()[0] in ("batch", "finetune", "pretrain", "evaluate", "demo") else outputs,
        "name": ("dinov2-vits14", "dinov2_vits14_reg", "nothing"), "url": ("https://example.org/w.pth", "http://x/w.pth"),
        "point": ("0,0,0", "-16,-15,15", "999,0,0", "nan,0,0"), "pixel": ("28,24", "16,15,6", "500,500", "1,2,99"),
        "drawn": ("4,8", "all", "4", "99"), "slices": ("2:5", "0:0", "5:99", "5:2"), "radius": ("5", "0", "1e9"),
        "encoder": ("auto", "default", "dinov2-vits14", "model.pt", "text.txt"), "device": ("cpu", "auto", "cuda", "cuda:7", "mps"),
        "segments": ("Ball", "nothing", "Ball,Ball"), "set": ("work_size=64", "seed=3", "no_such=1", "batch=2"),
        "defaults": ("method=segment", "regions=4", "x=1", "support=drawn.seg.nrrd"), "pattern": ("*.png", "*", "../*", "[", "**/*.nrrd"),
        "jobs": ("1",), "scheduler": ("tcp://127.0.0.1:9", "nonsense", ""), "minutes": ("0.01", "1e9", "-1"),
        "preset": ("default", "tiny", "plus", "published"), "method": ("ideal", "alpnet", "default"), "axis": ("auto", "x", "z"),
        "box": ("1,1,1,9,9,9", "1,1,9,9", "-5,0,0,99,99,99"), "stroke": ("1,1,1;9,9,1", "3,3;9,9"),
    }  # fmt: skip
    by_name |= {"not_point": by_name["point"], "not_pixel": by_name["pixel"], "not_stroke": by_name["stroke"]}
    by_name |= {"slice": by_name["slices"], "drawings": by_name["support"]}
    if "--drawn" in action.option_strings:
        return by_name["drawn"]
    name = next((text[2:].replace("-", "_") for text in action.option_strings if text.startswith("--")), action.dest)
    return by_name.get(name, ("0", "1", "2", "5", "64", "99"))


def _named_outputs(arguments: list[str]) -> list[str]:
    """Every text that could be the name of an output."""
    options = ("-o", "--output", "--confidence", "--overlay", "--explain")
    found = [b for a, b in itertools.pairwise(arguments) if a in options]
    found += [a.partition("=")[2] for a in arguments if a.partition("=")[0] in options]
    found += [a[2:] for a in arguments if a.startswith("-o") and len(a) > 2]
    if arguments[0] == "weights":
        found.append("weights")  # the folder of the store
    found = [name for name in found if name]
    return found + [str(Path(name).with_suffix(".csv")) for name in found if Path(name).name]  # the table of --explain


# -- the folder in which all happens


@contextlib.contextmanager
def _prepared(folder: Path):
    """A folder with inputs of all kinds as the current one, home, temporary and weights folder; and a watch on writing."""
    sandbox = folder / "box"
    sandbox.mkdir()
    write_disk(sandbox / "a.png")
    write_drawn_ball(sandbox)
    shutil.copy(sandbox / "drawn.seg.nrrd", sandbox / "old.seg.nrrd")
    write_disk(sandbox / "ball.nrrd")
    write_dicom_series(sandbox / "series", np.zeros((3, 8, 8), np.int16), np.eye(4))
    write_model(sandbox / "model.pt")
    write_cohort(sandbox / "cohort", 2, 1)
    (sandbox / "m.csv").write_text('image,pixels,settings\na.png,"28,24",work_size=64\n')
    (sandbox / "m.json").write_text('[{"image": "ball.nii.gz", "method": "few-shot", "support": "drawn.seg.nrrd"}]')
    (sandbox / "bad.csv").write_text("image,points,output\na.png,1,../../x\nnone.png,,\n")
    (sandbox / "empty.png").write_bytes(b"")
    (sandbox / "text.txt").write_text("text")
    (sandbox / "state.pt").write_bytes(b"PK\3\4 cut off")
    for name in ("out", "closed", "run", "tmp"):
        (sandbox / name).mkdir()
    (sandbox / "run" / "state.pt").write_bytes(b"PK\3\4 cut off")
    (sandbox / "closed").chmod(0o555)
    with contextlib.suppress(OSError, AttributeError):
        os.symlink("a.png", sandbox / "link.png")
        os.mkfifo(sandbox / "fifo")
    here, before = os.getcwd(), dict(os.environ)
    os.environ |= {
        "HOME": str(sandbox / "tmp"), "XDG_CACHE_HOME": str(sandbox / "tmp"), "S3NET_WEIGHTS": str(sandbox / "weights"),
        "TMPDIR": str(sandbox / "tmp"), "HTTPS_PROXY": CLOSED, "https_proxy": CLOSED, "CUDA_VISIBLE_DEVICES": "",
        "S3NET_CONNECTING": "1",
    }  # fmt: skip
    from S3NetSegmentLib.engine import check
    from S3NetSegmentLib.engine.batch import cluster

    watch = _Writes()
    os.chdir(sandbox)
    try:
        with (
            mock.patch.object(cluster, "_CONNECTING", 0.5),
            mock.patch.object(check, "_tried", _remembered(check._tried)),
        ):
            yield sandbox, watch
    finally:
        watch.active = False
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
        (sandbox / "closed").chmod(0o755)


def _remembered(tried):
    """``tried`` of the engine's check, which tries each method on each device once: its seconds would be most of those of the suite."""
    known = {}

    def once(name, trial, device):
        if (name, device) not in known:
            known[name, device] = yield from tried(name, trial, device)
        return known[name, device]

    return once


class _Writes:
    """Notes the paths at which Python writes, makes, renames or removes something. ``seen`` are real paths."""

    _EVENTS = {
        "os.mkdir": 0,
        "os.rename": 1,
        "os.remove": 0,
        "os.rmdir": 0,
        "os.symlink": 1,
        "os.link": 1,
        "os.truncate": 0,
    }

    def __init__(self):
        self.seen: set[str] = set()
        self.active = True
        sys.addaudithook(self._hear)  # cannot be taken away again

    def _hear(self, event: str, values: tuple) -> None:
        if not self.active:
            return
        path = None
        if (
            event == "open"
            and isinstance(values[0], str | bytes)
            and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            path = values[0]
        elif event in self._EVENTS:
            path = values[self._EVENTS[event]]
        if path is None or isinstance(path, int):
            return
        path = os.path.realpath(os.fsdecode(path))
        own = ("__pycache__", "torchinductor_")  # of Python and torch, in their own folders
        if (
            path != os.devnull
            and not any(name in path for name in own)
            and not path.startswith(("/dev/shm/", "/proc/self/task"))
        ):
            self.seen.add(path)


def _lies_in(path: str, allowed: list[str]) -> bool:
    """Whether ``path`` is one of the outputs, lies in or above one, or is a temporary file beside one."""
    above = [os.path.dirname(place) for place in allowed]
    beside = os.path.basename(path).startswith(".") and os.path.dirname(path) in above
    inside = any(
        path == place or path.startswith(place + os.sep) or place.startswith(path + os.sep) for place in allowed
    )
    return inside or beside


def _state(folder: Path) -> dict[str, tuple]:
    """Path -> size and times of everything below ``folder``."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(root, name)
            facts = os.lstat(path)
            is_file = name in files
            found[path] = (facts.st_ino, facts.st_size, facts.st_mtime_ns) if is_file else (facts.st_ino,)
    return found


def _restore(sandbox: Path, before: dict[str, tuple]) -> None:
    """Removes what has come; makes the outputs that may have been replaced old again."""
    for path in sorted(_state(sandbox).keys() - before.keys(), reverse=True):
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    if not os.path.exists(sandbox / "fifo"):
        with contextlib.suppress(OSError, AttributeError):
            os.mkfifo(sandbox / "fifo")


def _shown(arguments: list[str]) -> str:
    return " ".join(repr(a if len(a) < 60 else f"{a[:40]}...") for a in arguments)
