"""Which cases of a batch are finished, and what the next run makes again."""

import dataclasses
import json
import os
import shutil
import time

import numpy as np
import pytest
from batch_cases import QUICK, names_in, reason
from image_files import write_dicom_series

from S3NetSegmentLib.engine import Volume
from S3NetSegmentLib.engine.batch import records
from S3NetSegmentLib.engine.batch.case import Case
from S3NetSegmentLib.engine.batch.one_case import run_case
from S3NetSegmentLib.engine.batch.resume import make_plan
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.tasks.few_shot import FewShotTask
from S3NetSegmentLib.engine.tasks.segment import SegmentTask


@pytest.fixture
def finished(tmp_path, disk):
    assert run_case(disk[0], tmp_path / "out")["status"] == "done"
    return disk[0], tmp_path / "out"


def test_a_finished_case_is_skipped_only_on_request(finished):
    case, folder = finished
    assert reason(case, folder) == "finished"
    assert make_plan([case], folder, resume=False).todo == [case]


def test_other_settings_make_a_case_unfinished(finished):
    case, folder = finished
    for change in ({"settings": ("work_size=96",)}, {"seed": 4}, {"pixels": ((1, 1),)}):
        other = dataclasses.replace(case, task=dataclasses.replace(case.task, **change))
        assert reason(other, folder) == "other settings or version"
    assert reason(dataclasses.replace(case, task=FewShotTask()), folder) == "other settings or version"
    assert reason(dataclasses.replace(case, row="row 77"), folder) == "finished"


def test_another_content_makes_a_case_unfinished_whatever_its_size_and_time(finished):
    case, folder = finished
    facts = os.stat(case.image)
    with open(case.image, "r+b") as file:
        file.seek(-20, 2)
        byte = file.read(1)
        file.seek(-20, 2)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(case.image, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert os.path.getsize(case.image) == facts.st_size
    assert reason(case, folder) == "an input has changed"


def test_a_touched_or_moved_input_of_the_same_content_stays_finished(finished, tmp_path):
    case, folder = finished
    os.utime(case.image)
    assert reason(case, folder) == "finished"
    shutil.move(case.image, tmp_path / "moved.png")
    assert reason(dataclasses.replace(case, image=str(tmp_path / "moved.png")), folder) == "finished"
    assert reason(case, folder) == "an input cannot be read"


def test_missing_cut_off_and_emptied_results_are_made_again(finished):
    case, folder = finished
    result = folder / "a.seg.nrrd"
    whole, facts = result.read_bytes(), os.stat(result)
    for content in (whole[:-10], b""):
        result.write_bytes(content)
        os.utime(result, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
        assert "missing or cut off" in reason(case, folder)
    result.unlink()
    assert "missing or cut off" in reason(case, folder)


@pytest.mark.parametrize("later", [5, -5000], ids=["by a clock that is right", "by a clock that was set back"])
def test_a_result_that_somebody_has_edited_is_kept_and_said(finished, later):
    case, folder = finished
    result = folder / "a.seg.nrrd"
    result.write_bytes(result.read_bytes() + b"\n")
    os.utime(result, (time.time() + later,) * 2)
    plan = make_plan([case], folder, resume=True)
    assert not plan.todo and plan.edited == ["a"]


def test_a_result_whose_copying_was_broken_off_is_made_again(finished):
    case, folder = finished
    result = folder / "a.seg.nrrd"
    result.write_bytes(result.read_bytes()[: result.stat().st_size // 2])
    os.utime(result, (time.time() + 5,) * 2)
    assert "missing or cut off" in reason(case, folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 1}', b"\xff\xfe", b"[" * 50_000])
def test_a_damaged_record_is_no_record(finished, content):
    case, folder = finished
    (folder / "records" / "a.json").write_bytes(content)
    assert reason(case, folder) == "not done yet"


def test_a_record_of_wrong_types_is_no_record(finished):
    case, folder = finished
    path = folder / "records" / "a.json"
    sound = json.loads(path.read_text())
    for name, value in (("segments", [3]), ("outputs", {"segmentation": 1}), ("notes", None), ("confidence", "x")):
        path.write_text(json.dumps({**sound, name: value}))
        assert reason(case, folder) == "not done yet", name


def test_every_slice_of_a_dicom_folder_and_the_voxels_beside_a_header_count(tmp_path):
    from S3NetSegmentLib.engine.batch.records import input_facts
    from S3NetSegmentLib.engine.images.file_facts import files_of

    folder = tmp_path / "series"
    write_dicom_series(folder, np.zeros((3, 8, 8), np.int16), np.eye(4))
    paths = sorted(folder.iterdir())
    assert files_of(folder) == paths == files_of(paths[0])
    case = Case("row 2", str(folder), "a.seg.nrrd")
    before = input_facts(case)["image"]
    with open(paths[1], "ab") as file:
        file.write(b"\0\0")
    assert input_facts(case)["image"]["sha256"] != before["sha256"] and before["files"] == len(paths)
    (tmp_path / "x.nhdr").write_text(
        "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\ndata file: voxels.raw\n\n"
    )
    (tmp_path / "voxels.raw").write_bytes(bytes(64))
    assert [f.name for f in files_of(tmp_path / "x.nhdr")] == ["voxels.raw", "x.nhdr"]


def test_leftovers_of_a_killed_batch_are_removed_and_nothing_else(finished):
    case, folder = finished
    (folder / ".s3net-abc").mkdir()
    (folder / ".s3net-abc" / "a.seg.nrrd").write_text("half")
    half = ("records/.0123456789ab.json", ".0123456789ab.html", "records/sub/.ba9876543210.json")
    (folder / "records" / "sub").mkdir()
    for name in (*half, ".mine", "records/.mine.json", ".0123456789ab.nrrd"):
        (folder / name).write_text("half")
    before = set(names_in(folder)) - {".s3net-abc/a.seg.nrrd", *half}
    other = dataclasses.replace(case, output="sub/b.seg.nrrd")
    assert records.remove_leftovers(folder, [case, other]) == 4
    assert set(names_in(folder)) == before


def test_a_finished_case_of_a_large_volume_is_recognised_without_reading_it(tmp_path, monkeypatch):
    array = np.random.default_rng(0).normal(100, 20, (3, 24, 24)).astype(np.int16)
    write_image(Volume(array, np.eye(4), "v"), tmp_path / "v.nii.gz")
    case = Case(
        "row 2", str(tmp_path / "v.nii.gz"), "v.seg.nrrd", SegmentTask(settings=(QUICK,), regions=2, regions_only=True)
    )
    assert run_case(case, tmp_path / "out")["status"] == "done"
    from S3NetSegmentLib.engine.images import file_facts

    def refused(path):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(file_facts, "digest_of", refused)
    assert not make_plan([case], tmp_path / "out", resume=True).todo
