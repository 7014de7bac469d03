"""The command line as a process, for tests."""

import contextlib
import io
import os
import signal
import subprocess
import sys

from paths import MODULE

SCRIPT = str(MODULE / "s3net")


def _default_interrupt():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # also where the tests themselves run in the background


def environment(**changes):
    """The environment of a user's shell: nothing of the launcher's own, one thread so that tests do not crowd each other."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("S3NET_")}
    return variables | {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"} | changes


def start(*arguments, folder=None, options=(), **changes):
    """Starts s3net; a process with text pipes. ``options`` are for the interpreter."""
    return subprocess.Popen(
        [sys.executable, *options, SCRIPT, *map(str, arguments)],
        cwd=folder, env=environment(**changes), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        preexec_fn=_default_interrupt if os.name != "nt" else None,
    )  # fmt: skip


def s3net(*arguments, folder=None, options=(), **changes):
    """Runs s3net to its end; has ``returncode``, ``stdout``, ``stderr``."""
    with start(*arguments, folder=folder, options=options, **changes) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def s3net_here(*arguments):
    """As :func:`s3net`, but in this process: nothing is imported anew, so it is quick."""
    from S3NetSegmentLib.cli.main import launch

    out, err = io.StringIO(), io.StringIO()
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = launch(SCRIPT, [str(a) for a in arguments])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
