"""A tool's button that looks pressed while the tool is active, in light and dark styles alike."""

from __future__ import annotations

import qt


def show_pressed(button) -> None:
    """Gives a checkable ``button`` the colour of a selection while it is checked."""

    def toggled(on: bool) -> None:
        palette = qt.QPalette(qt.QApplication.palette())
        if on:
            palette.setColor(qt.QPalette.Button, palette.color(qt.QPalette.Highlight))
            palette.setColor(qt.QPalette.ButtonText, palette.color(qt.QPalette.HighlightedText))
        button.setPalette(palette)

    button.connect("toggled(bool)", toggled)
    toggled(bool(button.checked))
