"""Adjusting a live result: its size, best answers, picking regions, undo; and why it was chosen, as pictures of the
candidates and a table in a window of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import qt
from slicer.i18n import tr as _

from ...scene.sequences import frame_of
from ..widgets.looks import icon_of, pixmap_of, show_pressed
from ..widgets.mouse import MouseAction, SliceMouse
from .controller import SegmentController

PICTURE_SIZE = 84  # three of them in a panel of 340 pixels
_NOTHING_YET = _("Press Segment first")
_PICK_HELP = _(
    "Click in a slice view: adds the region under the cursor to the object. Ctrl or Shift + click removes it."
)
_COLUMNS, _SHOWN = 4, 12  # pictures in a row and in all
_HELP = _("The candidates at the first point with their scores, and what decided between them")
_NO_OBJECT = _("Segment an object first: there is nothing to explain yet")


class AdjustSection:
    """Slider, thumbnails and pick tool over the live result of a :class:`SegmentSection`, whose undo history is used."""

    def __init__(self, ui, section):
        self._ui, self._section, self._controller = ui, section, section.controller
        self._buttons = (ui.answer1Button, ui.answer2Button, ui.answer3Button)
        self._mouse = SliceMouse(self._clicked, qt.Qt.PointingHandCursor)
        self._showing = False
        self._gesture = None  # None: no drag; False: drag without a change yet; True: its undo state is saved
        self._pictured = None  # what the thumbnails were drawn for
        self._shown = None  # the section unfolds with each new result
        show_pressed(ui.pickButton)
        ui.granularitySlider.connect("valueChanged(int)", self._slid)
        ui.granularitySlider.connect("sliderPressed()", self._slide_begins)
        ui.granularitySlider.connect("sliderReleased()", self._slide_ends)
        for number, button in enumerate(self._buttons):
            button.connect("clicked()", partial(self._choose, number))
        ui.regionCountComboBox.connect("activated(int)", self._count_chosen)
        ui.pickButton.connect("toggled(bool)", self._pick_toggled)
        ui.undoButton.connect("clicked()", section.history.undo)
        ui.redoButton.connect("clicked()", section.history.redo)
        ui.allFramesButton.connect("clicked()", section.in_all_frames)

    # -- showing

    def show(self) -> None:
        self._showing = True
        try:
            self._show()
        finally:
            self._showing = False

    def _show(self) -> None:
        ui, result, running = self._ui, self._controller.result, self._controller.running
        live = result is not None and not running
        why_not = _("Wait until the run has ended") if running else _NOTHING_YET
        for widget, help_text in (
            (ui.granularitySlider, self._slider_help(result)),
            (ui.pickButton, _PICK_HELP),
            (
                ui.regionCountComboBox,
                _("Into how many regions the image is divided: more of them are smaller"),
            ),
            (
                ui.undoButton,
                _("Undo the last change of the segmentation, also those made with the editor below (Ctrl+Z)"),
            ),
            (ui.redoButton, _("Do the undone change again (Ctrl+Y)")),
            (
                ui.allFramesButton,
                _(
                    "Ask the same in every frame of the sequence; a new segmentation follows the frames, and keeps this answer in its frame"
                ),
            ),
        ):
            widget.enabled = live
            widget.toolTip = help_text if live else why_not
        answer = result.answer if live else None
        ui.allFramesButton.setVisible(
            answer is not None and answer.is_object and frame_of(answer.request.volume_node) is not None
        )
        if not live:
            if not running:
                self.tools_off()
            if result is None:
                ui.granularitySlider.setRange(0, 0)
                ui.granularityText.text = ""
                ui.regionCountComboBox.clear()
                self._show_pictures([])
            return
        if result is not self._shown:
            self._shown = result
            ui.adjustCollapsibleButton.collapsed = False
            if ui.segmentButton.focus:  # the run had put it there; from now on the arrow keys change the size
                ui.granularitySlider.setFocus()
        ui.granularityLabel.text = _("Size of the answer:") if answer.is_object else _("Number of regions:")
        ui.smallerLabel.text = _("smaller") if answer.is_object else _("fewer")
        ui.largerLabel.text = _("larger") if answer.is_object else _("more")
        ui.pickLabel.text = _("Regions:") if answer.is_object else _("Object:")
        ui.granularitySlider.setRange(0, answer.granularity_steps - 1)
        ui.granularitySlider.value = answer.granularity
        if answer.granularity_steps < 2:
            ui.granularitySlider.enabled = False
            ui.granularitySlider.toolTip = _("There is only one answer to choose from")
        ui.granularityText.text = (
            _("{step} of {steps}").format(step=answer.granularity + 1, steps=answer.granularity_steps)
            if answer.is_object
            else _("{count} regions").format(count=answer.count)
        )
        counts = answer.regions.counts
        ui.regionCountComboBox.clear()
        for count in counts:
            ui.regionCountComboBox.addItem(_("Regions: {count}").format(count=count))
        ui.regionCountComboBox.currentIndex = counts.index(answer.count)
        self._refresh_pictures(answer)

    @staticmethod
    def _slider_help(result) -> str:
        if result is None or result.answer.is_object:
            return _("From a small part to the whole object (arrow keys); the segment follows at once")
        return _("From few to many regions; the segments follow at once")

    def _refresh_pictures(self, answer) -> None:
        chosen = answer.choice.index if answer.choice is not None else answer.count
        # The pictures stay while only the granularity changes; their marks follow.
        key = (id(answer), answer.request.inside, answer.request.outside, answer.request.radius_mm)
        if self._pictured is None or self._pictured[0] != key:
            self._show_pictures(answer.alternatives(PICTURE_SIZE))
            self._pictured = (key, answer.alternative_keys())
        for button, alternative in zip(self._buttons, self._pictured[1], strict=False):
            button.setChecked(alternative == chosen)

    def _show_pictures(self, alternatives) -> None:
        self._pictured = None
        for number, button in enumerate(self._buttons):
            there = number < len(alternatives)
            # Without a result one empty frame keeps the place, so that the panel does not jump.
            button.setVisible(there or not alternatives)
            button.enabled = there
            button.setIcon(icon_of(alternatives[number].picture) if there else qt.QIcon())
            button.setChecked(there and alternatives[number].chosen)
            button.toolTip = (
                _("Take this answer ({text})").format(text=alternatives[number].text) if there else _NOTHING_YET
            )

    def tools_off(self) -> None:
        self._ui.pickButton.setChecked(False)

    def stop(self) -> None:
        self.tools_off()
        self._mouse.stop()

    # -- granularity

    def _slide_begins(self) -> None:
        self._gesture = False

    def _slide_ends(self) -> None:
        self._gesture = None

    def _slid(self, value: int) -> None:
        if self._showing:
            return
        undoable = not self._gesture  # one undo step for the whole drag
        if self._gesture is not None:
            self._gesture = True

        def action(result):
            result.answer.granularity = value
            result.update(undoable)

        self._controller.change(action)

    def _choose(self, number: int) -> None:
        def action(result):
            result.answer.choose_alternative(number)
            result.update()

        self._controller.change(action)
        self.show()

    # -- regions

    def _count_chosen(self, index: int) -> None:
        def action(result):
            result.answer.set_count(result.answer.regions.counts[index])
            if not result.answer.is_object:
                result.update()

        self._controller.change(action)

    def _pick_toggled(self, on: bool) -> None:
        if on:
            self._section.pick_tool_on()
            self._mouse.start()
        else:
            self._mouse.stop()

    def _clicked(self, action: MouseAction) -> bool:
        if self._controller.result is None or self._controller.running:
            return False
        if action.kind == "press":
            self._controller.change(lambda result: result.pick(action.ras, drop=action.modified))
        return action.kind != "move"


class WhyDialog:
    """Opens with the button "Why this answer?" of Advanced; a later answer closes it.

    Attributes: ``window`` (the open window or None), ``text`` (what it says).
    """

    def __init__(self, ui, controller: SegmentController):
        self._button, self._controller = ui.whyButton, controller
        self.window, self.text = None, ""
        self._explained = None
        self._button.connect("clicked()", self.open)

    def show(self) -> None:
        result = self._controller.result
        choice = None if result is None else result.answer.choice
        can = choice is not None and not self._controller.running
        self._button.enabled = can
        self._button.toolTip = _HELP if can else _NO_OBJECT
        if choice is not self._explained:
            self.close()

    def open(self) -> None:
        """Draws the candidates of the live object, and shows them when they are drawn."""
        result = self._controller.result
        if result is not None and result.answer.choice is not None:
            self._controller.work_on(explained(result.answer), self._shown_with(result.answer.choice))

    def close(self) -> None:
        if self.window is not None:
            self.window.close()
            self.window.deleteLater()
        self.window, self.text, self._explained = None, "", None

    def _shown_with(self, choice) -> Callable[[tuple[np.ndarray, list[str]]], None]:
        def show(found: tuple[np.ndarray, list[str]]) -> None:
            self.close()
            self._explained = choice
            picture, lines = found
            self.text = "\n".join(lines)
            self.window = _window(picture, lines[-1], "\n".join(lines[:-1]), self._button.window())
            self.window.show()

        return show


def explained(answer):
    """The contact sheet and the lines of the object of ``answer``, as a generator of progress steps."""
    from ...engine.segment.explanation import contact_sheet, explain

    choice, regions = answer.choice, answer.regions
    index = regions.slice_to_show(answer.request.prompts, choice)
    explanation = explain(choice)
    picture = yield from contact_sheet(choice, explanation, regions, index, _SHOWN, _COLUMNS)
    return picture, explanation.lines(_SHOWN)


def _window(picture: np.ndarray, reason: str, rows: str, parent) -> qt.QDialog:
    window = qt.QDialog(parent)
    window.setWindowTitle(_("Why this answer?"))
    layout = qt.QVBoxLayout(window)
    legend = qt.QLabel(
        _("{reason} The pictures show the best candidates: the chosen one, the other answers, then the rest.").format(
            reason=reason
        )
    )
    legend.setWordWrap(True)
    layout.addWidget(legend)
    pictures = qt.QLabel()
    pictures.setPixmap(pixmap_of(picture))
    pictures.setFixedSize(picture.shape[1], picture.shape[0])
    area = qt.QScrollArea()
    area.setWidget(pictures)
    layout.addWidget(area, 3)
    table = qt.QPlainTextEdit(rows)
    table.setReadOnly(True)
    table.setLineWrapMode(qt.QPlainTextEdit.NoWrap)
    table.setFont(qt.QFontDatabase.systemFont(qt.QFontDatabase.FixedFont))
    layout.addWidget(table, 2)
    window.resize(800, 760)
    return window
