"""``PromptWatch``: notices that prompts are moved, dragged or removed in the scene, and when they are at rest again."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
import vtk

from ...scene.prompts import BOX, kind_of

_FOLLOW = 30  # ms after a change before the answer follows it: dragging a point or a side sends many changes
_SETTLE = 50  # ms after the end of a drag, or after another change
_REST = 250  # ms without a change, after which a drag has ended though nobody said so


class PromptWatch:
    """Observes the prompts that :meth:`look` is given.

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
        self._settle, self._follow = qt.QTimer(), qt.QTimer()
        for timer, action in ((self._settle, self._settled), (self._follow, self._moved)):
            timer.setSingleShot(True)
            timer.connect("timeout()", action)
        self._follow.setInterval(_FOLLOW)

    @property
    def waiting(self) -> bool:
        """Whether something has changed that is not told yet."""
        return self._settle.active or self._follow.active

    def look(self, nodes) -> None:
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
        """What has changed before is told now."""
        if self._settle.active:
            self._settle.stop()
            self._settled()

    def rest(self) -> None:
        """What has changed just now is told already."""
        self._settle.stop()
        self._follow.stop()

    def forget(self) -> None:
        """Observes nothing any more."""
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
