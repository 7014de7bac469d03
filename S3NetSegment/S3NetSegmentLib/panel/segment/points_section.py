"""Points inside and outside the object, and its rough radius."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
import vtk

from ...engine import InputError
from ...scene.points import add_point, points_from_markups
from ..widgets.slice_mouse import MouseAction, SliceMouse

_KINDS = {
    "inside": ("insidePoints", "Inside points", (0.1, 0.8, 0.2)),
    "outside": ("outsidePoints", "Outside points", (0.9, 0.2, 0.2)),
}
_SETTLE = 150  # ms without a change before points are used: dragging a point sends many changes
_SHORTEST_DRAG = 1.0  # mm; less is a click


class PointsSection:
    """Place buttons for both point lists, and the drag tool for the radius.

    ``on_change()`` is called when points or radius have changed and are at rest.
    """

    def __init__(self, ui, on_change: Callable[[], object], on_tool: Callable[[], object]):
        """
        :param on_tool: called when one of the mouse tools is switched on, so that others can be switched off.
        """
        self._ui, self._on_change, self._on_tool = ui, on_change, on_tool
        self._node = None
        self._observed: list[tuple[object, int]] = []
        self._points_nodes: tuple = ()
        self._buttons = {"inside": ui.insideButton, "outside": ui.outsideButton}
        self._interaction = None
        self._mouse = SliceMouse(self._dragged)
        self._drag = None  # (centre, line node) while the radius is being dragged
        self._settle = qt.QTimer()
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE)
        self._settle.connect("timeout()", self._on_change)
        ui.deletePointsButton.setIcon(ui.deletePointsButton.style().standardIcon(qt.QStyle.SP_TrashIcon))
        ui.insideButton.connect("toggled(bool)", self._place_inside)
        ui.outsideButton.connect("toggled(bool)", self._place_outside)
        ui.deletePointsButton.connect("clicked()", self.delete_all)
        ui.dragButton.connect("toggled(bool)", self._drag_toggled)
        ui.radiusSpinBox.connect("valueChanged(double)", self._changed)

    # -- what the panel asks

    def show(self, parameter_node) -> None:
        """Observes the point lists of the parameter node and shows their counts."""
        self._node = parameter_node
        nodes = tuple(getattr(parameter_node, field) for field, _, _ in _KINDS.values())
        if nodes != self._points_nodes:
            self.forget()
            self._points_nodes = nodes
            for node in nodes:
                if node is not None:
                    self._observed += [(node, node.AddObserver(event, self._changed)) for event in _point_events()]
        self._show_counts()

    def start(self) -> None:
        """The panel was entered."""
        self._interaction = slicer.app.applicationLogic().GetInteractionNode()
        if self._interaction is not None:
            event = slicer.vtkMRMLInteractionNode.InteractionModeChangedEvent
            self._mode_tag = self._interaction.AddObserver(event, self._mode_changed)

    def stop(self) -> None:
        """The panel was left: no tool stays on, nothing is observed."""
        self.tools_off()
        if self._interaction is not None:
            self._interaction.RemoveObserver(self._mode_tag)
        self._interaction = None
        self._settle.stop()
        self.forget()

    def positions(self) -> tuple[list, list, float | None]:
        """``(inside, outside, radius in mm or None)``, positions in world RAS."""
        inside, outside = (
            [tuple(map(float, point)) for point in points_from_markups(getattr(self._node, field))]
            for field, _, _ in _KINDS.values()
        )
        return inside, outside, self._node.radius or None

    def tools_off(self) -> None:
        """Ends placing and dragging."""
        for button in (*self._buttons.values(), self._ui.dragButton):
            button.setChecked(False)

    def delete_all(self) -> None:
        """Deletes all points and the radius."""
        for field, _, _ in _KINDS.values():
            node = getattr(self._node, field) if self._node is not None else None
            if node is not None:
                node.RemoveAllControlPoints()
        if self._node is not None:
            self._node.radius = 0.0

    # -- placing

    def _place_inside(self, on: bool) -> None:
        self._place("inside", on)

    def _place_outside(self, on: bool) -> None:
        self._place("outside", on)

    def _place(self, kind: str, on: bool) -> None:
        logic = slicer.app.applicationLogic()
        selection, interaction = logic.GetSelectionNode(), logic.GetInteractionNode()
        if interaction is None or self._node is None:
            return
        if not on:
            if not any(button.checked for button in self._buttons.values()):
                interaction.SetCurrentInteractionMode(interaction.ViewTransform)
            return
        self._on_tool()
        self._ui.dragButton.setChecked(False)
        for other, button in self._buttons.items():
            if other != kind:
                button.setChecked(False)
        selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
        selection.SetActivePlaceNodeID(self._points_node(kind).GetID())
        interaction.SetPlaceModePersistence(1)
        interaction.SetCurrentInteractionMode(interaction.Place)

    def _points_node(self, kind: str):
        """The point list, made when it is first needed."""
        field, name, color = _KINDS[kind]
        node = getattr(self._node, field)
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
            node.CreateDefaultDisplayNodes()
            node.SetControlPointLabelFormat("+%d" if kind == "inside" else "-%d")
            display = node.GetDisplayNode()
            if display is not None:
                display.SetSelectedColor(*color)
                display.SetColor(*color)
                display.SetGlyphScale(1.8)
                display.SetTextScale(2.5)
            setattr(self._node, field, node)
        return node

    def _mode_changed(self, interaction, event) -> None:
        """Somebody ended place mode, e.g. by a right click or the toolbar."""
        if interaction.GetCurrentInteractionMode() != interaction.Place:
            for button in self._buttons.values():
                button.setChecked(False)

    # -- dragging the radius

    def _drag_toggled(self, on: bool) -> None:
        if on:
            self._on_tool()
            for button in self._buttons.values():
                button.setChecked(False)
            self._mouse.start()
        else:
            self._mouse.stop()
            self._end_drag()

    def _dragged(self, action: MouseAction) -> bool:
        if action.kind == "press":
            line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "Radius")
            line.SetHideFromEditors(True)
            line.SetSaveWithScene(False)
            line.CreateDefaultDisplayNodes()
            add_point(line, action.ras)
            add_point(line, action.ras)
            self._drag = (action.ras, line)
            return True
        if self._drag is None:
            return False
        center, line = self._drag
        line.SetNthControlPointPositionWorld(1, *action.ras)
        if action.kind == "release":
            self._end_drag()
            radius = sum((a - b) ** 2 for a, b in zip(center, action.ras, strict=True)) ** 0.5
            add_point(self._points_node("inside"), center)
            if radius >= _SHORTEST_DRAG:
                self._node.radius = round(min(radius, self._ui.radiusSpinBox.maximum), 1)
            self._ui.dragButton.setChecked(False)
        return True

    def _end_drag(self) -> None:
        if self._drag is not None:
            slicer.mrmlScene.RemoveNode(self._drag[1])
        self._drag = None

    # -- inside

    def _changed(self, *_) -> None:
        self._show_counts()
        self._settle.start()

    def _show_counts(self) -> None:
        total = 0
        for kind, button in self._buttons.items():
            node = getattr(self._node, _KINDS[kind][0]) if self._node is not None else None
            try:
                count = len(points_from_markups(node))
            except InputError:
                count = 0
            total += count
            text = kind.capitalize() + (f" ({count})" if count else "")
            if button.text != text:
                button.text = text
        self._ui.deletePointsButton.enabled = total > 0
        self._ui.deletePointsButton.toolTip = "Delete all points" if total else "There are no points to delete"

    def forget(self) -> None:
        """Observes no points any more."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._points_nodes = [], ()


def _point_events() -> tuple[int, ...]:
    markups = slicer.vtkMRMLMarkupsNode
    return (
        markups.PointPositionDefinedEvent,
        markups.PointPositionUndefinedEvent,
        markups.PointRemovedEvent,
        markups.PointEndInteractionEvent,
        vtk.vtkCommand.ModifiedEvent,
    )
