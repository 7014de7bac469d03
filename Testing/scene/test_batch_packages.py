"""What Slicer does not bring along is asked for when it is first needed, and where nobody can be asked the way out is told."""

from __future__ import annotations

import re
import sys
import types

import pytest
import slicer

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.common.errors import MissingPackageError
from S3NetSegmentLib.scene import batch as packages


class Packaging(types.ModuleType):
    """Stands for ``slicer.packaging`` of Slicer 5.12."""

    def __init__(self, declined=False):
        super().__init__("slicer.packaging")
        self.declined, self.asked = declined, []

    def load_requirements(self, path):
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        return [types.SimpleNamespace(name=re.match(r"[\w-]+", line)[0], line=line) for line in lines]

    def pip_ensure(self, requirements, requester):
        self.asked.append(([r.name for r in requirements], requester))
        if self.declined:
            raise RuntimeError("declined")


@pytest.fixture
def work():
    """Fails for want of tifffile until :attr:`there`."""

    def run():
        run.calls += 1
        if run.calls == 1 or not run.there:
            raise MissingPackageError("'a.tif' needs tifffile", "tifffile")
        return "answer"

    run.calls, run.there = 0, True
    return run


def window(monkeypatch, there=True):
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: object() if there else None, raising=False)


def test_a_missing_package_is_asked_for_and_the_work_done_again(work, monkeypatch):
    packaging = Packaging()
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    window(monkeypatch)
    assert packages.with_packages(work) == "answer"
    assert packaging.asked == [(["tifffile"], "S3Net Segment")]


def test_who_declines_is_told_what_was_not_read_and_how_to_install_it(work, monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer.packaging", Packaging(declined=True))
    window(monkeypatch)
    with pytest.raises(InputError, match=r"tifffile was not installed \(declined\); .*pip_install\('tifffile'\)"):
        packages.with_packages(work)
    assert work.calls == 1


@pytest.mark.parametrize("there", [True, False])
def test_a_script_without_a_window_and_an_older_slicer_are_told_the_way_out(work, monkeypatch, there):
    monkeypatch.setitem(sys.modules, "slicer.packaging", None if there else Packaging())
    window(monkeypatch, there)
    with pytest.raises(InputError, match=r"needs tifffile; in Slicer's Python console: slicer.util.pip_install"):
        packages.with_packages(work)
