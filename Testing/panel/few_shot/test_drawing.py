"""Few-shot: the list of drawn slices follows what the user draws, undoes and corrects."""

import mrml
import numpy as np
import pytest
import slicer
from fake_propagation import FakePropagation
from few_shot_drawings import square
from PyQt5.QtCore import Qt


@pytest.fixture
def panel(open_panel, views):
    panel = open_panel(None, FakePropagation())
    panel.open_few_shot()
    panel.widget.parent.resize(400, 860)
    return panel


def accepted(panel):
    """An accepted answer from one drawn slice."""
    panel.draw("Liver", square(), "z", 5)
    panel.propagate()
    panel.click(panel.ui.acceptButton)


def test_the_tab_shows_one_use_of_the_panel_at_a_time(open_panel, views, keep_picture):
    panel = open_panel(None, FakePropagation())
    assert panel.ui.segmentButton.isVisible() and not panel.ui.propagateButton.isVisible()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    panel.open_few_shot()
    assert panel.ui.propagateButton.isVisible() and not panel.ui.segmentButton.isVisible()
    assert panel.panel.editor.widget.isVisible() and panel.ui.volumeSelector.isVisible()
    panel.widget.parent.resize(400, 760)
    panel.settle(0.3)
    keep_picture(panel.widget.parent, "few_shot_fresh")
    panel.open_segment()
    assert panel.ui.segmentButton.isVisible() and not panel.ui.supportCollapsibleButton.isVisible()
    assert not panel.panel.editor.widget.isVisible()


def test_a_segmentation_to_draw_in_is_made_as_slicers_editor_does(panel):
    assert panel.names() == ["Segment_1"]
    assert panel.segmentation.GetNodeReference("referenceImageGeometryRef") is panel.parameters.volume


def test_the_panel_is_no_wider_than_400_pixels(panel):
    panel.draw("A segment with a name that is far too long for any column", square(), "z", 4)
    panel.propagate()
    panel.settle(0.1)
    assert panel.widget.parent.minimumSizeHint().width() <= 400 and panel.widget.parent.width == 400


def test_a_drawn_slice_appears_in_the_list_by_itself(panel):
    assert panel.rows() == [] and panel.ui.supportHint.isVisible() and not panel.ui.propagateButton.enabled
    assert "Draw a segment" in panel.ui.propagateButton.toolTip
    panel.draw("Liver", square(), "z", 4)
    assert panel.rows() == [("axial 4", "Liver", True)]
    panel.draw("Spleen", square(24, 24), "z", 4)
    panel.draw("Liver", square(), "z", 9)
    assert panel.rows() == [("axial 4", "Liver, Spleen", True), ("axial 9", "Liver", True)]
    assert panel.ui.propagateButton.enabled


def test_slices_of_other_directions_are_drawn_slices_too(panel):
    panel.draw("Liver", square(shape=(12, 36), top=3), "x", 20)
    panel.draw("Liver", square(shape=(12, 40), top=3), "y", 9)
    assert [row[0] for row in panel.rows()] == ["sagittal 20", "coronal 9"]


def test_an_undone_stroke_leaves_the_list_again(panel):
    panel.draw("Liver", square(), "z", 4)
    panel.draw("Liver", square(), "z", 9)
    panel.panel.editor.undo()
    panel.settle(0.2)
    assert [row[0] for row in panel.rows()] == ["axial 4"]
    panel.panel.editor.redo()
    panel.settle(0.2)
    assert [row[0] for row in panel.rows()] == ["axial 4", "axial 9"]


def test_an_empty_slice_can_be_added_and_counts_as_drawn(panel, views):
    panel.draw("Liver", square(), "z", 4)
    panel.look_at_slice(views.axial, 11)
    panel.click(panel.ui.addSliceButton)
    assert panel.rows()[1] == ("axial 11", "nothing here", True)
    assert not panel.ui.addSliceButton.enabled and "already" in panel.ui.addSliceButton.toolTip
    panel.propagate()
    items = panel.panel.few_shot.controller.result.request.items
    assert [(item.index, bool(item.labels.any())) for item in items] == [(4, True), (11, False)]


def test_a_slice_can_be_marked_as_drawn_in_part(panel):
    panel.draw("Liver", square(), "z", 4)
    item = panel.ui.supportTable.item(0, 2)
    item.setCheckState(Qt.Unchecked)
    assert panel.rows() == [("axial 4", "Liver", False)]
    panel.propagate()
    assert [s.complete for s in panel.panel.few_shot.controller.result.request.items] == [False]


def test_a_removed_slice_stays_away_until_it_is_drawn_on_again(panel):
    panel.draw("Liver", square(), "z", 4)
    panel.draw("Liver", square(), "z", 9)
    assert not panel.ui.removeSliceButton.enabled
    panel.choose_row(0)
    panel.click(panel.ui.removeSliceButton)
    panel.draw("Liver", square(20, 20), "z", 9)
    assert [row[0] for row in panel.rows()] == ["axial 9"] and panel.mask("Liver")[4].any()
    panel.draw("Liver", square(20, 20), "z", 4)
    assert [row[0] for row in panel.rows()] == ["axial 4", "axial 9"]


def test_the_delete_key_removes_the_selected_rows(panel):
    from PyQt5.QtTest import QTest

    panel.draw("Liver", square(), "z", 4)
    panel.widget.parent.activateWindow()
    panel.choose_row(0)
    QTest.keyClick(panel.ui.supportTable, Qt.Key_Delete)
    assert panel.rows() == [] and panel.mask("Liver")[4].any()


def test_a_double_click_or_go_to_shows_the_slice(panel, views):
    panel.draw("Liver", square(), "z", 4)
    panel.draw("Liver", square(), "z", 9)
    panel.look_at_slice(views.axial, 0)
    panel.choose_row(1)
    panel.click(panel.ui.goToSliceButton)
    assert panel.panel.few_shot._presenter.in_view(panel.panel.inputs.last_view)[0].place == ("z", 9)
    panel.ui.supportTable.cellDoubleClicked.emit(0, 0)
    assert panel.panel.few_shot._presenter.in_view(panel.panel.inputs.last_view)[0].place == ("z", 4)


def test_a_correction_after_an_accepted_answer_is_found_marked_and_used(panel, keep_picture):
    accepted(panel)
    assert [row[0] for row in panel.rows()] == ["axial 5"]  # the answer itself is no drawing
    panel.draw("Liver", square(), "z", 9, erase=True)
    panel.draw("Liver", square(20, 20), "z", 9)
    assert [row[0] for row in panel.rows()] == ["axial 5", "axial 9 (corrected)"]
    assert "Correct" in panel.ui.answerText.text or "Accepted" in panel.ui.answerText.text
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "few_shot_corrected")
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    liver = panel.mask("Liver")
    assert (liver[9] == square(20, 20)).all() and (liver[11] == square(20, 20)).all() and (liver[2] == square()).all()


def test_a_renamed_segment_is_renamed_in_the_list(panel):
    panel.draw("Liver", square(), "z", 4)
    segmentation = panel.segmentation.GetSegmentation()
    segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName("Liver")).SetName("Hepar")
    panel.settle(0.2)
    assert panel.rows() == [("axial 4", "Hepar", True)]


def test_an_operation_on_the_volume_is_not_taken_for_drawn_slices(panel):
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    accepted(panel)
    volume = volume_from_node(panel.parameters.volume)
    with segment_edit(panel.segmentation, panel.parameters.volume) as edit:  # e.g. smoothing
        liver = panel.segmentation.GetSegmentation().GetSegmentIdBySegmentName("Liver")
        edit.remove(liver, np.broadcast_to(square(size=3), (12, 36, 40)), volume)
    panel.settle(0.2)
    assert "slices changed at once" in panel.message and len(panel.rows()) == 1
    panel.draw("Liver", square(20, 20), "z", 9)
    assert [row[0] for row in panel.rows()] == ["axial 5", "axial 9 (corrected)"]


def test_a_segmentation_with_a_few_drawn_slices_is_taken_as_drawn(panel, volume_node):
    from mrml import segment

    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    node = create_segmentation(volume_node, "from a file")
    mask = np.zeros((12, 36, 40), bool)
    mask[3], mask[8] = square(), square(20, 20)
    with segment_edit(node, volume_node) as edit:
        edit.add_segment(segment("Liver"), mask, volume_from_node(volume_node))
    panel.ui.segmentationSelector.setCurrentNode(node)
    assert panel.rows() == [("axial 3", "Liver", True), ("axial 8", "Liver", True)]
    mask[3] = False
    with segment_edit(node, volume_node) as edit:
        liver = node.GetSegmentation().GetSegmentIdBySegmentName("Liver")
        edit.remove(liver, mask, volume_from_node(volume_node))
    panel.settle(0.2)
    assert panel.rows() == [("axial 3", "Liver", True)]


def test_going_to_another_segmentation_and_back_keeps_the_list(panel, volume_node, views):
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    panel.draw("Liver", square(), "z", 4)
    first = panel.segmentation
    panel.look_at_slice(views.axial, 11)
    panel.click(panel.ui.addSliceButton)
    panel.ui.segmentationSelector.setCurrentNode(create_segmentation(volume_node, "another"))
    assert panel.rows() == []
    panel.ui.segmentationSelector.setCurrentNode(first)
    assert [row[0] for row in panel.rows()] == ["axial 4", "axial 11"]


def test_a_volume_that_comes_under_a_bent_transform_is_said_and_works_again_without_it(panel):
    panel.draw("Liver", square(), "z", 4)
    panel.settle(0.2)
    mrml.put_under(panel.parameters.volume, mrml.add_bend())
    panel.parameters.segmentation.GetSegmentation().AddEmptySegment("", "Spleen")
    panel.settle(0.3)
    assert not panel.ui.propagateButton.isEnabled() and "harden the transform" in panel.ui.propagateButton.toolTip
    panel.parameters.volume.SetAndObserveTransformNodeID(None)
    panel.settle(0.3)
    assert panel.ui.propagateButton.isEnabled()
