"""Superpixels of a slice inside the body: the pseudo-labels that ALPNet trains on.

Source: Ouyang et al., ECCV 2020 (arXiv 2007.09886) with the graph-based regions of Felzenszwalb and Huttenlocher.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy import ndimage

from ...common.errors import InputError
from ...segment.regions.graph import graph_regions

# The published scale is 1 for intensities 0 to 255, in the library's unit of 1/255: nearly all merging is left to the
# smallest size.
PUBLISHED_SCALE = 1 / 255**2
_PUBLISHED_PIXELS = 256 * 256
_LEAST_BODY = 0.01  # share of the slice


def body_mask(image: np.ndarray, threshold: float) -> np.ndarray:
    """The body in a slice ``[H, W]``: the largest connected part above ``threshold``, its holes filled. Bool; all False
    if that is under 1 % of the slice."""
    parts, count = ndimage.label(np.asarray(image) > threshold)
    if not count:
        return np.zeros(parts.shape, bool)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    body = ndimage.binary_fill_holes(parts == areas.argmax())
    return body if body.mean() >= _LEAST_BODY else np.zeros(parts.shape, bool)


def superpixels(
    image: np.ndarray,
    *,
    smallest: int = 400,
    sigma: float = 1.0,
    scale: float = PUBLISHED_SCALE,
    threshold: float = 0.0,
) -> np.ndarray:
    """Superpixels of a slice ``[H, W]`` with grey values 0 to 1: int32 ``[H, W]``, 1 to n inside the body, 0 outside.

    Every superpixel can be drawn as an object: unlike in the published code none is lost, and outside the body is none.

    :param smallest: least size in pixels of a slice of 256 x 256 (published: 400); in proportion for other slices.
    :param sigma: smoothing beforehand, pixels.
    :param scale: k of the merging criterion, in grey values times pixels; larger: larger superpixels.
    :param threshold: grey value that the body exceeds.
    """
    image = np.asarray(image, np.float32)
    if image.ndim != 2 or 0 in image.shape or not np.isfinite(image).all():
        raise InputError(f"superpixels need a slice [H, W] of finite grey values; got shape {image.shape}")
    body = body_mask(image, threshold)
    least = max(1, round(smallest * image.size / _PUBLISHED_PIXELS))
    (regions,) = graph_regions(image[..., None], (scale,), (least,), sigma=sigma)
    labels = np.where(body, regions.astype(np.int32) + 1, 0)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    number = np.zeros(len(sizes), np.int32)
    # at the rim of the body slivers are left of superpixels that reach beyond it
    kept = np.flatnonzero(sizes >= max(1, least // 4))
    number[kept] = np.arange(1, len(kept) + 1)
    return number[labels]


class Slices(Protocol):
    """Grey slices ``[H, W]``, 0 to 1, one at a time."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> np.ndarray: ...


class SuperpixelSlices:
    """Slices with their superpixels, which are made when they are first asked for.

    :param slices: grey slices ``[H, W]``, 0 to 1.
    :param options: of :func:`superpixels`.
    """

    def __init__(self, slices: Slices, **options):
        if not len(slices):
            raise InputError("there is no slice to train on")
        self._slices = slices
        self._options = options
        self._labels: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Slice ``index`` and its superpixels."""
        image = np.asarray(self._slices[index], np.float32)
        if index not in self._labels:
            labels = superpixels(image, **self._options)
            self._labels[index] = labels.astype(np.uint16 if labels.max() < 65536 else np.int32)
        return image, self._labels[index]
