"""Changing a live result: granularity, best answers, regions by clicks, further points, undo."""

import numpy as np
import pytest
from fake_engine import FakeEngine
from panel_states import dark_palette
from PyQt5 import QtGui, QtWidgets

CENTER = (0.0, 0.0, 0.0)


@pytest.fixture
def with_object(open_panel):
    """The panel after Segment in the whole volume with one point."""
    panel = open_panel(FakeEngine())
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.place("inside", CENTER)
    panel.segment()
    return panel


@pytest.fixture
def with_regions(open_panel):
    panel = open_panel(FakeEngine(main=False))
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.segment()
    return panel


def drag(slider, *values):
    slider.sliderPressed.emit()
    for value in values:
        slider.value = value
    slider.sliderReleased.emit()


def test_the_slider_changes_the_segment_at_once(with_object):
    panel = with_object
    before = panel.mask().sum()
    assert panel.ui.granularityText.text == "3 of 6"
    panel.ui.granularitySlider.value = 5
    assert panel.mask().sum() > before
    assert panel.ui.granularityText.text == "6 of 6"
    assert panel.parameters.granularity == 5


def test_dragging_the_slider_is_one_undo_step(with_object):
    panel = with_object
    before, saved = panel.mask(), panel.panel.editor.widget.saved_states
    drag(panel.ui.granularitySlider, 3, 4, 5)
    assert panel.panel.editor.widget.saved_states == saved + 1
    assert panel.mask().sum() > before.sum()
    panel.click(panel.ui.undoButton)
    assert (panel.mask() == before).all()
    panel.click(panel.ui.redoButton)
    assert panel.mask().sum() > before.sum()


def test_each_click_on_the_slider_is_an_undo_step_of_its_own(with_object):
    panel = with_object
    saved = panel.panel.editor.widget.saved_states
    panel.ui.granularitySlider.value = 3
    panel.ui.granularitySlider.value = 4
    assert panel.panel.editor.widget.saved_states == saved + 2


def test_undo_takes_the_whole_first_result_back(with_object):
    panel = with_object
    panel.click(panel.ui.undoButton)
    assert panel.segmentation.GetSegmentation().GetNumberOfSegments() == 0


def test_the_best_answers_are_pictures_and_a_click_takes_one(with_object):
    panel = with_object
    buttons = [panel.ui.answer1Button, panel.ui.answer2Button, panel.ui.answer3Button]
    assert all(button.isVisible() and not button.icon.isNull() for button in buttons)
    assert [button.checked for button in buttons] == [True, False, False]
    saved = panel.panel.editor.widget.saved_states
    panel.click(buttons[2])
    assert [button.checked for button in buttons] == [False, False, True]
    assert panel.ui.granularitySlider.value == 0
    assert panel.mask().sum() == panel.panel.controller.result.answer.object_mask().sum() < 200
    assert panel.panel.editor.widget.saved_states == saved + 1


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_chosen_picture_has_a_frame_in_the_colour_of_a_selection(with_object, dark):
    panel, before = with_object, QtWidgets.QApplication.palette()
    buttons = [panel.ui.answer1Button, panel.ui.answer2Button, panel.ui.answer3Button]
    try:
        if dark:
            QtWidgets.QApplication.setPalette(dark_palette())
        panel.click(buttons[1])
        panel.settle(0.1)
        wanted = QtWidgets.QApplication.palette().color(QtGui.QPalette.Highlight)
        framed = []
        for button in buttons:
            picture = button.grab().toImage()
            middle = picture.height() // 2
            left = [picture.pixelColor(x, middle) for x in range(6)]
            framed.append(any(abs(c.red() - wanted.red()) + abs(c.blue() - wanted.blue()) < 40 for c in left))
        assert framed == [False, True, False]
    finally:
        QtWidgets.QApplication.setPalette(before)


def test_the_pictures_show_the_object_upright_and_in_its_colour(with_object):
    answers = with_object.panel.controller.result.answer.alternatives(92)
    for answer in answers:
        assert answer.picture.dtype == np.uint8 and max(answer.picture.shape[:2]) == 92
        orange = (answer.picture[..., 0] > answer.picture[..., 2] + 40).any(axis=-1)
        assert orange.any()
    assert "mL" in answers[0].text


def test_without_points_the_slider_sets_the_number_of_regions(with_regions):
    panel = with_regions
    assert panel.ui.granularityLabel.text == "Number of regions:"
    panel.ui.granularitySlider.value = 3
    assert len(panel.names()) == 6 and panel.ui.granularityText.text == "6 regions"
    panel.ui.granularitySlider.value = 0
    assert panel.names() == ["Region 1", "Region 2"]
    union = panel.mask("Region 1") | panel.mask("Region 2")
    assert union.all()


def test_without_an_object_the_pictures_are_numbers_of_regions(with_regions):
    panel = with_regions
    panel.click(panel.ui.answer3Button)
    assert len(panel.names()) == 6


def test_a_region_that_the_user_renamed_is_left_alone(with_regions):
    panel = with_regions
    segmentation = panel.segmentation.GetSegmentation()
    segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName("Region 3")).SetName("Tumour")
    kept = panel.mask("Tumour")
    panel.segment()
    assert panel.names() == ["Region 1", "Region 2", "Tumour", "Region 3"]
    assert (panel.mask("Tumour") == kept).all()


def test_clicking_in_a_view_picks_a_region_and_control_click_drops_it(with_object, views):
    panel = with_object
    panel.click(panel.ui.pickButton)
    background = (-15.0, -12.0, 0.0)
    before = panel.mask()
    panel.view(views.axial).click(background)
    picked = panel.mask()
    assert picked[6, 6, 5] and picked.sum() > before.sum()
    panel.view(views.coronal).click(CENTER, control=True)
    assert not panel.mask()[6, 18, 20] and panel.mask()[6, 6, 5]
    panel.click(panel.ui.undoButton)
    assert (panel.mask() == picked).all()


def test_picking_keeps_the_click_from_slicer_and_nothing_listens_after_it(with_object, views):
    panel = with_object
    heard = []
    interactor = panel.view(views.axial).interactor()
    tag = interactor.AddObserver("LeftButtonPressEvent", lambda *_: heard.append(1))
    panel.click(panel.ui.pickButton)
    panel.view(views.axial).click(CENTER)
    assert not heard
    panel.click(panel.ui.pickButton)
    panel.view(views.axial).click(CENTER)
    assert heard
    interactor.RemoveObserver(tag)


def test_picking_outside_of_the_searched_part_says_so(open_panel, views):
    panel = open_panel(FakeEngine())
    panel.choose(panel.ui.scopeComboBox, "Current slice")
    panel.segment()
    panel.click(panel.ui.pickButton)
    panel.view(views.sagittal).click((0.0, 0.0, 8.0))
    assert "outside" in panel.message.lower()


def test_picking_goes_on_in_a_new_layout(with_object, views):
    panel = with_object
    panel.click(panel.ui.pickButton)
    other = panel.headless.add_slice_view("Slice4", "Axial", panel.parameters.volume)
    panel.application.layoutManager().show(other)
    before = panel.mask().sum()
    panel.view(other).click((-15.0, -12.0, 0.0))
    assert panel.mask().sum() > before


def test_further_points_change_the_object_at_once(with_object):
    panel = with_object
    panel.place("inside", (-14.0, -12.0, 0.0))
    panel.wait(lambda: panel.mask()[6, 6, 6])
    panel.place("outside", (5.0, 0.0, 0.0))
    panel.wait(lambda: not panel.mask()[6, 18, 25])
    assert panel.mask()[6, 6, 6] and panel.mask()[6, 18, 20]
    assert [what for what, _ in panel.prompts()] == ["Point inside 1", "Point inside 2", "Point outside 1"]


def test_a_further_point_keeps_what_was_painted_by_hand(with_object):
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    panel = with_object
    painted = np.zeros((12, 36, 40), bool)
    painted[0:2, 30:34, 30:34] = True
    volume = panel.parameters.volume
    segment_id = panel.segmentation.GetSegmentation().GetNthSegmentID(0)
    with segment_edit(panel.segmentation, volume) as edit:  # as a brush would
        edit.add(segment_id, painted, volume_from_node(volume))
    panel.place("inside", (-14.0, -12.0, 0.0))
    panel.wait(lambda: panel.mask()[6, 6, 6])
    assert panel.mask()[painted].all()


def test_a_moved_point_takes_the_object_with_it(with_object):
    panel = with_object
    panel.parameters.insidePoints.SetNthControlPointPositionWorld(0, -10.0, -8.0, 0.0)
    panel.wait(lambda: panel.mask()[6, 10, 10] and not panel.mask()[6, 18, 30])


def test_the_rough_radius_belongs_to_the_question(open_panel):
    panel = open_panel(FakeEngine())
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.place("inside", CENTER)
    panel.ui.radiusSpinBox.value = 8.0
    panel.segment()
    assert panel.panel.controller.result.answer.request.radius_mm == 8
    assert panel.ui.granularitySlider.value == 4  # what the fake engine answers to a radius


def test_only_one_mouse_tool_is_on(with_object):
    panel = with_object
    assert panel.ui.pointButton.checked
    panel.click(panel.ui.pickButton)
    assert not panel.ui.pointButton.checked
    panel.click(panel.ui.pointButton)
    assert not panel.ui.pickButton.checked and panel.ui.pointButton.checked
    panel.panel.editor.widget.setActiveEffectByName("Paint")
    panel.wait(lambda: not panel.ui.pointButton.checked)
    panel.click(panel.ui.pointButton)
    assert panel.panel.editor.widget.activeEffect() is None


def test_the_embedded_editor_edits_the_object(with_object, keep_picture):
    panel = with_object
    editor = panel.panel.editor.widget
    assert editor.segmentationNode() is panel.segmentation
    assert editor.sourceVolumeNode() is panel.parameters.volume
    assert editor.currentSegmentID() == panel.parameters.targetSegment
    panel.ui.editCollapsibleButton.collapsed = False
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "panel_editor")
