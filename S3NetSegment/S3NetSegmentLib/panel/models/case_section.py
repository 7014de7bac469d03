"""Saving the present volume and segmentation as a case of a cohort, in the panel."""

from __future__ import annotations

import re

import qt
import slicer
from slicer.i18n import tr as _

from ...engine import InputError, ResourceError
from ...scene.cohort_case import NeedsConfirmationError, make_cohort_case, save_case
from ...scene.session import watch
from ..sentences import sentence
from ..stepping import SteppingDriver
from ..widgets.path_row import PathRow
from ..widgets.progress_row import ProgressRow

COHORT_KEY = "S3NetSegment/CohortFolder"
_FORMAT_KEY = "S3NetSegment/CaseFormat"
_HELP = _("Write image and labels into the training folder. Only what is drawn completely teaches the right thing.")


class CaseSection:
    """``on_folder()`` is called when the user chooses another cohort.

    Attribute ``folder``: the chosen cohort, "" if there is none.
    """

    def __init__(self, ui, notify, progress: ProgressRow, on_folder):
        self._ui, self._notify, self._progress = ui, notify, progress
        self.driver = SteppingDriver()
        self._node = self._named = self._watch = None  # _named: the volume that the proposed name is of
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
        """Follows the parameter node. None: the scene closes."""
        if parameter_node is None:
            self.driver.cancel()
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
        if self.driver.running:
            self.driver.cancel()
        elif self._node is not None:
            self._notify.message.hide()
            self._save({})

    def _save(self, confirmed: dict[str, bool]) -> None:
        ui, node = self._ui, self._node
        try:
            case = make_cohort_case(
                self.folder, ui.caseNameEdit.text, ui.caseFormatBox.currentText, ui.patientEdit.text
            )
            steps = save_case(case, node.volume, node.segmentation, **confirmed)
        except InputError as error:
            self._notify.refused(str(error))
            return
        self._watch = watch([node.volume, node.segmentation], self._lost)
        self.driver.start(
            steps,
            on_step=self._progress.show,
            on_done=self._saved,
            on_error=lambda error: self._failed(error, confirmed),
            on_cancel=self._ended,
        )
        self._progress.begin()
        self._show()
        self._notify.running_changed()

    def _saved(self, saved) -> None:
        self._ended()
        names = " and ".join(f"{path.parent.name}/{path.name}" for path in saved.files) or _("nothing new")
        notes = "".join(f" {sentence(note)}" for note in saved.notes)
        self._notify.informed(f"Saved {names}.{notes}")

    def _failed(self, error: Exception, confirmed: dict[str, bool]) -> None:
        self._ended()
        if isinstance(error, NeedsConfirmationError):
            text = str(error)
            if slicer.util.confirmOkCancelDisplay(sentence(text), _("Add this case to the training folder")):
                self._save({**confirmed, error.option: True})
        elif isinstance(error, (InputError, ResourceError)):
            self._notify.refused(str(error))
        else:
            self._notify.failed(error, _("Saving the case"))

    def _lost(self, reason: str) -> None:
        self.driver.cancel()
        self._notify.informed(_("Saving the case was stopped: {reason}.").format(reason=reason))

    def _ended(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        self._watch = None
        self._progress.end()
        self._show()
        self._notify.running_changed()

    def _show(self) -> None:
        ui, running = self._ui, self.driver.running
        there = self._node is not None and self._node.volume is not None
        ui.saveCaseButton.text = _("Cancel") if running else _("Save case")
        ui.saveCaseButton.enabled = running or there
        ui.saveCaseButton.toolTip = _HELP if there else _("Select a volume first.")
        for widget in (ui.caseNameRow, ui.patientEdit):
            widget.enabled = not running
