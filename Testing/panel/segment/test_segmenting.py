"""From the button to the segment: the main flow of the panel, by clicks."""

import slicer
from fake_engine import FakeEngine

from S3NetSegmentLib.engine import InputError, ResourceError

CENTER = (0.0, 0.0, 0.0)  # world position of voxel (20, 18, 6)


def choose_whole_volume(panel):
    panel.choose(panel.ui.scopeComboBox, "Whole volume")


def test_a_point_and_a_click_make_an_object_in_its_place(open_panel, keep_picture):
    panel = open_panel(FakeEngine())
    keep_picture(panel.widget.parent, "panel_fresh")
    choose_whole_volume(panel)
    panel.place("inside", CENTER)
    panel.segment()
    assert panel.names() == ["Object"]
    mask = panel.mask()
    assert mask[6, 18, 20] and mask.sum() == panel.panel.controller.result.answer.object_mask().sum()
    assert panel.segmentation.GetNodeReference("referenceImageGeometryRef") is panel.parameters.volume
    assert not panel.message
    panel.settle()
    keep_picture(panel.widget.parent, "panel_result")


def test_without_points_there_are_regions_and_the_main_object(open_panel):
    panel = open_panel(FakeEngine())
    choose_whole_volume(panel)
    panel.segment()
    assert panel.names() == ["Object", "Region 1", "Region 2", "Region 3"]


def test_without_a_main_object_there_are_regions_and_a_word_of_advice(open_panel):
    panel = open_panel(FakeEngine(main=False))
    choose_whole_volume(panel)
    panel.segment()
    assert panel.names() == ["Region 1", "Region 2", "Region 3"]
    assert "Point at the object" in panel.message


def test_the_button_becomes_cancel_and_progress_is_shown(open_panel, keep_picture):
    panel = open_panel(FakeEngine(steps=2000, seconds=0.005))
    choose_whole_volume(panel)
    assert not panel.ui.progressRow.isVisible()
    panel.click(panel.ui.segmentButton)
    panel.wait(lambda: "left" in panel.ui.progressText.text)
    assert panel.ui.segmentButton.text == "Cancel"
    assert "Esc" in panel.ui.segmentButton.toolTip
    assert panel.ui.progressBar.value > 0 and "Working on part" in panel.ui.progressText.text
    assert not panel.ui.volumeSelector.enabled
    keep_picture(panel.widget.parent, "panel_running")
    panel.click(panel.ui.segmentButton)
    assert panel.ui.segmentButton.text == "Segment" and not panel.ui.progressRow.isVisible()
    assert panel.ui.volumeSelector.enabled


def test_cancel_leaves_the_scene_untouched(open_panel):
    engine = FakeEngine(steps=200)
    panel = open_panel(engine)
    choose_whole_volume(panel)
    panel.place("inside", CENTER)
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.click(panel.ui.segmentButton)
    panel.settle(0.1)
    panel.click(panel.ui.segmentButton)
    panel.settle(0.3)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert panel.segmentation is None and engine.finished == 0
    assert panel.panel.editor.widget.saved_states == 0


def test_ctrl_return_starts_and_escape_cancels(open_panel):
    from PyQt5.QtCore import Qt

    panel = open_panel(FakeEngine(steps=500, seconds=0.01))
    choose_whole_volume(panel)
    panel.press(Qt.Key_Return, Qt.ControlModifier)
    assert panel.panel.controller.running
    panel.press(Qt.Key_Escape)
    assert not panel.panel.controller.running


def test_ctrl_return_does_not_cancel_a_run(open_panel):
    from PyQt5.QtCore import Qt

    panel = open_panel(FakeEngine(steps=500, seconds=0.01))
    choose_whole_volume(panel)
    panel.press(Qt.Key_Return, Qt.ControlModifier)
    panel.press(Qt.Key_Return, Qt.ControlModifier)
    assert panel.panel.controller.running


def test_bad_input_is_told_in_the_panel_and_changes_nothing(open_panel, keep_picture):
    panel = open_panel(FakeEngine(error=InputError("image 'MR head' is constant; choose another slice")))
    choose_whole_volume(panel)
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.segment()
    assert panel.message == "Image 'MR head' is constant; choose another slice"
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    keep_picture(panel.widget.parent, "panel_error")
    panel.click(panel.ui.messageCloseButton)
    assert not panel.message


def test_a_lack_of_memory_is_told_like_bad_input(open_panel):
    panel = open_panel(FakeEngine(error=ResourceError("the memory is not enough; choose fewer slices")))
    choose_whole_volume(panel)
    panel.segment()
    assert "fewer slices" in panel.message and panel.panel.message.kind == "warning"


def test_what_the_user_can_mend_is_told_in_the_panel_and_not_in_the_log_too(open_panel, caplog):
    panel = open_panel(FakeEngine(error=InputError("fewer slices, please")))
    choose_whole_volume(panel)
    panel.segment()
    assert "Fewer slices, please" in panel.message and "fewer slices" not in caplog.text.lower()


def test_an_unexpected_error_is_told_with_its_details(open_panel, caplog):
    panel = open_panel(FakeEngine(error=ZeroDivisionError("by zero")))
    choose_whole_volume(panel)
    panel.segment()
    assert "unexpected" in panel.message and panel.panel.message.kind == "error"
    (entry,) = (record.message for record in caplog.records if "by zero" in record.message)  # the log says it once
    assert entry.startswith("S3NetSegment: Segment failed") and "fake_engine.py" in entry  # where it happened
    assert panel.segmentation is None


def test_notes_of_the_engine_are_shown(open_panel):
    panel = open_panel(FakeEngine(notes=["the graphics memory was full; the CPU took over"]))
    choose_whole_volume(panel)
    panel.segment()
    assert "CPU took over" in panel.message


def test_segmenting_again_with_the_same_image_does_not_search_again(open_panel):
    engine = FakeEngine()
    panel = open_panel(engine)
    choose_whole_volume(panel)
    panel.segment()
    panel.segment()
    assert len(engine.calls) == 1
    assert panel.names() == ["Object", "Region 1", "Region 2", "Region 3"]


def test_a_second_object_gets_its_own_segment_and_the_first_stays(open_panel):
    panel = open_panel(FakeEngine())
    choose_whole_volume(panel)
    panel.place("inside", CENTER)
    panel.segment()
    first = panel.mask()
    panel.click(panel.ui.nextObjectButton)
    assert panel.prompts() == []
    panel.place("inside", (-10.0, -8.0, 0.0))
    panel.segment()
    assert panel.names() == ["Object", "Object 2"]
    assert (panel.mask() == first).all() and panel.mask("Object 2")[6, 10, 10]


def test_the_confidence_becomes_a_volume_over_the_image(open_panel, views):
    panel = open_panel(FakeEngine())
    choose_whole_volume(panel)
    panel.click(panel.ui.confidenceCheckBox)
    panel.segment()
    node = slicer.util.getNode("MR head confidence")
    composite = panel.headless.slice_logic(views.axial).GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == node.GetID()
    panel.click(panel.ui.confidenceCheckBox)
    assert composite.GetForegroundVolumeID() is None


def test_the_confidence_of_a_result_can_be_asked_for_afterwards(open_panel, views):
    panel = open_panel(FakeEngine())
    choose_whole_volume(panel)
    panel.segment()
    panel.click(panel.ui.confidenceCheckBox)
    panel.wait(lambda: slicer.mrmlScene.GetFirstNodeByName("MR head confidence") is not None)
    node = slicer.util.getNode("MR head confidence")
    assert panel.headless.slice_logic(views.axial).GetSliceCompositeNode().GetForegroundVolumeID() == node.GetID()


def test_provenance_says_how_the_object_was_made(open_panel):
    from S3NetSegmentLib.scene.segmentation.labelmaps import segment_tag

    panel = open_panel(FakeEngine())
    choose_whole_volume(panel)
    panel.place("inside", CENTER)
    panel.segment()
    segment_id = panel.segmentation.GetSegmentation().GetNthSegmentID(0)
    tag = lambda name: segment_tag(panel.segmentation, segment_id, f"S3NetSegment.{name}")  # noqa: E731
    assert tag("Points") == "0,0,0"
    assert (tag("Place"), tag("Preset"), tag("Image"), tag("Seed")) == ("whole volume", "default", "MR head", "0")
