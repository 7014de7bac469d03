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
    """Shown while ``check_box`` is checked.

    :param overlay: gives the name of the confidence volume and the volume node that it lies over; None: there is none.
    :param last_view: gives the slice view that was last used, a LastSliceView or None.
    :param on_refused: called with a sentence when there is no such place.
    """

    def __init__(
        self,
        check_box,
        row,
        legend,
        button,
        overlay: Callable[[], tuple[str, object] | None],
        last_view: Callable[[], object],
        on_refused: Callable[[str], object],
    ):
        self._box, self._row, self._overlay, self._last_view, self._on_refused = (
            check_box,
            row,
            overlay,
            last_view,
            on_refused,
        )
        legend.text = _LEGEND
        button.toolTip = _("Show where the answer is least sure in the slice of the view that you used last")
        button.connect("clicked()", self._go)
        check_box.connect("toggled(bool)", row.setVisible)
        row.setVisible(check_box.checked)

    def _go(self) -> None:
        overlay = self._overlay()
        try:
            if overlay is None:
                raise InputError(_("there is no confidence yet; segment first"))
            name, volume_node = overlay
            show_place(least_sure_place(name, last_used_slice_node(volume_node, self._last_view())))
        except InputError as error:
            self._on_refused(str(error))
