"""Scrolling through the panel with the wheel changes no setting, in any tab."""

from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from PyQt5 import QtCore, QtGui, QtWidgets

KINDS = (QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox, QtWidgets.QAbstractSlider, QtWidgets.QTabBar)


def turn(widget, notches=-1):
    """The wheel over the middle of a widget; where a widget ignores it, Qt gives it to the parent (but not those of tests)."""
    place = widget.mapToGlobal(widget.rect.center())
    while widget is not None:
        event = QtGui.QWheelEvent(
            QtCore.QPointF(widget.mapFromGlobal(place)), QtCore.QPointF(place), QtCore.QPoint(), QtCore.QPoint(0, 120 * notches),
            QtCore.Qt.NoButton, QtCore.Qt.NoModifier, QtCore.Qt.NoScrollPhase, False,
        )  # fmt: skip
        if QtWidgets.QApplication.sendEvent(widget, event) and event.isAccepted():
            break
        widget = widget.parentWidget()


def controls(frame, kinds=KINDS):
    found = [w for kind in kinds for w in frame.findChildren(kind)]
    return [w for w in found if not isinstance(w, QtWidgets.QScrollBar)]


def state(widget):
    if isinstance(widget, (QtWidgets.QComboBox, QtWidgets.QTabBar)):
        return widget.currentIndex
    return widget.text if isinstance(widget, QtWidgets.QAbstractSpinBox) else widget.value


def all_tabs(panel, tmp_path):
    for turn_tab in (panel.open_segment, panel.open_few_shot, panel.open_models, lambda: panel.open_cohort(tmp_path)):
        turn_tab()
        yield panel.parameters.mode.value


def test_the_wheel_over_any_control_of_any_tab_changes_nothing_and_scrolls_the_panel(open_panel, views, tmp_path):
    panel, seen = open_panel(FakeEngine(), FakePropagation()), set()
    area = QtWidgets.QScrollArea()
    area.setWidget(panel.widget.parent)
    area.resize(420, 300)
    area.show()
    for mode in all_tabs(panel, tmp_path):
        for section in panel.widget.parent.findChildren(QtWidgets.QWidget):
            if section.metaObject().className() == "ctkCollapsibleButton":
                section.collapsed = False
        panel.settle(0.1)
        panel.widget.parent.adjustSize()
        for widget in controls(panel.widget.parent):
            before, bar = state(widget), area.verticalScrollBar()
            for notches in (-1, 1):
                bar.setValue((bar.minimum + bar.maximum) // 2)
                place = bar.value
                turn(widget, notches)
                assert state(widget) == before, (
                    f"{mode}: {type(widget.parentWidget()).__name__} {widget.parentWidget().objectName} {widget.objectName} went from {before} to {state(widget)}"
                )
                assert bar.value != place or not widget.isVisible(), f"{mode}: {widget.objectName} kept the wheel"
            seen.add((type(widget).__name__, mode) if widget.isVisible() else None)
        assert panel.parameters.mode.value == mode
    assert len(seen) > 6
    area.takeWidget()


def test_the_wheel_turns_a_number_that_the_user_has_gone_into(open_panel, views):
    panel = open_panel(FakeEngine(), FakePropagation())
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.widget.parent.activateWindow()
    boxes = controls(panel.widget.parent, [QtWidgets.QAbstractSpinBox])
    box = next(b for b in boxes if b.isVisible() and b.isEnabled())
    assert box.focusPolicy == QtCore.Qt.StrongFocus  # the wheel gives no focus
    before = state(box)
    turn(box, 1)
    assert state(box) == before
    box.setFocus()
    assert box.hasFocus()
    turn(box, 1)
    assert state(box) != before
