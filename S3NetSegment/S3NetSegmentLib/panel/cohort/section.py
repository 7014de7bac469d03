"""The panel's fourth use: the patients of a folder, one after another."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ...engine import InputError, ResourceError
from ...engine.cohort_loop.states import (
    ACCEPTED,
    CORRECTED,
    MISSING,
    PROPOSED,
    TO_DO,
    UNREADABLE,
    CaseState,
    CohortState,
)
from ..messages import sentence
from ..run import timer
from ..sections import SectionListener, UseOfPanel
from ..widgets.choosing import PathRow
from .controller import CohortController
from .model_row import NO_FOLDER, ModelRow

FOLDER_KEY = "S3NetSegment/LoopFolder"
_REFRESH_EVERY = 5000  # ms between two looks at a folder in which others may work
_STATES = {
    TO_DO: _("to do"), PROPOSED: _("proposed"), CORRECTED: _("corrected"), ACCEPTED: _("accepted"),
    UNREADABLE: _("unreadable"), MISSING: _("image missing"),
}  # fmt: skip
_PICTURE = 180  # pixels, of the long side


class CohortSection(UseOfPanel, SectionListener):
    """The tab Cohort."""

    torch_text = _("proposals need PyTorch, which is not installed; see the top of the panel")
    what = _("The cohort")

    def __init__(self, panel):
        super().__init__(panel)
        below = dict.fromkeys(("loopCollapsibleButton", "loopModelCollapsibleButton"), "answerCollapsibleButton")
        self.put_into_panel("Cohort.ui", {"loopFrame": "progressRow", **below})
        ui, self._node = self.ui, None
        self._state: CohortState | None = None
        self._problem = ""
        self._selected_case = None  # the one whose image and segments were selected in the panel
        self.controller = CohortController(self, lambda text: slicer.util.confirmOkCancelDisplay(text, _("Segments")))
        self._path = PathRow(
            ui.loopFolderEdit, ui.loopFolderButton, _("Cohort"), FOLDER_KEY, "folder", on_change=self._chosen
        )
        self.button, self.run = ui.nextCaseButton, self.controller.next
        self.button.connect("clicked()", self.run_or_cancel)
        ui.acceptCaseButton.connect("clicked()", lambda: self._start(self.controller.accept))
        ui.proposeAgainButton.connect("clicked()", lambda: self._start(self.controller.propose_again))
        ui.openCaseButton.connect("clicked()", lambda: self._start(lambda: self.controller.open(self._selected().name)))
        ui.undoAcceptButton.connect(
            "clicked()", lambda: self._start(lambda: self.controller.undo(self._selected().name))
        )
        ui.loopTable.connect("itemSelectionChanged()", self._show_case)
        self._model = ModelRow(ui, panel)
        self._timer = timer(_REFRESH_EVERY, self.refresh, repeats=True)
        self._show()

    def _activated(self, active: bool) -> None:
        if active:
            if self.controller.store is None and self._path.path:
                self._choose()
            self.refresh()
            self._timer.start()
        else:
            self._timer.stop()

    def refresh(self) -> None:
        """Looks at the folder, in which others may work, too."""
        if self.running:
            return
        try:
            state, problem = self.controller.state(), ""
        except (InputError, ResourceError) as error:
            state, problem = None, str(error)
        if problem != self._problem:
            if problem:
                self._panel.refused(problem)
            else:  # the folder is back
                self._panel.message.hide()
        if state != self._state:
            chosen = self._selected()
            self._state = state
            self._fill_table("" if chosen is None else chosen.name)
        self._problem = problem
        self._model.refresh(self.controller.store)
        self._show()

    def cleanup(self) -> None:
        self.set_active(False)
        self.controller.stop()

    # -- what the controller tells (Listener)

    def state_changed(self) -> None:
        self.show_progress(self.running, self.button)
        if not self.running:
            case = self.controller.case
            if case is not None and case is not self._selected_case and case.is_there and self._node is not None:
                self._selected_case = case
                with slicer.util.NodeModify(self._node):
                    self._node.volume = case.volume_node
                    self._node.segmentation = case.segmentation_node
            self.refresh()
        self._show()
        self._panel.running_changed()

    # -- inside

    def _chosen(self) -> None:
        self._panel.message.hide()
        self._problem = ""  # it was another folder's
        self._choose()
        self.refresh()

    def _choose(self) -> None:
        try:
            self.controller.choose(self._path.path)
        except (InputError, ResourceError) as error:
            self._panel.refused(str(error))

    def _start(self, begin) -> None:
        if self._node is not None and not self.running:
            self._panel.message.hide()
            begin()

    def _selected(self) -> CaseState | None:
        row = self.ui.loopTable.currentRow()
        return self._state.cases[row] if self._state is not None and 0 <= row < len(self._state.cases) else None

    def _fill_table(self, chosen: str) -> None:
        """Shows the cases; the one of the name ``chosen`` stays selected, in whatever row it is by now."""
        table = self.ui.loopTable
        cases = self._state.cases if self._state is not None else ()
        blocked = table.blockSignals(True)
        table.setRowCount(len(cases))
        for row, case in enumerate(cases):
            expected = "" if case.expected is None else f"{case.expected:.2f}"
            if case.changed is not None:
                expected += _(", {share} changed").format(share=f"{case.changed:.0%}")
            state = _STATES[case.state]
            if case.by and case.state != ACCEPTED:
                state += f" ({case.by})"
            by = _("by {name}").format(name=case.by) if case.by else ""
            for column, text in enumerate((case.name, state, expected)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip("\n".join(filter(None, (case.name, by, *case.notes))))
                table.setItem(row, column, item)
        table.resizeColumnToContents(1)
        row = next((row for row, case in enumerate(cases) if case.name == chosen), -1)
        table.setCurrentCell(row, 0 if row >= 0 else -1)
        table.blockSignals(blocked)
        self._show_case()

    def _show_case(self) -> None:
        ui, case = self.ui, self._selected()
        for button, tip in (
            (ui.openCaseButton, _("Load this case, with its proposal or what was accepted")),
            (ui.undoAcceptButton, _("Take this case's accepted segmentation back; only for accepted cases")),
        ):
            button.toolTip = tip if case is not None else _("Select a case in the list first.")
        pixmap = qt.QPixmap(str(case.picture)) if case is not None and case.picture is not None else qt.QPixmap()
        ui.loopPicture.setVisible(not pixmap.isNull())
        if not pixmap.isNull():
            pixmap = pixmap.scaled(_PICTURE, _PICTURE, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation)
            ui.loopPicture.setPixmap(pixmap)
            ui.loopPicture.setMinimumHeight(pixmap.height())
        ui.openCaseButton.enabled = case is not None and case.image is not None and not self.running
        ui.undoAcceptButton.enabled = case is not None and case.state in (ACCEPTED, MISSING) and not self.running

    def _show(self) -> None:
        ui, running = self.ui, self.running
        there = self.controller.store is not None and self._node is not None and not self._problem
        case = self.controller.case
        is_open = case is not None and case.is_there
        why_not = sentence(self._problem) if self._problem else NO_FOLDER
        help_text = _("Load the case that helps most with its proposal (Ctrl+Return)")
        self.show_big_button(self.button, _("Next case"), help_text, "" if there else why_not)
        for button, tip in (
            (ui.acceptCaseButton, _("Write the segments as they are now as this case's accepted segmentation")),
            (ui.proposeAgainButton, _("Use the slices that you have changed, and propose the others again")),
        ):
            button.enabled = there and is_open and not running
            button.toolTip = why_not if not there else tip if is_open else _("Open a case first.")
        ui.loopForm.enabled = not running
        progress = "" if self._state is None else sentence(self._state.progress)
        notes = "" if self._state is None else " ".join(map(sentence, self._state.notes))
        about = self.controller.text if is_open else ""
        ui.loopText.text = "\n".join(filter(None, (about, progress, notes))) or why_not
        self._show_case()
