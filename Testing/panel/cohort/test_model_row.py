"""The model of a cohort in the tab Cohort: what is said of it, and a training in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from loop_folders import accepted_cohort, drawn, patient, write_patients

from S3NetSegmentLib.engine.cohort_loop import model
from S3NetSegmentLib.engine.cohort_loop.accepting import accept
from S3NetSegmentLib.engine.cohort_loop.store import CohortStore
from S3NetSegmentLib.panel.cohort import model_row
from S3NetSegmentLib.panel.cohort.model_row import LoopTraining

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")
# In place of a training: holds the lock of one until it is let go of, then writes what a training would have found.
TRAINING = """
import json, os, sys, time
sys.path.insert(0, {product!r})
from S3NetSegmentLib.engine.cohort_loop.store import CohortStore
store = CohortStore(sys.argv[3])
with store.model_lock():
    print("s3net:  12% Training, 7 min left", file=sys.stderr, flush=True)
    while not os.path.exists({gate!r}):
        time.sleep(0.02)
    if open({gate!r}).read():
        sys.exit("s3net: error: the disk is full")
    store.write("model/current.json", {{"run": "model/x", "when": "now", "cases": store.accepted(),
        "model": {{"Liver": 0.91, "Spleen": 0.6}}, "few_shot": {{"Liver": 0.86, "Spleen": 0.7}}, "used": ["Liver"]}})
"""


@pytest.fixture
def store(tmp_path):
    return accepted_cohort(tmp_path / "scans", NAMES, 6)


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """A file that lets the training of the panel end; with a text in it, it fails."""
    gate, script = tmp_path / "gate", tmp_path / "python"
    product = Path(model_row.__file__).parents[3]
    script.write_text(f"#!{sys.executable}\n" + TRAINING.format(product=str(product), gate=str(gate)))
    script.chmod(0o755)
    monkeypatch.setattr(model_row, "slicer_python", lambda: str(script))
    yield gate
    if not gate.exists():
        gate.write_text("")


def row(panel):
    return panel.panel.cohort.ui


def looks(panel, condition):
    """Looks at the folder, as a timer does every few seconds, until ``condition`` holds."""

    def looked():
        panel.panel.cohort.refresh()
        return condition()

    panel.wait(looked)


def test_too_few_accepted_cases_are_counted_and_train_nothing(tmp_path, open_cohort):
    store = CohortStore(write_patients(tmp_path / "few", *NAMES))
    accept(store, "a", drawn(*patient(0)))
    ui = row(open_cohort(store))
    assert ui.loopModelText.text == "No model yet: it needs 5 more accepted cases."
    assert not ui.trainLoopButton.enabled and "accept more" in ui.trainLoopButton.toolTip


def test_a_model_is_trained_beside_the_panel_and_told_of(open_cohort, store, gate, keep_picture):
    panel = open_cohort(store)
    ui = row(panel)
    assert ui.trainLoopButton.enabled and "enough accepted cases" in ui.loopModelText.text
    panel.click(ui.trainLoopButton)
    looks(panel, lambda: "7 min left" in ui.loopModelText.text and model.model_state(store).in_training)
    assert ui.trainLoopButton.text == "Stop training" and not ui.loopMinutes.enabled
    assert ui.nextCaseButton.enabled  # one goes on with the next patient meanwhile
    gate.write_text("")
    looks(panel, lambda: ui.trainLoopButton.text == "Train a model")
    assert "model is trained" in panel.message
    assert ui.loopModelText.text == (
        "Trained on 6 cases. Dice on held-out ones:\nLiver 0.91 (Few-shot 0.86), used\nSpleen 0.60 (Few-shot 0.70)"
    )
    keep_picture(panel.widget.parent, "cohort_model")
    accept(store, "g", drawn(*patient(6)))
    panel.panel.cohort.refresh()
    assert "Accepted since: 1" in ui.loopModelText.text


def test_a_training_that_fails_says_why(open_cohort, store, gate):
    panel = open_cohort(store)
    panel.click(row(panel).trainLoopButton)
    gate.write_text("fail")
    looks(panel, lambda: "No model was trained: the disk is full" in panel.message)
    assert row(panel).trainLoopButton.enabled and model.model_state(store).trained is None


def test_a_training_is_stopped_after_a_question(open_cohort, store, gate, monkeypatch):
    panel = open_cohort(store)
    ui, answers = row(panel), [False, True]
    monkeypatch.setattr(model_row.slicer.util, "confirmOkCancelDisplay", lambda *_: answers.pop(0))
    panel.click(ui.trainLoopButton)
    looks(panel, lambda: model.model_state(store).in_training)
    panel.click(ui.trainLoopButton)
    assert ui.trainLoopButton.text == "Stop training" and model.model_state(store).in_training
    panel.click(ui.trainLoopButton)
    looks(panel, lambda: ui.trainLoopButton.text == "Train a model" and ui.trainLoopButton.enabled)
    assert not model.model_state(store).in_training and model.model_state(store).trained is None


def test_a_training_of_somebody_else_is_shown_and_not_joined(open_cohort, store, gate):
    other = LoopTraining(store)
    other.start(5)
    panel = open_cohort(store)
    ui = row(panel)
    looks(panel, lambda: model.model_state(store).in_training and not ui.trainLoopButton.enabled)
    assert "Somebody trains" in ui.trainLoopButton.toolTip and "Training" in ui.loopModelText.text
    with pytest.raises(Exception, match="being trained already"):
        LoopTraining(store).start(5)
    looks(panel, lambda: "7 min left" in ui.loopModelText.text)
    os.utime(other.output, (1.0, 1.0))  # of an earlier training; this one says it elsewhere
    looks(panel, lambda: ui.loopModelText.text == "Training: under way.")
    other.stop()
    looks(panel, lambda: ui.trainLoopButton.enabled)


def test_a_process_that_cannot_be_started_is_refused(store, gate, monkeypatch):
    def broken(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(subprocess, "Popen", broken)
    with pytest.raises(Exception, match=r"cannot be started .*Permission denied"):
        LoopTraining(store).start(5)
