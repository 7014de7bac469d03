"""What the panel's sections share: how they come into the panel, when the user sees them, and what they do with what their runs
tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import slicer

from .messages import ProgressRow
from .widgets.looks import move_before

_UI_FILES = Path(__file__).parents[2] / "Resources" / "UI"


class UseOfPanel:
    """One of the tabs, of which the user sees one at a time.

    A use adds ``_activated(active)``, called when that has changed.

    Attributes: ``active``; of uses with a .ui file of their own ``ui`` (its widgets) and ``widgets`` (those to show and hide).
    """

    active = False

    def put_into(self, panel_ui, file: str, places: Mapping[str, str]) -> None:
        """Puts widgets of a .ui file into the panel, hidden.

        :param places: the name of each of them -> the name of the panel's widget that it stands before.
        """
        self._root = slicer.util.loadUI(str(_UI_FILES / file))
        self.ui = slicer.util.childWidgetVariables(self._root)
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

    :param notify: the panel, which shows messages: ``refused``, ``informed``, ``torch_missed``, ``failed``, and hears
        ``running_changed``.
    """

    torch_text = ""  # told where torch is not there
    what = ""  # that failed, as the beginning of a message

    def __init__(self, notify, progress: ProgressRow):
        self._notify, self._progress = notify, progress

    def show(self, parameter_node) -> None:
        """Follows the parameter node. None: the scene closes."""
        if parameter_node is None:
            self.controller.stop()
        self._node = parameter_node
        self._show()

    def show_progress(self, running: bool, button) -> None:
        """Shows or hides the progress; the keyboard goes to ``button``, so that Esc arrives in the panel."""
        if running:
            self._progress.begin()
            button.setFocus()
        else:
            self._progress.end()

    def progressed(self, step, seconds_left: float | None) -> None:
        self._progress.show(step, seconds_left)

    def refused(self, text: str) -> None:
        self._notify.refused(text)

    def informed(self, text: str) -> None:
        self._notify.informed(text)

    def torch_missed(self) -> None:
        self._notify.torch_missed(self.torch_text)

    def failed(self, error: Exception) -> None:
        self._notify.failed(error, self.what)
