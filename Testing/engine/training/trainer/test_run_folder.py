"""Who runs a training run: known for certain after kills, restarts and recycled process numbers; and the picture of its losses."""

import json
import os
import platform
import subprocess
import sys
import time

import numpy as np
import pytest
from paths import MODULE

from S3NetSegmentLib import file_lock
from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.training.trainer import run_folder
from S3NetSegmentLib.engine.training.trainer.curves import draw_curves, first_with
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder

HOLD = """
import sys, time
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder
folder = RunFolder(sys.argv[1])
folder.take()
folder.write_status("running")
print("taken", flush=True)
while True:
    folder.beat()
    time.sleep(0.05)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that runs the folder until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(MODULE)},
    )
    assert process.stdout.readline().strip() == b"taken"
    yield process
    process.kill()
    process.wait()


def write_running(folder, pid, host=None):
    status = {"status": "running", "pid": pid, "host": host or platform.node(), "message": ""}
    (folder / "status.json").write_text(json.dumps(status))


def test_a_killed_process_is_known_to_be_gone_at_once(tmp_path, holder):
    folder = RunFolder(tmp_path)
    assert folder.is_running() and folder.seconds_silent < run_folder.SILENT_AFTER
    with pytest.raises(InputError, match=rf"is running now \(process {holder.pid}\)"):
        folder.take()
    holder.kill()
    holder.wait()
    assert not folder.is_running()
    folder.take()
    assert folder.is_taken and not folder.is_running()  # "another" process
    folder.give_back()


def test_a_live_process_that_got_the_number_of_a_dead_run_is_not_taken_for_it(tmp_path):
    write_running(tmp_path, os.getppid())
    assert not RunFolder(tmp_path).is_running()
    (tmp_path / run_folder.LOCK).touch()  # as a run leaves it
    (tmp_path / run_folder.BEAT).touch()
    assert not RunFolder(tmp_path).is_running()


def test_where_no_locks_exist_the_process_number_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(file_lock, "_locked", lambda *_, **__: None)
    (tmp_path / run_folder.LOCK).touch()
    write_running(tmp_path, os.getppid())
    assert RunFolder(tmp_path).is_running()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_running(tmp_path, gone.pid)
    assert not RunFolder(tmp_path).is_running()


def test_a_run_on_another_computer_lives_as_long_as_its_heart_beats(tmp_path):
    write_running(tmp_path, 1, host="elsewhere")
    assert not RunFolder(tmp_path).is_running()
    beat = tmp_path / run_folder.BEAT
    beat.touch()
    folder = RunFolder(tmp_path)
    assert folder.is_running()
    old = time.time() - 2 * run_folder.SILENT_AFTER  # or a clock that is slow
    os.utime(beat, (old, old))
    assert not RunFolder(tmp_path).is_running()
    watching = RunFolder(tmp_path)
    assert not watching.is_running()
    os.utime(beat, (old + 1, old + 1))
    assert watching.is_running()  # a heartbeat that is seen to come is believed


def test_a_request_to_stop_of_an_earlier_run_is_forgotten_and_a_new_one_is_not(tmp_path):
    folder = RunFolder(tmp_path)
    folder.ask_to_stop()
    folder.forget_stop(before=time.time() - 60)
    assert folder.stop_is_asked
    folder.forget_stop(before=time.time() + 1)
    assert not folder.stop_is_asked


def test_the_curves_show_from_which_step_on_unlabelled_slices_join():
    entries = [{"step": n, "loss": 1.0 / n, "supervised": 1.0 / n} for n in range(1, 20)]
    entries += [{"event": "validation", "step": 19, "score": 0.4}, {"event": "note", "step": 19, "unlabelled": 1}]
    assert first_with(entries, "unlabelled") is None
    entries += [{"step": n, "loss": 0.5, "supervised": 1.0 / n, "unlabelled": 0.3} for n in range(20, 40)]
    assert first_with(entries, "unlabelled") == 20
    points = {"loss": [(e["step"], e["loss"]) for e in entries if "loss" in e]}
    plain, marked = draw_curves(points), draw_curves(points, {"unlabelled slices join": 20})
    changed = np.flatnonzero((plain != marked).any((0, 2)))
    # A line in the middle, and its name at the right.
    assert changed.min() > plain.shape[1] // 2 - 20 and changed.size > 20
