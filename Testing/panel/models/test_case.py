"""Saving cases to a cohort from the panel."""

import numpy as np
import pytest
import slicer

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort


@pytest.fixture
def open_drawn(open_panel, views):
    """Opens the tab Models with a drawn segment and the cohort section unfolded."""

    def opener(folder):
        panel = open_panel()
        panel.open_models()
        panel.draw_in_new_segmentation()
        square = np.zeros((36, 40), bool)
        square[5:20, 5:20] = True
        panel.draw("Core", square, "z", 4)
        ui = panel.panel.models.ui
        ui.cohortCollapsibleButton.collapsed = False
        ui.cohortFolderEdit.text = str(folder)
        ui.cohortFolderEdit.editingFinished.emit()
        return panel

    return opener


def save(panel):
    panel.click(panel.panel.models.ui.saveCaseButton)
    panel.wait(lambda: not panel.panel.models.running)


def test_a_case_is_saved_under_the_name_of_the_volume(open_drawn, tmp_path):
    panel = open_drawn(tmp_path)
    assert panel.panel.models.ui.caseNameEdit.text == "MR_head"
    panel.panel.models.ui.patientEdit.text = "P 7"
    save(panel)
    assert panel.message.startswith("Saved images/MR_head.nii.gz and labels/MR_head.seg.nrrd.")
    (case,) = run_to_end(read_cohort(tmp_path)).labelled
    assert case.patient == "P 7" and panel.ui.sharedForm.enabled


def test_replacing_is_asked_for_and_refused_by_cancel(open_drawn, tmp_path, monkeypatch):
    panel = open_drawn(tmp_path)
    save(panel)
    label = tmp_path / "labels" / "MR_head.seg.nrrd"
    before, asked = label.read_bytes(), []
    answers = iter((False, True))
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *_: (asked.append(text), next(answers))[1])
    panel.draw("Core", np.ones((36, 40), bool), "z", 6)
    save(panel)
    assert len(asked) == 1 and "labels/MR_head.seg.nrrd already" in asked[0] and label.read_bytes() == before
    save(panel)
    assert len(asked) == 2 and label.read_bytes() != before and "Saved labels/MR_head.seg.nrrd" in panel.message


def test_a_wrong_name_is_refused_in_the_panel(open_drawn, tmp_path):
    panel = open_drawn(tmp_path)
    panel.panel.models.ui.caseNameEdit.text = "../MR"
    save(panel)
    assert "character" in panel.message and not (tmp_path / "images").exists()
