"""What belongs to "Show confidence": a legend of its colours, and the way to the least sure place of a slice."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from ...engine import InputError
from ...scene.answers.confidence import least_sure_place, show_place
from ...scene.slices import last_used_slice_node

_LEGEND = _(
    '<span style="color:#e03a00">&#9632;</span>&nbsp;hardly sure '
    '<span style="color:#ffb400">&#9632;</span>&nbsp;less than half sure; all else is not tinted'
)


class ConfidenceRow:
    """Shown while its check box is checked.

    :param ui, name: where its widgets are, and how their names begin: ``{name}CheckBox``, ``{name}LegendRow``...
    :param controller: its ``confidence_overlay`` is the name of the confidence volume and the volume node that it lies over;
        None: there is none.
    :param inputs: its ``last_view`` is the slice view that was last used.
    :param on_refused: called with a sentence when there is no such place.
    """

    def __init__(self, ui, name: str, controller, inputs, on_refused: Callable[[str], object]):
        self._controller, self._inputs, self._on_refused = controller, inputs, on_refused
        check_box, row, legend, button = (
            getattr(ui, name + part) for part in ("CheckBox", "LegendRow", "Legend", "WorstButton")
        )
        legend.text = _LEGEND
        button.toolTip = _("Show where the answer is least sure in the slice of the view that you used last")
        button.connect("clicked()", self._go)
        check_box.connect("toggled(bool)", row.setVisible)
        row.setVisible(check_box.checked)

    def _go(self) -> None:
        overlay = self._controller.confidence_overlay
        try:
            if overlay is None:
                raise InputError(_("there is no confidence yet; segment first"))
            name, volume_node = overlay
            show_place(least_sure_place(name, last_used_slice_node(volume_node, self._inputs.last_view)))
        except InputError as error:
            self._on_refused(str(error))
