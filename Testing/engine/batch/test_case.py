"""One case of a batch: its files and its record, also where it fails or is no longer wanted."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from batch_cases import QUICK_FEW_SHOT, names_in, reason, write_disk, write_drawn_ball
from image_files import write_dicom_series
from model_files import write_model

from S3NetSegmentLib import file_lock
from S3NetSegmentLib.engine import Segment, Segmentation, run_to_end
from S3NetSegmentLib.engine.batch import one_case, records
from S3NetSegmentLib.engine.batch.manifest import read_manifest
from S3NetSegmentLib.engine.batch.one_case import run_case
from S3NetSegmentLib.engine.batch.output_names import announced, is_current
from S3NetSegmentLib.engine.batch.resume import make_plan
from S3NetSegmentLib.engine.batch.run import run_plan
from S3NetSegmentLib.engine.batch.workers import InThisProcess
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_segmentation
from S3NetSegmentLib.engine.segment.run import segment_image
from S3NetSegmentLib.engine.training.slices.likeness import ImageLook, TrainingLook


def test_a_case_leaves_its_results_and_a_record_that_describes_them(tmp_path, disk):
    case, mask = disk
    case = dataclasses.replace(case, confidence=True)
    record = run_case(case, tmp_path / "out")
    assert record["status"] == "done", record["error"]
    assert names_in(tmp_path / "out") == ["a.seg.nrrd", "a_confidence.nii.gz", "a_overlay.png", "records/a.json"]
    found = read_segmentation(tmp_path / "out" / "a.seg.nrrd")
    object_mask = found.mask(found.segments[0])[0]
    assert 2 * (object_mask & mask).sum() / (object_mask.sum() + mask.sum()) > 0.9
    alone = run_to_end(segment_image(read_image(case.image), case.task))
    assert (alone.segmentation.layers[0][0] == object_mask).all()
    (segment,) = record["segments"]
    assert segment["name"] == "Object" and segment["voxels"] == object_mask.sum()
    assert segment["volume_ml"] is None  # a photograph
    assert 0 < record["confidence"] <= 1 and record["seconds"]["total"] >= record["seconds"]["method"] > 0
    assert record["inputs"]["image"]["bytes"] == os.path.getsize(case.image) and record["thumbnail"]
    assert {k: v for k, v in records.read_record(tmp_path / "out", "a").items() if k != "schema"} == record
    sure = read_image(tmp_path / "out" / "a_confidence.nii.gz").array
    assert 0 <= sure.min() and sure.max() <= 1 and sure.max() > 0.5


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nii.gz"])
def test_few_shot_cases_keep_segments_that_overlap_whole_and_a_label_map_says_what_it_loses(tmp_path, ending):
    write_drawn_ball(tmp_path)
    drawn = read_segmentation(tmp_path / "drawn.seg.nrrd")
    core = drawn.layers[0] * np.roll(drawn.layers[0], 4, 2)
    segments = [*drawn.segments, Segment("Core", (0, 1, 0), 1, layer=1)]
    write_segmentation(Segmentation([drawn.layers[0], core], segments, drawn.ijk_to_ras), tmp_path / "drawn.seg.nrrd")
    text = f'image,method,support,settings,output\nball.nii.gz,few-shot,drawn.seg.nrrd,"{QUICK_FEW_SHOT}",r{ending}\n'
    (tmp_path / "m.csv").write_text(text)
    (case,) = read_manifest(tmp_path / "m.csv", tmp_path / "out")
    record = run_case(case, tmp_path / "out", "cpu")
    assert record["status"] == "done", record["error"]
    assert [s["name"] for s in record["segments"]] == ["Ball", "Core"]
    ball, inner = (s["voxels"] for s in record["segments"])
    assert ball > inner > core.sum()
    if ending == ".nii.gz":
        labels = read_image(tmp_path / "out" / "r.nii.gz").array
        assert (labels == 2).sum() == inner and any(
            f"'Ball' {ball - (labels == 1).sum():,};" in n for n in record["notes"]
        )
    else:
        found = read_segmentation(tmp_path / "out" / "r.seg.nrrd")
        assert [int(found.mask(s)[[4, 8]].sum()) for s in found.segments] == [
            int(drawn.layers[0].sum()),
            int(core.sum()),
        ]


def test_few_shot_cases_keep_names_and_label_values_of_the_drawing(tmp_path):
    write_drawn_ball(tmp_path)
    text = f'image,method,support,settings,output\nball.nii.gz,few-shot,drawn.seg.nrrd,"{QUICK_FEW_SHOT}",r.seg.nrrd\n'
    (tmp_path / "m.csv").write_text(text)
    (case,) = read_manifest(tmp_path / "m.csv", tmp_path / "out")
    record = run_case(case, tmp_path / "out", "cpu")
    assert record["status"] == "done", record["error"]
    assert [s["name"] for s in record["segments"]] == ["Ball"] and record["confidence"] > 0.5
    assert set(record["inputs"]) == {"image", "support 1"}
    found = read_segmentation(tmp_path / "out" / "r.seg.nrrd")
    assert found.segments[0].name == "Ball" and found.layers[0][6].any()


def test_a_model_is_applied_and_a_changed_model_makes_its_cases_unfinished(tmp_path, monkeypatch):
    write_drawn_ball(tmp_path)
    write_model(tmp_path / "model.pt")
    (tmp_path / "m.csv").write_text("image,method,model,confidence\nball.nii.gz,apply,model.pt,true\n")
    (case,) = read_manifest(tmp_path / "m.csv", tmp_path / "out")
    record = run_case(case, tmp_path / "out", "cpu")
    assert record["status"] == "done", record["error"]
    assert [s["name"] for s in record["segments"]] == ["Ring", "Core"]
    found = read_segmentation(tmp_path / "out" / "ball.seg.nrrd")
    assert found.layers[0].shape == (12, 30, 32) and found.segments[0].tags["S3NetSegment.Model"] == "model.pt"
    assert not any("unlike" in note for note in record["notes"])
    assert not make_plan([case], tmp_path / "out", resume=True).todo
    cord = ImageLook("grey", 0.3, 1.0, 60.0, 40.0, (0, 0.1, 0.2, 0.3, 0.5))
    write_model(tmp_path / "model.pt", looks=TrainingLook.of([cord]))
    (note,) = [n for n in run_case(case, tmp_path / "out", "cpu")["notes"] if "unlike" in n]
    assert "unlike the image that the model was trained on: its pixels are" in note
    write_model(tmp_path / "model.pt", validation={"score": 0.5})
    assert reason(case, tmp_path / "out") == "an input has changed"
    (tmp_path / "model.pt").write_bytes(b"no model")
    assert "model" in run_case(case, tmp_path / "out", "cpu")["error"]


def test_the_chosen_series_can_become_dicom_seg(tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed (pip install highdicom)")
    _, j, i = np.mgrid[:4, :30, :32]
    ball = (j - 15) ** 2 + (i - 16) ** 2 < 60
    array = (np.where(ball, 300, 100) + np.random.default_rng(3).normal(0, 8, ball.shape)).astype(np.int16)
    extra = dict.fromkeys(("0010|0030", "0010|0040", "0008|0050", "0008|0020", "0008|0030"), "")
    extra |= {"0010|0020": "P", "0010|0010": "Doe^J", "0020|0052": "1.2.9", "0020|0010": "1"}
    matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    write_dicom_series(tmp_path / "study", array, matrix, extra=extra | {"0020|0011": "4"})
    write_dicom_series(tmp_path / "study", array * 0 + 9, matrix, uid="1.2.3.5", extra=extra | {"0020|0011": "5"})
    (tmp_path / "m.csv").write_text('image,series,pixels,settings,output\nstudy,4,"16,15,2",work_size=64,a.dcm\n')
    (case,) = read_manifest(tmp_path / "m.csv", tmp_path / "out")
    record = run_case(case, tmp_path / "out", "cpu")
    assert record["status"] == "done", record["error"]
    back = highdicom.seg.segread(tmp_path / "out" / "a.dcm")
    assert all(uid.startswith("1.2.3.4.") for _, _, uid in back.get_source_image_uids())
    found = back.get_volume(combine_segments=True).array > 0
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.85
    assert found.sum() == record["segments"][0]["voxels"]
    assert not make_plan([case], tmp_path / "out", resume=True).todo


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "empty"), (b"\x89PNG\r\n\x1a\n broken", "a.png"), (None, "there is no file")]
)
def test_what_is_wrong_with_an_image_becomes_a_failed_record_without_results(tmp_path, disk, content, told):
    case, _ = disk
    if content is None:
        os.unlink(case.image)
    else:
        with open(case.image, "wb") as file:
            file.write(content)
    record = run_case(case, tmp_path / "out")
    assert record["status"] == "failed" and told in record["error"] and "Traceback" not in record["error"]
    assert names_in(tmp_path / "out") == ["records/a.json"]


def test_a_defect_becomes_a_failed_record_with_its_place(tmp_path, disk, monkeypatch):
    def broken(*_):
        raise KeyError("oops")

    monkeypatch.setattr(one_case, "_segment", broken)
    record = run_case(disk[0], tmp_path / "out")
    assert record["status"] == "failed" and "defect" in record["error"] and "oops" in record["traceback"]


def test_nothing_appears_if_writing_fails_and_an_older_result_is_kept(tmp_path, disk, monkeypatch):
    case, _ = disk
    assert run_case(case, tmp_path / "out")["status"] == "done"
    before = (tmp_path / "out" / "a.seg.nrrd").read_bytes()
    monkeypatch.setattr(one_case, "write_png", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    record = run_case(case, tmp_path / "out")
    assert record["status"] == "failed" and "No space left" in record["error"]
    assert (tmp_path / "out" / "a.seg.nrrd").read_bytes() == before
    assert names_in(tmp_path / "out") == ["a.seg.nrrd", "a_overlay.png", "records/a.json"]
    assert make_plan([case], tmp_path / "out", resume=True).todo == [case]  # the kept one is not taken for finished


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_in_the_place_of_results_are_replaced_and_not_followed(tmp_path, disk):
    case, _ = disk
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out" / "records").mkdir(parents=True)
    for name in ("a.seg.nrrd", "a_overlay.png", "records/a.json", "report.html"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "precious")
    run_plan(make_plan([case], tmp_path / "out", False), tmp_path / "out", InThisProcess(tmp_path / "out"))
    assert (tmp_path / "precious").read_text() == "precious"
    assert records.read_record(tmp_path / "out", "a")["status"] == "done"


def test_an_input_that_is_only_touched_while_it_is_used_is_no_failure(tmp_path, disk, monkeypatch):
    case = disk[0]
    monkeypatch.setattr(one_case, "_segment", _after(lambda: os.utime(case.image), one_case._segment))
    assert run_case(case, tmp_path / "out")["status"] == "done"


def test_an_input_that_is_replaced_while_it_is_used_is_a_failure(tmp_path, disk, monkeypatch):
    case = disk[0]
    monkeypatch.setattr(one_case, "_segment", _after(lambda: write_disk(Path(case.image), 9), one_case._segment))
    record = run_case(case, tmp_path / "out")
    assert record["status"] == "failed" and "was changed while" in record["error"]


@pytest.mark.parametrize("asked_until", [0, 1, 2], ids=["at the start", "before writing", "at the end"])
def test_a_case_that_nobody_wants_any_more_leaves_no_record(tmp_path, disk, asked_until):
    asked = []

    def wanted():
        asked.append(1)
        return len(asked) <= asked_until

    record = run_case(disk[0], tmp_path / "out", wanted=wanted)
    assert not [n for n in names_in(tmp_path / "out") if n.endswith(".json")] and len(asked) == asked_until + 1
    assert asked_until == 2 or (
        record["status"] == "failed" and "has ended" in record["error"] and not names_in(tmp_path / "out")
    )


def test_only_the_last_announced_run_is_current(tmp_path):
    with announced(tmp_path) as first:
        assert is_current(tmp_path, first)
        with announced(tmp_path) as second:
            assert is_current(tmp_path, second) and not is_current(tmp_path, first)
        assert not is_current(tmp_path, second)
    assert not is_current(tmp_path, first) and not names_in(tmp_path)


def test_a_folder_without_locks_is_said(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(file_lock, "_locked", lambda file, shared=False: None)
    told = []
    folder = tmp_path / "out"
    run_plan(make_plan([disk[0]], folder, False), folder, InThisProcess(folder), on_note=told.append)
    assert len(told) == 1 and "knows no locks" in told[0]


def _after(act, work):
    def done(*arguments):
        act()
        return work(*arguments)

    return done
