"""The reliability suites in their short form; ``python3 Testing/reliability/run --long`` tries far more."""

import subprocess
import sys
from pathlib import Path

import headless_slicer
import pytest
import qt_stand_in

SUITES = Path(__file__).resolve().parents[1] / "reliability" / "run"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--suite", "fuzz", "--inputs", "200"),
        ("--suite", "hostile", "--files", "16"),
        ("--suite", "arguments", "--lists", "30"),
        ("--suite", "faults", "--faults", "4"),
        ("--suite", "geometry", "--cases", "11"),
        ("--suite", "night", "--nights", "1"),
    ],
    ids=["damaged files", "hostile files", "arguments", "faults", "geometries", "killed batches"],
)
def test_nothing_is_found_in_the_short_form(arguments):
    done = subprocess.run([sys.executable, SUITES, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was found" in done.stdout


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ("geometry.labels_of = lambda s, o, real=geometry.labels_of: np.roll(real(s, o), 1, 1)", "beside the object"),
        ("geometry.Scene.answer = lambda *a, real=geometry.Scene.answer: real(*a) * 2", "the front ends differ"),
    ],
    ids=["moved by a voxel", "another answer in the scene"],
)
def test_the_geometry_suite_sees_a_defect(defect, said):
    if not (headless_slicer.AVAILABLE and qt_stand_in.AVAILABLE):
        pytest.skip("the half in Slicer needs slicer-core and PyQt5")
    code = f"import sys; sys.path[:0] = {[str(SUITES.parent), *sys.path]!r}\nimport numpy as np, geometry\n{defect}"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(geometry.run(1, 0, 5))"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
