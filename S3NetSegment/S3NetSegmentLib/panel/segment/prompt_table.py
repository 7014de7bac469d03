"""The prompts in the scene and their list in the panel: its rows, its table, and what happens to the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ...engine import InputError, Volume
from ...engine.images import AXES
from ...scene.prompts import BOX, INSIDE, box_of, centre_of, kind_of, points_from_markups, prompt_nodes, volume_of
from ...scene.slices import slice_name
from ...scene.volumes import volume_from_node
from ..run import timer
from ..widgets.choosing import SelectionTable

_FOLLOW = 30  # ms after a change before the answer follows it: dragging a point or a side sends many changes
_SETTLE = 50  # ms after the end of a drag, or after another change
_REST = 250  # ms without a change, after which a drag has ended though nobody said so
_BESIDE = _("beside the image")


class PromptWatch:
    """Observes the prompts that :meth:`refresh` is given.

    Attributes: ``observed``, node id -> (node, tags of its observers).

    :param drawing: whether the tool is drawing a prompt right now, whose changes do not count.
    :param on_move: ``on_move(box)`` while a side or a point is dragged, again and again.
    :param on_rest: ``on_rest(box)`` when what has changed is at rest. ``box``: the one that was dragged, or None.
    """

    def __init__(
        self, drawing: Callable[[], bool], on_move: Callable[[object], object], on_rest: Callable[[object], object]
    ):
        self._drawing, self._on_move, self._on_rest = drawing, on_move, on_rest
        self.observed: dict[str, tuple] = {}
        self._touched = None  # the box that was changed last
        self._settle, self._follow = timer(_SETTLE, self._settled), timer(_FOLLOW, self._moved)

    @property
    def waiting(self) -> bool:
        """Whether something has changed that is not reported yet."""
        return self._settle.active or self._follow.active

    def refresh(self, nodes) -> None:
        """``nodes`` are the prompts now: new ones are observed; that others have gone is a change."""
        present = {node.GetID(): node for node in nodes}
        for node_id in [known for known, (node, _tags) in self.observed.items() if present.get(known) is not node]:
            self._forget(node_id)
            self._settle_in(_SETTLE)
        for node_id, node in present.items():
            if node_id not in self.observed:
                ended = node.AddObserver(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent, self._released)
                self.observed[node_id] = (node, [ended, *(node.AddObserver(e, self._changed) for e in _events())])

    def changed(self) -> None:
        """Something other than a box has changed."""
        self._touched = None
        self._settle_in(_SETTLE)

    def tell_now(self) -> None:
        """What has changed before is reported now."""
        if self._settle.active:
            self._settle.stop()
            self._settled()

    def rest(self) -> None:
        """What has changed just now is reported already."""
        self._settle.stop()
        self._follow.stop()

    def forget(self) -> None:
        for node_id in list(self.observed):
            self._forget(node_id)

    # -- inside

    def _changed(self, node, _event) -> None:
        if not self._drawing():
            self._touched = node if kind_of(node) == BOX else None
            if not self._follow.active:  # not begun anew: the answer follows while the mouse goes on
                self._follow.start()
            self._settle_in(_REST)

    def _released(self, _node, _event) -> None:
        """The mouse button that dragged a point or a side was released."""
        if not self._drawing():
            self._settle_in(_SETTLE)

    def _settle_in(self, milliseconds: int) -> None:
        self._settle.setInterval(milliseconds)
        self._settle.start()

    def _moved(self) -> None:
        self._on_move(self._box())

    def _settled(self) -> None:
        if self._follow.active:
            self._follow.stop()
            self._moved()
        box, self._touched = self._box(), None
        self._on_rest(box)

    def _box(self):
        """The box that was changed last, if it is still there."""
        return self._touched if self._touched is not None and self._touched.GetScene() is not None else None

    def _forget(self, node_id: str) -> None:
        node, tags = self.observed.pop(node_id)
        for tag in tags:
            node.RemoveObserver(tag)


def _events() -> tuple[int, ...]:
    markups = slicer.vtkMRMLMarkupsNode
    return (
        markups.PointModifiedEvent,
        markups.PointPositionDefinedEvent,
        markups.PointPositionUndefinedEvent,
        markups.PointRemovedEvent,
        vtk.vtkCommand.ModifiedEvent,
    )


def prompt_rows(volume_node, points: Mapping[str, object]) -> list[PromptRow]:
    """The boxes and strokes of the scene, then the points.

    :param volume_node: the chosen volume, or None: places are told on its slices.
    :param points: kind of points -> their node, or None.
    """
    try:
        volume = volume_from_node(volume_node)
    except InputError:  # it cannot be segmented
        volume = None
    rows = [
        PromptRow(node.GetName(), _place(node, volume_node, volume), node.GetID(), centre_of(node))
        for node in prompt_nodes()
    ]
    for kind, node in points.items():
        for number, place in enumerate(positions_of(node)):
            name = f"{_('Point inside') if kind == INSIDE else _('Point outside')} {number + 1}"
            rows.append(PromptRow(name, _slice_at(place, volume), node.GetID(), place, number))
    return rows


def positions_of(node) -> list[tuple[float, float, float]]:
    """The points of a markups node (None: none), world RAS."""
    return [tuple(map(float, point)) for point in points_from_markups(node)]


def _place(node, volume_node, volume: Volume | None) -> str:
    drawn_on = volume_of(node)
    if drawn_on is not None and drawn_on is not volume_node:
        return _("on {volume!r}").format(volume=drawn_on.GetName())
    if kind_of(node) != BOX:
        return _slice_at(centre_of(node), volume)
    if volume is None:
        return _BESIDE
    try:
        box = box_of(node, volume)
    except InputError:
        return _BESIDE
    if box is None:
        return _("oblique")
    if box.flat_axis is None:
        return " × ".join(map(str, box.size))
    return slice_name(volume, box.flat_axis, box.slice_index())


def _slice_at(place, volume: Volume | None) -> str:
    if volume is None:
        return _BESIDE
    axis = volume.slice_axis("auto")
    try:
        return slice_name(volume, axis, volume.voxel_at(place)[AXES.index(axis)])
    except InputError:
        return _BESIDE


@dataclass(frozen=True)
class PromptRow:
    """One row.

    :param place: for the user, e.g. "axial 12".
    :param centre: where to look, world RAS.
    :param number: of a point in its list; -1: the node is all of it.
    """

    name: str
    place: str
    node_id: str
    centre: tuple[float, float, float]
    number: int = -1


class PromptTable(SelectionTable):
    """The table and its buttons; hidden while there are no rows."""

    def __init__(self, ui, on_go: Callable[[PromptRow], object], on_remove: Callable[[list[PromptRow]], object]):
        tips = (
            _("Show it in the slice views"), _("Select one line of the list first"),
            _("Remove it; the answer follows"), _("Select lines of the list first"),
        )  # fmt: skip
        super().__init__(
            ui.promptTable, ui.goToPromptButton, ui.removePromptButton, tips, on_go, on_remove, rows_seen=(2, 5)
        )
        self._ui = ui
        ui.promptTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.promptTable.horizontalHeader().setHighlightSections(False)
        self._show_frame()

    def show(self, rows: list[PromptRow]) -> None:
        """Shows ``rows``; the selection stays where it can."""
        if rows == self.rows:
            return
        chosen = {(row.node_id, row.number) for row in self.selected()}
        table = self._ui.promptTable
        self.rows = list(rows)
        table.setRowCount(len(rows))
        table.clearSelection()
        for number, row in enumerate(rows):
            for column, text in enumerate((row.name, row.place)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(f"{row.name}: {row.place}")
                table.setItem(number, column, item)
                item.setSelected((row.node_id, row.number) in chosen)
        self._show_frame()

    def _show_frame(self) -> None:
        self.fit_height(self.rows)
        self._ui.promptFrame.setVisible(bool(self.rows))
        self.show_buttons()
