"""The types of the engine and of the scene bridge agree, with None as a value of its own (mypy, strict optional). Benchmarks and
trainings of what ships run for hours and so in no test: that they call nothing that is gone is seen here, too."""

import os
import re
import subprocess
import sys
from pathlib import Path

from paths import ARTIFACTS, MODULE, REPOSITORY

PACKAGES = ("engine", "scene")  # with every folder below; a package once clean stays in this list
TESTING = REPOSITORY / "Testing"
SCRIPTS = [TESTING / "training", *sorted(file for file in (TESTING / "benchmarks").glob("[!_.]*") if file.is_dir())]
# What a name that is gone gives; types themselves need not agree there. A value of any kind ("object") has no attributes.
GONE = re.compile(r'error: (?!"object").*\[(attr-defined|call-arg|name-defined)\]$')
QT = re.compile("qt_stand_in|headless_slicer|panel_picture")  # has no types that mypy could know
MOST_IGNORED = 6
IGNORED = re.compile(r"# type: ignore(\[[a-z-]+\])?(  # .+)?")


def found_by(*paths):
    """What mypy says of ``paths`` with the product's settings. It keeps what it knows of unchanged files. It has a process of its
    own, which just ends: in this one its trees would be taken apart, for half as long as it has computed."""
    settings = ["--config-file", str(MODULE / "pyproject.toml"), "--cache-dir", str(ARTIFACTS / "mypy")]
    command = [sys.executable, "-m", "mypy", *settings, "--no-error-summary", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    return done.stdout.splitlines()


def files():
    return [file for name in PACKAGES for file in (MODULE / "S3NetSegmentLib" / name).rglob("*.py")]


def test_types_agree_and_what_is_wrong_would_be_found(tmp_path, monkeypatch):
    monkeypatch.chdir(MODULE)
    monkeypatch.setenv(
        "MYPYPATH", os.pathsep.join(map(str, [MODULE, TESTING, TESTING / "support", *SCRIPTS, tmp_path]))
    )
    wrong, gone = tmp_path / "wrong.py", tmp_path / "gone.py"
    wrong.write_text(
        "from S3NetSegmentLib.engine.common.arrays import bounding_box\n"
        "from S3NetSegmentLib.engine.images import Extent\n\n\n"
        "def first_row(mask) -> int:\n    return bounding_box(mask)[0].start\n\n\n"
        "whole = Extent((0, 0), (1, 1, 1))\n"
    )
    gone.write_text(
        "from S3NetSegmentLib.engine.few_shot.method import FewShot\n\n\n"
        "def voters(tool: FewShot):\n    return tool._parts, tool.propagate(fast=True)\n"
    )
    scripts = [
        file
        for folder in SCRIPTS
        for file in sorted(folder.glob("*.py"))
        if not QT.search(file.read_text(encoding="utf-8"))
    ]
    lines = found_by(wrong, gone, *(MODULE / "S3NetSegmentLib" / name for name in PACKAGES), *scripts)
    errors = [line for line in lines if ": error: " in line]
    assert [re.search(r"wrong.py:(\d+)", line)[1] for line in errors if "wrong.py" in line] == ["6", "9"], errors
    assert [line for line in errors if line.startswith(tuple(f"S3NetSegmentLib/{name}/" for name in PACKAGES))] == []
    assert ["gone.py" in line for line in errors if GONE.search(line) and is_script(line)] == [True, True], errors


def is_script(line):
    """Whether ``line`` of mypy is about a benchmark, a training or ``gone.py``, wherever that lay when it was looked at; mypy also
    follows what they import."""
    file = Path(line.partition(":")[0]).resolve()
    return file.parent in SCRIPTS or file.name == "gone.py"


def test_only_a_few_lines_are_left_out_and_say_which_rule_and_why():
    ignored = [m for file in files() for m in IGNORED.finditer(file.read_text(encoding="utf-8"))]
    assert len(ignored) <= MOST_IGNORED
    assert all(rule and why for rule, why in (m.groups() for m in ignored))
