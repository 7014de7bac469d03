"""The answer of Few-shot in the panel: accept or discard it, how good it is expected to be, where to draw next."""

from __future__ import annotations

import html
from collections.abc import Callable

from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.images.colors import hex_color
from .controller import FewShotController
from .presenter import FewShotPresenter


class FewShotAnswerSection:
    """Hidden while there is no answer.

    :param on_accept: called when the user accepts.
    :param on_go: called with a place (axis, index) that the user wants to see, and its volume node.
    """

    def __init__(
        self,
        ui,
        controller: FewShotController,
        presenter: FewShotPresenter,
        on_accept: Callable[[], object],
        on_go: Callable[[tuple[str, int], object], object],
        on_error: Callable[[str], object],
    ):
        self._ui, self._controller, self._presenter = ui, controller, presenter
        self._on_go, self._on_error = on_go, on_error
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
        ui.answerText.text = self._presenter.state()
        ui.acceptRow.setVisible(self._presenter.can_accept)
        qualities = result.qualities()
        ui.qualityText.setVisible(bool(qualities))
        ui.qualityText.text = _quality_table(qualities)
        ui.nextSliceButton.setVisible(self._presenter.next_slice() is not None)
        ui.nextSliceButton.text, ui.nextSliceButton.toolTip = self._presenter.next_texts()
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

    def _go(self) -> None:
        place = self._presenter.next_slice()
        if place is not None:
            self._on_go(place, self._controller.result.request.target_node)

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
