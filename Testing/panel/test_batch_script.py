"""The batch script of Slicer, with Slicer's own readers and writers behind its loading and saving."""

import importlib.util
import json
import signal

import numpy as np
import pytest
import slicer
from batch_cases import QUICK_FEW_SHOT, write_cohort, write_disk, write_drawn_ball
from paths import MODULE

from S3NetSegmentLib.engine.images.seg_nrrd import read_segmentation

SCRIPT = MODULE / "Resources/Scripts/batch.py"


def load_volume(path, properties):
    """``slicer.util.loadVolume`` without the application's file dialogs."""
    assert properties == {"singleFile": True, "show": False}
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(path)
    storage.SetSingleFile(True)
    colours = path.endswith(".jpg")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode" if colours else "vtkMRMLScalarVolumeNode")
    if not storage.ReadData(node):
        slicer.mrmlScene.RemoveNode(node)
        raise RuntimeError(f"Failed to load node from file: {path}")
    node.SetName("loaded")
    return node


def save_node(node, path):
    storage = slicer.vtkMRMLSegmentationStorageNode()
    slicer.mrmlScene.AddNode(storage)
    storage.SetFileName(path)
    return bool(storage.WriteData(node))


@pytest.fixture
def batch(scene, monkeypatch, tmp_path):
    """The script; ``batch(*arguments)`` returns its exit code."""
    spec = importlib.util.spec_from_file_location("batch_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(slicer.util, "loadVolume", load_volume, raising=False)
    monkeypatch.setattr(slicer.util, "saveNode", save_node, raising=False)
    monkeypatch.chdir(tmp_path)
    return script.main


def ended(script_arguments, monkeypatch):
    """The exit code that Slicer gets when it runs the script as a script."""
    import runpy
    import sys

    codes = []
    monkeypatch.setattr(slicer.util, "exit", codes.append, raising=False)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *script_arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    (code,) = codes
    return code


def rows_of(folder):
    return {row["name"]: row for row in json.loads((folder / "report.json").read_text())["cases"]}


def test_a_manifest_of_both_methods_runs_through_the_scene(batch, tmp_path, capsys):
    write_drawn_ball(tmp_path)
    mask = write_disk(tmp_path / "a.nrrd")
    (tmp_path / "m.csv").write_text(
        'image,method,pixels,support,settings\na.nrrd,segment,"28,24",,work_size=64\n'
        f'ball.nii.gz,few-shot,,drawn.seg.nrrd,"{QUICK_FEW_SHOT}"\n'
    )
    assert batch(["m.csv", "-o", "out", "--device", "cpu"]) == 0
    assert {row["status"] for row in rows_of(tmp_path / "out").values()} == {"done"}
    assert "[2/2] ball:" in capsys.readouterr().out
    found = read_segmentation(tmp_path / "out" / "a.seg.nrrd")
    here = found.mask(found.segments[0])[0]
    assert here.shape == mask.shape and 2 * (here & mask).sum() / (here.sum() + mask.sum()) > 0.9
    assert found.segments[0].tags["S3NetSegment.Method"] == "Segment, object at points"
    ball = read_segmentation(tmp_path / "out" / "ball.seg.nrrd")
    assert ball.segments[0].name == "Ball" and ball.layers[0].shape == (12, 30, 32) and ball.layers[0][6].any()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0


def test_slicer_and_the_command_line_find_the_same_voxels_and_share_their_records(batch, tmp_path):
    from S3NetSegmentLib.engine.batch.manifest import read_manifest
    from S3NetSegmentLib.engine.batch.resume import make_plan
    from S3NetSegmentLib.engine.batch.run import run_plan
    from S3NetSegmentLib.engine.batch.workers import InThisProcess

    manifest = write_cohort(tmp_path, 2, ".nrrd")
    plan = make_plan(read_manifest(manifest, "here"), "here", False)
    run_plan(plan, "here", InThisProcess("here"))
    assert batch([str(manifest), "-o", "out"]) == 0
    for name in ("d0.seg.nrrd", "d1.seg.nrrd"):
        one, two = (read_segmentation(tmp_path / folder / name) for folder in ("here", "out"))
        assert np.array_equal(one.mask(one.segments[0]), two.mask(two.segments[0]))
        assert np.allclose(one.ijk_to_ras, two.ijk_to_ras)
    assert not make_plan(plan.cases, "out", resume=True).todo


def test_resume_skips_what_is_finished_and_a_dry_run_does_nothing(batch, tmp_path, capsys):
    manifest = str(write_cohort(tmp_path, 2, ".nrrd"))
    assert batch([manifest, "-o", "out", "--dry-run"]) == 0 and not (tmp_path / "out").exists()
    assert "row 3: segment" in capsys.readouterr().out
    assert batch([manifest, "-o", "out"]) == 0
    before = (tmp_path / "out" / "d0.seg.nrrd").stat().st_mtime_ns
    assert batch([manifest, "-o", "out", "--resume"]) == 0
    assert "0 to do, 2 finished" in capsys.readouterr().out
    assert (tmp_path / "out" / "d0.seg.nrrd").stat().st_mtime_ns == before


def test_a_file_that_slicer_cannot_read_fails_its_case_and_ends_with_1(batch, tmp_path):
    manifest = str(write_cohort(tmp_path, 2, ".nrrd"))
    (tmp_path / "in" / "d0.nrrd").write_bytes(b"NRRD0004\nnothing")
    assert batch([manifest, "-o", "out", "--keep-going"]) == 1
    rows = rows_of(tmp_path / "out")
    assert rows["d0"]["status"] == "failed" and "Slicer cannot read" in rows["d0"]["error"]
    assert rows["d1"]["status"] == "done"


def test_a_dicom_folder_is_read_as_on_the_command_line(batch, tmp_path):
    from image_files import write_dicom_series

    _, j, i = np.mgrid[:4, :30, :32]
    ball = (j - 15) ** 2 + (i - 16) ** 2 < 60
    array = np.where(ball, 300, 100) + np.random.default_rng(3).normal(0, 8, ball.shape)
    write_dicom_series(tmp_path / "series", array.astype(np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]))
    (tmp_path / "m.csv").write_text('image,pixels,settings\nseries,"16,15,2",work_size=64\n')
    assert batch(["m.csv", "-o", "out"]) == 0
    found = read_segmentation(tmp_path / "out" / "series.seg.nrrd")
    here = found.mask(found.segments[0])
    assert 2 * (here & ball).sum() / (here.sum() + ball.sum()) > 0.85


def test_a_wrong_manifest_and_wrong_arguments_end_with_2(batch, tmp_path, monkeypatch, capsys):
    (tmp_path / "m.csv").write_text("image\ngone.nii\nlost.nii\n")
    assert ended(["m.csv", "-o", "out"], monkeypatch) == 2
    told = capsys.readouterr().err
    assert "error: row 2: image:" in told and "error: row 3: image:" in told
    assert ended(["m.csv"], monkeypatch) == 2
    assert ended(["m.csv", "-o", "out", "--default", "regions"], monkeypatch) == 2


def test_whatever_happens_slicer_ends_and_not_with_0(batch, tmp_path, monkeypatch, capsys):
    import S3NetSegment

    def broken(*_, **__):
        raise ZeroDivisionError("oops")

    manifest = str(write_cohort(tmp_path, 1, ".nrrd"))
    monkeypatch.setattr(S3NetSegment.S3NetSegmentLogic, "runBatch", broken)
    assert ended([manifest, "-o", "out"], monkeypatch) == 1
    assert "oops" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_ends_with_its_code_and_keeps_what_is_finished(batch, tmp_path, monkeypatch, number, code):
    manifest = str(write_cohort(tmp_path, 3, ".nrrd"))
    calls = []

    def load(path, properties):
        calls.append(path)
        if len(calls) == 2:
            signal.raise_signal(number)
        return load_volume(path, properties)

    before = signal.getsignal(number)
    monkeypatch.setattr(slicer.util, "loadVolume", load)
    assert ended([manifest, "-o", "out"], monkeypatch) == code
    assert [rows_of(tmp_path / "out")[f"d{n}"]["status"] for n in range(3)] == ["done", "waiting", "waiting"]
    assert signal.getsignal(number) == before
