"""The reliability suites in their short form; ``python3 Testing/reliability/run --long`` tries far more."""

import os
import sys
from pathlib import Path

import headless_slicer
import pytest
import qt_stand_in
from forked import forked, run_code, run_script

SUITES = Path(__file__).resolve().parents[1] / "reliability" / "run"
# What spoils the geometries, and what is said of it.
DEFECTS = {
    "geometry.labels_of = lambda s, o, real=geometry.labels_of: np.roll(real(s, o), 1, 1)": "beside the object",
    "geometry.Scene.answer = lambda *a, real=geometry.Scene.answer: real(*a) * 2": "the front ends differ",
}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--suite", "fuzz", "--inputs", "200"),
        ("--suite", "hostile", "--files", "16"),
        ("--suite", "arguments", "--lists", "30"),
        ("--suite", "faults", "--faults", "4"),
        ("--suite", "geometry", "--cases", "11"),
        ("--suite", "kill_and_resume", "--batches", "1"),
    ],
    ids=["damaged files", "hostile files", "arguments", "faults", "geometries", "killed batches"],
)
def test_nothing_is_found_in_the_short_form(arguments):
    done = forked(run_script, str(SUITES), *arguments, variables=os.environ, patience=None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was found" in done.stdout


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_an_interrupt_ends_a_suite_within_a_list_of_arguments(number):
    """The command line, which runs in the same process, takes an interrupt for its own and goes on as an exit code."""
    code = f"import os, runpy, signal, sys; sys.path[:0] = {[str(SUITES.parent), *sys.path]!r}\nimport arguments\n"
    code += f"from S3NetSegmentLib.cli import main\nmain.run = lambda _: os.kill(os.getpid(), signal.{number}) or 0\n"
    code += f"sys.argv = [{str(SUITES)!r}, '--suite', 'arguments', '--lists', '100']\n"
    code += f"runpy.run_path({str(SUITES)!r}, run_name='__main__')"
    done = forked(run_code, code, variables=os.environ)
    assert done.returncode == 130 and done.stderr.endswith("stopped\n"), done.stdout + done.stderr


def test_the_geometry_suite_sees_its_result_moved_by_a_voxel_and_another_answer_in_the_scene():
    if not (headless_slicer.AVAILABLE and qt_stand_in.AVAILABLE):
        pytest.skip("the half in Slicer needs slicer-core and PyQt5")
    code = f"import sys; sys.path[:0] = {[str(SUITES.parent), *sys.path]!r}\nimport numpy as np, geometry\n"
    code += "whole = geometry.labels_of, geometry.Scene.answer\n"
    for defect in DEFECTS:
        code += f"{defect}\nprint('DEFECT', geometry.run(1, 0, 5))\ngeometry.labels_of, geometry.Scene.answer = whole\n"
    done = forked(run_code, code, variables=os.environ, patience=None)
    assert done.returncode == 0, done.stderr
    seen = [line for line in done.stdout.splitlines() if line.startswith("DEFECT")]
    assert len(seen) == len(DEFECTS)
    assert all(said in line for said, line in zip(DEFECTS.values(), seen, strict=True)), seen
