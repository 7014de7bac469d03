"""How long the panel makes the user wait: no step is a long one. Wall time would say what else the machine does, so that of the
window's own thread counts here; Testing/benchmarks/panel/panel_timings.py prints both, for all uses."""

import subprocess
import sys

import pytest
from paths import REPOSITORY


@pytest.mark.parametrize("what", ["load", "create", "write", "box", "few-shot"])
def test_the_window_answers_soon_whatever_runs(what):
    script = REPOSITORY / "Testing" / "benchmarks" / "panel" / "panel_timings.py"
    done = subprocess.run(
        [sys.executable, script, "--on-a-busy-machine", what], capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| {what} |" in done.stdout
