"""All frames of a 4D image as one case of a batch: a 4D result, a record and a line of the report that tell of all of them."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from batch_cases import reason
from cohort_files import phantom
from command_line import s3net_here
from model_files import write_model

from S3NetSegmentLib.engine import Volume, run_to_end
from S3NetSegmentLib.engine.apply import ModelSegmenter
from S3NetSegmentLib.engine.batch import one_case
from S3NetSegmentLib.engine.batch.manifest import ManifestError, read_manifest
from S3NetSegmentLib.engine.batch.one_case import run_case
from S3NetSegmentLib.engine.batch.report import report_rows
from S3NetSegmentLib.engine.images.reading import count_frames, read_image
from S3NetSegmentLib.engine.images.writing import write_frames, write_image
from S3NetSegmentLib.engine.results import frame_sizes
from S3NetSegmentLib.engine.training.model.ensemble import load_ensemble

COUNT = 4


@pytest.fixture
def cine(tmp_path):
    """A 4D image and a model; their manifest."""
    write_frames([phantom(seed)[0] for seed in range(COUNT)], tmp_path / "cine.nii.gz")
    write_model(tmp_path / "model.pt")
    return manifest(tmp_path, "image,method,model,frame,confidence", "cine.nii.gz,apply,model.pt,all,true")


def manifest(folder, *lines):
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return folder / "m.csv"


def test_every_frame_is_answered_as_by_itself_in_one_4d_result(cine, tmp_path):
    (case,) = read_manifest(cine, tmp_path / "out")
    assert case.frame == "all" and case.output == "cine.nii.gz"
    steps = []
    record = run_case(case, tmp_path / "out", "cpu", steps.append)
    assert record["status"] == "done", record["error"]
    segmenter = ModelSegmenter(load_ensemble(tmp_path / "model.pt"), "cpu")
    for place in (tmp_path / "out" / "cine.nii.gz", tmp_path / "out" / "cine_confidence.nii.gz"):
        assert count_frames(place) == COUNT
    for frame in range(COUNT):
        alone = run_to_end(segmenter.segment(read_image(tmp_path / "cine.nii.gz", frame), confidence=True))
        assert np.array_equal(read_image(tmp_path / "out" / "cine.nii.gz", frame).array, alone.labels)
        sure = read_image(tmp_path / "out" / "cine_confidence.nii.gz", frame).array
        assert np.allclose(sure, alone.confidence)
        assert [s["voxels"] for s in record["frames"][frame]] == [int((alone.labels == n).sum()) for n in (1, 2)]
    assert read_image(tmp_path / "out" / "cine_overlay.png").is_rgb
    assert any(s.message.startswith("frame 4 of 4: ") for s in steps)
    assert all(a.fraction <= b.fraction for a, b in itertools.pairwise(steps))


def test_the_record_and_the_report_tell_the_mean_size_and_from_what_to_what_it_goes(cine, tmp_path):
    (case,) = read_manifest(cine, tmp_path / "out")
    record = run_case(case, tmp_path / "out", "cpu")
    for number, segment in enumerate(record["segments"]):
        each = [frame[number]["voxels"] for frame in record["frames"]]
        assert segment["voxels"] == round(np.mean(each)) and len(set(each)) > 1
        assert (segment["least"]["voxels"], segment["most"]["voxels"]) == (min(each), max(each))
    (row,) = report_rows([case], {case.name: record})
    assert row.status == "done" and "Ring" in row.segments and "ml (mean of 4 frames, " in row.segments


def test_a_segment_that_some_frames_lack_is_nothing_there():
    ring = {"name": "Ring", "color": "#000000", "voxels": 10, "volume_ml": 1.0, "area_mm2": None}
    (found,) = frame_sizes([[ring], [], [{**ring, "voxels": 20, "volume_ml": 2.0}], []])
    assert (found["voxels"], found["volume_ml"], found["area_mm2"]) == (8, 0.75, None)
    assert found["least"] == {"voxels": 0, "volume_ml": 0, "area_mm2": None} and found["most"]["voxels"] == 20


def test_a_case_that_was_stopped_between_frames_leaves_nothing_and_is_done_again(cine, tmp_path, monkeypatch):
    (case,) = read_manifest(cine, tmp_path / "out")
    real, seen = one_case._apply, []

    def stopping(*arguments):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(one_case, "_apply", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_case(case, tmp_path / "out", "cpu")
    assert not list((tmp_path / "out").rglob("cine*")) and reason(case, tmp_path / "out") == "not done yet"
    monkeypatch.undo()
    assert run_case(case, tmp_path / "out", "cpu")["status"] == "done"
    assert reason(case, tmp_path / "out") == "finished"
    assert reason(dataclasses.replace(case, frame=1), tmp_path / "out") == "other settings or version"


def test_a_4d_result_that_somebody_corrected_is_kept_and_one_that_was_cut_off_is_made_again(cine, tmp_path):
    (case,) = read_manifest(cine, tmp_path / "out")
    run_case(case, tmp_path / "out", "cpu")
    result = tmp_path / "out" / "cine.nii.gz"
    frames = [read_image(result, n) for n in range(COUNT)]
    write_frames([Volume(np.zeros_like(f.array), f.ijk_to_ras) for f in frames], result)
    assert reason(case, tmp_path / "out") == "finished"
    content = result.read_bytes()
    result.write_bytes(content[: len(content) // 2])
    assert "is missing or cut off" in reason(case, tmp_path / "out")


def test_an_image_with_one_frame_is_that_image(cine, tmp_path):
    write_image(phantom(0)[0], tmp_path / "one.nii.gz")
    path = manifest(tmp_path, "image,method,model,frame", "one.nii.gz,apply,model.pt,all")
    (case,) = read_manifest(path, tmp_path / "out")
    record = run_case(case, tmp_path / "out", "cpu")
    assert record["status"] == "done" and "frames" not in record
    assert count_frames(tmp_path / "out" / "one.nii.gz") == 1


def test_segment_asks_the_same_of_every_frame(tmp_path):
    write_frames([phantom(seed, size=(40, 36, 3))[0] for seed in range(2)], tmp_path / "cine.nrrd")
    path = manifest(tmp_path, "image,pixels,settings,frame,output", 'cine.nrrd,"20,18,1",work_size=64,all,heart.nrrd')
    (case,) = read_manifest(path, tmp_path / "out")
    record = run_case(case, tmp_path / "out", "cpu")
    assert record["status"] == "done", record["error"]
    assert count_frames(tmp_path / "out" / "heart.nrrd") == 2 and len(record["frames"]) == 2


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            "cine.nii.gz,apply,model.pt,,all,heart.seg.nrrd",
            "'heart.seg.nrrd' cannot hold all frames; choose .nii.gz, .nii, .nrrd",
        ),
        (
            "cine.nii.gz,few-shot,,cine.nii.gz,all,heart",
            "frame: all is for segment and apply; name the frame that the drawing",
        ),
        ("cine.nii.gz,apply,model.pt,,every,heart", "write a frame, counted from 0, or all"),
        ("cine.nii.gz,apply,model.pt,,-1,heart", "write a frame, counted from 0, or all"),
    ],
)
def test_what_cannot_be_done_with_all_frames_is_refused_before_anything_runs(cine, tmp_path, row, told):
    path = manifest(tmp_path, "image,method,model,support,frame,output", row)
    with pytest.raises(ManifestError) as error:
        read_manifest(path, tmp_path / "out")
    assert told in str(error.value)


def test_a_folder_of_4d_images_needs_no_manifest(cine, tmp_path):
    options = ("--pattern", "*.nii.gz", "--default", "method=apply", "--default", f"model={tmp_path / 'model.pt'}")
    done = s3net_here("batch", tmp_path, "-o", tmp_path / "out", *options, "--default", "frame=all", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "out" / "report.json").read_text())["cases"]
    assert row["output"] == "cine.nii.gz" and "mean of 4 frames" in row["segments"]
    assert count_frames(tmp_path / "out" / "cine.nii.gz") == COUNT
