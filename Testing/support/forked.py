"""Python in processes that are forked where torch and the product are loaded already: loading them takes longer than most of what
the tests let processes do."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

from paths import MODULE

PATIENCE = 1200  # seconds for whatever takes a few on a quiet machine
LOADED = (
    "numpy", "scipy.ndimage", "SimpleITK", "torch", "S3NetSegmentLib.cli.main", "S3NetSegmentLib.engine.segment.run",
    "S3NetSegmentLib.engine.few_shot.method", "S3NetSegmentLib.engine.training.trainer.trainer",
    "S3NetSegmentLib.engine.batch.run", "torch._dynamo",
)  # fmt: skip  # the last: what optimisers load on first use
_here_forked = False  # whether this process began by _begin


def forked(
    run: Callable, *values, variables: Mapping[str, str], folder=None, patience: float | None = PATIENCE
) -> subprocess.CompletedProcess:
    """Calls ``run(*values)``, a function of a module, in a forked process; has ``returncode``, ``stdout``, ``stderr``.

    :param variables: the whole environment of the process.
    :param patience: seconds after which it is a failure; None: none.
    """
    (ended,) = forked_together(run, [values], [variables], folder, patience)
    return ended


def forked_together(
    run: Callable, values: Sequence[tuple], variables: Sequence[Mapping[str, str]], folder=None, patience=PATIENCE
) -> list[subprocess.CompletedProcess]:
    """The same in several processes at once, one for each entry of ``values`` and ``variables``."""
    context = _context()
    with tempfile.TemporaryDirectory() as place:
        files = [[Path(place) / f"{name}{n}" for name in ("out", "err")] for n in range(len(values))]
        for file in itertools.chain(*files):
            file.touch()
        begun = [
            context.Process(target=_begin, args=(run, each, folder, dict(names), *pair))
            for each, names, pair in zip(values, variables, files, strict=True)
        ]
        with _of_the_server():
            for process in begun:
                process.start()
        try:
            for process in begun:
                process.join(patience)
        finally:  # also after Ctrl-C: multiprocessing would wait for them at the end
            late = [process for process in begun if process.exitcode is None]
            for process in late:
                process.kill()
                process.join()
        said = [[file.read_text("utf-8", "replace") for file in pair] for pair in files]
    assert not late, f"{len(late)} of {len(begun)} processes did not end; they said {said}"
    return [
        subprocess.CompletedProcess(each, process.exitcode, *texts)
        for each, process, texts in zip(values, begun, said, strict=True)
    ]


class Started:
    """A forked process that goes on beside this one: what ``subprocess.Popen`` with text pipes is for a new interpreter."""

    def __init__(self, run: Callable, *values, variables: Mapping[str, str], folder=None):
        pipes = [multiprocessing.Pipe(duplex=False) for _ in range(2)]
        writers = [writer for _, writer in pipes]
        self._process = _context().Process(target=_begin, args=(run, values, folder, dict(variables), *writers))
        with _of_the_server():
            self._process.start()
        self.pid = self._process.pid
        self.stdout, self.stderr = (open(os.dup(reader.fileno()), encoding="utf-8") for reader, _ in pipes)
        for end in itertools.chain(*pipes):
            end.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("forked", timeout or 0)
        return self.returncode

    def wait_until_it_stands_still(self) -> None:
        """Until it has sent itself SIGSTOP."""
        state, until = ["ps", "-o", "state=", "-p", str(self.pid)], time.monotonic() + PATIENCE
        while subprocess.run(state, capture_output=True, text=True, check=False).stdout[:1] != "T":
            assert self.poll() is None and time.monotonic() < until, self.communicate(PATIENCE)
            time.sleep(0.05)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        with ThreadPoolExecutor(2) as pool:
            texts = [pool.submit(pipe.read) for pipe in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return texts[0].result(), texts[1].result()

    def __enter__(self):
        return self

    def __exit__(self, problem, *_):
        if problem is not None:
            self.kill()
        self.stdout.close()
        self.stderr.close()
        self.wait()


def forked_ranks(run: Callable, *values) -> None:
    """Calls ``run(*values)`` in two forked processes that find each other as those of ``torchrun`` do; raises if one fails."""
    from torch.distributed import TCPStore

    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # on a port that is free
    common = {
        "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
    }  # fmt: skip
    own = [{**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
    ended = forked_together(run, [values] * 2, own, patience=PATIENCE)
    assert [process.returncode for process in ended] == [0, 0], [process.stderr[-2000:] for process in ended]


def _context():
    # In a process that is forked itself all is loaded: a server of its own would load it once more.
    context = multiprocessing.get_context("fork" if _here_forked else "forkserver")
    context.set_forkserver_preload(list(LOADED))
    return context


def _of_the_server():
    """The environment of the server, which the first call starts. It knows no path but this."""
    return mock.patch.dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(MODULE))


def loaded_context():
    """What multiprocessing starts processes with: forked where torch is loaded, and without anything of this process, as spawned
    ones are."""
    from multiprocessing import forkserver  # not on every system

    context = _context()
    with _of_the_server():
        forkserver.ensure_running()
    return context


def run_script(path: str, *arguments: str) -> None:
    """In the forked process: what a new interpreter would do with a script. The workers that a batch spawns are forked, too."""
    whole, ways = multiprocessing.get_context, {"spawn": "fork"}
    multiprocessing.get_context = lambda method=None: whole(ways.get(method, method))
    run_script_that_spawns(path, *arguments)


def run_script_that_spawns(path: str, *arguments: str) -> None:
    """The same, with workers that are spawned: each knows of its end by a pipe that no other holds."""
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


def run_module(name: str, *arguments: str) -> None:
    """In the forked process: what ``python -m`` would do with a module."""
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def run_code(code: str, *arguments: str) -> None:
    """In the forked process: what ``python -c`` would do with ``code``."""
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


def _begin(run: Callable, values: tuple, folder, variables: dict[str, str], *outputs: Path | Connection) -> None:
    global _here_forked
    _here_forked = True
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, output in enumerate(outputs, 1):
        opened = os.open(output, os.O_WRONLY | os.O_APPEND) if isinstance(output, Path) else output.fileno()
        os.dup2(opened, number)
        output.close() if isinstance(output, Connection) else os.close(opened)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder or os.curdir)
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        signal.signal(number, handler)
    run(*values)
