"""The panel in every state of every tab: no wider than the dock that it opens in, and nothing of it cut."""

import pytest
from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from panel_states import PANEL_WIDTH, states
from PyQt5 import QtGui, QtWidgets


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


def test_at_380_pixels_no_button_and_no_label_is_narrower_than_its_text(open_panel, views, tmp_path):
    panel = open_panel(FakeEngine(), FakePropagation())
    frame, cut = panel.widget.parent, set()
    for name in states(panel, views, tmp_path):
        frame.resize(PANEL_WIDTH, 900)
        panel.settle(0.05)
        for widget in [*frame.findChildren(QtWidgets.QPushButton), *frame.findChildren(QtWidgets.QLabel)]:
            inside_editor = panel.panel.editor.widget.isAncestorOf(widget)
            if not widget.isVisible() or inside_editor or (type(widget).__name__ == "QLabel" and widget.wordWrap):
                continue
            text = widget.text() if callable(widget.text) else widget.text
            needed = QtGui.QFontMetrics(widget.font).horizontalAdvance(text.replace("&", ""))
            if not text.startswith("<") and needed > widget.width:
                cut.add((name, text, needed))
    assert not cut
