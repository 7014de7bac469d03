"""The panel's third use: trained models. Apply one, save cases to a cohort, train."""

from __future__ import annotations

from pathlib import Path

import slicer

from ..widgets.progress_row import ProgressRow
from ..widgets.tab_order import move_before
from .apply_section import ApplySection
from .case_section import CaseSection
from .training_section import TrainingSection

_UI_FILE = Path(__file__).parents[3] / "Resources" / "UI" / "Models.ui"


class ModelsSection:
    """Puts its widgets, which have a .ui file of their own, into the panel; the SegmentPanel owns it.

    :meth:`show` gives it the parameter node, :meth:`set_active` says whether the user looks at it.

    Attributes: ``ui`` (its widgets), ``widgets`` (those to show and hide with this use), ``apply``, ``case`` and
    ``training``.
    """

    def __init__(self, panel_ui, notify, progress: ProgressRow, save_undo):
        """
        :param panel_ui: the widgets of the panel.
        :param notify: the panel, see :class:`ApplySection`.
        """
        self._root = slicer.util.loadUI(str(_UI_FILE))
        self.ui = slicer.util.childWidgetVariables(self._root)
        ui, layout = self.ui, panel_ui.sharedForm.parent().layout()
        above, below = (ui.applyModelFrame,), (ui.cohortForm, ui.cohortCollapsibleButton, ui.trainingCollapsibleButton)
        self.widgets = (*above, *below)
        for widget, neighbour in ((above[0], panel_ui.progressRow), *((w, panel_ui.answerCollapsibleButton) for w in below)):  # fmt: skip
            layout.insertWidget(layout.indexOf(neighbour), widget)
            widget.setVisible(False)
            move_before(widget, panel_ui.advancedCollapsibleButton)
        self.active = False
        self.apply = ApplySection(ui, notify, progress, save_undo)
        self.case = CaseSection(ui, notify, progress, lambda: self.training.cohort_chosen())
        self.training = TrainingSection(ui, notify, lambda: self.case.folder, self.apply.choose)

    @property
    def running(self) -> bool:
        """Whether a model is being applied or a case saved."""
        return self.apply.controller.running or self.case.run.running

    def show(self, parameter_node) -> None:
        """Follows the parameter node; called again whenever it is modified. None: the scene closes."""
        self.apply.show(parameter_node)
        self.case.show(parameter_node)
        self.training.show(parameter_node)

    def set_active(self, active: bool) -> None:
        """Whether the user sees this use of the panel, in the entered module."""
        if active == self.active:
            return
        self.active = active
        self.apply.set_active(active)
        self.training.set_active(active)

    def running_changed(self) -> None:
        """One thing at a time: they share the progress row and the nodes. A training process minds neither."""
        self.ui.applyModelFrame.enabled = not self.case.run.running
        self.ui.cohortForm.enabled = not self.running
        self.ui.cohortCollapsibleButton.enabled = not self.apply.controller.running

    def look(self) -> None:
        """To be called often while the panel is shown."""
        self.apply.look()

    def cancel(self) -> None:
        self.apply.controller.cancel()
        self.case.run.cancel()

    def cleanup(self) -> None:
        """The module is unloaded."""
        self.set_active(False)
        self.apply.controller.stop()
        self.case.run.cancel()
        self.training.trial.stop()
