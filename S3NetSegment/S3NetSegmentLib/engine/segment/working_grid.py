"""The grid on which regions are searched, and the way from and to the image's own voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..common.arrays import three, two
from ..common.progress import Steps
from ..images import AXES, Extent, Volume
from ..images.intensity import IntensityScale
from ..images.resample import resized, shrunk_features
from .prompts import Box, require_inside
from .regions.maps import volume_working_shape, working_shape


class WorkingGrid:
    """A grid of bounded size that covers the box of ``extent`` edge to edge.

    An extent of one slice is a picture: its grid is (h, w) with square pixels. A thicker one is a volume: (k, j, i).

    Everything on this grid, and the voxels that it speaks of, are in the order of :attr:`Volume.ordered`; :meth:`stored` leads
    out of it.

    Attributes: ``order`` (:attr:`Volume.order`), ``extent``, ``axis`` (across the slices), ``flat`` (one slice), ``native`` and
    ``shape`` (samples along each axis, of the image and of this grid), ``spacing`` (mm between samples of this grid along
    each axis).

    :param extent, axis: as the volume is stored.
    """

    def __init__(self, volume: Volume, extent: Extent, axis: str, work_size: int):
        self.order = volume.order
        volume, extent, axis = volume.ordered, extent.in_order(self.order), self.order.axis(axis)
        thin = [a for a, n in zip(AXES, extent.size, strict=True) if n == 1]
        if axis == "auto" or (thin and axis not in thin):
            axis = thin[-1] if thin else volume.slice_axis()
        self.axis, self.extent, self.flat = axis, extent, bool(thin)
        self._across = 2 - AXES.index(axis)  # the array axis across the slices
        native, spacing = list(extent.size[::-1]), list(volume.spacing[::-1])
        self.shape: tuple[int, ...]
        if self.flat:
            del native[self._across], spacing[self._across]
            self.shape = working_shape(two(native), two(spacing), work_size)
        else:
            self.shape = volume_working_shape(three(native), three(spacing))
        self.native = tuple(native)
        self.spacing = tuple(s * n / m for s, n, m in zip(spacing, native, self.shape, strict=True))

    def features_of(self, volume: Volume, scale: IntensityScale) -> Steps[np.ndarray]:
        """The scaled intensities of the extent on this grid, float32 ``[*shape, C]``."""
        part = volume.ordered.array[self.extent.slices]
        if self.flat:
            return resized(scale.apply(np.squeeze(part, self._across)), self.shape)
        return (yield from shrunk_features(part, scale, self.shape))

    def to_work(self, voxel: Sequence[int]) -> tuple[int, ...]:
        """The sample of this grid that holds ``voxel`` (i, j, k). Raises InputError if that is outside the extent."""
        require_inside(voxel, self.extent)
        index = self._index(voxel)
        return tuple(int((v + 0.5) * m / n) for v, n, m in zip(index, self.native, self.shape, strict=True))

    def edges_of(self, box: Box) -> tuple[float, ...]:
        """First and last edge along each axis of this grid of a box of voxels, in samples, counted from the outer corner."""
        low, high = self._index(box.low), self._index(box.high)
        scales = [m / n for n, m in zip(self.native, self.shape, strict=True)]
        return tuple(edge * f for a, b, f in zip(low, high, scales, strict=True) for edge in (a, b + 1))

    def to_native(self, array: np.ndarray, convert: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]) -> np.ndarray:
        """An array on this grid brought to the extent's voxels [K, J, I] by ``convert(array, shape)``."""
        native = convert(array, self.native)
        return np.expand_dims(native, self._across) if self.flat else native

    def stored(self, array: np.ndarray) -> np.ndarray:
        """An array [K, J, I] over the extent as the volume is stored."""
        return np.ascontiguousarray(self.order.back.array(array))

    def slices_first(self, array: np.ndarray) -> np.ndarray:
        """An array on this grid with the axis across the slices in front: [Z, H, W, ...]."""
        return array[None] if self.flat else np.moveaxis(array, self._across, 0)

    def slices_back(self, array: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`slices_first`."""
        return array[0] if self.flat else np.moveaxis(array, 0, self._across)

    @property
    def slice_spacing(self) -> tuple[float, float, float]:
        """mm between samples along the axes of :meth:`slices_first`."""
        if self.flat:
            return three((1.0, *self.spacing))
        rest = [s for a, s in enumerate(self.spacing) if a != self._across]
        return three((self.spacing[self._across], *rest))

    def _index(self, voxel: Sequence[int]) -> list[int]:
        index = list(self.extent.index(voxel))
        if self.flat:
            del index[self._across]
        return index
