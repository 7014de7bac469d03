"""The inputs: volume, and which part of it (shown slice, range, whole, ROI)."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.images import AXES
from ...scene.slices import LastSliceView, last_used_slice_node, shown_slice
from ...scene.volumes import volume_from_node
from ..chosen import volume_problem
from ..messages import capital


class InputsSection:
    """Shows the rows that the scope needs and names the slice that the user looks at, live."""

    def __init__(self, ui):
        self._ui = ui
        self._node = None
        self._last_view = None
        self._slice_text = self._shown_text = ""
        self._shown_key = None
        self.problem = ""  # why the present inputs cannot be segmented; for the button's tooltip

    @property
    def last_view(self) -> LastSliceView | None:
        """The slice view that the user was last in."""
        return self._last_view

    def start(self) -> None:
        """The panel was entered."""
        if self._last_view is None:
            self._last_view = LastSliceView(slicer.mrmlScene)

    def stop(self) -> None:
        """The panel was left."""
        if self._last_view is not None:
            self._last_view.stop()
        self._last_view = None

    def show(self, parameter_node) -> None:
        """Brings rows, ranges and texts up to date with the parameter node."""
        self._node = parameter_node
        scope = parameter_node.scope.value
        ui = self._ui
        ui.partLabel.text = {"slice": "Slice:", "range": "Slices:", "roi": "ROI:"}.get(scope, "")
        for part, widget in (
            ("slice", ui.sliceText),
            ("range", ui.rangeRow),
            ("range", ui.axisComboBox),
            ("roi", ui.roiSelector),
        ):
            widget.setVisible(scope == part)
        for widget in (ui.partLabel, ui.partRow):
            widget.setVisible(scope != "volume")
        self._set_slice_range()
        self.show_slice()

    def show_slice(self) -> None:
        """Names the slice of the view last used, or says why there is none. To be called often: views change by themselves."""
        if self._node is None:
            return
        self.problem = self._problem()
        if self._node.scope.value == "slice" and self._node.volume is not None:
            text = self.problem or self._slice_text
            if self._ui.sliceText.text != text:
                self._ui.sliceText.text = text

    def _problem(self) -> str:
        node = self._node
        if node.volume is None:
            return volume_problem(None)
        try:
            volume = volume_from_node(node.volume)
            if node.scope.value == "slice":
                view = last_used_slice_node(node.volume, self._last_view)
                self._slice_text = f"{view.GetLayoutName()}: {self._shown(view)}"
            elif node.scope.value == "roi" and node.roi is None:
                return _("Select or create the ROI to segment in.")
            elif node.scope.value == "range":
                count = volume.size[AXES.index(volume.slice_axis(node.axis.value))]
                if not node.firstSlice <= node.lastSlice < count:
                    return _(
                        "The first slice must not come after the last, and the last must be below {count}."
                    ).format(count=count)
        except InputError as error:
            return capital(str(error))
        return ""

    def _shown(self, view) -> str:
        # Sampling an oblique plane takes a while: only when the view has changed.
        key = (view.GetID(), view.GetMTime(), self._node.volume.GetID(), self._node.volume.GetMTime())
        if self._shown_key != key:
            self._shown_text = shown_slice(view, self._node.volume).describe()
            self._shown_key = key
        return self._shown_text

    def _set_slice_range(self) -> None:
        node = self._node
        try:
            volume = volume_from_node(node.volume) if node.volume is not None else None
        except InputError:
            volume = None
        last = volume.size[AXES.index(volume.slice_axis(node.axis.value))] - 1 if volume is not None else 0
        for box in (self._ui.firstSliceSpinBox, self._ui.lastSliceSpinBox):
            if volume is not None and box.maximum != last:
                box.setRange(0, last)
