"""``s3net check``: the report and its exit code."""

import json
import sys

from command_line import s3net, s3net_here

from S3NetSegmentLib.engine import check


def test_the_report_names_versions_and_each_method():
    done = s3net("check", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "Segment" in done.stdout and "Few-shot" in done.stdout and "FAILS" not in done.stdout
    lines = json.loads(s3net("check", "--device", "cpu", "--json").stdout)
    assert {"name", "text", "works"} == set(lines[0])


def test_a_method_that_fails_gives_exit_code_1_and_is_marked(monkeypatch):
    monkeypatch.setattr(
        check, "_TRIALS", (("Segment", False, lambda device: 0.9), ("Few-shot", False, lambda device: 0.2))
    )
    done = s3net_here("check", "--device", "cpu")
    assert done.returncode == 1 and "FAILS  Few-shot" in done.stdout and "ok  Segment" in done.stdout


def test_a_computer_without_torch_does_not_fail(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(
        check, "_TRIALS", (("Segment", False, lambda device: 0.9), ("Few-shot", True, lambda device: 0.2))
    )
    done = s3net_here("check", "--device", "cpu", "--json")
    assert done.returncode == 0 and [line["works"] for line in json.loads(done.stdout)][-2:] == [True, None]
