"""The repetition of the tests on a busy machine."""

import runpy
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "reliability" / "suite_under_load.py"
repeated = runpy.run_path(SCRIPT)["repeated"]

# Passes when it is run first, fails when it is run again.
ONCE = """
import pathlib, sys
mark = pathlib.Path(sys.argv[1])
again = mark.exists()
mark.touch()
print("==== short test summary info ====")
if again:
    print("FAILED Testing/cli/test_a.py::test_b[2] - assert 1 == 2")
print("==== 1 failed, 2 passed in 1.20s ====" if again else "==== 3 passed, 1 skipped in 61.00s (0:01:01) ====")
sys.exit(again)
"""


def test_every_run_is_told_with_its_closing_line_and_what_failed(tmp_path, capsys):
    assert repeated([sys.executable, "-c", ONCE, str(tmp_path / "mark")], 2, 1, tmp_path) == 1
    _, first, second, kept, third, last = capsys.readouterr().out.splitlines()
    assert first.split()[:4] == ["1", "exit", "code", "0"] and first.endswith("3 passed, 1 skipped in 61.00s (0:01:01)")
    assert second.split()[:4] == ["2", "exit", "code", "1"] and "1 failed, 2 passed in 1.20s" in second
    assert "assert 1 == 2" in Path(kept.split(": ", 1)[1]).read_text()
    assert third.strip() == "Testing/cli/test_a.py::test_b[2]"
    assert last == "1 of 2 runs passed"


def test_runs_that_all_pass_end_with_0(capsys):
    assert repeated([sys.executable, "-c", "print('2 passed in 0.01s')"], 1, 0) == 0
    assert "2 passed in 0.01s" in capsys.readouterr().out


def test_it_finds_its_helpers_outside_of_the_tests_too(tmp_path):
    code = f"import runpy, sys; run = runpy.run_path({str(SCRIPT)!r})['repeated']\n"
    code += "sys.exit(run([sys.executable, '-c', 'print(1)'], 1, 1))"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 of 1 runs passed" in done.stdout, done.stderr
