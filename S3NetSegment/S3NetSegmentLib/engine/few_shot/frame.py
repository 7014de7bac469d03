"""The part of a volume that is worked on, slices first, at the image's own resolution and on a smaller working grid; what kind of target
is drawn there, which decides how fine that is; and what each pixel and its surroundings look like.

What depends only on the image (intensities, features, registration of neighbouring slices) is kept here, so that a
changed drawing costs none of it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ..common.arrays import box_around, three, two
from ..common.device import one_threaded
from ..common.progress import Step, Steps, as_part_of
from ..images import AXES, Volume
from ..images.intensity import IntensityScale
from ..images.volume import slices_first
from .registration.neighbours import PIXELS_AT_ONCE, registering, registration_channels

GREY_STEPS = 2000  # whole intensity steps between dark and bright, for GrowCut
_LONGEST = 160  # pixels of the working grid
_SMALLEST_THICKNESS, _SMALLEST_SIDE = 2.0, 8.0  # pixels of the working grid that a drawn segment should keep
_FINER, _SCATTERED_FINER = 2.2, 10  # how many times work_voxels may be exceeded for thin segments and scattered targets
_STEP_PIXELS = 150_000  # that are worked on at once
_FEATURE_BYTES = 400e6  # features of more than this are not kept

Window = tuple[slice, slice]  # rows and columns of a box
_SLENDER = 0.13  # thickness over the root of the area, below which a target is scattered; a disc has 0.35
_SMALL, _PARTS = 1.5, 1.5  # thickness in pixels and parts in a slice, below and above which it is, too
_SCALES = (1.0, 2.0, 4.0, 8.0)  # pixels
_CONTEXT = (6, 14)  # pixels to the samples of context
_FEATURES = 25
_LOOKING = "Looking at the image"
_HALO = 3.0  # standard deviations that a Gaussian reaches


@dataclass(frozen=True)
class Box:
    """Rows and columns of the slices that are worked on: ``[top, bottom)`` x ``[left, right)``; all slices."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    @property
    def index(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown_to(self, found: np.ndarray, height: int, width: int) -> Box | None:
        """This box made larger on the sides that ``found`` (bool ``[n, H, W]`` in the box) reaches, inside a slice of this
        size; None if it reaches none."""
        least = max(10, 0.002 * np.count_nonzero(found))
        reached = [
            bool(np.count_nonzero(e) > least) for e in (found[:, :2], found[:, -2:], found[:, :, :2], found[:, :, -2:])
        ]
        down, right = (max(8, n // 3) for n in self.shape)
        box = Box(
            max(0, self.top - down * reached[0]), min(height, self.bottom + down * reached[1]),
            max(0, self.left - right * reached[2]), min(width, self.right + right * reached[3]),
        )  # fmt: skip
        return box if box != self else None

    def rounded(self, height: int, width: int) -> Box:
        """The next larger box on a lattice of 8, 16 or 32 pixels, inside a slice of this size: a slightly changed drawing is
        worked on in the same box."""
        size = max(self.shape)
        n = 8 if size < 128 else 16 if size < 256 else 32
        return Box(
            max(0, int(self.top) // n * n), min(height, -(-int(self.bottom) // n) * n),
            max(0, int(self.left) // n * n), min(width, -(-int(self.right) // n) * n),
        )  # fmt: skip


class Frame:
    """A box of rows and columns of ``volume``, all slices along ``axis``.

    Attributes: ``native`` int16 ``[Z, H, W]`` (intensity steps at the image's resolution), ``work`` float32 tensor
    ``[Z, h, w]`` (0 to 1, a little beyond for outliers), ``spacing`` and ``work_spacing`` (mm between slices, rows,
    columns), ``box``, ``axis``.
    """

    def __init__(self, volume: Volume, scale: IntensityScale, axis: str, box: Box, work_shape: tuple[int, int]):
        self.volume, self.axis, self.box = volume, axis, box
        across = 2 - AXES.index(axis)
        spacing = volume.spacing[::-1]
        self.spacing = three((spacing[across], *(s for a, s in enumerate(spacing) if a != across)))
        self.native = _intensity_steps(slices_first(volume.array, axis), box, scale)
        self.work = _shrunk(self.native, work_shape)
        down, across_pixels = (s * n / m for s, n, m in zip(self.spacing[1:], box.shape, work_shape, strict=True))
        self.work_spacing = (self.spacing[0], down, across_pixels)
        self._channels: dict[int, torch.Tensor] = {}  # by the number of a batch of slices
        self._features: torch.Tensor | None = None
        shape = (max(0, len(self.work) - 1), *work_shape, 2)
        # Displacements by direction: entry z of those upwards carries what is drawn on slice z to slice z + 1, downwards back.
        self._fields = {upwards: torch.zeros(shape) for upwards in (True, False)}
        self._registered = {upwards: np.zeros(shape[0], bool) for upwards in (True, False)}

    @property
    def depth(self) -> int:
        return len(self.work)

    @property
    def work_shape(self) -> tuple[int, int]:
        return two(self.work.shape[1:])

    @property
    def anisotropy(self) -> float:
        """Slice spacing over twice the pixel size of the working grid, 1 to 4: how little neighbouring slices overlap."""
        return float(np.clip(self.work_spacing[0] / self.work_spacing[1] / 2, 1, 4))

    @one_threaded
    def features(self) -> Steps[torch.Tensor]:
        """Appearance features ``[Z, h, w, F]`` of the working grid."""
        if self._features is not None:
            return self._features
        image = self.work.numpy()
        yield Step(0.0, _LOOKING)
        features = yield from pixel_features(image, self.work_spacing)
        if features.numel() * 4 <= _FEATURE_BYTES:
            self._features = features
        return features

    def channels(self, z: int) -> torch.Tensor:
        """What slice ``z`` is registered by, ``[2, h, w]``, see :func:`registration_channels`; computed once, in batches."""
        size = max(1, _STEP_PIXELS // (self.work_shape[0] * self.work_shape[1]))
        number, place = divmod(z, size)
        if number not in self._channels:
            self._channels[number] = registration_channels(self.work[number * size : (number + 1) * size])
        return self._channels[number][place]

    def is_registered_onto(self, z: int, upwards: bool) -> bool:
        """Whether :meth:`field_onto` is known."""
        return bool(self._registered[upwards][z - 1 if upwards else z])

    @property
    def pairs_at_once(self) -> int:
        """Pairs of slices that are registered in one batch."""
        return max(1, PIXELS_AT_ONCE // (self.work_shape[0] * self.work_shape[1]))

    def field_onto(self, z: int, upwards: bool) -> torch.Tensor:
        """The displacement ``[1, h, w, 2]`` that carries onto slice ``z`` from the slice below (upwards) or above it."""
        return self._fields[upwards][z - 1 : z] if upwards else self._fields[upwards][z : z + 1]

    @one_threaded
    def register(self, first: int, last: int, upwards: bool) -> Steps[None]:
        """Finds how slices ``first`` to ``last`` (included) are carried, each to the next in this direction; what is known
        is not done again."""
        missing = np.flatnonzero(~self._registered[upwards][first:last]) + first
        if not missing.size:
            return
        batch = self.pairs_at_once
        for start in range(0, len(missing), batch):
            lower = torch.from_numpy(missing[start : start + batch])
            done, after = (n / len(missing) for n in (start, min(start + batch, len(missing))))
            for z in range(int(lower[0]), int(lower[-1]) + 2):
                yield Step(done, "Registering slices")
                self.channels(z)
            below, above = (torch.stack([self.channels(z) for z in (lower + n).tolist()]) for n in (0, 1))
            moving, fixed = (below, above) if upwards else (above, below)
            found = yield from as_part_of(registering(moving, fixed), done, after)
            self._fields[upwards][lower] = found
            self._registered[upwards][lower.numpy()] = True

    def shrunk_masks(self, masks: np.ndarray) -> torch.Tensor:
        """Masks ``[n, H, W]`` of the box as soft masks ``[n, h, w]`` of the working grid."""
        return _shrunk(masks, self.work_shape)

    def enlarged(self, masks: torch.Tensor, window: Window) -> torch.Tensor:
        """Soft masks ``[n, C, h, w]`` of the working grid at the image's resolution inside ``window``, bilinear."""
        for axis, size, part in zip((2, 3), self.box.shape, window, strict=True):
            masks = _lerped(masks, axis, size, part)
        return masks


def drawn_box(slices: list[np.ndarray], spacing: tuple[float, float], margin: float) -> Box:
    """The box around all labels of ``slices`` (``[H, W]`` each) and ``margin`` times its longer side, at least 12 pixels."""
    mask = np.any([labels > 0 for labels in slices], 0)
    rows, columns = box_around(mask)
    longest = max((rows.stop - rows.start) * spacing[0], (columns.stop - columns.start) * spacing[1])
    extra = max(longest * margin, 12 * min(spacing))
    down, right = (int(extra / s) for s in spacing)
    height, width = mask.shape
    box = Box(rows.start - down, rows.stop + down, columns.start - right, columns.stop + right)
    return box.rounded(height, width)


def work_shape(box: Box, depth: int, sizes: DrawnSizes, voxels: int, scattered: bool) -> tuple[int, int]:
    """Rows and columns of the working grid: at most ``voxels`` in all, more where segments are thin or small. Nothing is
    carried on the grid of a scattered target, so that it may be finer still."""
    height, width = box.shape
    total = depth * height * width
    factor = min(1.0, _LONGEST / max(height, width), (voxels / total) ** 0.5)
    # In steps, not by the exact size of what is drawn: a slightly changed drawing is worked on on the same grid.
    if scattered:
        factor = min(1.0, (_SCATTERED_FINER * voxels / total) ** 0.5)
    elif sizes.thickness * factor < _SMALLEST_THICKNESS or sizes.side * factor < _SMALLEST_SIDE:
        factor = max(factor, min(1.0, (_FINER * voxels / total) ** 0.5))
    return tuple(min(n, max(8, round(n * factor))) for n in (height, width))


def _lerped(masks: torch.Tensor, axis: int, size: int, part: slice) -> torch.Tensor:
    """``masks`` with ``axis`` resized to ``size`` by linear interpolation, entries ``part`` of it."""
    count = masks.shape[axis]
    if count == size:
        return masks.narrow(axis, part.start, part.stop - part.start)
    place = ((torch.arange(part.start, part.stop) + 0.5) * (count / size) - 0.5).clamp(0, count - 1)
    low = place.long()
    share = (place - low).view([-1 if a == axis else 1 for a in range(masks.dim())])
    return torch.lerp(masks.index_select(axis, low), masks.index_select(axis, (low + 1).clamp(max=count - 1)), share)


def _intensity_steps(slices: np.ndarray, box: Box, scale: IntensityScale) -> np.ndarray:
    """The box as whole intensity steps: its 0.5 percentile is 0, its 99.5 percentile GREY_STEPS; int16 ``[Z, H, W]``."""
    part = slices[:, box.index[0], box.index[1]]
    probe = _grey(part[:: max(1, len(part) // 30)], scale)
    low, high = np.percentile(probe, (0.5, 99.5))
    if not high > low:
        low, high = float(probe.min()), float(probe.max())
    factor = GREY_STEPS / (high - low) if high > low else 0.0
    out = np.empty(part.shape[:3], np.int16)
    for z, plane in enumerate(part):
        out[z] = np.clip((_grey(plane, scale) - low) * factor, -0.2 * GREY_STEPS, 1.2 * GREY_STEPS)
    return out


def _grey(array: np.ndarray, scale: IntensityScale) -> np.ndarray:
    """One intensity for each voxel: grey values (Hounsfield units of a CT), the lightness of colours; float32."""
    if scale.kind == "rgb":
        return scale.apply(array)[..., 0]
    return scale.relative(array)


def _shrunk(planes: np.ndarray, shape: tuple[int, int]) -> torch.Tensor:
    """``[n, H, W]`` averaged over the pixels of a coarser grid, a batch of planes at a time; integers become 0 to 1."""
    out = torch.empty(len(planes), *shape)
    factor = 1.0 / GREY_STEPS if planes.dtype == np.int16 else 1.0
    batch = max(1, 2_000_000 // (planes.shape[1] * planes.shape[2]))
    for start in range(0, len(planes), batch):
        part = torch.from_numpy(planes[start : start + batch].astype(np.float32))[:, None] * factor
        if part.shape[2:] != shape:
            part = F.interpolate(part, shape, mode="area")
        out[start : start + batch] = part[:, 0]
    return out


@dataclass(frozen=True)
class DrawnSizes:
    """Sizes of what is drawn, in pixels: mean thickness of the thinnest segment (2 area / perimeter), the square root of
    the smallest drawn area, and whether the segments are many small parts or winding like tissue."""

    thickness: float
    side: float
    scattered: bool

    @classmethod
    def of(cls, slices: list[np.ndarray]) -> DrawnSizes:
        """Of label images ``[H, W]``; slices without labels do not count."""
        found: dict[int, list[tuple[float, float, int]]] = {}
        for labels in slices:
            for value in np.unique(labels[labels > 0]):
                found.setdefault(int(value), []).append(_measured(labels == value))
        if not found:
            return cls(np.inf, np.inf, False)
        means = np.array([np.mean(sizes, 0) for sizes in found.values()])  # thickness, side, parts of each segment
        slender = np.mean([np.mean([t / s for t, s, _ in sizes]) for sizes in found.values()])
        thickness, _, parts = means.mean(0)
        return cls(
            float(means[:, 0].min()),
            min(side for sizes in found.values() for _, side, _ in sizes),
            bool(slender < _SLENDER or (thickness < _SMALL and parts > _PARTS)),
        )


def _measured(mask: np.ndarray) -> tuple[float, float, int]:
    """Thickness, root of the area, and number of parts of one mask."""
    edge = int(np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1]))
    area = int(np.count_nonzero(mask))
    return 2 * area / max(1, edge), area**0.5, ndimage.label(mask, np.ones((3, 3)))[1]


def pixel_features(image: np.ndarray, spacing: Sequence[float]) -> Steps[torch.Tensor]:
    """Features ``[Z, h, w, 25]`` of ``image`` (float32 ``[Z, h, w]``, about 0 to 1).

    Gaussians in the slice and, equal in mm, in 3D; gradient, Laplacian, local deviation; samples of the surroundings.

    :param spacing: mm between slices, rows, columns.
    """
    depth_ratio = spacing[1] / spacing[0]
    features, smooth = _Features(image.shape), {}
    yield Step(0.0, _LOOKING)
    yield from features.begin(image)
    for sigma in _SCALES:
        smooth[sigma] = yield from _gauss(image, 0.0, sigma, features.done)
        yield features.add(smooth[sigma])
        deep = sigma * depth_ratio
        yield features.add(
            (yield from _gauss(smooth[sigma], deep, 0.0, features.done)) if deep > 0.15 else smooth[sigma]
        )
    for sigma in _SCALES[:3]:
        down, right = (_slope(smooth[sigma], axis) for axis in (1, 2))
        yield features.add(np.hypot(down, right) * (2 * sigma))
        yield features.add(ndimage.laplace(smooth[sigma], mode="nearest") * np.float32(sigma * sigma))
    for sigma in (2.0, 5.0):
        mean = smooth[sigma] if sigma in smooth else (yield from _gauss(image, 0.0, sigma, features.done))
        spread = (yield from _gauss(image * image, 0.0, sigma, features.done)) - mean * mean
        yield features.add(2 * np.sqrt(np.clip(spread, 0, None)))
    for reach in _CONTEXT:
        for axis in (1, 2):
            features.add(_shifted(smooth[2.0], axis, reach))
            yield features.add(_shifted(smooth[2.0], axis, -reach))
    return torch.from_numpy(features.values)


class _Features:
    """Features that are filled in one after the other; each gives a step of progress."""

    def __init__(self, shape: tuple[int, ...]):
        self.values, self._filled = np.empty((*shape, _FEATURES), np.float32), 0

    @property
    def done(self) -> float:
        return self._filled / _FEATURES

    def begin(self, plane: np.ndarray) -> Steps[None]:
        """The first one, a few slices at a time: with it the memory of all comes, which takes far longer than the writing."""
        for part in _parts(self.values.shape[:3], 0):
            yield Step(0.0, _LOOKING)
            self.values[..., 0][part] = plane[part]
        self._filled = 1

    def add(self, plane: np.ndarray) -> Step:
        self.values[..., self._filled] = plane
        self._filled += 1
        return Step(self.done, _LOOKING)


def _gauss(image: np.ndarray, across: float, within: float, done: float) -> Steps[np.ndarray]:
    """``image`` blurred across and within its slices; ``done`` is the share of the whole work at which it begins."""
    out = image
    for axis, sigma in enumerate((across, within, within)):
        if sigma > 0.05 and out.shape[axis] > 1:
            blurred = np.empty_like(out)
            for part in _parts(out.shape, 1 if axis == 0 else 0):
                yield Step(done, _LOOKING)
                ndimage.gaussian_filter1d(out[part], sigma, axis, output=blurred[part], mode="nearest", truncate=_HALO)
            out = blurred
    return out


def _parts(shape: Sequence[int], axis: int) -> Iterator[tuple[slice, ...]]:
    """Parts of an array along ``axis`` that are worked on in one step each."""
    size = max(1, _STEP_PIXELS * shape[axis] // int(np.prod(shape)))
    for first in range(0, shape[axis], size):
        yield (*(slice(None),) * axis, slice(first, first + size), *(slice(None),) * (2 - axis))


def _slope(image: np.ndarray, axis: int) -> np.ndarray:
    return np.gradient(image, axis=axis).astype(np.float32) if image.shape[axis] > 1 else np.zeros_like(image)


def _shifted(image: np.ndarray, axis: int, by: int) -> np.ndarray:
    """``image`` moved ``by`` pixels along ``axis``; the edge is repeated."""
    index = np.clip(np.arange(image.shape[axis]) - by, 0, image.shape[axis] - 1)
    return np.take(image, index, axis)
