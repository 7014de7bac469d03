"""Few-shot from the button to the accepted segments, by clicks."""

import numpy as np
import slicer
from fake_propagation import FakePropagation
from few_shot_drawings import preview_node, square
from PyQt5.QtCore import Qt


def test_propagate_shows_a_preview_and_accept_writes_it(open_drawn, keep_picture):
    panel = open_drawn()
    keep_picture(panel.widget.parent, "few_shot_drawn")
    before = {name: panel.mask(name) for name in ("Liver", "Spleen")}
    panel.propagate()
    assert preview_node() is not None and "Nothing is written yet" in panel.ui.answerText.text
    assert all((panel.mask(name) == mask).all() for name, mask in before.items())
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "few_shot_preview")
    panel.click(panel.ui.acceptButton)
    assert preview_node() is None and panel.names() == ["Liver", "Spleen"]
    liver = panel.mask("Liver")
    assert liver.any(axis=(1, 2)).all() and (liver[4] == before["Liver"][4]).all()
    assert (liver[8] == before["Liver"][8]).all()
    assert "Accepted" in panel.ui.answerText.text and not panel.ui.acceptButton.isVisible()
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "few_shot_accepted")


def test_the_panel_names_the_slices_that_an_answer_was_made_from_as_it_does_elsewhere(open_drawn):
    panel = open_drawn()
    rows = [row[0] for row in panel.rows()]
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    panel.panel.editor.widget.setCurrentSegmentID(panel.parameters.segmentation.GetSegmentation().GetNthSegmentID(0))
    panel.panel._refresh()
    words = "Made by Few-shot on MR head from MR head segmentation, {}."
    assert rows == ["axial 4", "axial 8"]
    assert panel.ui.madeByText.text == words.format("axial 4 and 8")
    panel.parameters.volume.SetName("renamed")  # no image in the scene tells which way the axes run
    panel.panel._refresh()
    assert panel.ui.madeByText.text == words.format("slices 4 and 8 along z")


def test_accept_is_one_undo_step_and_drawn_slices_stay(open_drawn):
    panel = open_drawn()
    before = {name: panel.mask(name) for name in ("Liver", "Spleen")}
    saved = panel.panel.editor.widget.saved_states
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    after = {name: panel.mask(name) for name in panel.names()}
    assert panel.panel.editor.widget.saved_states == saved + 1
    panel.panel.editor.undo()
    panel.settle(0.2)
    assert all((panel.mask(name) == mask).all() for name, mask in before.items())
    assert panel.ui.answerText.text == "This answer was undone." and len(panel.rows()) == 2
    panel.panel.editor.redo()
    panel.settle(0.2)
    assert all((panel.mask(name) == mask).all() for name, mask in after.items())
    assert "Accepted" in panel.ui.answerText.text and len(panel.rows()) == 2


def test_drawing_goes_on_after_an_undone_answer(open_drawn):
    panel = open_drawn()
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    panel.panel.editor.undo()
    panel.draw("Liver", square(), "z", 11)
    assert [row[0] for row in panel.rows()] == ["axial 4", "axial 8", "axial 11"]


def test_discard_takes_the_preview_away_and_changes_nothing(open_drawn):
    panel = open_drawn()
    before, nodes = panel.mask("Liver"), slicer.mrmlScene.GetNumberOfNodes()
    panel.propagate()
    panel.click(panel.ui.discardButton)
    assert preview_node() is None and slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert (panel.mask("Liver") == before).all() and not panel.ui.answerCollapsibleButton.isVisible()


def test_other_segments_are_left_alone(open_drawn):
    """One that is not drawn on the listed slices, and one that is marked as completed."""
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    panel = open_drawn()
    panel.draw("Cyst", square(2, 2, 4), "z", 6)
    panel.choose_row(1)
    panel.click(panel.ui.removeSliceButton)
    logic, segmentation = slicer.vtkSlicerSegmentationsModuleLogic, panel.segmentation.GetSegmentation()
    done = panel.add_segment("Done")
    logic.SetSegmentStatus(segmentation.GetSegment(done), logic.Completed)
    with segment_edit(panel.segmentation, panel.parameters.volume) as edit:
        mask = np.broadcast_to(square(28, 4, 6), (12, 36, 40))
        edit.add(done, mask, volume_from_node(panel.parameters.volume))
    before = {name: panel.mask(name) for name in ("Cyst", "Done")}
    panel.settle(0.2)
    panel.propagate()
    assert panel.ui.answerCollapsibleButton.isVisible(), (panel.message, panel.rows())
    assert set(panel.panel.few_shot.controller.result.request.segments.values()).isdisjoint({done})
    panel.click(panel.ui.acceptButton)
    assert all((panel.mask(name) == mask).all() for name, mask in before.items())
    assert panel.mask("Liver")[0].any()


def test_the_editable_area_of_the_editor_holds_for_the_answer_too(open_drawn):
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    panel = open_drawn()
    body = panel.add_segment("Body")
    inside = np.zeros((12, 36, 40), bool)
    inside[:, :, :16] = True
    with segment_edit(panel.segmentation, panel.parameters.volume) as edit:
        edit.add(body, inside, volume_from_node(panel.parameters.volume))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(panel.segmentation.GetSegmentation().GetSegment(body), logic.Completed)
    editor, modes = panel.panel.editor.widget.mrmlSegmentEditorNode(), slicer.vtkMRMLSegmentationNode
    editor.SetMaskMode(modes.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID(body)
    editor.SetOverwriteMode(editor.OverwriteNone)
    panel.settle(0.2)
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    liver = panel.mask("Liver")
    assert (liver[0] == (square() & inside[0])).all() and (liver[4] == square()).all()


def test_the_shown_slice_is_previewed_first(open_drawn, views, keep_picture):
    engine = FakePropagation(steps=200, seconds=0.01)
    panel = open_drawn(engine)
    panel.look_at_slice(views.axial, 6)
    panel.click(panel.ui.propagateButton)
    panel.wait(lambda: panel.panel.few_shot.controller.result is not None, 5)
    panel.settle(0.6)
    controller = panel.panel.few_shot.controller
    assert controller.running and controller.result.preview.answer.numbers == [6]
    assert panel.ui.propagateButton.text == "Cancel" and panel.ui.progressRow.isVisible()
    assert "First answer" in panel.ui.answerText.text and not panel.ui.acceptButton.isVisible()
    assert not panel.ui.volumeSelector.enabled and not panel.panel.tabs.bar.enabled
    keep_picture(panel.widget.parent, "few_shot_running")
    panel.wait(lambda: not controller.running)
    assert len(controller.result.preview.answer.numbers) == 10
    assert [run["slices"] for run in engine.runs] == [(6, 6), None]


def test_cancel_leaves_the_scene_untouched(open_drawn, views):
    engine = FakePropagation(steps=500, seconds=0.01)
    panel = open_drawn(engine)
    panel.look_at_slice(views.axial, 6)
    before, nodes = panel.mask("Liver"), slicer.mrmlScene.GetNumberOfNodes()
    panel.click(panel.ui.propagateButton)
    panel.settle(0.3)
    panel.click(panel.ui.propagateButton)
    panel.settle(0.2)
    assert not panel.panel.few_shot.controller.running and not engine.full_runs == [] and preview_node() is None
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes and (panel.mask("Liver") == before).all()
    assert panel.ui.propagateButton.text == "Propagate" and not panel.ui.progressRow.isVisible()
    assert panel.ui.volumeSelector.enabled and panel.panel.tabs.bar.enabled


def test_ctrl_return_propagates_and_escape_cancels(open_drawn):
    panel = open_drawn(FakePropagation(steps=500, seconds=0.01))
    panel.press(Qt.Key_Return, Qt.ControlModifier)
    assert panel.panel.few_shot.controller.running and not panel.panel.controller.running
    panel.press(Qt.Key_Return, Qt.ControlModifier)
    assert panel.panel.few_shot.controller.running
    panel.press(Qt.Key_Escape)
    assert not panel.panel.few_shot.controller.running
    editor = panel.panel.editor.widget
    editor.setActiveEffectByName("Paint")
    panel.press(Qt.Key_Escape)  # between the runs it is the editor's
    assert editor.activeEffect() is None


def test_overlapping_segments_are_told_previewed_and_accepted_whole(open_drawn):
    panel = open_drawn()
    inner = square(12, 14, 4)
    panel.draw("Spleen", inner, "z", 4)
    before = {name: panel.mask(name) for name in ("Liver", "Spleen")}
    assert (before["Liver"][4] & before["Spleen"][4]).any()
    panel.propagate()
    assert "'Liver' and 'Spleen' overlap in" in panel.ui.answerText.text and "stays whole" in panel.ui.answerText.text
    panel.click(panel.ui.acceptButton)
    for name, mask in before.items():
        np.testing.assert_array_equal(panel.mask(name)[[4, 8]], mask[[4, 8]])
        np.testing.assert_array_equal(panel.mask(name)[5], mask[4])  # the fake carries each drawing to its neighbours
