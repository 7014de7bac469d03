"""The tabs at the top of the panel: which of its uses is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
from slicer.i18n import tr as _

from .tab_order import move_before

_TABS = (
    ("segment", "Segment", _("Find regions and objects without drawing")),
    ("few-shot", "Few-shot", _("Draw segments on one or a few slices and carry them to all others")),
    ("models", "Models", _("Apply a trained model, add cases to a training folder, train a model")),
    ("cohort", "Cohort", _("Work through the patients of a folder, each proposed from those that you have accepted")),
)


class ModeTabs:
    """Shows the sections of one use and hides those of the others. ``on_choice(mode)`` when the user turns a tab.

    Attribute ``bar``: the tab bar.
    """

    def __init__(self, ui, models: Sequence, cohort: Sequence, on_choice: Callable[[str], object]):
        """
        :param models, cohort: the widgets of these uses.
        """
        self._on_choice, self._mode = on_choice, None
        self._sections = {
            "segment": (
                ui.inputsCollapsibleButton, ui.outputsCollapsibleButton, ui.segmentButton, ui.adjustCollapsibleButton,
            ),
            "few-shot": (ui.supportCollapsibleButton, ui.propagateFrame),
            "models": tuple(models), "cohort": tuple(cohort),
        }  # fmt: skip
        ui.answerCollapsibleButton.setVisible(False)  # until there is an answer
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
        for name, sections in self._sections.items():
            for section in sections:
                section.setVisible(name == mode)
        return True

    def _turned(self, index: int) -> None:
        self._on_choice(_TABS[index][0])
