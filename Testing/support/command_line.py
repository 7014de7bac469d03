"""The command line as a process, for tests."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from forked import PATIENCE, Started, forked, run_script, run_script_that_spawns
from paths import MODULE

SCRIPT = str(MODULE / "s3net")


def _default_interrupt():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # also where the tests themselves run in the background


def environment(**changes):
    """The environment of a user's shell: nothing of the launcher's own, one thread so that tests do not crowd each other."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("S3NET_")}
    return variables | {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"} | changes


def start(*arguments, folder=None, options=(), new_interpreter=False, **changes):
    """Starts s3net; a process with text pipes. ``options`` are for the interpreter. Where nothing is special about that, it is a
    process in which torch and the other packages are loaded already; the workers of a batch are new ones."""
    if _as_any_interpreter(options, changes) and not new_interpreter:
        texts = [SCRIPT, *map(str, arguments)]
        return Started(run_script_that_spawns, *texts, variables=environment(**changes), folder=folder)
    return subprocess.Popen(
        [sys.executable, *options, SCRIPT, *map(str, arguments)],
        cwd=folder, env=environment(**changes), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        preexec_fn=_default_interrupt if os.name != "nt" else None,
    )  # fmt: skip


def _as_any_interpreter(options, changes):
    return not options and all(name.startswith("S3NET_") for name in changes) and hasattr(os, "fork")


def let_compute(process, seconds):
    """Waits until ``process`` has computed for ``seconds`` more of processor time (real time where the system does not tell),
    or has ended."""
    began, until = (
        _processor_seconds(process),
        time.monotonic() + (PATIENCE if Path("/proc/self/stat").exists() else seconds),
    )
    while process.poll() is None and _processor_seconds(process) - began < seconds and time.monotonic() < until:
        time.sleep(0.01)


def _processor_seconds(process):
    try:
        numbers = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def s3net(*arguments, folder=None, options=(), patience=PATIENCE, **changes):
    """Runs s3net to its end as :func:`start` does; has ``returncode``, ``stdout``, ``stderr``."""
    if _as_any_interpreter(options, changes):
        texts = [SCRIPT, *map(str, arguments)]
        return forked(run_script, *texts, variables=environment(**changes), folder=folder, patience=patience)
    with start(*arguments, folder=folder, options=options, **changes) as process:
        out, err = process.communicate(timeout=patience)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def succeeded(done):
    """``done``, a run that has ended well."""
    assert done.returncode == 0, done.stderr
    return done


def refused(done, *texts):
    """The run has ended with a refusal whose message holds ``texts``."""
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("s3net: error:"), done.stderr
    assert all(text in done.stderr for text in texts), done.stderr


def s3net_here(*arguments):
    """As :func:`s3net`, but in this process: nothing is imported anew, so it is quick. Ctrl-C and SIGTERM, which the command line
    makes an exit code of, are meant for the caller: KeyboardInterrupt."""
    from S3NetSegmentLib.cli.main import launch

    out, err = io.StringIO(), io.StringIO()
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = launch(SCRIPT, [str(a) for a in arguments])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise KeyboardInterrupt
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
