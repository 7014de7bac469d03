"""What the panel's sections share: how they come into the panel, when the user sees them, and what they do with what their runs
tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .widgets.looks import move_before, set_property

_UI_FILES = Path(__file__).parents[2] / "Resources" / "UI"


class UseOfPanel:
    """One of the tabs, of which the user sees one at a time.

    A use has ``show(parameter_node)``, called whenever that is modified (None: the scene closes), ``run()``, what the big button does,
    ``cleanup()`` for when the module is unloaded, and ``_activated(active)``, called when the user has turned to it or away.

    Attributes: ``active``, ``widgets`` (those to show and hide), ``button`` (the big one), ``controller`` (of its runs); of uses with
    a .ui file of their own ``ui`` (its widgets).
    """

    active = False

    @property
    def running(self) -> bool:
        return self.controller.running

    def cancel(self) -> None:
        self.controller.cancel()

    def run_or_cancel(self) -> None:
        """The big button or its key was pressed."""
        if self.running:
            self.cancel()
        elif self._panel.node is not None:
            self._panel.message.hide()
            self.run()

    def put_into_panel(self, file: str, places: Mapping[str, str]) -> None:
        """Puts widgets of a .ui file into the panel, hidden.

        :param places: the name of each of them -> the name of the panel's widget that it stands before.
        """
        self._root = slicer.util.loadUI(str(_UI_FILES / file))
        self.ui, panel_ui = slicer.util.childWidgetVariables(self._root), self._panel.ui
        layout = panel_ui.sharedForm.parent().layout()
        self.widgets = tuple(getattr(self.ui, name) for name in places)
        for widget, neighbour in zip(self.widgets, places.values(), strict=True):
            layout.insertWidget(layout.indexOf(getattr(panel_ui, neighbour)), widget)
            widget.setVisible(False)
            move_before(widget, panel_ui.advancedCollapsibleButton)

    def set_active(self, active: bool) -> None:
        """Whether the user sees this use of the panel, in the entered module."""
        if active != self.active:
            self.active = active
            self._activated(active)


class SectionListener:
    """The part of a :class:`~..run.Listener` that sections share: progress goes into the panel's row, words to the panel.

    A section adds ``state_changed``, and names itself in the two texts below; one whose work ends with the scene adds its
    ``controller`` and ``_show``.

    :param panel: the :class:`SegmentPanel`: its parameter node, messages, progress, inputs, settings and editor.
    """

    torch_text = ""  # told where torch is not there
    what = ""  # that failed, as the beginning of a message

    def __init__(self, panel):
        self._panel = panel

    def show(self, parameter_node) -> None:
        if parameter_node is None:
            self.controller.stop()
        self._node = parameter_node
        self._show()

    def show_progress(self, running: bool, button) -> None:
        """Shows or hides the progress; the keyboard goes to ``button``, so that Esc arrives in the panel."""
        if running:
            self._panel.progress.begin()
            button.setFocus()
        elif not self._panel.running:  # the row is everybody's
            self._panel.progress.end()

    def show_big_button(self, button, text: str, help_text: str, problem: str) -> None:
        """Shows what the big ``button`` does, that it stops a run, or why it cannot be pressed."""
        running = self.controller.running
        for name, value in (
            ("text", _("Cancel") if running else text),
            ("enabled", running or not problem),
            ("toolTip", _("Stop; the scene stays as it is (Esc)") if running else problem or help_text),
        ):
            set_property(button, name, value)

    def progressed(self, step, seconds_left: float | None) -> None:
        self._panel.progress.show(step, seconds_left)

    def refused(self, text: str) -> None:
        self._panel.refused(text)

    def informed(self, text: str) -> None:
        self._panel.informed(text)

    def torch_missed(self) -> None:
        self._panel.torch_missed(self.torch_text)

    def failed(self, error: Exception) -> None:
        self._panel.message.failed(error, self.what)
