"""The order in which the Tab key goes through widgets that were put into the panel after it was loaded."""

from __future__ import annotations

import qt


def move_before(widget, anchor) -> None:
    """Lets the keyboard focus come to ``widget`` and all that is in it just before ``anchor``. Menus and other popups, which are
    windows of their own, are left out."""
    before = anchor.previousInFocusChain()
    while (
        before.focusPolicy == qt.Qt.NoFocus
        or before.window() != anchor.window()
        or before == widget
        or widget.isAncestorOf(before)
    ):
        before = before.previousInFocusChain()
    for part in _focusable(widget):
        qt.QWidget.setTabOrder(before, part)
        before = part


def _focusable(widget):
    if widget.focusPolicy != qt.Qt.NoFocus:
        yield widget
    for child in widget.children():
        if child.isWidgetType() and not child.isWindow():
            yield from _focusable(child)
