"""The tab Cohort: the patients of a folder, one after another."""

import numpy as np
import pytest
import slicer
from loop_folders import drawn, patient, write_patients

from S3NetSegmentLib.engine.cohort_loop import store as store_module
from S3NetSegmentLib.engine.cohort_loop.accepting import accept
from S3NetSegmentLib.engine.cohort_loop.store import ACCEPTED, CORRECTED, CohortStore
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.panel.cohort import controller, section

pytestmark = pytest.mark.usefixtures("few_places")


@pytest.fixture
def store(tmp_path):
    return CohortStore(write_patients(tmp_path / "scans", "anna", "bert", "carl"))


def finish(panel):
    panel.wait(lambda: not panel.panel.cohort.running)


def rows(panel) -> list[tuple[str, ...]]:
    table = panel.panel.cohort.ui.loopTable
    return [tuple(table.item(n, c).text() for c in range(3)) for n in range(table.rowCount)]


def press(panel, name):
    panel.click(getattr(panel.panel.cohort.ui, name))
    finish(panel)


def select(panel, row):
    panel.panel.cohort.ui.loopTable.setCurrentCell(row, 0)


def test_the_cases_of_a_folder_are_listed_with_state_and_what_is_left(open_cohort, store):
    accept(store, "anna", drawn(*patient(0)))
    panel = open_cohort(store)
    assert rows(panel) == [("anna", "accepted", ""), ("bert", "to do", ""), ("carl", "to do", "")]
    assert "1 of 3 accepted, 2 patients left" in panel.panel.cohort.ui.loopText.text
    assert not panel.panel.cohort.ui.acceptCaseButton.enabled


def test_the_first_case_is_drawn_and_the_second_is_proposed_corrected_and_accepted(open_cohort, store, keep_picture):
    panel = open_cohort(store)
    press(panel, "nextCaseButton")
    first = panel.parameters.volume.GetName()
    assert "nothing is accepted yet" in panel.panel.cohort.ui.loopText.text
    number = ["anna", "bert", "carl"].index(first)
    _, labels = patient(number)
    for z in range(len(labels)):
        for value, name in ((1, "Liver"), (2, "Spleen")):
            if (labels[z] == value).any():
                panel.draw(name, labels[z] == value, "z", z)
    press(panel, "acceptCaseButton")
    assert f"Case {first} is accepted" in panel.message and store.is_accepted(first)
    press(panel, "nextCaseButton")
    second = panel.parameters.volume.GetName()
    assert second != first and slicer.mrmlScene.GetFirstNodeByName(first) is None  # nothing piles up
    assert f"proposed from {first}" in panel.panel.cohort.ui.loopText.text
    assert set(panel.names()) == {"Liver", "Spleen"} and panel.mask("Liver").any()
    square = np.zeros(labels[0].shape, bool)
    square[2:6, 2:6] = True
    panel.draw("Liver", square, "z", 5)
    press(panel, "proposeAgainButton")
    assert panel.mask("Liver")[5][square].all() and store.record(CORRECTED, second)["slices"] == [5]
    select(panel, [row[0] for row in rows(panel)].index(second))
    assert panel.panel.cohort.ui.loopPicture.isVisible()
    keep_picture(panel.widget.parent, "cohort_tab")
    press(panel, "acceptCaseButton")
    found = read_segmentation(store.segmentation_path(ACCEPTED, second))
    assert np.array_equal(found.mask(found.segments[0]), panel.mask("Liver"))
    assert "2 of 3 accepted, 1 patient left" in panel.panel.cohort.ui.loopText.text


def test_the_first_case_of_an_empty_scene_has_its_segmentation_selected(open_cohort, store):
    panel = open_cohort(store)
    slicer.mrmlScene.Clear(False)  # from now on Slicer's list selects the first volume that comes by itself
    panel.open_cohort(store.folder)
    press(panel, "nextCaseButton")
    case = panel.panel.cohort.controller.case
    assert panel.parameters.volume is case.volume_node and panel.parameters.segmentation is case.segmentation_node


def test_an_acceptance_is_taken_back_in_the_list(open_cohort, store):
    accept(store, "anna", drawn(*patient(0)))
    panel = open_cohort(store)
    assert not panel.panel.cohort.ui.undoAcceptButton.enabled
    select(panel, 0)
    press(panel, "undoAcceptButton")
    assert rows(panel)[0] == ("anna", "to do", "") and "history" in panel.message
    assert not panel.panel.cohort.ui.undoAcceptButton.enabled


def test_an_accepted_case_is_opened_again_and_accepted_anew(open_cohort, store):
    volume, labels = patient(0)
    accept(store, "anna", drawn(volume, labels))
    panel = open_cohort(store)
    select(panel, 0)
    press(panel, "openCaseButton")
    assert np.array_equal(panel.mask("Spleen"), labels == 2)
    panel.draw("Spleen", labels[5] == 2, "z", 5, erase=True)
    press(panel, "acceptCaseButton")
    found = read_segmentation(store.segmentation_path(ACCEPTED, "anna"))
    assert not found.mask(found.segments[1])[5].any() and "is accepted" in panel.message


def test_accepting_anew_and_taking_back_depend_on_no_language(open_cohort, store, monkeypatch):
    for module in (controller, section):
        monkeypatch.setattr(module, "_", lambda text: f"«{text}»")
    accept(store, "anna", drawn(*patient(0)))
    panel = open_cohort(store)
    select(panel, 0)
    press(panel, "openCaseButton")
    for z in (4, 5):
        panel.draw("Spleen", patient(0)[1][z] == 2, "z", z, erase=True)
        press(panel, "acceptCaseButton")
        assert "is accepted" in panel.message
    (store.folder / "anna.nii.gz").unlink()
    panel.panel.cohort.refresh()
    select(panel, 0)
    assert rows(panel)[0][1].startswith("image missing") and panel.panel.cohort.ui.undoAcceptButton.enabled


def test_a_case_that_somebody_else_has_accepted_meanwhile_is_not_replaced(open_cohort, store):
    panel = open_cohort(store)
    select(panel, 0)
    press(panel, "openCaseButton")
    panel.draw("Liver", np.ones(patient(0)[1].shape[1:], bool), "z", 4)
    volume, labels = patient(0)
    accept(store, "anna", drawn(volume, labels))
    press(panel, "acceptCaseButton")
    assert "accepted by" in panel.message
    found = read_segmentation(store.segmentation_path(ACCEPTED, "anna"))
    assert np.array_equal(found.flattened(), labels)


@pytest.mark.parametrize("button", ["acceptCaseButton", "proposeAgainButton"])
def test_what_is_drawn_in_an_image_that_was_replaced_since_is_refused(open_cohort, store, button):
    accept(store, "carl", drawn(*patient(2)))
    panel = open_cohort(store)
    select(panel, 0)
    press(panel, "openCaseButton")
    panel.draw("Liver", patient(0)[1][4] == 1, "z", 4)
    write_image(patient(1)[0], store.image_of("anna"))
    press(panel, button)
    assert "has changed since it was opened" in panel.message
    assert not store.is_accepted("anna") and not store.segmentation_path(CORRECTED, "anna").exists()
    press(panel, "openCaseButton")
    panel.draw("Liver", patient(1)[1][4] == 1, "z", 4)
    press(panel, "acceptCaseButton")
    assert store.is_accepted("anna")


def test_a_case_whose_image_was_replaced_opens_without_what_belongs_to_the_former_one(open_cohort, store):
    accept(store, "anna", drawn(*patient(0)))
    write_image(patient(1)[0], store.image_of("anna"))
    panel = open_cohort(store)
    select(panel, 0)
    press(panel, "openCaseButton")
    assert panel.names() == [] and "its image has been replaced" in panel.panel.cohort.ui.loopText.text


def test_an_unknown_segment_is_asked_for(open_cohort, store, monkeypatch):
    accept(store, "anna", drawn(*patient(0)))
    panel = open_cohort(store)
    select(panel, 1)
    press(panel, "openCaseButton")
    panel.draw("hepar", np.ones(patient(1)[1].shape[1:], bool), "z", 4)
    answers = []
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, *_: answers.append(text) or len(answers) > 1
    )
    press(panel, "acceptCaseButton")
    assert "its segments are Liver, Spleen" in answers[0] and "rename hepar" in panel.message
    assert not store.is_accepted("bert")
    press(panel, "acceptCaseButton")
    assert store.is_accepted("bert")


def test_what_somebody_else_does_in_the_folder_appears_in_the_list(open_cohort, store, monkeypatch):
    panel = open_cohort(store)
    accept(store, "anna", drawn(*patient(0)))
    monkeypatch.setattr(store_module, "who", lambda: "eve@ward")
    store.take("bert")
    monkeypatch.undo()
    (store.folder / "carl.nii.gz").unlink()
    panel.panel.cohort.refresh()
    assert [row[:2] for row in rows(panel)] == [("anna", "accepted"), ("bert", "to do (eve@ward)")]


def test_the_selected_case_stays_selected_when_others_come_and_go(open_cohort, store):
    accept(store, "bert", drawn(*patient(1)))
    panel = open_cohort(store)
    select(panel, 1)
    write_patients(store.folder, "aaron")
    panel.panel.cohort.refresh()
    press(panel, "undoAcceptButton")
    assert not store.is_accepted("bert") and "bert" in panel.message
    (store.folder / "bert.nii.gz").unlink()
    panel.panel.cohort.refresh()
    assert not panel.panel.cohort.ui.openCaseButton.enabled  # nothing is chosen in its stead


def test_cancel_and_a_closing_scene_leave_the_folder_as_it_was(open_cohort, store):
    accept(store, "anna", drawn(*patient(0)))
    panel = open_cohort(store)
    panel.click(panel.panel.cohort.ui.nextCaseButton)
    assert panel.panel.cohort.running and panel.panel.cohort.ui.nextCaseButton.text == "Cancel"
    panel.click(panel.panel.cohort.ui.nextCaseButton)
    assert not panel.panel.cohort.running and not list((store.work / "proposed").glob("*.seg.nrrd"))
    press(panel, "nextCaseButton")
    panel.headless.new_scene()
    assert not panel.panel.cohort.ui.acceptCaseButton.enabled and panel.panel.cohort.controller.case is None


def test_a_folder_that_is_none_or_goes_away_is_told(open_cohort, store, tmp_path):
    panel = open_cohort(CohortStore(store.folder))
    store.folder.rename(tmp_path / "elsewhere")
    panel.panel.cohort.refresh()
    assert "no file or folder" in panel.message and rows(panel) == []
    button = panel.panel.cohort.ui.nextCaseButton
    assert not button.enabled and "no file or folder" in button.toolTip
    (tmp_path / "elsewhere").rename(store.folder)
    panel.panel.cohort.refresh()
    assert button.enabled and not panel.message and rows(panel)
    store.folder.rename(tmp_path / "elsewhere")
    panel.panel.cohort.refresh()
    edit = panel.panel.cohort.ui.loopFolderEdit
    edit.text = str(tmp_path / "nowhere")
    edit.editingFinished.emit()
    assert "no file or folder" in panel.message and not panel.panel.cohort.ui.nextCaseButton.enabled


def test_the_tab_is_as_narrow_as_the_others(open_cohort, store):
    panel = open_cohort(store)
    assert panel.widget.parent.minimumSizeHint().width() <= 380
