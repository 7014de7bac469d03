"""What the user points at: the tool, the list of points, boxes and strokes, and the rough radius."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ...engine import InputError, Volume
from ...engine.images import AXES
from ...scene.points import points_from_markups
from ...scene.prompts import (
    ATTRIBUTE,
    BOX,
    INSIDE,
    OUTSIDE,
    OUTSIDE_STROKE,
    STROKE,
    box_of,
    centre_of,
    kind_of,
    make_prompt,
    prompt_nodes,
    volume_of,
)
from ...scene.slices import slice_name, slice_nodes
from ...scene.volumes import volume_from_node
from ..widgets.pressed import show_pressed
from .pointing_tool import PointingTool
from .prompt_table import PromptRow, PromptTable
from .request import Pointed

_FIELDS = {INSIDE: "insidePoints", OUTSIDE: "outsidePoints"}
_FOLLOW = 30  # ms after a change before the answer follows it: dragging a point or a side sends many changes
_SETTLE = 50  # ms after the end of a drag, or after another change
_REST = 250  # ms without a change, after which a drag has ended though nobody said so
_BESIDE = _("beside the image")
_HINT = _("Click in the object, or drag a box around it. Shift + drag: a stroke through it. Ctrl: what is outside.")


class PromptsSection:
    """The tool *Point at it* and the list of what was pointed at.

    ``on_gesture(slice_node)`` is called for what the tool has drawn in a view; ``on_move(node)`` while a side or a point is
    dragged, again and again, and ``on_change(node)`` when prompts have changed otherwise and are at rest: a side that was
    dragged, a point that was moved or removed (``node``: the box, or None).
    """

    def __init__(
        self,
        ui,
        on_gesture: Callable[[object], object],
        on_move: Callable[[object], object],
        on_change: Callable[[object], object],
        on_tool: Callable[[], object],
        on_refused: Callable[[str], object],
    ):
        """
        :param on_tool: called when the tool is switched on, so that others can be switched off.
        """
        self._ui, self._on_gesture, self._on_tool = ui, on_gesture, on_tool
        self._on_move, self._on_change = on_move, on_change
        self._node = self._touched = self._interaction = None
        self._observed: dict[str, tuple] = {}  # node id -> (node, tags)
        self._chosen_for = None  # the volume that the tool was switched on for
        self._tool = PointingTool(self._volume, self.points_node, self._drawn, on_refused)
        self._table = PromptTable(ui, self._go, self._remove)
        self._settle = qt.QTimer()
        self._settle.setSingleShot(True)
        self._settle.connect("timeout()", self._settled)
        self._follow = qt.QTimer()
        self._follow.setSingleShot(True)
        self._follow.setInterval(_FOLLOW)
        self._follow.connect("timeout()", self._moved)
        ui.deletePromptsButton.setIcon(ui.deletePromptsButton.style().standardIcon(qt.QStyle.SP_TrashIcon))
        show_pressed(ui.pointButton)
        ui.pointButton.connect("toggled(bool)", self._tool_toggled)
        ui.deletePromptsButton.connect("clicked()", self.delete_all)
        ui.radiusSpinBox.connect("valueChanged(double)", self._radius_changed)

    # -- what the panel asks

    def show(self, parameter_node) -> None:
        """Follows the prompts of the scene and lists them. The tool is switched on for a volume that is newly chosen."""
        self._node = parameter_node
        for kind, name in _FIELDS.items():
            node = getattr(parameter_node, name)
            if node is not None and not kind_of(node):  # a scene of an earlier version
                node.SetAttribute(ATTRIBUTE, kind)
        self.look()
        if self._interaction is not None and parameter_node.mode.value == "segment":
            self._offer_tool()

    def start(self) -> None:
        """The panel was entered."""
        self._interaction, self._chosen_for = slicer.app.applicationLogic().GetInteractionNode(), None

    def stop(self) -> None:
        """The panel was left: the tool is off, nothing is observed."""
        self.tools_off()
        self._interaction = None
        self._settle.stop()
        self._follow.stop()
        self.forget()

    def activate(self, on: bool) -> None:
        """The tab of Segment was turned to, or away from."""
        self.tools_off()
        self._chosen_for = None
        if on and self._node is not None:
            self._offer_tool()

    def look(self) -> None:
        """Takes up what was removed or renamed elsewhere; to be called often."""
        if self._node is None:
            return
        nodes = {node.GetID(): node for node in prompt_nodes(*_FIELDS, BOX, STROKE, OUTSIDE_STROKE)}
        for node_id in [known for known, (node, _tags) in self._observed.items() if nodes.get(known) is not node]:
            self._forget(node_id)
            self._settle_in(_SETTLE)
        for node_id, node in nodes.items():
            if node_id not in self._observed:
                ended = node.AddObserver(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent, self._released)
                self._observed[node_id] = (node, [ended, *(node.AddObserver(e, self._changed) for e in _events())])
        self._list()

    def pointed(self) -> Pointed:
        """What is pointed at in the chosen volume. What was drawn on another volume is among it only if nothing else is, so
        that the request says so."""
        own = [node for node in prompt_nodes() if volume_of(node) in (None, self._volume())]
        places = {kind: self._positions(kind) for kind in _FIELDS}
        drawn = own if own or places[INSIDE] else prompt_nodes(BOX)
        strokes = {
            kind: tuple(tuple(_tuples(node)) for node in own if kind_of(node) == kind)
            for kind in (STROKE, OUTSIDE_STROKE)
        }
        return Pointed(
            places[INSIDE], places[OUTSIDE], tuple(n for n in drawn if kind_of(n) == BOX),
            strokes[STROKE], strokes[OUTSIDE_STROKE], self._node.radius or None,
        )  # fmt: skip

    def tools_off(self) -> None:
        self._ui.pointButton.setChecked(False)

    def delete_all(self) -> None:
        """Deletes all prompts and the radius."""
        for node in prompt_nodes(INSIDE, OUTSIDE):
            node.RemoveAllControlPoints()
        for node in prompt_nodes():
            slicer.mrmlScene.RemoveNode(node)
        if self._node is not None:
            self._node.radius = 0.0
        self.look()

    def rest(self) -> None:
        """What has changed just now is answered already."""
        self.look()
        self._settle.stop()
        self._follow.stop()

    def points_node(self, kind: str):
        """The list of points of a kind, made when it is first needed."""
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

    def forget(self) -> None:
        """Observes no prompts any more."""
        for node_id in list(self._observed):
            self._forget(node_id)

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
        self._on_tool()
        interaction = self._interaction
        if interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        self._tool.start()

    def _drawn(self, slice_node) -> None:
        self.rest()
        self._on_gesture(slice_node)

    # -- changes

    def _changed(self, node, _event) -> None:
        if not self._tool.drawing:
            self._touched = node if kind_of(node) == BOX else None
            if not self._follow.active:  # not begun anew: the answer follows while the mouse goes on
                self._follow.start()
            self._settle_in(_REST)

    def _released(self, node, _event) -> None:
        """The mouse button that dragged a point or a side was released."""
        if not self._tool.drawing:
            self._settle_in(_SETTLE)

    def _settle_in(self, milliseconds: int) -> None:
        self._settle.setInterval(milliseconds)
        self._settle.start()

    def _moved(self) -> None:
        self.look()
        node = self._touched
        self._on_move(node if node is not None and node.GetScene() is not None else None)

    def _radius_changed(self, *_) -> None:
        self._touched = None
        self._settle_in(_SETTLE)

    def _settled(self) -> None:
        if self._follow.active:
            self._follow.stop()
            self._moved()
        self.look()
        touched, self._touched = self._touched, None
        self._on_change(touched if touched is not None and touched.GetScene() is not None else None)

    def _forget(self, node_id: str) -> None:
        node, tags = self._observed.pop(node_id)
        for tag in tags:
            node.RemoveObserver(tag)

    # -- the list

    def _list(self) -> None:
        rows, volume = [], self._image()
        for node in prompt_nodes():
            rows.append(PromptRow(node.GetName(), self._place(node, volume), node.GetID(), centre_of(node)))
        for kind in _FIELDS:
            node = getattr(self._node, _FIELDS[kind])
            for number, place in enumerate(self._positions(kind)):
                name = f"{_('Point inside') if kind == INSIDE else _('Point outside')} {number + 1}"
                rows.append(PromptRow(name, _slice_at(place, volume), node.GetID(), place, number))
        self._table.show(rows)
        button, help_text = self._ui.deletePromptsButton, _("Remove all points, boxes and strokes")
        button.enabled = bool(rows)
        button.toolTip = help_text if rows else _("There is nothing to remove")
        if not rows or self._ui.promptHint.text == _HINT:
            self.say("")

    def _image(self) -> Volume | None:
        """The chosen volume as the engine sees it; None where it cannot be segmented."""
        try:
            return volume_from_node(self._volume())
        except InputError:
            return None

    def _place(self, node, volume: Volume | None) -> str:
        drawn_on = volume_of(node)
        if drawn_on is not None and drawn_on is not self._volume():
            return f"on {drawn_on.GetName()!r}"
        if kind_of(node) != BOX:
            return _slice_at(centre_of(node), volume)
        if volume is None:
            return _BESIDE
        try:
            box = box_of(node, volume)
        except InputError:
            return _BESIDE
        if box is None:
            return "oblique"
        if box.flat_axis is None:
            return " × ".join(map(str, box.size))
        return slice_name(volume, box.flat_axis, box.slice_index())

    def _positions(self, kind: str) -> list[tuple[float, float, float]]:
        return _tuples(getattr(self._node, _FIELDS[kind]))

    def _go(self, row: PromptRow) -> None:
        for node in slice_nodes():
            node.JumpSliceByOffsetting(*row.centre)

    def _remove(self, rows: list[PromptRow]) -> None:
        if self._settle.active:  # what was dragged before is a step of its own
            self._settle.stop()
            self._settled()
        for row in sorted(rows, key=lambda row: -row.number):  # the numbers of earlier points stay right
            node = slicer.mrmlScene.GetNodeByID(row.node_id)
            if node is not None and row.number >= 0:
                node.RemoveNthControlPoint(row.number)
            elif node is not None:
                slicer.mrmlScene.RemoveNode(node)
        self._touched = None
        self._settle_in(_SETTLE)
        self.look()


def _slice_at(place, volume: Volume | None) -> str:
    if volume is None:
        return _BESIDE
    axis = volume.slice_axis("auto")
    try:
        return slice_name(volume, axis, volume.voxel_at(place)[AXES.index(axis)])
    except InputError:
        return _BESIDE


def _tuples(node) -> list[tuple[float, float, float]]:
    return [tuple(map(float, point)) for point in points_from_markups(node)]


def _events() -> tuple[int, ...]:
    markups = slicer.vtkMRMLMarkupsNode
    return (
        markups.PointModifiedEvent,
        markups.PointPositionDefinedEvent,
        markups.PointPositionUndefinedEvent,
        markups.PointRemovedEvent,
        vtk.vtkCommand.ModifiedEvent,
    )
