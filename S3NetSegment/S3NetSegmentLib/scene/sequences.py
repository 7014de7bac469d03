"""Volumes that are one frame of a sequence (4D)."""

from __future__ import annotations

import slicer


def frame_of(volume_node) -> tuple[int, int] | None:
    """``(number of the frame, from 1, and of all frames)`` where ``volume_node`` shows the frame of a sequence; else None."""
    if volume_node is None:
        return None
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        sequence = browser.GetSequenceNode(volume_node)
        if sequence is not None:
            return browser.GetSelectedItemNumber() + 1, sequence.GetNumberOfDataNodes()
    return None
