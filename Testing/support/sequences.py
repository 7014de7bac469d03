"""Sequences of volumes, as Slicer's Sequences module plays them."""

from __future__ import annotations

import numpy as np
import slicer


def play(volume_node, frames, shown: int = 0):
    """Makes ``volume_node`` show one of ``frames``, arrays of its voxels; returns the browser."""
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "beats")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("ms")
    for number, array in enumerate(frames):
        slicer.util.updateVolumeFromArray(volume_node, np.ascontiguousarray(array))
        sequence.SetDataNodeAtValue(volume_node, str(40 * number))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(volume_node, sequence, False)
    show(browser, shown)
    return browser


def show(browser, frame: int) -> None:
    browser.SetSelectedItemNumber(frame)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
