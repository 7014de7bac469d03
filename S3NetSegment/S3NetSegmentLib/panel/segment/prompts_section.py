"""What the user points at: the tool, the list of points, boxes and strokes, and the rough radius."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ...scene.prompts import (
    ATTRIBUTE,
    BOX,
    INSIDE,
    OUTSIDE,
    OUTSIDE_STROKE,
    STROKE,
    kind_of,
    make_prompt,
    prompt_nodes,
    volume_of,
)
from ...scene.removing import remove_node
from ...scene.slices import slice_nodes
from ..widgets.looks import show_pressed
from .pointing_tool import PointingTool
from .prompt_table import PromptRow, PromptTable, PromptWatch, positions_of, prompt_rows
from .request import Pointed

_FIELDS = {INSIDE: "insidePoints", OUTSIDE: "outsidePoints"}
_HINT = _("Click in the object, or drag a box around it. Shift + drag: a stroke through it. Ctrl: what is outside.")


class PromptsSection:
    """The tool *Point at it* and the list of what was pointed at.

    Attributes: ``watch``, the :class:`PromptWatch` over what was pointed at.

    :param pointing: the :class:`Pointing`. Its ``drawn(slice_node)`` is called for what the tool has drawn in a view, ``moving(box)``
        while a side or a point is dragged, again and again, and ``changed(box)`` when prompts have changed otherwise and are at rest: a side
        that was dragged, a point that was moved or removed (``box``: the one that was dragged, or None).
    :param section: the :class:`SegmentSection`, whose other tools are switched off when this one is switched on.
    """

    def __init__(self, ui, pointing, section):
        self._ui, self._pointing, self._section = ui, pointing, section
        self._node, self._active = None, False
        self._chosen_for = None  # the volume that the tool was switched on for
        self._tool = PointingTool(self._volume, self.points_node, self._drawn, section.refused)
        self._table = PromptTable(ui, self._go, self._remove)
        self.watch = PromptWatch(lambda: self._tool.drawing, self._moved, self._rested)
        ui.deletePromptsButton.setIcon(ui.deletePromptsButton.style().standardIcon(qt.QStyle.SP_TrashIcon))
        show_pressed(ui.pointButton)
        ui.pointButton.connect("toggled(bool)", self._tool_toggled)
        ui.deletePromptsButton.connect("clicked()", self.delete_all)
        ui.radiusSpinBox.connect("valueChanged(double)", lambda _radius: self.watch.changed())

    # -- what the panel asks

    def show(self, parameter_node) -> None:
        """Follows the prompts of the scene and lists them. The tool is switched on for a volume that is newly chosen."""
        self._node = parameter_node
        for kind, name in _FIELDS.items():
            node = getattr(parameter_node, name)
            if node is not None and not kind_of(node):  # a scene of an earlier version
                node.SetAttribute(ATTRIBUTE, kind)
        self.refresh()
        if self._active:
            self._offer_tool()

    def stop(self) -> None:
        self.activate(False)
        self.watch.rest()
        self.watch.forget()

    def activate(self, on: bool) -> None:
        self.tools_off()
        self._active, self._chosen_for = on, None
        if on and self._node is not None:
            self.refresh()
            self._offer_tool()

    def refresh(self) -> None:
        """Takes up what was removed or renamed elsewhere; to be called often."""
        if self._node is None:
            return
        self.watch.refresh(prompt_nodes(*_FIELDS, BOX, STROKE, OUTSIDE_STROKE))
        self._list()

    def pointed(self) -> Pointed:
        """What is pointed at in the chosen volume. What was drawn on another volume is among it only if nothing else is, so
        that the request says so."""
        own = [node for node in prompt_nodes() if volume_of(node) in (None, self._volume())]
        places = {kind: positions_of(node) for kind, node in self._points().items()}
        drawn = own if own or places[INSIDE] else prompt_nodes(BOX)
        strokes = {kind: tuple(node for node in own if kind_of(node) == kind) for kind in (STROKE, OUTSIDE_STROKE)}
        return Pointed(
            places[INSIDE], places[OUTSIDE], tuple(n for n in drawn if kind_of(n) == BOX),
            strokes[STROKE], strokes[OUTSIDE_STROKE], self._node.radius or None,
        )  # fmt: skip

    def tools_off(self) -> None:
        self._ui.pointButton.setChecked(False)

    def delete_all(self) -> None:
        for node in prompt_nodes(INSIDE, OUTSIDE):
            node.RemoveAllControlPoints()
        for node in prompt_nodes():
            remove_node(node)
        if self._node is not None:
            self._node.radius = 0.0
        self.refresh()

    def rest(self) -> None:
        """What has changed just now is answered already."""
        self.refresh()
        self.watch.rest()

    def points_node(self, kind: str):
        node = getattr(self._node, _FIELDS[kind])
        if node is None:
            node = make_prompt(kind)
            setattr(self._node, _FIELDS[kind], node)
        return node

    def say(self, text: str) -> None:
        """Shows what should be known of the prompts; "" brings back how to point."""
        text = text or ("" if self._table.rows else _HINT)
        if self._ui.promptHint.text != text:
            self._ui.promptHint.text = text
        self._ui.promptHint.setVisible(bool(text))

    # -- the tool

    def _volume(self):
        return self._node.volume if self._node is not None else None

    def _offer_tool(self) -> None:
        volume = self._volume()
        if volume is not self._chosen_for:
            self._chosen_for = volume
            self._ui.pointButton.setChecked(volume is not None)
        self._ui.pointButton.enabled = volume is not None

    def _tool_toggled(self, on: bool) -> None:
        if not on:
            self._tool.stop()
            return
        self._section.point_tool_on()
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        if interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        self._tool.start()

    def _drawn(self, slice_node) -> None:
        self.rest()
        self._pointing.drawn(slice_node)

    # -- changes

    def _moved(self, box) -> None:
        self.refresh()
        self._pointing.moving(box)

    def _rested(self, box) -> None:
        self.refresh()
        self._pointing.changed(box)

    # -- the list

    def _list(self) -> None:
        rows = prompt_rows(self._volume(), self._points())
        self._table.show(rows)
        button, help_text = self._ui.deletePromptsButton, _("Remove all points, boxes and strokes")
        button.enabled = bool(rows)
        button.toolTip = help_text if rows else _("There is nothing to remove")
        if not rows or self._ui.promptHint.text == _HINT:
            self.say("")

    def _points(self) -> dict[str, object]:
        return {kind: getattr(self._node, name) for kind, name in _FIELDS.items()}

    def _go(self, row: PromptRow) -> None:
        for node in slice_nodes():
            node.JumpSliceByOffsetting(*row.centre)

    def _remove(self, rows: list[PromptRow]) -> None:
        self.watch.tell_now()  # what was dragged before is a step of its own
        for row in sorted(rows, key=lambda row: -row.number):  # the numbers of earlier points stay right
            node = slicer.mrmlScene.GetNodeByID(row.node_id)
            if node is not None and row.number >= 0:
                node.RemoveNthControlPoint(row.number)
            elif node is not None:
                remove_node(node)
        self.watch.changed()
        self.refresh()
