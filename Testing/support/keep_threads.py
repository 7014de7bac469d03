"""Runs a script and keeps the names of the threads of Gloo that are still there when Python is about to end.

python3 Testing/support/keep_threads.py OUT SCRIPT [its arguments]        writes OUT/threads0 in the process of rank 0
"""

from __future__ import annotations

import atexit
import os
import runpy
import sys
import time
from pathlib import Path


def threads_of_gloo(seconds: float = 60) -> list[str]:
    """Names of the threads of Gloo in this process that do not end within ``seconds``; none where the system does not tell.
    A thread that was waited for is listed by the system for a little longer."""
    until = time.monotonic() + seconds
    while True:
        names = []
        for file in Path("/proc/self/task").glob("*/comm"):
            try:
                names.append(file.read_text().strip())
            except OSError:
                pass  # it has just ended
        found = [name for name in names if "gloo" in name]
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.01)


if __name__ == "__main__":
    out = Path(sys.argv[1]) / f"threads{os.environ['RANK']}"
    atexit.register(lambda: out.write_text(" ".join(threads_of_gloo())))
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
