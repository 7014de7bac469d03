"""What Slicer's real Qt layer does, and PyQt5 alone does not: reload without enter, popups inside the editor, its widths."""

import pytest
import slicer
from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from few_shot_drawings import square
from PyQt5 import QtCore
from qt_stand_in.application import reload_module

from S3NetSegmentLib.panel.widgets.looks import _focusable, move_before


def segmentations():
    return [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]


@pytest.fixture
def few_shot(open_panel, views):
    panel = open_panel(FakeEngine(), FakePropagation())
    panel.open_few_shot()
    panel.widget.parent.resize(400, 860)
    return panel


# -- keyboard, widths


def test_the_tab_order_does_not_cross_into_popups(few_shot):
    said = []
    before = QtCore.qInstallMessageHandler(lambda kind, context, text: said.append(text))
    try:
        few_shot.open_segment()
        few_shot.open_few_shot()
        popup = few_shot.panel.editor.widget._popup
        move_before(few_shot.panel.editor.widget, few_shot.ui.supportCollapsibleButton)
    finally:
        QtCore.qInstallMessageHandler(before)
    assert not [text for text in said if "setTabOrder" in text]
    inside = set(_focusable(few_shot.panel.editor.widget))
    assert inside and not [part for part in inside if popup.isAncestorOf(part) or part.window() is popup]


@pytest.mark.parametrize("effect", [None, "Paint"])
def test_the_panel_stays_at_400_pixels_and_the_wide_editor_scrolls(few_shot, keep_picture, effect):
    few_shot.panel.editor.widget.setActiveEffectByName(effect)
    few_shot.settle(0.2)
    assert few_shot.widget.parent.minimumSizeHint().width() <= 400 and few_shot.widget.parent.width == 400
    area = few_shot.panel.editor._room.area
    assert few_shot.panel.editor.widget.width >= (512 if effect else 355)
    assert bool(area.horizontalScrollBar().maximum) == (effect == "Paint") and area.verticalScrollBar().maximum == 0
    keep_picture(few_shot.widget.parent, f"few_shot_400_{effect or 'no_effect'}")
    few_shot.widget.parent.resize(620, 860)
    few_shot.settle(0.2)
    assert area.horizontalScrollBar().maximum == 0 and area.height == area.widget().height


def test_a_result_does_not_widen_the_panel(open_panel, views):
    panel = open_panel(FakeEngine())
    panel.segment()
    panel.ui.editCollapsibleButton.collapsed = False
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.settle(0.2)
    assert panel.widget.parent.minimumSizeHint().width() <= 400


# -- reload


def test_after_a_reload_the_panel_works_as_after_entering(few_shot):
    few_shot.draw("Liver", square(), "z", 4)
    new = reload_module(few_shot.widget, FakeEngine(), FakePropagation())
    few_shot.widget, few_shot.ui, few_shot.panel = new, new.ui, new.panel
    assert new.panel._refresh_timer.active and new.panel.inputs.last_view is not None
    assert few_shot.ui.propagateButton.isVisible() and [row[0] for row in few_shot.rows()] == ["axial 4"]
    few_shot.propagate()
    assert few_shot.ui.acceptButton.isVisible()


# -- messages and scenes


def test_a_message_goes_with_its_scene(open_panel, views):
    panel = open_panel(FakeEngine(error=ValueError("x")), FakePropagation())
    panel.panel.refused("this is about the scene")
    assert panel.message
    slicer.mrmlScene.Clear(False)
    assert not panel.message
    panel.settle(0.2)
    assert not panel.message


def test_a_run_that_the_end_of_the_scene_stops_leaves_no_message(open_panel, views):
    panel = open_panel(FakeEngine(steps=1000, seconds=0.005))
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.click(panel.ui.segmentButton)
    panel.settle(0.1)
    slicer.mrmlScene.Clear(False)
    panel.settle(0.2)
    assert not panel.panel.controller.running and not panel.message


# -- the segment to draw in


def test_looking_at_few_shot_leaves_nothing_behind(few_shot):
    assert few_shot.names() == ["Segment_1"]
    nodes = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode")
    few_shot.open_segment()
    assert segmentations() == [] and few_shot.parameters.segmentation is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == nodes - 1
    few_shot.open_few_shot()
    assert few_shot.names() == ["Segment_1"]
    few_shot.widget.exit()
    assert segmentations() == []
    few_shot.widget.enter()
    assert few_shot.names() == ["Segment_1"]


def test_what_was_drawn_or_renamed_stays_and_the_empty_one_goes(few_shot):
    few_shot.draw("Liver", square(), "z", 4)
    few_shot.open_segment()
    assert few_shot.names() == ["Liver"]
    few_shot.open_few_shot()
    assert few_shot.names() == ["Liver"]


@pytest.mark.parametrize("touch", ["draw", "rename"])
def test_the_segment_to_draw_in_stays_once_it_is_used(few_shot, touch):
    segmentation = few_shot.segmentation.GetSegmentation()
    if touch == "draw":
        few_shot.draw("Segment_1", square(), "z", 4)
    else:
        segmentation.GetNthSegment(0).SetName("Spleen")
    few_shot.open_segment()
    assert few_shot.names() == ["Segment_1" if touch == "draw" else "Spleen"]


def test_propagate_takes_the_empty_segment_away_and_an_undo_does_not_leave_it(few_shot):
    few_shot.draw("Liver", square(), "z", 4)
    few_shot.draw("Liver", square(), "z", 8)
    few_shot.propagate()
    assert few_shot.names() == ["Liver"]
    few_shot.click(few_shot.ui.discardButton)
    few_shot.panel.editor.undo()  # the stroke on slice 8, when there still was an empty segment
    few_shot.settle(0.2)
    few_shot.open_segment()
    assert few_shot.names() == ["Liver"]


def test_the_segmentation_to_draw_in_goes_when_another_volume_is_selected(few_shot, volume_node):
    import numpy as np

    other = slicer.util.addVolumeFromArray(np.zeros((6, 20, 20)), name="CT")
    few_shot.ui.volumeSelector.setCurrentNode(other)
    assert segmentations() == ["CT segmentation"] and not few_shot.message
    few_shot.ui.volumeSelector.setCurrentNode(volume_node)
    assert segmentations() == ["MR head segmentation"] and not few_shot.message
