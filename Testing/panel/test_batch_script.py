"""The batch script of Slicer, with Slicer's own readers and writers behind its loading and saving."""

import importlib.util
import json
import signal
import sys

import mrml
import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from batch_cases import QUICK_FEW_SHOT, write_cohort, write_disk, write_drawn_ball
from image_files import itk_image, random_matrix, write_dicom_series
from paths import MODULE
from slicer_files import as_in_slicer

from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.scene import batch as scene_batch

SCRIPT = MODULE / "Resources/Scripts/batch.py"


@pytest.fixture
def batch(scene, monkeypatch, tmp_path):
    """The script; ``batch(*arguments)`` returns its exit code."""
    spec = importlib.util.spec_from_file_location("batch_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.chdir(tmp_path)
    with as_in_slicer():
        yield script.main


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
    assert found.segments[0].tags["S3NetSegment.Method"] == "Segment"
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


def test_what_the_report_lacks_in_slicer_is_asked_for_before_the_first_case(batch, tmp_path, monkeypatch, capsys):
    from S3NetSegmentLib.engine.batch import report

    asked, manifest = [], str(write_cohort(tmp_path, 1, ".nrrd"))

    def install(error):
        asked.append((error.package, (tmp_path / "out").exists()))
        monkeypatch.delitem(sys.modules, "jinja2")

    report.template.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr(scene_batch, "_install", install)
    assert batch([manifest, "-o", "out"]) == 0
    assert asked == [("jinja2", False)] and capsys.readouterr().out.count("[1/1] d0:") == 1


def test_resume_skips_what_is_finished_and_a_dry_run_does_nothing(batch, tmp_path, capsys):
    manifest = str(write_cohort(tmp_path, 2, ".nrrd"))
    assert batch([manifest, "-o", "out", "--dry-run"]) == 0 and not (tmp_path / "out").exists()
    assert "row 3: segment" in capsys.readouterr().out
    assert batch([manifest, "-o", "out"]) == 0
    before = (tmp_path / "out" / "d0.seg.nrrd").stat().st_mtime_ns
    assert batch([manifest, "-o", "out", "--resume"]) == 0
    assert "0 to do, 2 finished" in capsys.readouterr().out
    assert (tmp_path / "out" / "d0.seg.nrrd").stat().st_mtime_ns == before


def test_a_file_that_nobody_can_read_fails_its_case_and_ends_with_1(batch, tmp_path, monkeypatch):
    manifest = str(write_cohort(tmp_path, 3, ".nrrd"))
    (tmp_path / "in" / "d0.nrrd").write_bytes(b"NRRD0004\nnothing")
    (tmp_path / "in" / "d1.nrrd").write_bytes(b"of no known format")
    assert batch([manifest, "-o", "out", "--keep-going"]) == 1
    rows = rows_of(tmp_path / "out")
    assert rows["d0"]["status"] == "failed" and "cannot be read" in rows["d0"]["error"]
    assert rows["d1"]["status"] == "failed" and "Slicer cannot read" in rows["d1"]["error"]
    assert rows["d2"]["status"] == "done"


def test_a_format_that_only_slicer_knows_is_read_by_slicer(batch, tmp_path, monkeypatch):
    """Here a file of numbers, with an extension's reader played by a few lines."""
    mask = write_disk(tmp_path / "a.nrrd")
    pixels = np.where(mask, 180, 70) + np.random.default_rng(0).normal(0, 6, mask.shape)
    np.savetxt(tmp_path / "a.xyz", pixels)

    def load(path, properties):
        return mrml.add_volume(
            np.loadtxt(path)[None].astype(np.int16), mrml.affine(np.diag([2.0, 2.0, 5.0]), (7, 8, 9))
        )

    monkeypatch.setattr(slicer.util, "loadVolume", load)
    (tmp_path / "m.csv").write_text('image,pixels\na.xyz,"28,24"\n')
    assert batch(["m.csv", "-o", "out"]) == 0
    found = read_segmentation(tmp_path / "out" / "a.seg.nrrd")
    here = found.mask(found.segments[0])[0]
    assert 2 * (here & mask).sum() / (here.sum() + mask.sum()) > 0.9
    np.testing.assert_allclose(found.ijk_to_ras, mrml.affine(np.diag([2.0, 2.0, 5.0]), (7, 8, 9)), atol=1e-9)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_voxels_and_slices_of_a_manifest_are_those_of_the_file_also_on_a_mirrored_grid(batch, tmp_path, ending):
    """Slicer's own reader would turn the slices of a left-handed grid round."""
    k, j, i = np.mgrid[:16, :26, :28]
    ball = (k - 4) ** 2 + (j - 12) ** 2 + (i - 15) ** 2 < 4.5**2
    array = np.where(ball, 300, 100) + np.random.default_rng(3).normal(0, 8, ball.shape)
    matrix = random_matrix(np.random.default_rng(4))
    if np.linalg.det(matrix[:3, :3]) > 0:
        matrix[:, 2] *= -1
    sitk.WriteImage(itk_image(array.astype(np.int16), matrix), str(tmp_path / f"a{ending}"))
    (tmp_path / "m.csv").write_text(
        f'image,pixels,slices,axis,output\na{ending},"15,12,4",,,whole.nii.gz\na{ending},"15,12,4",4:6,z,part.nrrd\n'
    )
    assert batch(["m.csv", "-o", "out"]) == 0
    whole = read_segmentation(tmp_path / "out" / "whole.nii.gz")
    here = whole.layers[0] > 0
    assert 2 * (here & ball).sum() / (here.sum() + ball.sum()) > 0.9
    np.testing.assert_allclose(whole.ijk_to_ras, matrix, atol=1e-3)
    part = read_segmentation(tmp_path / "out" / "part.nrrd").layers[0] > 0
    assert part[4:7].any() and not part[:4].any() and not part[7:].any()


def test_the_node_of_an_image_shares_its_voxels(scene, tmp_path):
    write_drawn_ball(tmp_path)
    files = scene_batch.SceneFiles()
    volume = files.read_image(str(tmp_path / "ball.nii.gz"))
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    assert np.shares_memory(slicer.util.arrayFromVolume(node), volume.array)
    files.clear()


def test_a_time_series_asks_for_a_frame_and_gets_that_one(batch, tmp_path):
    mask = write_disk(tmp_path / "a.nrrd")
    frames = [
        itk_image(np.where(mask, 180 if t == 1 else 70, 70)[None].astype(np.int16) + t, np.eye(4)) for t in range(3)
    ]
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / "t.nrrd"))
    (tmp_path / "m.csv").write_text('image,pixels,frame,output\nt.nrrd,"28,24",,none\nt.nrrd,"28,24",1,one\n')
    assert batch(["m.csv", "-o", "out", "--keep-going"]) == 1
    rows = rows_of(tmp_path / "out")
    assert "has 3 frames; choose one" in rows["none"]["error"] and rows["one"]["status"] == "done"
    found = read_segmentation(tmp_path / "out" / "one.seg.nrrd")
    here = found.mask(found.segments[0])[0]
    assert 2 * (here & mask).sum() / (here.sum() + mask.sum()) > 0.9


def test_a_folder_with_several_dicom_series_is_refused_with_their_list(batch, tmp_path):
    array = np.random.default_rng(0).integers(0, 99, (4, 20, 20)).astype(np.int16)
    for number, name in enumerate(("T1", "T2")):
        write_dicom_series(
            tmp_path / "series" / name, array, np.diag([-1.0, -1.0, 3.0, 1.0]), uid=f"1.2.{number}", description=name
        )
        for path in (tmp_path / "series" / name).iterdir():
            path.rename(tmp_path / "series" / f"{name}_{path.name}")
        (tmp_path / "series" / name).rmdir()
    (tmp_path / "m.csv").write_text("image\nseries\n")
    assert batch(["m.csv", "-o", "out"]) == 1
    (row,) = rows_of(tmp_path / "out").values()
    assert "T1" in row["error"] and "T2" in row["error"]


def test_a_dicom_folder_is_read_as_on_the_command_line(batch, tmp_path):
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

    def read(path, frame=None, series=None):
        calls.append(path)
        if len(calls) == 2:
            signal.raise_signal(number)
        return read_image(path, frame, series)

    before = signal.getsignal(number)
    monkeypatch.setattr(scene_batch, "read_image", read)
    assert ended([manifest, "-o", "out"], monkeypatch) == code
    assert [rows_of(tmp_path / "out")[f"d{n}"]["status"] for n in range(3)] == ["done", "waiting", "waiting"]
    assert signal.getsignal(number) == before
