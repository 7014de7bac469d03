"""How the user gets about in the panel: the tabs, and the keyboard shortcuts, which work while the focus is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
from slicer.i18n import tr as _

from .widgets.looks import move_before

_TABS = (
    ("segment", _("Segment"), _("Find regions and objects without drawing")),
    ("few-shot", _("Few-shot"), _("Draw segments on one or a few slices and carry them to all others")),
    ("models", _("Models"), _("Apply a trained model, add cases to a training folder, train a model")),
    (
        "cohort",
        _("Cohort"),
        _("Work through the patients of a folder, each proposed from those that you have accepted"),
    ),
)


class ModeTabs:
    """Shows the sections of one use and hides those of the others. ``on_choice(mode)`` when the user turns a tab.

    Attribute ``bar``: the tab bar.
    """

    def __init__(self, ui, uses: Mapping, on_choice: Callable[[str], object]):
        """
        :param uses: name -> :class:`~.sections.UseOfPanel`.
        """
        self._on_choice, self._mode, self._uses = on_choice, None, uses
        self.bar = qt.QTabBar()
        self.bar.setExpanding(True)
        self.bar.setDrawBase(True)
        self.bar.setAccessibleName(_("Use of the panel"))
        for number, (_name, text, tip) in enumerate(_TABS):
            self.bar.addTab(text)
            self.bar.setTabToolTip(number, tip)
        layout = ui.sharedForm.parent().layout()
        layout.insertWidget(layout.indexOf(ui.sharedForm), self.bar)
        move_before(self.bar, ui.sharedForm)
        self.bar.connect("currentChanged(int)", self._turned)

    def show(self, mode: str) -> bool:
        """Shows the sections of ``mode``; returns whether that is another one than before."""
        if mode == self._mode:
            return False
        self._mode = mode
        self.bar.currentIndex = [name for name, *_texts in _TABS].index(mode)
        for name, use in self._uses.items():
            for widget in use.widgets:
                widget.setVisible(name == mode)
        return True

    def _turned(self, index: int) -> None:
        self._on_choice(_TABS[index][0])


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
                ("Ctrl+Return", self._run), ("Ctrl+Enter", self._run), ("Esc", panel.cancel),  # no translation
                ("Ctrl+Z", self._press("segment", panel.ui.undoButton)), ("Ctrl+Y", self._press("segment", panel.ui.redoButton)),
                ("N", self._press("few-shot", panel.ui.nextSliceButton)),  # no translation
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
        for shortcut in self.shortcuts.values():
            shortcut.setParent(None)
            shortcut.deleteLater()
        self.shortcuts = {}

    # -- inside

    def _run(self) -> None:
        if not self._panel.running:
            self._panel.uses[self._panel.mode].button.click()  # does nothing where it is disabled

    def _press(self, mode: str, button) -> Callable[[], None]:
        return lambda: button.click() if self._panel.mode == mode else None


def _shortcut(panel_widget, keys: str, action):
    shortcut = qt.QShortcut(qt.QKeySequence(keys), panel_widget)
    shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
    shortcut.connect("activated()", action)
    return shortcut
