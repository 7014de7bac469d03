"""Volumes that show one frame of a sequence: which one, all of them, and segmentations that follow them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import slicer

from ..engine import InputError, Segmentation, Volume
from .removing import remove_node
from .segmentation.reading import write_segmentation
from .segmentation.segment_edit import segment_edit
from .volumes import volume_from_node, world_from_parent


def frame_of(volume_node) -> tuple[int, int] | None:
    """``(number of the frame, from 1, and of all frames)`` where ``volume_node`` shows the frame of a sequence; else None."""
    browser, sequence = _followed(volume_node)
    if sequence is None:
        return None
    # The browser counts the items of its master sequence; one that is synchronised with it may have others, of which it shows the last.
    value = browser.GetMasterSequenceNode().GetNthIndexValue(max(browser.GetSelectedItemNumber(), 0))
    return max(sequence.GetItemNumberFromIndexValue(value, False), 0) + 1, sequence.GetNumberOfDataNodes()


def frame_volumes(volume_node) -> list[Volume]:
    """Each frame of the sequence that ``volume_node`` shows one of, as :func:`volume_from_node` gives that one; of any other volume
    it alone.

    :raises InputError: as there, of any frame.
    """
    shown = volume_from_node(volume_node)
    _browser, sequence = _followed(volume_node)
    if sequence is None:
        return [shown]
    place, frames = world_from_parent(volume_node), []
    for number in range(sequence.GetNumberOfDataNodes()):  # these lie in a scene of their own, where no transform is
        frame = volume_from_node(sequence.GetNthDataNode(number))
        frames.append(
            dataclasses.replace(
                frame, ijk_to_ras=place @ frame.ijk_to_ras, name=shown.name, modality=frame.modality or shown.modality
            )
        )
    return frames


def write_frames(segmentations: Sequence[Segmentation], volume_node) -> slicer.vtkMRMLSegmentationNode:
    """A new segmentation that follows the sequence of ``volume_node``: with each frame it shows the segments of that frame. What
    is edited in a frame stays with it.

    :param segmentations: one for each frame, all with the same segments in one layer.
    :raises InputError: ``volume_node`` shows no sequence, or one of another length by now; then nothing is made.
    """
    browser, frames = _followed(volume_node)
    if frames is None or frames.GetNumberOfDataNodes() != len(segmentations):
        raise InputError(
            f"{volume_node.GetName()!r} no longer shows the {len(segmentations)} frames that were segmented"
        )
    scene = volume_node.GetScene()
    made: list = []
    try:
        node, ids = write_segmentation(segmentations[0], volume_node)
        made.append(node)
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", node.GetName())
        made.append(sequence)
        sequence.SetIndexName(frames.GetIndexName())
        sequence.SetIndexUnit(frames.GetIndexUnit())
        sequence.SetIndexType(frames.GetIndexType())
        for number, segmentation in enumerate(segmentations):
            if number > 0:
                grid = Volume(segmentation.layers[0], segmentation.ijk_to_ras)
                with segment_edit(node, volume_node) as edit:
                    for segment_id, segment in zip(ids, segmentation.segments, strict=True):
                        edit.replace(segment_id, grid.array == segment.value, grid)
                        edit.set_tags(segment_id, segment.tags)
            sequence.SetDataNodeAtValue(node, frames.GetNthIndexValue(number))
        browser.AddSynchronizedSequenceNode(sequence)
        browser.AddProxyNode(node, sequence, False)
        browser.SetSaveChanges(sequence, True)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    except BaseException:
        for one in made:
            remove_node(one)
        raise
    return node


def _followed(volume_node) -> tuple:
    """The browser and the sequence of which ``volume_node`` shows a frame; ``(None, None)`` for other volumes."""
    if volume_node is not None:
        for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
            sequence = browser.GetSequenceNode(volume_node)
            if sequence is not None:
                return browser, sequence
    return None, None
