"""Segmentation nodes: making them, reading their segments, writing whole results. Edits: :func:`segment_edit`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import slicer

from ...engine import InputError, Segment, Segmentation, Volume
from ...engine.common.provenance import MODEL
from ...engine.images.segmentation import label_type, put_in_layer
from ..answers.provenance import PREFIX, made_by, segment_fact
from ..removing import remove_node
from ..volumes import place_beside, volume_from_node, world_from_parent
from .labelmaps import BINARY, ensure_binary_labelmap, read_segment, segment_of, segment_tag
from .segment_edit import segment_edit

_IMAGE_TAG = PREFIX + "Image"


def create_segmentation(volume_node, name: str | None = None) -> slicer.vtkMRMLSegmentationNode:
    """A new empty segmentation for ``volume_node``: on its grid, under its transform, beside it in the hierarchy.

    :raises InputError: a volume that cannot be segmented, see :func:`volume_from_node`.
    """
    volume_from_node(volume_node)
    scene = volume_node.GetScene()
    if not name:
        name = f"{volume_node.GetName()} segmentation"
        if scene.GetFirstNodeByName(name) is not None:  # else Slicer numbers it after one that was removed
            name = scene.GenerateUniqueName(name)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.GetSegmentation().SetSourceRepresentationName(BINARY)
    place_beside(node, volume_node)  # before the geometry, which is stored relative to the parent transform
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    return node


@contextmanager
def given_or_new(segmentation_node, volume_node, name: str | None = None) -> Iterator[slicer.vtkMRMLSegmentationNode]:
    """``segmentation_node``; None: a new one called ``name``, which an error in the block takes away again.

    :raises InputError: ``segmentation_node`` was removed from the scene meanwhile.
    """
    if segmentation_node is not None and segmentation_node.GetScene() is None:
        raise InputError(
            f"segmentation {segmentation_node.GetName()!r} was removed; choose another one, or none for a new one"
        )
    node = create_segmentation(volume_node, name) if segmentation_node is None else segmentation_node
    try:
        yield node
    except BaseException:
        if segmentation_node is None:
            remove_node(node)
        raise


def find_segment(segmentation_node, name: str, but: Container[str] = ()) -> str | None:
    """The id of the first segment called ``name`` that is not among ``but``, or None. One that differs in upper and lower case
    alone will do."""
    segmentation = segmentation_node.GetSegmentation()
    names = {i: segmentation.GetSegment(i).GetName() or "" for i in segmentation.GetSegmentIDs() if i not in but}
    alike = [i for i, own in names.items() if own.casefold() == name.casefold()]
    return min(alike, key=lambda i: names[i] != name, default=None)


def segment_look(segmentation_node, segment_id: str, value: int = 1) -> Segment:
    """Name, colour and terminology of a segment; ``value`` becomes its label value. InputError if there is none."""
    segment = segment_of(segmentation_node, segment_id)
    terminology = segment_tag(segmentation_node, segment_id, segment.GetTerminologyEntryTagName()) or ""
    return Segment(segment.GetName(), tuple(segment.GetColor()), value, terminology=terminology)


def segment_mask(segmentation_node, segment_id: str, geometry: Volume) -> np.ndarray:
    """A segment on the grid of ``geometry`` (world RAS, any orientation), bool ``[K, J, I]``, by nearest neighbour.

    :raises InputError: no such segment, or a non-linear parent transform.
    """
    box, lattice = read_segment(segmentation_node, segment_id)
    if lattice is not None:
        to_grid = np.linalg.inv(geometry.ijk_to_ras) @ world_from_parent(segmentation_node) @ lattice
        box = box.trimmed().moved(to_grid, geometry.extent)
    return box.over(geometry.extent)


def all_segments(segmentation_node, geometry: Volume) -> Segmentation:
    """All segments on the grid of ``geometry``, values 1, 2, ... in their order, each in the first layer where it covers no other.
    Errors as :func:`segment_mask`."""
    ensure_binary_labelmap(segmentation_node)
    ids = segmentation_node.GetSegmentation().GetSegmentIDs()
    layers = [np.zeros(geometry.array.shape[:3], label_type(len(ids)))]
    segments = []
    for value, segment_id in enumerate(ids, 1):
        mask = segment_mask(segmentation_node, segment_id, geometry)
        layer = put_in_layer(layers, mask, value, layers[0].dtype)
        segments.append(replace(segment_look(segmentation_node, segment_id, value), layer=layer))
    return Segmentation(layers, segments, geometry.ijk_to_ras)


def write_segmentation(
    segmentation: Segmentation,
    volume_node,
    segmentation_node=None,
    name: str | None = None,
) -> tuple[slicer.vtkMRMLSegmentationNode, list[str]]:
    """All segments of ``segmentation`` as new segments of a node, in one undoable action.

    :param segmentation: on any grid in world RAS, usually the whole volume's.
    :param segmentation_node: where to; None makes a new node called ``name``.
    :returns: the node and the segment ids in the order of ``segmentation.segments``.
    """
    ids: dict[int, str] = {}
    with (
        given_or_new(segmentation_node, volume_node, name) as node,
        segment_edit(node, volume_node) as edit,
    ):
        for number, labels in enumerate(segmentation.layers):
            grid = Volume(labels, segmentation.ijk_to_ras)
            chosen = [n for n, segment in enumerate(segmentation.segments) if segment.layer == number]
            layer_ids = edit.add_layer([segmentation.segments[n] for n in chosen], labels, grid)
            ids.update(zip(chosen, layer_ids, strict=True))
    return node, [ids[n] for n in range(len(segmentation.segments))]


def write_model_answer(
    segmentation: Segmentation,
    volume_node,
    segmentation_node=None,
    save_undo: Callable[[object], object] | None = None,
) -> tuple[slicer.vtkMRMLSegmentationNode, list[str]]:
    """Writes all segments of ``segmentation`` as one undoable action. Segments of another origin keep their voxels.

    A segment that a model found before in this volume, under the same name, is replaced, unless the user has set its status
    to completed. Any other segment of that name is the user's: the new one gets a number.

    :param segmentation: one layer, on the grid of the volume; its tags say that it is of method "Model".
    :param segmentation_node: where to; None makes a new one. It is removed again if writing fails.
    :param save_undo: called with the segmentation node before it is changed.
    :returns: the node and the segment ids in the order of ``segmentation.segments``.
    """
    labels, volume_name = segmentation.layers[0], volume_node.GetName()
    grid = Volume(labels, segmentation.ijk_to_ras)
    ids: dict[int, str] = {}
    new = []
    with (
        given_or_new(segmentation_node, volume_node) as node,
        segment_edit(node, volume_node, None if save_undo is None else lambda: save_undo(node)) as edit,
    ):
        for number, segment in enumerate(segmentation.segments):
            earlier = _earlier(node, segment.name, volume_name)
            if earlier is None:
                new.append(number)
                continue
            edit.replace(earlier, labels == segment.value, grid)
            edit.set_tags(earlier, {**segment.tags, _IMAGE_TAG: volume_name})
            ids[number] = earlier
        if new:
            added = edit.add_layer([segmentation.segments[n] for n in new], labels, grid)
            for number, segment_id in zip(new, added, strict=True):
                edit.set_tags(segment_id, {_IMAGE_TAG: volume_name})
                ids[number] = segment_id
    return node, [ids[n] for n in range(len(segmentation.segments))]


def _earlier(node, name: str, volume_name: str) -> str | None:
    """The segment that a model has found before under this name, if it may be replaced."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segmentation = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        if (
            segment.GetName() == name
            and made_by(node, segment_id) == MODEL
            and segment_fact(node, segment_id, "Image") == volume_name
            and logic.GetSegmentStatus(segment) != logic.Completed
        ):
            return segment_id
    return None
