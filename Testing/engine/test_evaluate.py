"""A model judged on labelled cases: what flatters or doubles its scores is told, and a report holds nothing of an earlier one."""

import shutil

import pytest
from cohort_files import write_cohort
from command_line import s3net_here as s3net
from model_files import write_model

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.evaluate import evaluate
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort
from S3NetSegmentLib.engine.training.model.ensemble import load_ensemble


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.pt")


def test_an_image_that_is_there_twice_is_told(model, tmp_path):
    folder = write_cohort(tmp_path / "cohort", 2)
    judged = run_to_end(evaluate(load_ensemble([model]), run_to_end(read_cohort(folder)), "unseen", device="cpu"))
    assert len(judged.scores) == 2 and not any("same image" in note for note in judged.notes)
    shutil.copyfile(folder / "images" / "case00.nii.gz", folder / "images" / "again.nii.gz")
    shutil.copyfile(folder / "labels" / "case00.seg.nrrd", folder / "labels" / "again.seg.nrrd")
    judged = run_to_end(evaluate(load_ensemble([model]), run_to_end(read_cohort(folder)), "unseen", device="cpu"))
    assert "cases 'again' and 'case00' have the same image, which counts twice" in judged.notes


def test_a_report_over_an_earlier_one_keeps_no_picture_of_that(model, tmp_path):
    for name, count in (("large", 3), ("small", 1)):
        folder = write_cohort(tmp_path / name, count)
        done = s3net("evaluate", model, folder, "-o", tmp_path / "report", "--split", "unseen", "--quiet")
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "report").glob("worst_*.png"))) == count
