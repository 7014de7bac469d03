"""``DrawingFollower``: keeps a FewShotController on the volume and segmentation that the parameter node selects."""

from __future__ import annotations

from collections.abc import Callable

from ..engine import InputError
from ..scene.accepted_answer import AcceptedAnswer
from ..scene.segments import create_segmentation
from ..scene.support_set import support_from_text, support_to_text
from .few_shot_controller import FewShotController


class DrawingFollower:
    """What is known of a drawing is kept in the parameter node (``support``, ``acceptedAnswer``), so with the scene; that of
    earlier selections as long as the scene is open."""

    def __init__(self, controller: FewShotController, on_error: Callable[[str], object]):
        self._controller, self._on_error = controller, on_error
        self._pair = self._ids = None  # the volume and segmentation that are drawn in, and their ids
        self._kept: dict[tuple, tuple[str, str]] = {}  # ids of earlier ones -> support and accepted answer
        self._may_create = True

    def allow_new(self) -> None:
        """A segmentation to draw in may be made where there is none, as Slicer's own editor does."""
        self._may_create = True

    def follow(self, node, create: bool) -> None:
        """Takes up the drawing of the selected volume and segmentation.

        :param create: make a segmentation if none is selected; one that the user has removed does not come back by itself.
        """
        if self._removed():
            self._may_create = False
        elif self._pair is not None and self._pair[0] is not node.volume:
            self._may_create = True
        if create and self._may_create and node.volume is not None and node.segmentation is None:
            self._new_segmentation(node)
            if node.segmentation is not None:
                return  # the parameter node was modified: this was called again
        pair = (node.volume, node.segmentation)
        if self._pair is not None and all(a is b for a, b in zip(pair, self._pair, strict=True)):
            return
        support, accepted = node.support, node.acceptedAnswer
        if self._pair is not None and None not in self._pair:
            # The user went on to another volume or segmentation, and may come back.
            self._kept[self._ids] = (support, accepted)
            support, accepted = self._kept.get(_ids(pair), ("", ""))
        self._pair, self._ids = pair, _ids(pair)
        try:
            self._controller.set_drawing(*pair, support_from_text(support), AcceptedAnswer.from_text(accepted))
        except InputError as error:
            self._controller.set_drawing(None, None)
            self._on_error(str(error))
        node.acceptedAnswer = accepted
        if self._controller.support is None:
            node.support = ""

    def keep(self, node) -> None:
        """Writes the drawn slices to the parameter node."""
        support = self._controller.support
        if node is None or support is None:
            return
        text = support_to_text(support.slices) if support.slices else ""
        if node.support != text:
            node.support = text

    def forget(self) -> None:
        """The scene closes."""
        self._pair = self._ids = None
        self._kept.clear()
        self._may_create = True

    def _removed(self) -> bool:
        return self._pair is not None and self._pair[1] is not None and self._pair[1].GetScene() is None

    def _new_segmentation(self, node) -> None:
        try:
            segmentation = create_segmentation(node.volume)
        except InputError:
            return  # the Propagate button says why this volume cannot be used
        segmentation.GetSegmentation().AddEmptySegment()
        node.segmentation = segmentation


def _ids(pair) -> tuple:
    return tuple(node.GetID() if node is not None else "" for node in pair)
