"""Runs the tests several times while other processes keep the machine busy, and says how each run ended.

    python3 Testing/reliability/suite_under_load.py --times 5 --busy 4
    python3 Testing/reliability/suite_under_load.py --times 30 Testing/cli/train/test_train_stopping.py       some tests

Further arguments go to Testing/run. Ends with 0 if every run passed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

RUN = Path(__file__).resolve().parents[1] / "run"
CLOSING = re.compile(r"^(?:=+ )?(\d+ \w+.* in [\d.]+s.*?)(?: =+)?$", re.MULTILINE)
TROUBLE = re.compile(r"^(?:FAILED|ERROR) (\S+::\S.*?)(?: - .*)?$", re.MULTILINE)


def main() -> int:
    """Runs the tests; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5, metavar="N", help="runs (default 5)")
    parser.add_argument("--busy", type=int, default=4, metavar="M", help="busy processes beside them (default 4)")
    options, further = parser.parse_known_args()
    return repeated([sys.executable, str(RUN), *further], options.times, options.busy)


def repeated(command: list[str], times: int, busy: int, artifacts: Path = RUN.parent / "artifacts") -> int:
    """Runs ``command`` ``times`` times beside ``busy`` busy processes and prints a row for each; 0 if all ended with 0. The
    output of those that failed stays in ``artifacts``."""
    sys.path.insert(0, str(RUN.parent / "support"))
    from busy_processes import busy_processes

    failed = 0
    print(f"{times} runs beside {busy} busy processes, {os.cpu_count()} cores", flush=True)
    with busy_processes(busy):
        for number in range(1, times + 1):
            began = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            said = CLOSING.findall(done.stdout)
            closing = said[-1] if said else "no closing line of pytest"
            print(f"{number:3}  exit code {done.returncode}  {time.monotonic() - began:6.0f} s  {closing}", flush=True)
            if done.returncode:
                failed += 1
                artifacts.mkdir(exist_ok=True)
                kept = artifacts / f"suite_under_load_{number}.txt"
                kept.write_text(done.stdout + done.stderr, encoding="utf-8")
                print(f"       its output: {kept}", flush=True)
                trouble = TROUBLE.findall(done.stdout)
                print(
                    "\n".join(f"       {name}" for name in trouble) or (done.stdout + done.stderr)[-2000:], flush=True
                )
    print(f"{times - failed} of {times} runs passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
