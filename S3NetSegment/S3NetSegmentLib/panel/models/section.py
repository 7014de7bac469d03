"""The panel's third use: trained models. Apply one, save cases to a cohort, train."""

from __future__ import annotations

import re

import qt
import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.common.progress import Steps
from ...scene.cohort_case import CohortCase, NeedsConfirmationError, SavedCase, make_cohort_case, save_case
from ..messages import sentence
from ..run import Run
from ..sections import SectionListener, UseOfPanel
from ..widgets.choosing import PathRow
from .apply_section import ApplySection
from .training_section import TrainingSection

COHORT_KEY = "S3NetSegment/CohortFolder"
_FORMAT_KEY = "S3NetSegment/CaseFormat"
_HELP = _("Write image and labels into the training folder. Only what is drawn completely teaches the right thing.")


class CaseSection(SectionListener):
    """``on_folder()`` is called when the user chooses another cohort.

    Attribute ``folder``: the chosen cohort, "" if there is none.
    """

    what = _("Saving the case")

    def __init__(self, ui, panel, on_folder):
        super().__init__(panel)
        self._ui = ui
        self.run = Run(self, _("Saving the case was stopped: {reason}."))
        self._node = self._named = None  # _named: the volume that the proposed name is of
        self._cohort = PathRow(
            ui.cohortFolderEdit, ui.cohortFolderButton, _("Training folder"), COHORT_KEY, "folder", on_change=on_folder
        )
        ui.caseFormatBox.currentText = str(qt.QSettings().value(_FORMAT_KEY, ".nii.gz"))
        ui.caseFormatBox.connect("currentTextChanged(QString)", lambda text: qt.QSettings().setValue(_FORMAT_KEY, text))
        ui.saveCaseButton.connect("clicked()", self._save_or_cancel)

    @property
    def folder(self) -> str:
        return self._cohort.path

    def show(self, parameter_node) -> None:
        if parameter_node is None:
            self.run.cancel()
        self._node = parameter_node
        volume = parameter_node.volume if parameter_node is not None else None
        if volume is not self._named:
            self._named = volume
            name = volume.GetName() if volume is not None else ""
            self._ui.caseNameEdit.text = re.sub(r'[<>:"/\\|?*\s]+', "_", name).strip("._")
            self._ui.patientEdit.text = ""
        self._show()

    # -- inside

    def _save_or_cancel(self) -> None:
        ui, node = self._ui, self._node
        if self.run.running:
            self.run.cancel()
        elif node is not None:
            self._panel.message.hide()
            try:
                case = make_cohort_case(
                    self.folder, ui.caseNameEdit.text, ui.caseFormatBox.currentText, ui.patientEdit.text
                )
            except InputError as error:
                self.refused(str(error))
                return
            self.run.start(_steps(case, node.volume, node.segmentation), _saved_text, [node.volume, node.segmentation])

    def state_changed(self) -> None:
        self.show_progress(self.run.running, self._ui.saveCaseButton)
        self._show()
        self._panel.running_changed()

    def _show(self) -> None:
        ui, running = self._ui, self.run.running
        there = self._node is not None and self._node.volume is not None
        ui.saveCaseButton.text = _("Cancel") if running else _("Save case")
        ui.saveCaseButton.enabled = running or there
        ui.saveCaseButton.toolTip = _HELP if there else _("Select a volume first.")
        for widget in (ui.caseNameRow, ui.patientEdit):
            widget.enabled = not running


def _steps(case: CohortCase, volume_node, segmentation_node) -> Steps[SavedCase | None]:
    """Saves the case, and asks the user where that is needed; returns None where the answer is no."""
    confirmed: dict[str, bool] = {}
    while True:
        try:
            return (yield from save_case(case, volume_node, segmentation_node, **confirmed))
        except NeedsConfirmationError as error:
            if not slicer.util.confirmOkCancelDisplay(sentence(str(error)), _("Add this case to the training folder")):
                return None
            confirmed[error.option] = True


def _saved_text(saved: SavedCase | None) -> list[str]:
    if saved is None:
        return []
    names = " and ".join(f"{path.parent.name}/{path.name}" for path in saved.files) or _("nothing new")
    return [f"Saved {names}." + "".join(f" {sentence(note)}" for note in saved.notes)]


class ModelsSection(UseOfPanel):
    """The tab Models.

    Attributes: ``apply``, ``case`` and ``training``.
    """

    def __init__(self, panel):
        self._panel = panel
        names = ("cohortForm", "cohortCollapsibleButton", "trainingCollapsibleButton")
        below = dict.fromkeys(names, "answerCollapsibleButton")
        self.put_into_panel("Models.ui", {"applyModelFrame": "progressRow", **below})
        ui, self.button = self.ui, self.ui.applyModelButton
        self.apply = ApplySection(ui, panel)
        self.case = CaseSection(ui, panel, lambda: self.training.cohort_chosen())
        self.training = TrainingSection(ui, panel, lambda: self.case.folder, self.apply.choose)
        self.run = self.apply.run
        self.button.connect("clicked()", self.run_or_cancel)

    @property
    def running(self) -> bool:
        return self.apply.controller.running or self.case.run.running

    def show(self, parameter_node) -> None:
        self.apply.show(parameter_node)
        self.case.show(parameter_node)
        self.training.show(parameter_node)

    def _activated(self, active: bool) -> None:
        self.apply.set_active(active)
        self.training.set_active(active)

    def running_changed(self) -> None:
        """One thing at a time: they share the progress row and the nodes. A training process minds neither."""
        self.ui.applyModelFrame.enabled = not self.case.run.running
        self.ui.cohortForm.enabled = not self.running
        self.ui.cohortCollapsibleButton.enabled = not self.apply.controller.running

    def refresh(self) -> None:
        """To be called often while the panel is shown."""
        self.apply.refresh()

    def cancel(self) -> None:
        self.apply.controller.cancel()
        self.case.run.cancel()

    def cleanup(self) -> None:
        self.set_active(False)
        self.apply.controller.stop()
        self.case.run.cancel()
        self.training.trial.stop()
