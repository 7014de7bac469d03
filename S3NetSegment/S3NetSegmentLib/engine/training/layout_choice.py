"""The slices or patches that suit the images of a cohort."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..common.errors import InputError
from ..images import Volume
from .slice_layout import (
    LEAST_DEPTH,
    PLANES,
    SliceLayout,
    across_slices,
    is_made_in_slices,
    orientation,
    plane_of,
)


def choose_layout(
    volumes: Sequence[Volume], *, side: int = 256, spacing: float = 0.0, plane: str = "auto", depth: int = 1, **more
) -> tuple[SliceLayout, list[str]]:
    """The layout that suits ``volumes`` (only their grids are looked at), and sentences about what differs among them.

    :param more: ``channels``, ``colour`` and ``neighbours`` of :class:`SliceLayout`.

    :param side: largest side of a slice in pixels; it is made smaller, to a multiple of 16, where no volume needs it.
    :param spacing: mm per pixel; 0: the finest common one, the median of the volumes, made coarser only as far as the
        largest volume needs to fit into ``side``.
    :param plane: one of :data:`PLANES`, or "auto": that in which most volumes were made.
    :param depth: largest number of slices in a patch (3D), made smaller where no volume needs it; 1: slices by themselves.
    :raises InputError: patches of volumes that have one slice alone.
    """
    made = [plane_of(v) for v in volumes if is_made_in_slices(v)]
    notes = []
    if plane == "auto":
        known = made or [plane_of(v) for v in volumes]
        plane = max(PLANES, key=known.count)
    others = len(made) - made.count(plane)
    if others:
        notes.append(
            f"{others} of {len(volumes)} images were made in other than {plane} slices; they are cut into such slices"
        )
    across = PLANES[plane]
    pixel, extent, turned = [], [], set()
    for volume in volumes:
        axes, flips = orientation(volume.ijk_to_ras)
        sides = [(volume.spacing[axes[a]], volume.size[axes[a]]) for a in range(3) if a != across]
        pixel.append(min(s for s, _ in sides))
        extent.append(max(s * n for s, n in sides))
        turned.add((axes, flips))
    if len(turned) > 1:
        notes.append(f"the images lie in {len(turned)} different orientations; their slices are all turned alike")
    if spacing <= 0:
        spacing = max(float(np.median(pixel)), max(extent) / side)
        if max(pixel) > 1.02 * min(pixel):
            notes.append(
                f"the pixel sizes differ, {min(pixel):.3g} to {max(pixel):.3g} mm; all slices are resampled to {spacing:.3g} mm"
            )
    needed = max(round(e / spacing) for e in extent)
    side = min(side, math.ceil(needed / 16) * 16)
    if needed > side:
        notes.append(
            f"the largest image has {needed} pixels of {spacing:.3g} mm along a slice; only the middle {side} are used, and what "
            "lies beside it is not learnt; set a larger slice_side, or leave slice_spacing at 0"
        )
    if depth > 1:
        thickness, depth, said = _stacks(volumes, plane, spacing, depth)
        more, notes = {**more, "depth": depth, "thickness": thickness}, [*notes, *said]
    return SliceLayout(plane, round(spacing, 6), side, **more), notes


def _stacks(volumes: Sequence[Volume], plane: str, spacing: float, depth: int) -> tuple[float, int, list[str]]:
    """The thickness and the depth of patches, see :func:`choose_layout`: slices lie as far apart as in most volumes, but not
    closer than their pixels."""
    each = [across_slices(volume, plane) for volume in volumes]
    flat = [volume.name for volume, (count, _) in zip(volumes, each, strict=True) if count == 1]
    if flat:
        raise InputError(
            f"{len(flat)} of {len(volumes)} images are single {plane} slices ({flat[0]!r} is one), from which a 3D network cannot learn; "
            "set dimensions=2, or take them out"
        )
    thick = [mm for _, mm in each]
    thickness = round(max(float(np.median(thick)), spacing), 6)
    notes = []
    if max(thick) > 1.02 * min(thick):
        notes.append(
            f"the distances of slices differ, {min(thick):.3g} to {max(thick):.3g} mm; all patches are resampled to {thickness:.3g} mm"
        )
    needed = max(round(count * mm / thickness) for count, mm in each)
    return thickness, max(LEAST_DEPTH, min(depth, math.ceil(needed / LEAST_DEPTH) * LEAST_DEPTH)), notes
