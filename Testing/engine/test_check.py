"""The check of the installation: what works is said to work, and what fails is told."""

import sys

import pytest

from S3NetSegmentLib.engine import check
from S3NetSegmentLib.engine.common.progress import Step, run_to_end


def scoring(score):
    """A trial with a known end."""

    def trial(device):
        yield Step(0.5, "half")
        return score

    return trial


def by_name():
    lines = run_to_end(check.check_installation("cpu"))
    return {line.name: line for line in lines}, check.report_text(lines)


def test_each_method_is_tried_and_works_here():
    pytest.importorskip("torch")
    lines, text = by_name()
    assert [line.works for line in lines.values() if line.works is not None] == [True] * 5
    assert "Dice" in lines["Few-shot"].text and "numpy" in lines["Packages"].text and "FAILS" not in text


def test_without_torch_what_needs_it_is_left_out_and_segment_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    lines, _ = by_name()
    assert lines["Segment"].works and lines["torch"].works is None and "not installed" in lines["torch"].text
    assert all(lines[name].text.startswith("left out") for name in ("Segment with S3-Net", "Few-shot"))


def test_a_method_that_breaks_or_answers_wrongly_fails_with_its_reason(monkeypatch):
    def broken(device):
        yield Step(0.5, "half")
        raise OSError("a library is missing")

    monkeypatch.setattr(check, "_TRIALS", (("Segment", False, broken), ("Few-shot", False, scoring(0.2))))
    lines, text = by_name()
    assert lines["Segment"].works is False and "a library is missing" in lines["Segment"].text
    assert lines["Few-shot"].works is False and text.count("FAILS") >= 2
