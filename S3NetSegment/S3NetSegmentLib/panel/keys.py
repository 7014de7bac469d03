"""The keyboard shortcuts of the panel; they work while the focus is in it."""

from __future__ import annotations

import qt


class PanelKeys:
    """Ctrl+Return runs, Esc cancels, Ctrl+Z and Ctrl+Y take back and do again what was pointed at, N shows the next slice.

    Attributes: ``shortcuts``, by their keys.

    :param panel_widget: the shortcuts work inside it.
    :param panel: the :class:`SegmentPanel`.
    """

    def __init__(self, panel_widget, panel):
        self._panel = panel
        self.shortcuts = {
            keys: _shortcut(panel_widget, keys, action)
            for keys, action in (
                ("Ctrl+Return", self._run), ("Ctrl+Enter", self._run), ("Ctrl+Z", self._undo), ("Ctrl+Y", self._redo),
                ("N", self._next), ("Esc", panel.cancel),
            )
        }  # fmt: skip
        self.shortcuts["Esc"].enabled = False  # the editor's key until there is something to cancel

    def show(self) -> None:
        """Keys that the open editor has, too, are left to it: two owners of a key would both be deaf. To be called often."""
        if self.shortcuts:
            for keys in ("Ctrl+Z", "Ctrl+Y"):
                self.shortcuts[keys].enabled = not self._panel.editor.has_keys
            self.shortcuts["Esc"].enabled = self._panel.running

    def remove(self) -> None:
        """The panel is unloaded."""
        for shortcut in self.shortcuts.values():
            shortcut.setParent(None)
            shortcut.deleteLater()
        self.shortcuts = {}

    # -- inside

    def _run(self) -> None:
        panel = self._panel
        button, run = {
            "segment": (panel.ui.segmentButton, panel.segment.run_or_cancel),
            "few-shot": (panel.ui.propagateButton, panel.few_shot.propagate_or_cancel),
            "models": (panel.models.ui.applyModelButton, panel.models.apply.apply_or_cancel),
            "cohort": (panel.cohort.ui.nextCaseButton, panel.cohort.next_or_cancel),
        }[panel.mode]
        if button.enabled and not panel.running:
            run()

    def _undo(self) -> None:
        if self._panel.mode == "segment" and self._panel.ui.undoButton.enabled:
            self._panel.segment.history.undo()

    def _redo(self) -> None:
        if self._panel.mode == "segment" and self._panel.ui.redoButton.enabled:
            self._panel.segment.history.redo()

    def _next(self) -> None:
        """The next slice to draw."""
        button = self._panel.ui.nextSliceButton
        if self._panel.mode == "few-shot" and button.isVisible():
            button.click()


def _shortcut(panel_widget, keys: str, action):
    shortcut = qt.QShortcut(qt.QKeySequence(keys), panel_widget)
    shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
    shortcut.connect("activated()", action)
    return shortcut
