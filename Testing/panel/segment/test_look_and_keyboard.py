"""What the eye needs: tools that look active, messages that go with their cause, a legend for the confidence; keys of the panel, and
what its controls and its segments say of themselves."""

import numpy as np
import slicer
import vtk
from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from panel_pointing import CENTER, CORNERS, click, drag
from panel_states import states
from PyQt5 import QtCore, QtGui, QtWidgets
from sequences import play

from S3NetSegmentLib.scene.answers.confidence import show_place


def button_color(button):
    return button.palette.color(QtGui.QPalette.Button).name()


def highlight(button):
    return button.palette.color(QtGui.QPalette.Highlight).name()


def test_an_active_tool_is_coloured_and_has_a_cursor_in_the_views(pointing, views):
    panel, view = pointing, pointing.view(views.axial)
    tool, pick = panel.ui.pointButton, panel.ui.pickButton
    assert button_color(tool) == highlight(tool) and view.cursor.shape() == QtCore.Qt.CrossCursor
    panel.click(tool)
    assert button_color(tool) != highlight(tool) and view.cursor is None
    panel.segment()
    panel.click(pick)
    assert button_color(pick) == highlight(pick) and view.cursor.shape() == QtCore.Qt.PointingHandCursor
    panel.click(tool)
    assert view.cursor.shape() == QtCore.Qt.CrossCursor and button_color(pick) != highlight(pick)


def test_a_message_goes_when_what_it_spoke_of_changes(pointing, views):
    panel = pointing
    click(panel, views.axial, CENTER, control=True)
    assert "only outside points" in panel.message
    panel.panel.prompts.delete_all()
    panel.wait(lambda: not panel.message)
    click(panel, views.axial, CENTER, control=True)
    assert "only outside points" in panel.message
    panel.settle(0.3)
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    assert not panel.message
    panel.panel.refused("something about this volume")
    panel.settle(0.3)
    panel.parameters.confidence = True
    assert panel.message  # that has nothing to do with it
    other = slicer.util.addVolumeFromArray(np.random.default_rng(2).normal(0, 1, (4, 20, 20)), name="other")
    panel.ui.volumeSelector.setCurrentNode(other)
    assert not panel.message


def test_the_confidence_has_a_legend_and_a_way_to_its_least_sure_place(open_panel, views):
    class Engine(FakeEngine):
        def __call__(self, *arguments, **options):
            regions = yield from super().__call__(*arguments, **options)
            sure = np.full(regions._array.shape, 0.9, np.float32)
            sure[:, 10:15, 20:25] = 0.1
            regions.confidence = lambda choice=None, count=None: sure
            return regions

    panel = open_panel(Engine())
    assert not panel.ui.confidenceLegendRow.isVisible()
    drag(panel, views.axial, *CORNERS)
    panel.click(panel.ui.confidenceCheckBox)
    panel.wait(lambda: not panel.panel.controller.running)
    assert panel.ui.confidenceLegendRow.isVisible() and "sure" in panel.ui.confidenceLegend.text
    panel.click(panel.ui.confidenceWorstButton)
    place = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode").GetCrosshairRAS()
    np.testing.assert_allclose(place, (22 - 20, 12 - 18, 0), atol=1)
    panel.click(panel.ui.confidenceCheckBox)
    assert not panel.ui.confidenceLegendRow.isVisible()


def test_the_least_sure_place_is_looked_for_in_the_view_that_was_used_last(open_panel, views):
    class Engine(FakeEngine):
        def __call__(self, *arguments, **options):
            regions = yield from super().__call__(*arguments, **options)
            sure = np.full(regions._array.shape, 0.9, np.float32)
            sure[8:11, 3:6, 30:33] = 0.1
            regions.confidence = lambda choice=None, count=None: sure
            return regions

    panel = open_panel(Engine())
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.parameters.confidence = True
    panel.segment()
    crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    panel.look_at_slice(views.axial, 2)
    panel.click(panel.ui.confidenceWorstButton)
    assert "no place of this slice is unsure" in panel.message.lower()
    panel.panel.message.hide()
    panel.look_at_slice(views.axial, 9)
    panel.look_at_slice(views.sagittal, 5, "x")
    crosshair.SetCursorPositionInvalid()  # the mouse has left the views for the panel
    panel.click(panel.ui.confidenceWorstButton)
    assert (
        "no place of this slice is unsure" in panel.message.lower()
    )  # the axial one shows it, but it is not looked at
    panel.look_at_slice(views.sagittal, 32, "x")
    crosshair.SetCursorPositionInvalid()
    panel.click(panel.ui.confidenceWorstButton)
    found = np.subtract(crosshair.GetCrosshairRAS(), (32 - 20, 4 - 18, 2 * 9 - 12))
    assert abs(found[0]) < 0.1 and np.abs(found).max() <= 2.1


def test_the_tool_lets_go_of_the_mouse_when_an_effect_of_the_editor_takes_it(pointing):
    panel = pointing
    assert panel.ui.pointButton.checked
    panel.panel.editor.widget.setActiveEffectByName("Paint")
    panel.panel._refresh()
    assert not panel.ui.pointButton.checked and panel.panel.editor.widget.activeEffect() == "Paint"


def test_a_view_moves_only_where_the_place_to_show_is_beyond_its_edge(pointing, views):
    for view, centre in ((views.axial, (0.0, 0.0)), (views.coronal, (60.0, 0.0))):
        view.SetDimensions(100, 100, 1)
        view.SetFieldOfView(40.0, 40.0, 1.0)
        view.SetXYZOrigin(*centre, 0.0)
        view.UpdateMatrices()
    before = views.axial.GetXYToRAS().GetElement(0, 3)
    show_place((5.0, 4.0, 2.0))
    assert views.axial.GetXYToRAS().GetElement(0, 3) == before
    inverse = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(views.coronal.GetXYToRAS(), inverse)
    x, y = inverse.MultiplyPoint((5.0, 4.0, 2.0, 1.0))[:2]
    assert 0 <= x < 100 and 0 <= y < 100


def test_undo_and_redo_have_their_keys_where_the_editor_does_not_have_them(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    click(panel, views.axial, (6.0, 0.0, 0.0), control=True)
    after = panel.mask()
    panel.press(QtCore.Qt.Key_Z, QtCore.Qt.ControlModifier)
    assert [what for what, _ in panel.prompts()] == ["Box"] and panel.mask().sum() > after.sum()
    panel.press(QtCore.Qt.Key_Y, QtCore.Qt.ControlModifier)
    assert (panel.mask() == after).all()
    panel.ui.editCollapsibleButton.collapsed = False
    panel.panel._refresh()
    assert not panel.panel.keys.shortcuts["Ctrl+Z"].isEnabled()
    panel.ui.editCollapsibleButton.collapsed = True
    panel.panel._refresh()
    assert panel.panel.keys.shortcuts["Ctrl+Z"].isEnabled()


def test_the_arrow_keys_change_the_size_of_a_new_answer(open_panel, views):
    panel = open_panel(FakeEngine())
    panel.widget.parent.activateWindow()
    drag(panel, views.axial, *CORNERS)
    before = panel.panel.controller.result.answer.granularity
    panel.press(QtCore.Qt.Key_Right)
    assert panel.panel.controller.result.answer.granularity == before + 1


def test_n_shows_the_next_slice_to_draw(open_panel, views):
    panel = open_panel(FakeEngine(), FakePropagation())
    panel.open_few_shot()
    square = np.zeros((36, 40), bool)
    square[10:20, 10:22] = True
    panel.draw("Liver", square, "z", 4)
    panel.propagate()
    wanted = panel.ui.nextSliceButton.text.split()[-1]
    panel.look_at_slice(views.axial, 0)
    panel.press(QtCore.Qt.Key_N)
    panel.panel.few_shot.refresh_views()
    assert panel.panel.few_shot._in_view.place == ("z", int(wanted))


def test_every_disabled_control_says_why(open_panel, views, tmp_path):
    panel = open_panel(FakeEngine(), FakePropagation())
    kinds = (QtWidgets.QPushButton, QtWidgets.QToolButton, QtWidgets.QSlider, QtWidgets.QCheckBox)
    silent = set()
    for name in states(panel, views, tmp_path):
        for widget in (w for kind in kinds for w in panel.widget.parent.findChildren(kind)):
            own = widget.isVisible() and not panel.panel.editor.widget.isAncestorOf(widget)
            if own and not widget.isEnabled() and not widget.toolTip:
                silent.add((name, widget.objectName))
    assert not silent


def test_the_panel_tells_how_the_chosen_segment_was_made(pointing, views):
    panel = pointing
    assert not panel.ui.madeByText.isVisible()
    drag(panel, views.axial, *CORNERS)
    panel.panel._refresh()
    assert panel.ui.madeByText.text.startswith("Made by Segment on MR head, Left: axial slice 6, from boxes")
    panel.parameters.targetSegment = ""
    panel.panel._refresh()
    assert not panel.ui.madeByText.isVisible()


def test_a_frame_of_a_sequence_is_called_that(pointing):
    panel, volume = pointing, pointing.parameters.volume
    panel.panel._refresh()
    assert not panel.ui.frameText.isVisible()
    play(volume, [slicer.util.arrayFromVolume(volume) + number for number in range(3)], 1)
    panel.panel._refresh()
    assert panel.ui.frameText.isVisible() and "Frame 2 of 3" in panel.ui.frameText.text
