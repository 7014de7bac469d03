"""Files under adverse conditions: others hold them open, processes are killed while writing, copies keep their times."""

import errno
import os
import shutil
import time

import numpy as np
import pytest
from model_files import write_model

from S3NetSegmentLib.engine import InputError, Volume
from S3NetSegmentLib.engine.batch.case import Case
from S3NetSegmentLib.engine.batch.one_case import run_case
from S3NetSegmentLib.engine.images import files
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.tasks.segment import ApplyTask
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder


@pytest.fixture
def held_open(monkeypatch):
    """Renaming fails so many times as if another program held the file open; returns a list of the tries."""

    def hold(times: int):
        tries, real = [], os.replace

        def replace(source, target):
            tries.append(target)
            if len(tries) <= times:
                raise PermissionError(errno.EACCES, "The process cannot access the file", str(target))
            return real(source, target)

        monkeypatch.setattr(files.os, "replace", replace)
        monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
        return tries

    return hold


def test_a_file_that_is_held_open_for_a_moment_is_replaced_later(tmp_path, held_open):
    tries = held_open(3)
    with files.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new" and len(tries) == 4


def test_a_file_that_stays_held_open_is_told_and_kept_as_it_was(tmp_path, held_open):
    (tmp_path / "a.txt").write_text("old")
    held_open(1000)
    with pytest.raises(InputError, match="could not be written"):
        with files.replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_trying_again_takes_about_a_second_at_most():
    assert 0.5 < sum(files._PAUSES) < 1.5


def test_what_a_killed_training_had_half_written_is_removed_when_it_goes_on(tmp_path):
    (tmp_path / "pictures").mkdir()
    names = [".0123456789ab.pt", ".0123456789ab.json", "pictures/.0123456789ab.png", ".mine", "state.pt"]
    for name in names:
        (tmp_path / name).write_text("x")
    folder = RunFolder(tmp_path)
    folder.take()
    folder.give_back()
    assert [(tmp_path / name).exists() for name in names] == [False, False, False, True, True]


def test_another_model_with_the_same_time_in_the_place_of_the_first_is_not_taken_for_it(tmp_path):
    write_image(Volume(np.random.default_rng(0).random((4, 48, 48), np.float32), np.eye(4), "v"), tmp_path / "v.nii.gz")
    model = write_model(tmp_path / "model.pt", provenance={"method": "first"})
    facts = os.stat(model)
    case = Case("row 2", str(tmp_path / "v.nii.gz"), "a.seg.nrrd", ApplyTask(str(model)))
    assert run_case(case, tmp_path / "out", "cpu")["status"] == "done"
    first = (tmp_path / "out" / "a.seg.nrrd").read_bytes()
    time.sleep(0.02)
    other = write_model(tmp_path / "other.pt", provenance={"method": "other!"})
    shutil.copy(other, model)
    os.utime(model, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert run_case(case, tmp_path / "out", "cpu")["status"] == "done"
    assert (tmp_path / "out" / "a.seg.nrrd").read_bytes() != first  # its tags tell the other model
