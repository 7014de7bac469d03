"""Python in processes that are forked where torch and the product are loaded already: loading them takes longer than most of what
the tests let processes do. Tests of a new interpreter start one: ``command_line.start``."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
    # In a process that is forked itself all is loaded: a server of its own would load it once more.
    context = multiprocessing.get_context("fork" if _here_forked else "forkserver")
    context.set_forkserver_preload(list(LOADED))
    with tempfile.TemporaryDirectory() as place:
        files = [[Path(place) / f"{name}{n}" for name in ("out", "err")] for n in range(len(values))]
        for file in itertools.chain(*files):
            file.touch()
        begun = [
            context.Process(target=_begin, args=(run, each, folder, dict(names), *pair))
            for each, names, pair in zip(values, variables, files, strict=True)
        ]
        # For the server, which the first call starts. It knows no path but this.
        with mock.patch.dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(MODULE)):
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


def run_script(path: str, *arguments: str) -> None:
    """In the forked process: what a new interpreter would do with a script. The workers that a batch spawns are forked, too."""
    whole, ways = multiprocessing.get_context, {"spawn": "fork"}
    multiprocessing.get_context = lambda method=None: whole(ways.get(method, method))
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


def run_code(code: str, *arguments: str) -> None:
    """In the forked process: what ``python -c`` would do with ``code``."""
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


def _begin(run: Callable, values: tuple, folder, variables: dict[str, str], *files: Path) -> None:
    global _here_forked
    _here_forked = True
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder or os.curdir)
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        signal.signal(number, handler)
    run(*values)
