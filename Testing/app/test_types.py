"""The types of the engine and of the scene bridge agree, with None as a value of its own (mypy, strict optional)."""

import re

from mypy import api
from paths import ARTIFACTS, MODULE

PACKAGES = ("engine", "scene")  # with every folder below; a package once clean stays in this list
MOST_IGNORED = 6
IGNORED = re.compile(r"# type: ignore(\[[a-z-]+\])?(  # .+)?")


def found_by(*paths):
    """What mypy says of ``paths`` with the product's settings. It keeps what it knows of unchanged files."""
    settings = ["--config-file", str(MODULE / "pyproject.toml"), "--cache-dir", str(ARTIFACTS / "mypy")]
    text, errors, _ = api.run([*settings, "--no-error-summary", *map(str, paths)])
    assert not errors, errors
    return text.splitlines()


def files():
    return [file for name in PACKAGES for file in (MODULE / "S3NetSegmentLib" / name).rglob("*.py")]


def test_types_agree_and_what_is_wrong_would_be_found(tmp_path, monkeypatch):
    monkeypatch.chdir(MODULE)
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from S3NetSegmentLib.engine.common.masks import bounding_box\n"
        "from S3NetSegmentLib.engine.images import Extent\n\n\n"
        "def first_row(mask) -> int:\n    return bounding_box(mask)[0].start\n\n\n"
        "whole = Extent((0, 0), (1, 1, 1))\n"
    )
    found = found_by(wrong, *(MODULE / "S3NetSegmentLib" / name for name in PACKAGES))
    assert [line for line in found if "wrong.py" not in line] == []
    assert [re.search(r"wrong.py:(\d+)", line)[1] for line in found] == ["6", "9"], found


def test_only_a_few_lines_are_left_out_and_say_which_rule_and_why():
    ignored = [m for file in files() for m in IGNORED.finditer(file.read_text(encoding="utf-8"))]
    assert len(ignored) <= MOST_IGNORED
    assert all(rule and why for rule, why in (m.groups() for m in ignored))
