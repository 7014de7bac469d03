"""``s3net check``: the report and its exit code."""

import json
import sys

import pytest
from command_line import s3net, s3net_here

from S3NetSegmentLib.engine import check
from S3NetSegmentLib.engine.common.progress import Step


def scoring(score):
    """A trial with a known end."""

    def trial(device):
        yield Step(0.5, "half")
        return score

    return trial


def test_the_report_names_versions_and_each_method():
    done = s3net("check", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "Segment" in done.stdout and "Few-shot" in done.stdout and "FAILS" not in done.stdout


def test_a_method_that_fails_gives_exit_code_1_and_is_marked(monkeypatch):
    monkeypatch.setattr(check, "_TRIALS", (("Segment", False, scoring(0.9)), ("Few-shot", False, scoring(0.2))))
    done = s3net_here("check", "--device", "cpu")
    assert done.returncode == 1 and "FAILS  Few-shot" in done.stdout and "ok  Segment" in done.stdout


def test_a_computer_without_torch_does_not_fail(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(check, "_TRIALS", (("Segment", False, scoring(0.9)), ("Few-shot", True, scoring(0.2))))
    done = s3net_here("check", "--device", "cpu", "--json")
    lines = json.loads(done.stdout)
    assert done.returncode == 0 and [line["works"] for line in lines][-2:] == [True, None]
    assert {"name", "text", "works"} == set(lines[0])


@pytest.mark.parametrize(
    "broken", ["raise OSError('libtorch_cpu.so: cannot open shared object file')", "import a_package_that_torch_needs"]
)
def test_a_torch_that_is_there_and_does_not_load_fails_with_its_reason(tmp_path, broken):
    (tmp_path / "torch.py").write_text(broken)
    done = s3net("check", "--device", "cpu", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and "FAILS  torch: torch does not load" in done.stdout, done.stdout + done.stderr
    assert "ok  Segment:" in done.stdout and broken.split("'")[1 if "'" in broken else 0].split()[-1] in done.stdout
