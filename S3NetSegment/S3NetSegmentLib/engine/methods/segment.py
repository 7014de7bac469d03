"""Segment: regions of an image without any label, and objects made of them by points or by themselves.

``find_regions`` does the long work once; the ``Regions`` it returns answer every further question (another number of
regions, a point, another granularity) in milliseconds, without fitting again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..images import Extent, Segmentation, Volume
from ..progress import Steps
from ..settings import SegmentSettings

Voxel = tuple[int, int, int]  # (i, j, k) in the whole volume


def find_regions(
    volume: Volume,
    *,
    extent: Extent | None = None,
    axis: str = "auto",
    settings: SegmentSettings | None = None,
    device: str = "auto",
) -> Steps[Regions]:
    """Searches the regions of ``volume`` inside ``extent`` (None: everywhere), as a generator of progress steps.

    Intensities are normalised from the whole volume, so neighbouring slices treated one by one agree.

    :param axis: the axis across the slices, see :meth:`Volume.slice_axis`.
    :raises InputError: an image without contrast or with nothing finite, bad settings, an unusable device.
    """
    raise NotImplementedError
    yield


class Regions:
    """What was found in ``extent`` of ``volume``. All label arrays and masks are [K, J, I] over ``extent``.

    Attributes: volume, extent, axis ("x", "y", "z"), settings, device (str), notes (list of str: what the user should
    know, e.g. that memory ran out and the CPU took over), counts (tuple of available region numbers, ascending).
    """

    volume: Volume
    extent: Extent
    axis: str
    settings: SegmentSettings
    device: str
    notes: list[str]
    counts: tuple[int, ...]

    def labels(self, count: int) -> np.ndarray:
        """Regions 1 to ``count`` (uint8), canonical order: mean intensity ascending. InputError if not in counts."""

    def object_at(
        self, inside: Sequence[Voxel], outside: Sequence[Voxel] = (), radius_mm: float | None = None
    ) -> ObjectChoice:
        """The object at the first ``inside`` point; each further point adds (inside) or removes (outside) a region.

        :param radius_mm: rough radius of the object, if the user gave one.
        :raises InputError: no inside point, or a point outside ``extent``.
        """

    def main_object(self) -> ObjectChoice | None:
        """The main object of a picture that has one (component, border contact, centrality, size), or None."""

    def region_at(self, voxel: Voxel, count: int) -> np.ndarray:
        """Mask of the connected part of region ``labels(count)`` that holds ``voxel``."""

    def confidence(self, mask: np.ndarray | None = None, count: int | None = None) -> np.ndarray:
        """Confidence of each voxel's assignment, float32 0 to 1: margin x stability under affine views. With ``mask``:
        of being in or out of that object; otherwise of its region in ``labels(count)``."""

    def region_segmentation(self, count: int) -> Segmentation:
        """Regions as segments "Region 1" ... on the grid of the whole volume."""


class ObjectChoice:
    """An object and its alternatives: a ladder of candidate masks from small to large, of which one is chosen.

    Masks of other steps are made when they are asked for, so that a large volume holds only one at a time.

    Attributes: ``steps`` (length of the ladder, at least 1), ``index`` (the chosen step), ``alternatives`` (ladder
    indices of the best, at most three, clearly different answers, best first; the first is the automatic choice).
    """

    steps: int
    index: int
    alternatives: tuple[int, ...]

    @property
    def mask(self) -> np.ndarray:
        """The chosen object, bool [K, J, I] over the extent."""

    def at(self, index: int) -> ObjectChoice:
        """The same choice at another step of the ladder (clipped to its ends)."""
