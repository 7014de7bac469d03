"""Tells when the user has drawn, undone, renamed or removed something in a segmentation, once things have calmed down."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

_CALM = 120  # ms without a further change: one stroke tells of itself several times


class DrawingWatch:
    """Calls ``on_touch()`` at every change at once, and ``on_change()`` after the last of them."""

    def __init__(self, on_change: Callable[[], object], on_touch: Callable[[], object]):
        self._on_change, self._on_touch = on_change, on_touch
        self._observed: tuple | None = None  # (segmentation, tags)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CALM)
        self._timer.connect("timeout()", self._calm)

    @property
    def active(self) -> bool:
        return self._observed is not None

    def watch(self, segmentation_node) -> None:
        """Observes ``segmentation_node``; None: nothing."""
        segmentation = segmentation_node.GetSegmentation() if segmentation_node is not None else None
        if self._observed is not None and self._observed[0] is segmentation:
            return
        self.stop()
        if segmentation is not None:
            cls = slicer.vtkSegmentation
            events = (cls.SourceRepresentationModified, cls.SegmentAdded, cls.SegmentRemoved, cls.SegmentModified)
            self._observed = (segmentation, [segmentation.AddObserver(event, self._touched) for event in events])

    def stop(self) -> None:
        """Observes nothing any more; a change that was not told yet is not told."""
        self._timer.stop()
        if self._observed is not None:
            for tag in self._observed[1]:
                self._observed[0].RemoveObserver(tag)
        self._observed = None

    def _touched(self, *_) -> None:
        self._timer.start()
        self._on_touch()

    def _calm(self) -> None:
        self._on_change()
