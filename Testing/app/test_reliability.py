"""The reliability suites in their short form; ``python3 Testing/reliability/run --long`` tries far more."""

import subprocess
import sys
from pathlib import Path

import pytest

SUITES = Path(__file__).resolve().parents[1] / "reliability" / "run"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--suite", "fuzz", "--inputs", "300"),
        ("--suite", "arguments", "--lists", "70"),
        ("--suite", "geometry", "--cases", "12"),
    ],
    ids=["damaged files", "arguments", "geometries"],
)
def test_nothing_is_found_in_the_short_form(arguments):
    done = subprocess.run([sys.executable, SUITES, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was found" in done.stdout
