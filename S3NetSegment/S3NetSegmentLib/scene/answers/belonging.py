"""Which volume a segmentation belongs to, and whether its grid is that of another one."""

from __future__ import annotations

import numpy as np

from ...engine import InputError
from ..segmentation.labelmaps import reference_lattice
from ..transforms import world_from_parent
from ..volumes import volume_from_node

_TOLERANCE = 1e-3  # voxels, over the whole volume


def foreign_text(segmentation_node, volume_node) -> str:
    """Why a segmentation is not one of ``volume_node``, for a message; "" if it is, or belongs to none."""
    reference = _reference_volume(segmentation_node)
    if reference is volume_node:
        return ""
    if reference is not None:
        return f"{segmentation_node.GetName()!r} belongs to {reference.GetName()!r}, not to {volume_node.GetName()!r}"
    return other_grid_text(segmentation_node, volume_node)


def other_grid_text(segmentation_node, volume_node) -> str:
    """That the grid of a segmentation is not that of ``volume_node``, for a message; "" if it fits or was chosen for it."""
    if _reference_volume(segmentation_node) is volume_node:
        return ""  # perhaps a finer one, which Slicer offers
    lattice = reference_lattice(segmentation_node)
    if lattice is None:
        return ""
    try:
        volume = volume_from_node(volume_node)
        moved = np.linalg.inv(volume.ijk_to_ras) @ world_from_parent(segmentation_node) @ lattice
    except InputError:
        return ""  # whoever segments it is told
    moved[:3, 3] -= np.round(moved[:3, 3])  # it may begin at another voxel
    if np.abs((moved - np.eye(4))[:3] @ (*volume.size, 1)).max() < _TOLERANCE:
        return ""
    return f"the grid of {segmentation_node.GetName()!r} is not that of {volume_node.GetName()!r}"


def _reference_volume(segmentation_node):
    return segmentation_node.GetNodeReference(segmentation_node.GetReferenceImageGeometryReferenceRole())
