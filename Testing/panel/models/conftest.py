"""Trainings from the panel."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def this_python(monkeypatch):
    """This Python in place of Slicer's."""
    from S3NetSegmentLib.panel.models import training_process, training_run

    for module in (training_process, training_run):
        monkeypatch.setattr(module, "slicer_python", lambda: sys.executable)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def open_training_on(open_panel, views):
    """Opens the section of a training with everything filled in for a small one on a cohort."""

    def opener(cohort, run_folder, settings):
        panel = open_panel()
        panel.open_models()
        ui = panel.panel.models.ui
        for edit, path in ((ui.cohortFolderEdit, cohort), (ui.runFolderEdit, run_folder)):
            edit.text = str(path)
            edit.editingFinished.emit()
        ui.trainingCollapsibleButton.collapsed = False
        panel.choose(ui.trainingPresetBox, "tiny: small, for a CPU")
        ui.trainingMinutesBox.value = 0
        ui.trainingSettingsEdit.text = settings
        return panel

    return opener
