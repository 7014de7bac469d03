"""The panel in every tab: scrolling with the wheel changes no setting; and it is no wider than the dock that it opens in, and nothing
of it cut."""

import re
import subprocess
import sys

import panel_states
import pytest
from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from panel_states import PANEL_WIDTH, cut_texts, empty_bands, states
from picture_record import texts_on
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


@pytest.fixture(params=[("DejaVu Sans", 8), ("DejaVu Sans", 9), ("DejaVu Sans Condensed", 10)], ids=str)
def font(request):
    before = QtWidgets.QApplication.font()
    QtWidgets.QApplication.setFont(QtGui.QFont(*request.param))
    yield
    QtWidgets.QApplication.setFont(before)


def test_the_panel_needs_no_more_than_380_pixels_in_any_state(font, open_panel, views, tmp_path):
    panel = open_panel(FakeEngine(), FakePropagation())
    frame, wide, seen = panel.widget.parent, {}, []
    for name in states(panel, views, tmp_path):
        panel.settle(0.05)
        seen.append(name)
        if frame.minimumSizeHint().width() > PANEL_WIDTH:
            wide[name] = frame.minimumSizeHint().width()
    assert not wide and len(seen) > 20


@pytest.mark.parametrize("options", [[], ["--dark", "--font", "DejaVu Sans Condensed"]], ids=["light", "dark"])
def test_nothing_is_cut_and_nothing_left_empty_in_any_state_at_150_percent(options, tmp_path):
    command = [sys.executable, panel_states.__file__, str(tmp_path), "--scale", "1.5", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, [line for line in done.stderr.splitlines() if "pixels" in line]
    assert len(list(tmp_path.glob("*.png"))) > 20


RESEARCH_WORDS = (
    "granularity", "entropy", "deformable", "superpixel", "ideal", "alpnet", "prototype", "episode", "logit", "embedding",
    "hyperparameter", "u-net", "dinov2", "kinds", "query", "support set", "k-means", "finetune", "encoder", "epoch",
)  # fmt: skip


def test_a_clinician_reads_no_research_words_outside_of_more_settings(open_panel, views, tmp_path):
    panel = open_panel(FakeEngine(), FakePropagation())
    panel_widgets = panel.panel.editor.widget, panel.panel.models.ui.trainingLog
    found, read = set(), 0
    for name in states(panel, views, tmp_path):
        if name.endswith("more_settings"):
            continue
        for widget in panel.widget.parent.findChildren(QtWidgets.QWidget):
            if not widget.isVisible() or any(w.isAncestorOf(widget) for w in panel_widgets):
                continue
            for text in texts_on(widget):
                read += bool(text)
                words = re.sub(r"<[^>]*>|\S*/\S*", " ", text.lower())  # tags and paths are no words
                found |= {(name, word, text) for word in RESEARCH_WORDS if re.search(rf"\b{word}", words)}
    assert not found and read > 500


def test_no_empty_line_and_no_hidden_row_makes_a_gap_in_any_state(open_panel, views, tmp_path):
    panel = open_panel(FakeEngine(), FakePropagation())
    frame, empty, bands = panel.widget.parent, set(), set()
    for name in states(panel, views, tmp_path):
        panel.settle(0.2)  # what the device is comes a little later
        for label in panel.widget.parent.findChildren(QtWidgets.QLabel):
            own = label.isVisible() and not panel.panel.editor.widget.isAncestorOf(label)
            pixmap = label.pixmap() if callable(label.pixmap) else label.pixmap
            beside = isinstance(label.parentWidget().layout(), QtWidgets.QHBoxLayout)  # gives no height of its own
            if own and not beside and not label.text and (pixmap is None or pixmap.isNull()):
                empty.add((name, label.objectName))
        frame.resize(PANEL_WIDTH, max(frame.layout().heightForWidth(PANEL_WIDTH), 900))
        panel.settle(0.05)
        bands |= {(name, *band) for band in empty_bands(frame, panel.panel.editor.widget)}
    assert not empty and not bands


def test_at_380_pixels_no_button_and_no_label_is_narrower_than_its_text(open_panel, views, tmp_path):
    panel = open_panel(FakeEngine(), FakePropagation())
    frame, cut = panel.widget.parent, set()
    for name in states(panel, views, tmp_path):
        panel.settle(0.2)  # what the device is comes a little later
        frame.resize(PANEL_WIDTH, max(frame.layout().heightForWidth(PANEL_WIDTH), 900))
        panel.settle(0.05)
        cut |= {(name, *found) for found in cut_texts(frame, panel.panel.editor.widget)}
    assert not cut
