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
from S3NetSegmentLib.engine.tasks.fields import asked_fields
from S3NetSegmentLib.engine.tasks.train import FinetuneTask, PretrainTask, task_facts, task_of_facts
from S3NetSegmentLib.engine.training.configuration import FINETUNING_PRESETS, PRETRAINING_PRESETS
from S3NetSegmentLib.panel.models import training_run
from S3NetSegmentLib.panel.models.training_form import KINDS, kind_of, training_hint
from S3NetSegmentLib.panel.models.training_process import TrainingLog
from S3NetSegmentLib.panel.models.training_run import TrainingRun

pytestmark = pytest.mark.usefixtures("this_python")
TINY = "slice_side=48 batch=2 unlabelled_batch=2 log_every=1 validate_every=5"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    names = write_phantom_cohort(folder, 3, 1, shape=(3, 48, 48))
    (folder / "cohort.json").write_text(json.dumps({"splits": {"validation": names[2:3]}}))
    return folder


@pytest.fixture
def run_folder(tmp_path):
    """The folder of a run, which is ended with the test whatever happens."""
    folder = tmp_path / "run"
    yield folder
    run = TrainingRun(folder)
    if run.is_busy:
        os.kill(run.folder.read_status()["pid"], signal.SIGKILL)


@pytest.fixture
def open_training(open_training_on, cohort):
    """Opens the section with a cohort and a run folder."""
    return lambda run_folder, settings=TINY: open_training_on(cohort, run_folder, settings)


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
    assert run_of(panel).state == "running" and ui.trainingPresetBox.currentText.startswith("tiny")
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
    panel.settle(0.1)
    assert ui.startTrainingButton.text == "Train longer" and "all steps done" in ui.trainingStateText.text
    panel.click(ui.useModelButton)
    panel.settle(0.2)
    assert "crescent" in ui.modelText.text or "Segment 1" in ui.modelText.text


def test_the_kinds_and_presets_are_those_of_the_command_line():
    assert tuple(KINDS["finetune"].presets) == FINETUNING_PRESETS == asked_fields(FinetuneTask)["preset"].form.choices
    for method, presets in PRETRAINING_PRESETS.items():
        assert tuple(KINDS[method].presets) == presets == asked_fields(PretrainTask)["preset"].form.choices
    from S3NetSegmentLib.cli.main import build_parser
    from S3NetSegmentLib.cli.train.training import task_of

    for key, kind in KINDS.items():
        for preset in kind.presets:
            task = kind.asked(
                "file.pt", cohort="cohort", preset=preset, minutes=2.5, settings=("batch=4", "steps=10"), device="cpu"
            )
            arguments = build_parser().parse_args([*task.arguments(), "-o", "run"])
            arguments.check(arguments)
            assert task_of(type(task), arguments) == task == task_of_facts(json.loads(json.dumps(task_facts(task))))
            assert kind_of(task) == key and kind.start_of(task) == ("file.pt" if kind.start_field else "")


def test_what_a_training_needs_is_said():
    assert "Needs images, some of them drawn." in training_hint(KINDS["finetune"], 0, 0)
    assert "drawings are not needed" in training_hint(KINDS["ideal"], 0, 0)
    assert "None of the 5 images of the training folder is drawn" in training_hint(KINDS["finetune"], 5, 0)
    few = training_hint(KINDS["finetune"], 5, 1)
    assert "1 drawn case and 4 others" in few and "fewer than four" in few
    assert "fewer than four" not in training_hint(KINDS["finetune"], 9, 4)
    assert "5 images; drawings are not needed" in training_hint(KINDS["alpnet"], 5, 0)


def test_every_kind_is_offered_with_its_presets_and_what_it_can_start_from(open_training, run_folder):
    panel = open_training(run_folder)
    ui = panel.panel.models.ui
    assert "3 drawn cases and 1 other" in ui.trainingHintText.text
    assert not ui.trainingProgressBar.isVisible() and not ui.trainingLog.isVisible()  # at once when it is unfolded
    panel.choose(ui.trainingKindBox, "Image features for Few-shot")
    assert ui.trainingPresetBox.count == 3 and "4 images; drawings are not needed" in ui.trainingHintText.text
    assert ui.trainingStartLabel.text == "Network:" and ui.trainingStartRow.isVisible()
    panel.choose(ui.trainingDeviceBox, "CPU")
    task = panel.panel.models.training.form.task()
    assert isinstance(task, PretrainTask) and task.method == "alpnet" and task.device == "cpu"
    ui.trainingSettingsEdit.text = "batch"
    panel.click(ui.tryTrainingButton)
    assert "name=value" in panel.message
    panel.choose(ui.trainingKindBox, "Start for a segmentation model")
    assert not ui.trainingStartRow.isVisible() and ui.trainingPresetBox.count == 3
    assert "IDEAL" in ui.trainingKindBox.toolTip  # the method's name is for who knows it


def test_how_long_it_takes_is_tried_and_nothing_is_kept(open_training, run_folder):
    panel = open_training(run_folder, f"{TINY} steps=40000")
    models = panel.panel.models
    panel.click(models.ui.tryTrainingButton)
    assert models.ui.tryTrainingButton.text == "Cancel" and "Trying" in models.ui.trainingStateText.text
    panel.wait(lambda: not models.training.trial.is_running, seconds=90)
    panel.wait(lambda: "All 40000 steps would take about" in models.ui.trainingStateText.text, seconds=3)
    assert "on the CPU" in models.ui.trainingStateText.text and not run_folder.exists()
    models.ui.trainingSettingsEdit.text = "no_such_setting=3"
    panel.click(models.ui.tryTrainingButton)
    panel.wait(lambda: "no_such_setting" in models.ui.trainingStateText.text, seconds=60)
    panel.click(models.ui.tryTrainingButton)
    panel.click(models.ui.tryTrainingButton)  # cancelled
    assert not models.training.trial.is_running and "Trying" not in models.ui.trainingStateText.text


def test_the_run_folder_is_kept_in_the_scene_and_on_this_machine(open_training, open_panel, run_folder, tmp_path):
    import slicer

    panel = open_training(run_folder)
    assert panel.parameters.runFolder == str(run_folder)
    scene = tmp_path / "scene.mrml"
    slicer.mrmlScene.SetRootDirectory(str(tmp_path))
    assert slicer.mrmlScene.Commit(str(scene))
    ui = panel.panel.models.ui
    ui.runFolderEdit.text = str(tmp_path / "another")
    ui.runFolderEdit.editingFinished.emit()
    panel.close()
    panel = open_panel()
    panel.open_models()
    assert panel.panel.models.ui.runFolderEdit.text == str(tmp_path / "another")  # of this machine
    slicer.mrmlScene.Clear()
    slicer.mrmlScene.SetURL(str(scene))
    assert slicer.mrmlScene.Connect()
    panel.widget.initializeParameterNode()
    assert panel.panel.models.ui.runFolderEdit.text == str(run_folder) and panel.parameters.runFolder == str(run_folder)
    assert str(run_of(panel).folder.path) == str(run_folder)


def test_a_failure_and_its_remedy_are_shown(open_training, run_folder):
    panel = open_training(
        run_folder, f"{TINY} optimizer=sgd learning_rate=10 warmup=0 precision=fp32 checkpoint_minutes=0"
    )
    ui = panel.panel.models.ui
    panel.click(ui.startTrainingButton)
    panel.wait(lambda: run_of(panel).state == "failed", seconds=90)
    panel.settle(0.1)
    assert "not finite numbers" in ui.trainingStateText.text and "learning_rate=2.5" in ui.trainingStateText.text
    assert ui.trainingLog.isVisible() and "loss" in ui.trainingLog.plainText
    assert ui.startTrainingButton.text == ("Resume" if (run_folder / "state.pt").exists() else "Start training")


def test_a_run_that_does_not_answer_can_be_killed_from_the_panel(open_training, run_folder, monkeypatch):
    import slicer

    monkeypatch.setattr(training_run, "KILL_AFTER", 1e9)  # however long this machine takes for the next clicks
    panel = open_training(run_folder, f"{TINY} steps=100000")
    ui = panel.panel.models.ui
    panel.click(ui.startTrainingButton)
    panel.wait(lambda: run_of(panel).state == "running", seconds=60)
    os.kill(run_of(panel).folder.read_status()["pid"], signal.SIGSTOP)  # it hangs
    panel.click(ui.startTrainingButton)
    panel.settle(0.1)
    assert ui.startTrainingButton.text == "Stopping..." and not ui.killTrainingButton.isVisible()
    monkeypatch.setattr(training_run, "KILL_AFTER", 0.0)
    panel.wait(lambda: ui.killTrainingButton.isVisible(), seconds=5)
    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *texts: asked.append(texts) or True)
    panel.click(ui.killTrainingButton)
    assert asked and run_of(panel).state == "stopped" and not run_of(panel).folder.is_running()
    assert "killed" in ui.trainingStateText.text.lower() and not ui.killTrainingButton.isVisible()


def test_what_the_command_line_refuses_is_told(tmp_path, cohort):
    run = TrainingRun(tmp_path / "run")
    run.start(FinetuneTask(str(cohort), "tiny", settings=("no_such_setting=3",)))
    deadline = time.monotonic() + 6000
    while run.is_busy and time.monotonic() < deadline:
        time.sleep(0.1)
        run.refresh()
    assert run.state == "failed" and "no_such_setting" in run.message and not run.can_resume


def test_orders_that_cannot_work_are_refused_before_a_process_is_started(tmp_path, cohort):
    run = TrainingRun(tmp_path / "run")
    with pytest.raises(InputError, match="no folder 'images'"):
        run.start(FinetuneTask(str(tmp_path), "tiny"))
    assert not (tmp_path / "run").exists() and run.state == "none"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.pt").write_bytes(b"x")
    with pytest.raises(InputError, match="holds a training run already"):
        run.start(FinetuneTask(str(cohort), "tiny"))


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
    run.refresh()
    assert run.state == "lost"  # another program has got its number
    (tmp_path / "status.json").write_text(json.dumps({**status, "host": "elsewhere"}))
    run.refresh()
    assert run.state == "lost" and "elsewhere, which no longer gives a sign of life" in run.message
    (tmp_path / "heartbeat").touch()
    run.refresh()
    assert run.state == "running" and "elsewhere" in run.message


DEAF = """
import sys, time
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder
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
    run.refresh()
    assert run.can_kill
    run.kill()
    assert deaf.wait(timeout=600) == -signal.SIGKILL
    assert run.state == "stopped" and "no state was saved" in run.message and not run.can_kill
    assert not run.folder.stop_is_asked


def test_a_run_that_is_stopped_while_it_starts_ends_as_stopped(tmp_path, cohort):
    run = TrainingRun(tmp_path / "run")
    run.start(FinetuneTask(str(cohort), "tiny", settings=tuple(TINY.split())))
    assert run.state == "starting"
    run.stop()
    deadline = time.monotonic() + 600
    while run.is_busy and time.monotonic() < deadline:
        time.sleep(0.1)
        run.refresh()
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
    assert log.read() and log.losses == [(1, 2.0)] and log.scores == [] and log.joined is None


def test_the_curve_shows_where_unlabelled_slices_join_and_no_plan_before_there_is_one(tmp_path, views):
    import qt

    from S3NetSegmentLib.panel.models.training_process import learning_curve

    path = tmp_path / "log.jsonl"
    lines = [{"step": n, "loss": 1.0 / n, **({"steps": 9, "unlabelled": 0.1} if n > 4 else {})} for n in range(1, 9)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = TrainingLog(path)
    assert log.read() and log.joined == 5 and log.steps == 9
    assert log.lines[3] == "step 4: loss 0.25" and log.lines[4] == "step 5 of 9: loss 0.2"
    palette = qt.QLabel().palette
    plain, marked = (learning_curve(log.losses, [], 9, palette, joined) for joined in (None, log.joined))
    assert plain.toImage() != marked.toImage()


def test_a_panel_without_a_cohort_says_what_to_choose(open_panel, views):
    panel = open_panel()
    panel.open_models()
    ui = panel.panel.models.ui
    ui.trainingCollapsibleButton.collapsed = False
    panel.click(ui.startTrainingButton)
    assert "folder for the run" in panel.message


def test_chosen_files_of_a_training_that_disappear_disable_its_buttons_and_come_back(
    open_training, run_folder, tmp_path
):
    (tmp_path / "mine" / "images").mkdir(parents=True)
    (tmp_path / "start.pt").write_bytes(b"a start")
    panel = open_training(run_folder)
    ui = panel.panel.models.ui
    for edit, name in ((ui.cohortFolderEdit, "mine"), (ui.trainingStartEdit, "start.pt")):
        edit.text = str(tmp_path / name)
        edit.editingFinished.emit()
    buttons = ui.startTrainingButton, ui.tryTrainingButton
    assert all(button.enabled for button in buttons)
    for name in ("mine", "start.pt"):
        (tmp_path / name).rename(tmp_path / "away")
        panel.wait(lambda: not any(button.enabled for button in buttons))
        assert all("There is no file or folder" in b.toolTip and name in b.toolTip for b in buttons)
        (tmp_path / "away").rename(tmp_path / name)
        panel.wait(lambda: all(button.enabled for button in buttons))
        assert not any("There is no" in button.toolTip for button in buttons)


def test_a_run_folder_that_disappears_shows_no_run_any_more_and_can_be_begun_anew(open_training, run_folder, tmp_path):
    run_folder.mkdir()
    entries = ({"step": n, "steps": 9, "loss": 1.0, "progress": n / 9, "seconds": n} for n in range(1, 9))
    (run_folder / "log.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    panel = open_training(run_folder)
    ui = panel.panel.models.ui
    panel.wait(ui.trainingCurve.isVisible)
    run_folder.rename(tmp_path / "away")
    panel.wait(lambda: not ui.trainingCurve.isVisible())
    assert ui.startTrainingButton.enabled and ui.startTrainingButton.text == "Start training" and not panel.message
    (tmp_path / "away").rename(run_folder)
    panel.wait(ui.trainingCurve.isVisible)
