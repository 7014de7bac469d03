"""Keys of the panel, and what its controls and its segments say of themselves."""

import numpy as np
import slicer
from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from panel_pointing import CORNERS, click, drag
from panel_states import states
from PyQt5 import QtCore, QtWidgets


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
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "beats")
    for frame in range(3):
        sequence.SetDataNodeAtValue(volume, str(frame))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(volume, sequence, False)
    browser.SetSelectedItemNumber(1)
    panel.panel._refresh()
    assert panel.ui.frameText.isVisible() and "Frame 2 of 3" in panel.ui.frameText.text
