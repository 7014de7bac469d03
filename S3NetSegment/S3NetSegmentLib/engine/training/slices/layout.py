"""How a volume of any orientation becomes slices for a network, and how answers come back onto its own grid.

Slices lie across an anatomical axis and are turned alike for every volume (left to the right of the picture, posterior or
inferior down, slices from the feet upwards), have one pixel size in mm and one square shape, and show intensities from
0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property

import numpy as np
import torch

from ...common.errors import InputError
from ...images import Volume
from ...images.array_order import orientation
from ...images.intensity import IntensityScale, intensity_scale
from ...images.resample import axis_weights, labels_to_grid, resized
from ..cohort.channels import check_one_grid
from ..settings import MOST_DEPTH, MOST_NEIGHBOURS

_LARGEST_SIDE = 8192  # pixels
_MOST_CHANNELS = 64
LEAST_DEPTH = 4  # slices
_FLAT = 2.0  # times thicker than wide: voxels that are not yet to be mixed across the slices
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # the anatomical axis (R, A, S) across the slices


@dataclass(frozen=True)
class SliceLayout:
    """What all slices for one network have in common.

    :param plane: one of :data:`PLANES`.
    :param spacing: mm per pixel, along both sides.
    :param side: pixels along both sides; what is smaller is padded, what is larger is cut to its middle.
    :param channels: images of each case, on one grid, that are shown side by side.
    :param colour: whether the image is in colour and its red, green and blue are shown; False: its lightness.
    :param neighbours: slices at either side that are shown, too (2.5D).
    :param depth: slices that are shown together as a patch of the volume (3D); 1: each by itself.
    :param thickness: mm between the slices of patches; 0 where each is shown by itself, as it is.
    """

    plane: str
    spacing: float
    side: int
    channels: int = 1
    colour: bool = False
    neighbours: int = 0
    depth: int = 1
    thickness: float = 0.0

    def __post_init__(self):
        if self.plane not in PLANES:
            raise InputError(f"plane is {self.plane!r}; it must be one of {', '.join(PLANES)}")
        if not (math.isfinite(self.spacing) and self.spacing > 0) or not 8 <= self.side <= _LARGEST_SIDE:
            raise InputError(f"slices of {self.side} pixels of {self.spacing} mm are not possible")
        if not (1 <= self.channels <= _MOST_CHANNELS and 0 <= self.neighbours <= MOST_NEIGHBOURS):
            raise InputError(f"slices of {self.channels} channels with {self.neighbours} neighbours are not possible")
        if not 1 <= self.depth <= MOST_DEPTH or (self.depth > 1) != (0 < self.thickness < math.inf):
            raise InputError(f"patches of {self.depth} slices that lie {self.thickness} mm apart are not possible")
        if self.is_3d and self.neighbours:
            raise InputError(
                f"neighbours is {self.neighbours}, and a 3D network sees all slices of a patch already; leave it at 0"
            )
        if self.colour and self.channels != 1:
            raise InputError("an image in colour cannot be one of several channels")

    @property
    def is_3d(self) -> bool:
        return self.depth > 1

    def across(self, levels: int) -> tuple[int, ...]:
        """By what the maps of a network with so many levels shrink across the slices, see :class:`~...nets.unet.UNetEncoder`: by as
        much as in them, once pixels have become about as large as slices are thick, and while there are four slices or more."""
        factors, ratio, left = [], self.thickness / self.spacing, self.depth
        for _ in range(levels - 1 if self.is_3d else 0):
            factors.append(2 if ratio < _FLAT and left >= LEAST_DEPTH else 1)
            ratio, left = ratio * factors[-1] / 2, math.ceil(left / factors[-1])
        return tuple(factors)

    @property
    def own_channels(self) -> int:
        """Channels of one slice by itself."""
        return 3 if self.colour else self.channels

    @property
    def inputs(self) -> int:
        """Channels that a network for these slices takes: those of the slice and its neighbours, the lowest slice first."""
        return self.own_channels * (2 * self.neighbours + 1)

    def as_dict(self) -> dict:
        """Plain values; what only some layouts have is left out of the others, as versions that did not know it expect."""
        usual = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        return {name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]}

    def check(self, images: Sequence[Volume]) -> None:
        """Raises InputError if ``images`` are not as many channels as these slices show, or not on one grid."""
        first = images[0]
        if self.colour and not first.is_rgb:
            raise InputError(
                f"the model was trained on images in colour, and image {first.name!r} is grey; give the colour image, or a model that "
                "was trained on grey ones (--set colour=lightness)"
            )
        if len(images) != self.channels:
            shown = " and ".join(f"_{n:04d}" for n in range(1, self.channels))
            raise InputError(
                f"the model was trained on {self.channels} channel{'s' * (self.channels > 1)} of each case, and image "
                f"{first.name!r} has {len(images)}"
                + (f"; name the files CASE_0000, and {shown} beside it" if self.channels > 1 else "; give one image")
            )
        if self.channels > 1 and (coloured := next((v.name for v in images if v.is_rgb), None)):
            raise InputError(f"channel {coloured!r} is in colour; where a case has several channels each must be grey")
        check_one_grid(images)
        if self.is_3d and across_slices(first, self.plane)[0] == 1:
            raise InputError(
                f"the model is a 3D one, and image {first.name!r} is a single {self.plane} slice; give the whole volume, or a model that "
                "was trained on slices (--set dimensions=2)"
            )

    def of(self, images: Volume | Sequence[Volume], scales: Sequence[IntensityScale] = ()) -> VolumeSlices:
        """The slices of an image in this layout.

        :param images: its channels, one volume each. :param scales: of each whole volume; (): they are found.
        :raises InputError: see :meth:`check`.
        """
        self.check((images,) if isinstance(images, Volume) else images)
        return VolumeSlices(self, images, scales)


class VolumeSlices:
    """The slices of one image in a :class:`SliceLayout`.

    Attributes: ``count`` slices, ``native_count`` of the volume itself, which are others only where the layout has a ``thickness``;
    ``spacing``, mm across the volume's slices, their rows and their columns, and ``thickness``, the
    first of them; ``native``, rows and columns of a slice of the volume; ``scaled``, the same at the
    layout's spacing; ``box``, the rows and columns (top, left, height, width) of a prepared slice that show the volume.
    """

    def __init__(self, layout: SliceLayout, images: Volume | Sequence[Volume], scales: Sequence[IntensityScale] = ()):
        self.volumes = (images,) if isinstance(images, Volume) else tuple(images)
        self.layout, self.volume = layout, self.volumes[0]
        self._given_scales = tuple(scales)
        volume = self.volume
        axes, flips = orientation(volume.ijk_to_ras)
        across = PLANES[layout.plane]
        # rows: the later of the two anatomical axes in the slice (S before A), columns: the earlier one
        down, along = [a for a in (2, 1, 0) if a != across]
        self._order = [2 - axes[a] for a in (across, down, along)]
        self._flips = [not flips[across], flips[down], flips[along]]  # slices run upwards
        spacing = [volume.spacing[axes[a]] for a in (across, down, along)]
        shape = self.oriented(volume.array).shape
        self.native_count, self.native, self.thickness, self.spacing = shape[0], shape[1:3], spacing[0], tuple(spacing)
        self.count = self.native_count
        if layout.is_3d:
            self.count = max(1, round(self.native_count * self.thickness / layout.thickness))
        self.scaled = tuple(
            max(1, round(n * s / layout.spacing)) for n, s in zip(self.native, spacing[1:], strict=True)
        )
        self._shown = [middle(n, layout.side) for n in self.scaled]  # (place in the slice, place in the scaled, length)
        self.box = (self._shown[0][0], self._shown[1][0], self._shown[0][2], self._shown[1][2])

    @property
    def scale(self) -> IntensityScale:
        """The intensity scale of the volume, of several channels that of the first."""
        return self.scales[0]

    @cached_property
    def scales(self) -> tuple[IntensityScale, ...]:
        """The intensity scale of each channel."""
        return self._given_scales or tuple(map(intensity_scale, self.volumes))

    @property
    def cut_share(self) -> float:
        """The part of each slice, 0 to 1, that lies outside the prepared one."""
        return 1 - self.box[2] * self.box[3] / (self.scaled[0] * self.scaled[1])

    @property
    def directions(self) -> np.ndarray:
        """Where the slices, rows and columns of :meth:`oriented` run to, unit vectors (R, A, S), ``[3, 3]``."""
        axes = self.volume.ijk_to_ras[:3, :3].T[[2 - a for a in self._order]]
        signs = np.where(self._flips, -1.0, 1.0)[:, None]
        return signs * axes / np.linalg.norm(axes, axis=1, keepdims=True)

    def oriented(self, array: np.ndarray) -> np.ndarray:
        """``array`` [K, J, I(, 3)] as [slices, rows, columns(, 3)]; a view, so that writing into it reaches ``array``."""
        view = np.transpose(array, (*self._order, *range(3, array.ndim)))
        return view[tuple(slice(None, None, -1 if flip else 1) for flip in self._flips)]

    def resampled(self, first: int, last: int) -> np.ndarray:
        """Slices ``first`` to ``last`` (excluded) whole, at the layout's spacing, with their neighbours: float32
        ``[n, inputs, *scaled]``, 0 to 1. Beyond the ends of the volume its last slice is its own neighbour."""
        beside = self.layout.neighbours
        low, high = max(0, first - beside), min(self.count, last + beside)
        own = self._own(low, high)
        if not beside:
            return own
        places = np.arange(first, last)[:, None] + np.arange(-beside, beside + 1)
        return own[np.clip(places, 0, self.count - 1) - low].reshape(last - first, -1, *self.scaled)

    def _own(self, first: int, last: int) -> np.ndarray:
        """The channels of each slice by itself, ``[n, own_channels, *scaled]``. Without the layout's colour the lightness."""
        channels = []
        across = axis_weights(self.native_count, self.count, first, last)
        used = np.flatnonzero(across.any(0))
        low, high = used[0], used[-1] + 1
        for volume, scale in zip(self.volumes, self.scales, strict=True):
            part = self.oriented(volume.array)[low:high]
            found = scale.rgb(part) if self.layout.colour else scale.apply(part)[..., :1]
            channels += list(np.moveaxis(found, -1, 0))
        scaled = [np.moveaxis(resized(np.moveaxis(c, 0, -1), self.scaled), -1, 0) for c in channels]
        found = np.clip(np.stack(scaled, 1), 0.0, 1.0)
        return found if self.count == self.native_count else np.tensordot(across[:, low:high], found, 1)

    def patch(self, first: int) -> np.ndarray:
        """The layout's ``depth`` slices from ``first`` on, ``[inputs, depth, *scaled]``; a volume that has fewer lies in their
        middle, with 0 around it."""
        slices = np.moveaxis(self.resampled(first, min(self.count, first + self.layout.depth)), 0, 1)
        above, _, shown = middle(slices.shape[1], self.layout.depth)
        return np.pad(slices, ((0, 0), (above, self.layout.depth - above - shown), (0, 0), (0, 0)))

    def prepared(self, first: int, last: int) -> np.ndarray:
        """Slices ``first`` to ``last`` (excluded) without neighbours, float32 ``[n, own_channels, side, side]``, 0 to 1, 0
        outside the volume: where they are larger, their middle."""
        return self.windowed(self._own(first, last))

    def prepared_labels(self, labels: np.ndarray, first: int, last: int) -> np.ndarray:
        """Slices of ``labels`` ``[K, J, I]`` like :meth:`prepared`, uint8 ``[n, side, side]``: at each pixel the label that
        covers most of it."""
        nearest = ((np.arange(first, last) + 0.5) * self.native_count / self.count).astype(int)
        planes = np.ascontiguousarray(self.oriented(labels)[nearest])
        return self.windowed(labels_to_grid(planes, (len(planes), *self.scaled)).astype(np.uint8, copy=False))

    def restored(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Probabilities ``[n, classes, *scaled]`` of slices in the size of :meth:`resampled` at the volume's own pixels,
        ``[n, classes, rows, columns]``."""
        down, along = (
            torch.from_numpy(axis_weights(n, m)).to(probabilities)
            for n, m in zip(self.scaled, self.native, strict=True)
        )
        return down @ probabilities @ along.T

    def chunks(self, pixels: int = 2_000_000) -> Iterator[tuple[int, int]]:
        """First and last (excluded) slices of parts with about ``pixels`` pixels each."""
        size = max(1, int(pixels / max(1, self.native[0] * self.native[1])))
        for first in range(0, self.count, size):
            yield first, min(self.count, first + size)

    def windowed(self, planes: np.ndarray) -> np.ndarray:
        """``planes`` ``[..., *scaled]`` as ``[..., side, side]``: padded with 0, or their middle."""
        side = self.layout.side
        out = np.zeros((*planes.shape[:-2], side, side), planes.dtype)
        (top, above, height), (left, before, width) = self._shown
        out[..., top : top + height, left : left + width] = planes[..., above : above + height, before : before + width]
        return out


def plane_of(volume: Volume) -> str:
    """The plane of :data:`PLANES` across the slice axis of ``volume``."""
    across = "xyz".index(volume.slice_axis())
    axes, _ = orientation(volume.ijk_to_ras)
    return next(name for name, anatomical in PLANES.items() if axes[anatomical] == across)


def is_made_in_slices(volume: Volume) -> bool:
    """Whether ``volume`` is coarser along its slice axis than across it, so that no other plane shows it well."""
    across = "xyz".index(volume.slice_axis())
    others = [s for a, s in enumerate(volume.spacing) if a != across]
    return volume.size[across] == 1 or volume.spacing[across] > 1.5 * max(others)


def across_slices(volume: Volume, plane: str) -> tuple[int, float]:
    """How many slices of ``plane`` the volume has, and how many mm lie between two of them."""
    axis = orientation(volume.ijk_to_ras)[0][PLANES[plane]]
    return volume.size[axis], volume.spacing[axis]


def middle(length: int, side: int) -> tuple[int, int, int]:
    """For ``length`` samples centred in ``side`` ones: first sample there, first sample of the source, how many."""
    return max(0, (side - length) // 2), max(0, (length - side) // 2), min(length, side)
