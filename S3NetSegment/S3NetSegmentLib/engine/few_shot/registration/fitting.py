"""A drawn volume fitted to another one: aligned, then deformed (demons in 3D) if that makes the images more alike without blowing
up or crushing any segment.

Thirion, "Image matching as a diffusion process", 1998; symmetric forces: Vercauteren et al., "Diffeomorphic demons", 2009.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ...common.arrays import box_around, three
from ...common.progress import Step, Steps, as_part_of
from ...images import AXES, Extent, Volume
from ...images.intensity import IntensityScale
from .alignment import Alignment, KnownLabels, align
from .picture import Picture, coarse_alignments, correlation, covered, likeness, moved, picture_of, voxel_size

DOUBTFUL = 0.5  # correlation of the aligned images below which a drawn slice in this volume is asked for
_MARGIN_MM = 8.0  # around the drawing, or so many of the thickest voxels:
_MARGIN_VOXELS = 1
_LEAST_VOLUME, _MOST_VOLUME = 0.6, 1.67  # of each segment, after the deformation against before
_KNOTS = 25  # of the intensity map between both volumes
_UNLIKE = 0.6  # correlation below which a support volume may be mirrored
_MIRRORED = 0.15  # correlation that a mirrored support volume must gain before that is said
_LEVELS = ((4, 40), (2, 30), (1, 15))  # (shrink factor, iterations), coarse to fine
_BLUR = 0.7  # voxels, of the images before they are compared
_UPDATE_BLUR, _FIELD_BLUR = 1.0, 1.0  # voxels: fluid and elastic smoothness
_SMALLEST = 6  # voxels that a side keeps when it is shrunk
_MATCHING = "Matching the volumes"


@dataclass(frozen=True, eq=False)
class Fitted:
    """One support volume fitted to the query volume.

    :param labels: uint8 ``[K, J, I]`` of the support volume, every slice filled in.
    :param region: the grid on which the deformation is known, in the query volume.
    :param field: displacements in voxels of ``region`` ``[3, K, J, I]`` (k, j, i); None: the affine map alone.
    :param difference: what both images differ by in ``region`` ``[K, J, I]``, 0 to about 1; None: not known.
    :param reliability: how well it predicts what others agree on or what is drawn in the query volume, 0 to 1.
    :param expected: label value -> Dice that is expected of ``labels`` themselves, where slices of them were filled in.
    """

    support: Volume
    labels: np.ndarray
    alignment: Alignment
    region: Picture
    field: np.ndarray | None
    notes: list[str] = dataclasses.field(default_factory=list)
    difference: np.ndarray | None = None
    reliability: float = 1.0
    expected: Mapping[int, float] = dataclasses.field(default_factory=dict)

    def sampled(self, query: Volume, index: np.ndarray, values: Sequence[int]) -> np.ndarray:
        """Share of each of ``values`` at voxels ``index`` ``[3, n]`` (i, j, k; fractional) of ``query``: ``[V, n]``."""
        place = mapped(np.linalg.inv(self.region.matrix) @ query.ijk_to_ras, index)
        if self.field is not None:
            moved_by = [ndimage.map_coordinates(u, place[::-1], order=1, mode="nearest") for u in self.field[::-1]]
            place = place + np.stack(moved_by)
        place = mapped(np.linalg.inv(self.support.ijk_to_ras) @ self.alignment.to_support @ self.region.matrix, place)
        box = box_around(self.labels > 0, margin=1)
        part, start = self.labels[box], np.array([[s.start] for s in box[::-1]])
        place = (place - start)[::-1]
        return np.stack([ndimage.map_coordinates((part == v).astype(np.float32), place, order=1) for v in values])

    def differences(self, query: Volume, index: np.ndarray) -> np.ndarray:
        """What both images differ by at voxels ``index`` of ``query``, ``[n]``; 1 where that is not known."""
        if self.difference is None:
            return np.ones(index.shape[1], np.float32)
        place = mapped(np.linalg.inv(self.region.matrix) @ query.ijk_to_ras, index)
        return ndimage.map_coordinates(self.difference, place[::-1], order=1, mode="constant", cval=1.0)


def fit(
    query: Volume,
    query_scale: IntensityScale,
    support: Volume,
    support_scale: IntensityScale,
    labels: np.ndarray,
    axis: str,
    known: KnownLabels | None = None,
) -> Steps[Fitted]:
    """``support`` with its ``labels`` (all slices filled in) fitted to ``query``.

    :param axis: the axis across the slices of ``support``.
    :param known: labels that are known in ``query``; they count most for the place.
    """
    part = _surroundings(support, labels)
    aligning = align(query, query_scale, support, support_scale, part, axis, labels, known)
    alignment = yield from as_part_of(aligning, 0.0, 0.7)
    region = covered(query, alignment.to_support, support, part, 0.0) or query.extent
    fixed = yield from picture_of(query, query_scale, region, voxel_size(query, region))
    moving = yield from picture_of(support, support_scale, part, voxel_size(support, part))
    yield Step(0.7, _MATCHING)
    image, inside = moved(fixed, moving, alignment.to_support)
    notes = _notes(query, support, alignment, query_scale, support_scale)
    if alignment.correlation < _UNLIKE:
        notes += yield from _mirrored(query, query_scale, support, support_scale, part, axis, alignment.correlation)
    bare = Fitted(support, labels, alignment, fixed, None, notes)
    if np.count_nonzero(inside) < 100:
        return bare
    alike = torch.from_numpy(_same_intensities(image, fixed.array, inside))
    matching = deformed(alike, torch.from_numpy(fixed.array), fixed.spacing[::-1].tolist())
    moves = yield from as_part_of(matching, 0.7, 0.95)
    yield Step(0.95, _MATCHING)
    after = warped(alike[None], moves)[0].numpy()
    better = correlation(after[inside], fixed.array[inside]) > correlation(alike.numpy()[inside], fixed.array[inside])
    found = Fitted(support, labels, alignment, fixed, moves.numpy(), bare.notes)
    yield Step(0.98, _MATCHING)
    is_kept = better and _keeps_volumes(query, region, bare, found)
    difference = np.where(inside, np.abs((after if is_kept else alike.numpy()) - fixed.array), 1).astype(np.float32)
    return dataclasses.replace(found if is_kept else bare, difference=difference)


def _surroundings(support: Volume, labels: np.ndarray) -> Extent:
    box = box_around(labels > 0)[::-1]
    start, stop = [], []
    for part, spacing, size in zip(box, support.spacing, support.size, strict=True):
        margin = max(_MARGIN_VOXELS, round(_MARGIN_MM / spacing))
        start.append(max(0, part.start - margin))
        stop.append(min(size, part.stop + margin))
    return Extent(tuple(start), tuple(stop))


def _same_intensities(image: np.ndarray, like: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """``image`` with the intensities of ``like``: equal percentiles inside."""
    q = np.linspace(1, 99, _KNOTS)
    own, other = np.percentile(image[inside], q), np.percentile(like[inside], q)
    return np.interp(image, np.maximum.accumulate(own + np.arange(_KNOTS) * 1e-6), other).astype(np.float32)


def _keeps_volumes(query: Volume, region: Extent, before: Fitted, after: Fitted) -> bool:
    values = [value for value in np.unique(before.labels).tolist() if value > 0]
    step = max(1, int((np.prod(region.size) / 200_000) ** (1 / 3)))
    grid = np.meshgrid(*(np.arange(a, b, step) for a, b in zip(region.start, region.stop, strict=True)), indexing="ij")
    index = np.stack([g.ravel() for g in grid])
    old, new = (one.sampled(query, index, values).sum(1) + 1 for one in (before, after))
    return bool(((new / old > _LEAST_VOLUME) & (new / old < _MOST_VOLUME)).all())


def _notes(
    query: Volume, support: Volume, alignment: Alignment, query_scale: IntensityScale, support_scale: IntensityScale
) -> list[str]:
    notes = [f"in {support.name!r}, {note}" for note in support_scale.notes]
    names = {"ct": "CT", "grey": "a grey image that is no CT", "rgb": "a colour image"}
    if query_scale.kind != support_scale.kind:
        notes.append(
            f"{support.name!r}, in which was drawn, is {names[support_scale.kind]}, and this volume is "
            f"{names[query_scale.kind]}; a drawing from the same kind of image fits better"
        )
    if 1 in support.size and 1 not in query.size:
        notes.append(
            f"{support.name!r}, in which was drawn, has one slice, so nothing is known beyond the slice that it is laid on; draw "
            "one slice in this volume, or draw in the volume that the slice comes from"
        )
    if alignment.correlation < DOUBTFUL:
        notes.append(
            f"around the drawing {support.name!r} and this volume are little alike (correlation "
            f"{alignment.correlation:.2f}, {DOUBTFUL} or more is usual); check the answer and draw one slice in this volume"
        )
    return notes


def _mirrored(
    query: Volume, query_scale: IntensityScale, support: Volume, support_scale: IntensityScale, part: Extent, axis: str,
    plain: float,
) -> Steps[list[str]]:  # fmt: skip
    """A sentence if the images are clearly more alike when left and right of the support volume are exchanged.

    :param plain: their correlation as they are.
    """
    across = int(np.argmax(np.abs(support.ijk_to_ras[0, :3])))  # the axis nearest to left-right
    if AXES[across] == axis:
        return []
    turned = Volume(np.flip(support.array, 2 - across), support.ijk_to_ras, support.name)
    start, stop = list(part.start), list(part.stop)
    start[across], stop[across] = support.size[across] - stop[across], support.size[across] - start[across]
    other = Extent(three(start), three(stop))
    moving = yield from picture_of(turned, support_scale, other, voxel_size(turned, other))
    starts = yield from coarse_alignments(query, query_scale, turned, support_scale, other, axis)
    best = -1.0
    for matrix, _ in starts:
        region = covered(query, matrix, turned, other, 0.0)
        if region is not None:
            fixed = yield from picture_of(query, query_scale, region, voxel_size(query, region))
            best = max(best, likeness(fixed, moving, matrix))
    if best < max(plain + _MIRRORED, DOUBTFUL):
        return []
    text = (
        f"{support.name!r} looks mirrored, left against right: the images are more alike that way round (correlation {best:.2f} "
        f"against {plain:.2f}); check how it was exported, or whether the other side of the body is drawn"
    )
    return [text]


def mapped(matrix: np.ndarray, index: np.ndarray) -> np.ndarray:
    return matrix[:3, :3] @ index + matrix[:3, 3:]


def deformed(moving: torch.Tensor, fixed: torch.Tensor, spacing: Sequence[float]) -> Steps[torch.Tensor]:
    """Displacements ``u`` ``[3, Z, H, W]`` in voxels (z, y, x) such that :func:`warped` ``(moving, u)`` looks like
    ``fixed``.

    :param moving, fixed: ``[Z, H, W]`` on one grid, about 0 to 1.
    :param spacing: mm between slices, rows, columns. Slices much thicker than their pixels are matched in their plane.
    """
    flat = spacing[0] > 2 * max(spacing[1:])
    images = torch.stack((_channels(moving, flat), _channels(fixed, flat)))  # [2, channels, Z, H, W]
    field = fixed.new_zeros(1, 3, 1, 1, 1)
    total, done = sum(n for _, n in _LEVELS), 0
    for shrink, iterations in _LEVELS:
        shape = [n if flat and d == 0 else max(min(n, _SMALLEST), n // shrink) for d, n in enumerate(fixed.shape)]
        small = F.interpolate(images, shape, mode="area") if shape != list(fixed.shape) else images
        factor = [a / b for a, b in zip(shape, field.shape[2:], strict=True)] if done else [1, 1, 1]
        field = F.interpolate(field, shape, mode="trilinear", align_corners=False)
        field = field * field.new_tensor(factor).view(1, 3, 1, 1, 1)
        for _ in range(iterations):
            yield Step(done / total, _MATCHING)
            field = _demons_step(small[:1], small[1:], field, flat)
            done += 1
    return field[0]


def warped(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """``images`` ``[C, Z, H, W]`` moved by ``field`` ``[3, Z, H, W]``."""
    return _sample(images[None], field[None])[0]


def _channels(image: torch.Tensor, flat: bool) -> torch.Tensor:
    smooth = _blurred(image[None, None], _BLUR, flat)
    slopes = [_difference(smooth, axis) for axis in ((-1, -2) if flat else (-1, -2, -3))]
    return torch.cat((smooth, 2 * torch.stack(slopes).square().sum(0).sqrt()), 1)[0]


def _demons_step(moving: torch.Tensor, fixed: torch.Tensor, field: torch.Tensor, flat: bool) -> torch.Tensor:
    moved = _sample(moving, field)
    error = fixed - moved
    force, strength = [], 1e-4 + (error * error * 0.25).sum(1, keepdim=True)
    for axis in (-3, -2, -1):
        if flat and axis == -3:
            force.append(torch.zeros_like(strength))
            continue
        slope = (_difference(moved, axis) + _difference(fixed, axis)) / 2
        force.append((error * slope).sum(1, keepdim=True))
        strength = strength + (slope * slope).sum(1, keepdim=True)
    update = _blurred(torch.cat(force, 1) / strength, _UPDATE_BLUR, flat)
    return _blurred(field + update, _FIELD_BLUR, flat)


def _sample(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    shape = images.shape[2:]
    axes = [torch.arange(n, dtype=images.dtype) for n in shape]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None] + field
    scale = images.new_tensor([2 / n for n in shape]).view(1, 3, 1, 1, 1)
    grid = ((place + 0.5) * scale - 1).flip(1).permute(0, 2, 3, 4, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _difference(images: torch.Tensor, axis: int) -> torch.Tensor:
    size = images.shape[axis]
    if size < 2:
        return torch.zeros_like(images)
    first, last = images.narrow(axis, 0, 1), images.narrow(axis, size - 1, 1)
    padded = torch.cat((first, images, last), axis)
    return (padded.narrow(axis, 2, size) - padded.narrow(axis, 0, size)) / 2


def _blurred(images: torch.Tensor, sigma: float, flat: bool) -> torch.Tensor:
    radius = max(1, int(2.5 * sigma + 0.5))
    place = torch.arange(-radius, radius + 1, dtype=images.dtype)
    shares = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = (shares / shares.sum()).tolist()
    for axis in (-2, -1) if flat else (-3, -2, -1):
        size = images.shape[axis]
        if size < 2:
            continue
        edges = [images.narrow(axis, 0, 1)] * radius, [images.narrow(axis, size - 1, 1)] * radius
        padded = torch.cat((*edges[0], images, *edges[1]), axis)
        total = padded.narrow(axis, radius, size) * kernel[radius]
        for n in range(radius):
            pair = padded.narrow(axis, n, size) + padded.narrow(axis, 2 * radius - n, size)
            total.add_(pair, alpha=kernel[n])
        images = total
    return images
