"""The answer of Few-shot in the panel: accept or discard it, how good it is expected to be, where to draw next."""

from __future__ import annotations

import html
from collections.abc import Callable

from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.images.colors import hex_color
from ...scene.slices import slice_name
from ..sentences import sentence
from .controller import FewShotController


class FewShotAnswerSection:
    """Hidden while there is no answer.

    :param on_accept: called when the user accepts.
    :param on_go: called with a place (axis, index) that the user wants to see, and its volume node.
    """

    def __init__(
        self,
        ui,
        controller: FewShotController,
        on_accept: Callable[[], object],
        on_go: Callable[[tuple[str, int], object], object],
        on_error: Callable[[str], object],
    ):
        self._ui, self._controller, self._on_go, self._on_error = ui, controller, on_go, on_error
        self._node, self._active, self._overlaid = None, False, None
        ui.acceptButton.connect("clicked()", on_accept)
        ui.discardButton.connect("clicked()", controller.discard)
        ui.nextSliceButton.connect("clicked()", self._go)
        ui.fewShotConfidenceCheckBox.connect("clicked(bool)", self.show_confidence)

    def set_active(self, active: bool) -> None:
        """Whether this use of the panel is shown."""
        self._active = active
        self.show(self._node)

    def show(self, parameter_node) -> None:
        """Brings everything up to date with the controller."""
        self._node = parameter_node
        ui, result, running = self._ui, self._controller.result, self._controller.running
        there = result is not None and result.answer is not None and parameter_node is not None
        ui.answerCollapsibleButton.setVisible(self._active and there)
        if not there:
            self._take_overlay_away()
            return
        is_open = result.is_open
        ui.answerText.text = self._state(result)
        ui.acceptRow.setVisible(is_open and not running)
        qualities = result.qualities()
        ui.qualityText.setVisible(bool(qualities))
        ui.qualityText.text = _quality_table(qualities)
        following = result.next_slice()
        ui.nextSliceButton.setVisible(following is not None and not running)
        if following is not None:
            empty = _(" (probably empty)") if result.is_expected_empty(following[1]) else ""
            why = result.reason(following[1])
            ui.nextSliceButton.text = _("Next slice to draw: {volume}{empty}").format(
                volume=slice_name(result.request.volume, *following), empty=empty
            )
            ui.nextSliceButton.toolTip = _("Show the slice on which a drawing would help most (N)") + f": {why}" * bool(
                why
            )
        ui.fewShotConfidenceCheckBox.setVisible(not running)

    def show_confidence(self, on: bool) -> None:
        """Lays the confidence over the image, or takes it away."""
        result = self._controller.result
        if not on or result is None or result.answer is None:
            self._take_overlay_away()
            return
        try:
            result.show_confidence()
            self._overlaid = result
        except InputError as error:
            self._on_error(str(error))

    def answer_came(self) -> None:
        """Another answer is there."""
        if self._node is not None and self._node.fewShotConfidence:
            self.show_confidence(True)

    def _state(self, result) -> str:
        if self._controller.running:
            return _("First answer for the slice that you look at; the others follow.")
        if result.accepted is not None:
            if result.request.is_other_volume:
                return _("Accepted: the segments are in {segmentation_node!r}.").format(
                    segmentation_node=result.preview.segmentation_node.GetName()
                )
            if self._controller.support is not None and not self._controller.support.holds(result.accepted.name):
                return _("This answer was undone.")
            return _("Accepted. Correct a slice where it is wrong, then propagate again.")
        notes = "".join(f" {sentence(note)}" for note in result.notes)
        if result.is_partial and result.is_whole:
            return _("Preview. The shown slice is newer than the others; propagate to bring them up to date.") + notes
        if result.is_partial:
            return _("Preview of the shown slice. Nothing is written yet.") + notes
        return _("Preview. Nothing is written yet.") + notes

    def _go(self) -> None:
        result = self._controller.result
        following = result.next_slice() if result is not None else None
        if following is not None:
            self._on_go(following, result.request.target_node)

    def _take_overlay_away(self) -> None:
        if self._overlaid is not None:
            self._overlaid.hide_confidence()
        self._overlaid = None


def _quality_table(qualities) -> str:
    """The expected quality as rich text; colours as in the views."""
    rows = "".join(
        f'<tr><td><span style="color:{hex_color(q.color)}">&#9632;</span>&nbsp;{html.escape(q.name)}</td>'
        f"<td align='right'>&nbsp;&nbsp;{100 * q.dice:.0f}&nbsp;%</td><td>&nbsp;&nbsp;{q.word}</td></tr>"
        for q in qualities
    )
    return _("Expected quality:") + f"<table>{rows}</table>"
