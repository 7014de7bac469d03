"""Small synthetic volumes with known segments, for the tests of Few-shot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from S3NetSegmentLib.engine import Volume
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice


@dataclass(frozen=True, eq=False)
class Scene:
    volume: Volume
    truth: np.ndarray  # uint8 [K, J, I]

    def drawn(self, *indices: int, axis: str = "z", complete: bool = True) -> list[DrawnSlice]:
        planes = np.moveaxis(self.truth, "zyx".index(axis), 0)
        return [DrawnSlice(axis, n, planes[n].copy(), complete) for n in indices]

    def dice(self, labels: np.ndarray, value: int = 1, slices=slice(None)) -> float:
        mine, right = labels[slices] == value, self.truth[slices] == value
        return 2 * np.count_nonzero(mine & right) / max(1, np.count_nonzero(mine) + np.count_nonzero(right))


def scene(truth: np.ndarray, levels: dict[int, float], spacing=(1.0, 1.0, 1.0), noise: float = 6.0) -> Scene:
    """``truth`` with intensity ``levels`` (label -> value, 0: background) and Gaussian noise; spacing (i, j, k) in mm."""
    image = np.zeros(truth.shape, np.float32)
    for value, level in levels.items():
        image[truth == value] = level
    image += np.random.default_rng(7).normal(0, noise, truth.shape)
    return Scene(Volume(image, np.diag((*spacing, 1.0))), truth.astype(np.uint8))


def tube(depth: int = 16, size: int = 40, drift: float = 0.6, radius: float = 7.0) -> Scene:
    """One bright tube through all slices that moves ``drift`` pixels per slice and is no circle."""
    truth = np.zeros((depth, size, size), np.uint8)
    for z in range(depth):
        truth[z] = _disc(size, size / 2 - 4, size / 2 - drift * depth / 2 + drift * z, radius, 1.3)
    return scene(truth, {0: 40, 1: 100})


def egg(depth: int = 24, size: int = 40, first: int = 6, last: int = 17, background: float = 40) -> Scene:
    """A bright body from slice ``first`` to ``last``."""
    truth = np.zeros((depth, size, size), np.uint8)
    middle, half = (first + last) / 2, (last - first) / 2 + 0.5
    for z in range(first, last + 1):
        truth[z] = _disc(size, size / 2, size / 2, 11 * np.sqrt(max(0.05, 1 - ((z - middle) / half) ** 2)))
    return scene(truth, {0: background, 1: 100})


def slab(last: int, depth: int = 10, size: int = 40) -> Scene:
    """A noisy body in slices 4 mm apart, up to slice ``last``; beyond it all of the slice looks much like both, without an edge."""
    truth = np.zeros((depth, size, size), np.uint8)
    truth[: last + 1] = _disc(size, size / 2, size / 2, 9)
    made = scene(truth, {0: 60, 1: 100}, spacing=(1.0, 1.0, 4.0), noise=12)
    made.volume.array[last + 1 :] += 20
    return made


def twins(depth: int = 16, size: int = 48) -> Scene:
    """Two tubes of equal intensity, left (1) and right (2), that come as near as 3 pixels to each other in the middle."""
    truth = np.zeros((depth, size, size), np.uint8)
    for z in range(depth):
        apart = 8.5 + 4 * abs(2 * z / (depth - 1) - 1)
        truth[z][_disc(size, size / 2, size / 2 - apart, 7) > 0] = 1
        truth[z][_disc(size, size / 2, size / 2 + apart, 7) > 0] = 2
    return scene(truth, {0: 40, 1: 100, 2: 100})


def _disc(size: int, row: float, column: float, radius: float, stretch: float = 1.0) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (((y - row) / stretch) ** 2 + (x - column) ** 2 <= radius**2).astype(np.uint8)
