"""A case of the loop through a cohort in the scene: its image, its segments, and what the user has changed in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer

from ..engine import InputError, Segmentation, Volume
from ..engine.cohort_loop.store import CaseImage
from ..engine.images import AXES
from ..engine.images.volume import slices_first
from .removing import remove_node
from .segmentation.reading import all_segments, create_segmentation, write_segmentation
from .volumes import node_of


@dataclass(frozen=True, eq=False)
class LoopCase:
    """A case that is open in the scene.

    :param shown: what was written into the segmentation, to see what the user has changed; None: it began empty.
    :param axis: across the slices that are corrected.
    """

    name: str
    image: CaseImage
    volume_node: slicer.vtkMRMLVolumeNode
    segmentation_node: slicer.vtkMRMLSegmentationNode
    shown: Segmentation | None
    axis: str

    @property
    def volume(self) -> Volume:
        return self.image.volume

    @property
    def is_there(self) -> bool:
        """Whether both nodes are still in a scene."""
        return self.volume_node.GetScene() is not None and self.segmentation_node.GetScene() is not None

    def remove(self) -> None:
        """Takes the case out of the scene."""
        for node in (self.segmentation_node, self.volume_node):
            remove_node(node)


def open_case(name: str, image: CaseImage, segmentation: Segmentation | None, axis: str) -> LoopCase:
    """Puts ``image`` and ``segmentation`` (None: an empty one) into the scene and shows them in the slice views."""
    volume_node = node_of(image.volume)
    try:
        volume_node.SetName(name)
        volume_node.CreateDefaultDisplayNodes()
        if segmentation is None:
            node = create_segmentation(volume_node)
        else:
            node, _ = write_segmentation(segmentation, volume_node, name=f"{name} segmentation")
        slicer.util.setSliceViewerLayers(background=volume_node, fit=True)
    except BaseException:
        remove_node(volume_node)
        raise
    return LoopCase(name, image, volume_node, node, segmentation, image.volume.slice_axis(axis))


def case_segmentation(case: LoopCase) -> Segmentation:
    """All segments of the case as they are now, each in a layer of its own if it overlaps others.

    :raises InputError: the case is no longer in the scene.
    """
    if not case.is_there:
        raise InputError(f"case {case.name!r} was removed from the scene; open it again")
    return all_segments(case.segmentation_node, case.volume)


def corrected_slices(case: LoopCase, now: Segmentation) -> list[int]:
    """Numbers along the axis of the case of the slices on which the user has changed something."""
    changed = np.zeros(case.volume.size[AXES.index(case.axis)], bool)
    shown = case.shown or Segmentation(now.layers, [], now.ijk_to_ras)
    for name in {segment.name for one in (shown, now) for segment in one.segments}:
        before, after = _named(shown, name), _named(now, name)
        changed |= slices_first(before != after, case.axis).any((1, 2))
    return [int(n) for n in np.flatnonzero(changed)]


def _named(segmentation: Segmentation, name: str) -> np.ndarray:
    """The voxels of the last segment of that name, none where there is no such segment."""
    found = [segment for segment in segmentation.segments if segment.name == name]
    return segmentation.mask(found[-1]) if found else np.zeros(segmentation.layers[0].shape, bool)
