"""What a case will need, told before it runs, and what it has needed."""

import numpy as np
import pytest
from batch_cases import QUICK

from S3NetSegmentLib.engine import Volume
from S3NetSegmentLib.engine.batch import machine
from S3NetSegmentLib.engine.batch.case import Case
from S3NetSegmentLib.engine.batch.machine import memory_note, needed_memory_mb, needs_of
from S3NetSegmentLib.engine.batch.one_case import run_case
from S3NetSegmentLib.engine.batch.resume import make_plan
from S3NetSegmentLib.engine.batch.run import run_plan
from S3NetSegmentLib.engine.batch.workers import Processes
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.tasks.segment import SegmentTask


def case_of(folder, shape=(6, 128, 128), name="v", **options):
    path = folder / f"{name}.nii.gz"
    if not path.exists():
        k, j, i = np.mgrid[: shape[0], : shape[1], : shape[2]]
        ball = (k - shape[0] / 2) ** 2 + (j - 60) ** 2 + (i - 60) ** 2 < 15**2
        noise = np.random.default_rng(0).normal(0, 10, shape)
        write_image(Volume((100 + 200 * ball + noise).astype(np.int16), np.eye(4), name), path)
    return Case(
        f"row {name}",
        str(path),
        f"{name}.seg.nrrd",
        SegmentTask(pixels=((60, 60, shape[0] // 2),), settings=(QUICK,)),
        **options,
    )


def test_a_process_needs_no_more_than_was_foretold(tmp_path):
    case = case_of(tmp_path, (6, 128, 128), confidence=True)
    folder = tmp_path / "out"
    found = run_plan(make_plan([case], folder, False), folder, Processes(folder, 1, "cpu"))["v"]
    assert found["status"] == "done", found["error"]
    if found["memory_mb"] is None:
        pytest.skip("this system does not tell what a process has needed")
    assert 100 < found["memory_mb"] <= needed_memory_mb(case)


def test_the_peak_of_a_case_is_its_own_and_not_that_of_the_one_before(tmp_path):
    if not machine.Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux forgets the peak of a process")
    rest = np.ones(400 << 17)  # 400 MB
    high = machine.peak_memory_mb()
    del rest
    assert run_case(case_of(tmp_path), tmp_path / "out", "cpu")["memory_mb"] < high - 200


def test_larger_images_and_confidence_need_more(tmp_path):
    small, large = case_of(tmp_path, (2, 128, 128), "small"), case_of(tmp_path, (200, 128, 128), "large")
    sure = case_of(tmp_path, (200, 128, 128), "large", confidence=True)
    needs = [needed_memory_mb(case) for case in (small, large, sure)]
    assert needs == sorted(set(needs))
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    assert needed_memory_mb(Case("row 9", str(tmp_path / "bad.nii.gz"), "b.seg.nrrd")) is None


def test_of_very_many_cases_the_largest_are_looked_at(tmp_path):
    cases = [case_of(tmp_path, (2, 128, 128), "small"), case_of(tmp_path, (30, 128, 128), "large")]
    assert list(needs_of(cases, seconds=0)) == ["large"]
    assert set(needs_of(cases)) == {"small", "large"}


@pytest.mark.parametrize(
    ("bound", "remedy"), [(900, "use --jobs 3"), (200, "name fewer slices"), (2000, ""), (None, "")]
)
def test_too_little_memory_is_said_with_a_remedy(tmp_path, bound, remedy):
    cases = [Case(f"row {n}", "x.nii", f"c{n}.seg.nrrd") for n in range(3)]
    note = memory_note(cases, {"c0": 100, "c1": 1200, "c2": 1000}, bound, 4)
    assert (remedy in note and "row 1 and 1 other" in note) if remedy else note == ""
