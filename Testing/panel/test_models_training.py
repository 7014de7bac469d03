"""Training from the panel with the real command line: start, stop, found again, resume; what is said when it fails."""

import json
import os
import signal
import sys
import time

import pytest

pytest.importorskip("torch")

from paths import MODULE
from phantoms import write_phantom_cohort

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.panel import training_run
from S3NetSegmentLib.panel.training_log import TrainingLog
from S3NetSegmentLib.panel.training_run import TrainingOrder, TrainingRun

TINY = "slice_side=48 batch=2 unlabelled_batch=2 log_every=1 validate_every=5"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    names = write_phantom_cohort(folder, 3, 1, shape=(3, 48, 48))
    (folder / "cohort.json").write_text(json.dumps({"splits": {"validation": names[2:3]}}))
    return folder


@pytest.fixture(autouse=True)
def python(monkeypatch):
    """This Python in place of Slicer's."""
    monkeypatch.setattr(training_run, "slicer_python", lambda: sys.executable)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def run_folder(tmp_path):
    """The folder of a run, which is ended with the test whatever happens."""
    folder = tmp_path / "run"
    yield folder
    run = TrainingRun(folder)
    if run.is_busy:
        os.kill(run.folder.read_status()["pid"], signal.SIGKILL)


@pytest.fixture
def open_training(open_panel, views, cohort):
    """Opens the section with a cohort and a run folder."""

    def opener(run_folder, settings=TINY):
        panel = open_panel()
        panel.open_models()
        ui = panel.panel.models.ui
        for edit, path in ((ui.cohortFolderEdit, cohort), (ui.runFolderEdit, run_folder)):
            edit.text = str(path)
            edit.editingFinished.emit()
        ui.trainingCollapsibleButton.collapsed = False
        panel.choose(ui.trainingPresetBox, "tiny")
        ui.trainingMinutesBox.value = 0
        ui.trainingSettingsEdit.text = settings
        return panel

    return opener


def run_of(panel):
    return panel.panel.models.training.run


def test_a_run_is_started_watched_stopped_found_again_and_resumed(open_training, open_panel, run_folder, keep_picture):
    panel = open_training(run_folder, f"{TINY} steps=100000")
    ui = panel.panel.models.ui
    panel.click(ui.startTrainingButton)
    assert run_of(panel).state == "starting" and ui.startTrainingButton.text == "Stop"
    panel.wait(lambda: len(run_of(panel).log.scores) >= 1, seconds=60)
    assert run_of(panel).state == "running" and "of 100000" in ui.trainingStateText.text
    assert ui.trainingCurve.isVisible() and "loss" in ui.trainingLog.plainText
    panel.widget.parent.resize(430, 1000)
    panel.settle(0.2)
    keep_picture(panel.widget.parent, "models_training")
    panel.close()  # the process goes on

    panel = open_panel()
    panel.open_models()
    ui = panel.panel.models.ui
    steps = run_of(panel).log.losses[-1][0]
    assert run_of(panel).state == "running" and ui.trainingPresetBox.currentText == "tiny"
    panel.wait(lambda: run_of(panel).log.losses[-1][0] > steps, seconds=30)
    panel.click(ui.startTrainingButton)
    assert run_of(panel).state == "stopping" and not ui.startTrainingButton.enabled
    panel.wait(lambda: run_of(panel).state == "stopped", seconds=30)
    stopped_at = run_of(panel).log.losses[-1][0]
    assert ui.startTrainingButton.text == "Resume" and (run_folder / "state.pt").exists()

    ui.trainingSettingsEdit.text = f"{TINY} steps={stopped_at + 3}"
    panel.click(ui.startTrainingButton)
    panel.wait(lambda: run_of(panel).state == "finished", seconds=60)
    steps = [s for s, _ in run_of(panel).log.losses]
    assert steps == list(range(1, stopped_at + 4))
    panel.click(ui.useModelButton)
    panel.settle(0.2)
    assert "crescent" in ui.modelText.text or "Segment 1" in ui.modelText.text


def test_what_the_command_line_refuses_is_told(tmp_path, cohort):
    run = TrainingRun(tmp_path / "run", lambda: sys.executable)
    run.start(TrainingOrder("finetune", str(cohort), "tiny", settings="no_such_setting=3"))
    deadline = time.monotonic() + 30
    while run.is_busy and time.monotonic() < deadline:
        time.sleep(0.1)
        run.look()
    assert run.state == "failed" and "no_such_setting" in run.message and not run.can_resume


def test_orders_that_cannot_work_are_refused_before_a_process_is_started(tmp_path, cohort):
    run = TrainingRun(tmp_path / "run", lambda: sys.executable)
    with pytest.raises(InputError, match="no folder 'images'"):
        run.start(TrainingOrder("finetune", str(tmp_path), "tiny"))
    with pytest.raises(InputError, match="name=value"):
        run.start(TrainingOrder("finetune", str(cohort), "tiny", settings="batch"))
    assert not (tmp_path / "run").exists() and run.state == "none"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.pt").write_bytes(b"x")
    with pytest.raises(InputError, match="holds a training run already"):
        run.start(TrainingOrder("finetune", str(cohort), "tiny"))


def test_a_run_whose_process_was_killed_is_called_lost(tmp_path):
    import platform
    import subprocess

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    status = {"status": "running", "pid": gone.pid, "host": platform.node(), "message": ""}
    (tmp_path / "status.json").write_text(json.dumps(status))
    (tmp_path / "output.txt").write_text("Killed\n")
    run = TrainingRun(tmp_path)
    assert run.state == "lost" and "Killed" in run.message and not run.is_busy
    (tmp_path / "status.json").write_text(json.dumps({**status, "pid": os.getppid()}))
    run.look()
    assert run.state == "lost"  # another program has got its number
    (tmp_path / "status.json").write_text(json.dumps({**status, "host": "elsewhere"}))
    run.look()
    assert run.state == "lost" and "elsewhere, which gives no sign of life" in run.message
    (tmp_path / "heartbeat").touch()
    run.look()
    assert run.state == "running" and "elsewhere" in run.message


DEAF = """
import sys, time
from S3NetSegmentLib.engine.training.run_folder import RunFolder
folder = RunFolder(sys.argv[1])
folder.take()
folder.write_status("running")
print("taken", flush=True)
time.sleep(600)
"""


def test_a_run_that_does_not_answer_to_stop_can_be_killed(tmp_path):
    import subprocess

    deaf = subprocess.Popen(
        [sys.executable, "-c", DEAF, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(MODULE)},
    )
    deaf.stdout.readline()
    now = [0.0]
    run = TrainingRun(tmp_path, clock=lambda: now[0])
    assert run.state == "running" and not run.can_kill
    run.stop()
    assert run.state == "stopping" and not run.can_kill
    now[0] = 20.0
    run.look()
    assert run.can_kill
    run.kill()
    assert deaf.wait(timeout=10) == -signal.SIGKILL
    assert run.state == "stopped" and "no state was saved" in run.message and not run.can_kill
    assert not run.folder.stop_is_asked


def test_a_run_that_is_stopped_while_it_starts_ends_as_stopped(tmp_path, cohort):
    run = TrainingRun(tmp_path / "run", lambda: sys.executable)
    run.start(TrainingOrder("finetune", str(cohort), "tiny", settings=TINY))
    assert run.state == "starting"
    run.stop()
    deadline = time.monotonic() + 60
    while run.is_busy and time.monotonic() < deadline:
        time.sleep(0.1)
        run.look()
    assert run.state == "stopped" and "before training began" in run.message, (run.state, run.message)
    assert not run.can_resume


def test_the_log_is_read_as_it_grows_and_again_when_it_is_rewound(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path)
    assert not log.read()
    path.write_text('{"step": 1, "steps": 4, "loss": 2.0, "seconds": 10, "progress": 0.25}\n{"step": 2, "lo')
    assert log.read() and log.losses == [(1, 2.0)] and log.seconds_left == pytest.approx(30)
    with open(path, "a") as file:
        file.write(
            'ss": 1.0, "steps": 4, "seconds": 20, "progress": 0.5}\n{"event": "validation", "step": 2, "score": 0.4}\n'
        )
    assert log.read() and log.losses == [(1, 2.0), (2, 1.0)] and log.scores == [(2, 0.4)] and not log.read()
    other = tmp_path / "new"
    other.write_text('{"step": 1, "steps": 4, "loss": 2.0, "seconds": 10, "progress": 0.25}\n')
    os.replace(other, path)
    assert log.read() and log.losses == [(1, 2.0)] and log.scores == []


def test_a_panel_without_a_cohort_says_what_to_choose(open_panel, views):
    panel = open_panel()
    panel.open_models()
    ui = panel.panel.models.ui
    ui.trainingCollapsibleButton.collapsed = False
    panel.click(ui.startTrainingButton)
    assert "folder for the run" in panel.message
