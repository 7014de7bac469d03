"""Bodies for synthetic volumes: smooth random fields and the shapes made with them.

A space is a grid of points in mm; shapes are bool arrays on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True, eq=False)
class Space:
    """A grid ``shape`` (k, j, i) with ``spacing`` mm."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def size(self) -> np.ndarray:
        """mm along k, j, i."""
        return np.array(self.shape) * self.spacing

    def coordinates(self) -> list[np.ndarray]:
        """Open grids of z, y, x in mm."""
        return [
            ((g + 0.5) * s).astype(np.float32)
            for g, s in zip(np.ogrid[tuple(map(slice, self.shape))], self.spacing, strict=True)
        ]


def field(rng: np.random.Generator, space: Space, scale: float) -> np.ndarray:
    """A smooth random field with mean 0 and deviation 1 that varies over about ``scale`` mm; float32."""
    step = [max(s, scale / 2.5) for s in space.spacing]
    coarse = [int(np.ceil(n * s / d)) + 4 for n, s, d in zip(space.shape, space.spacing, step, strict=True)]
    values = ndimage.gaussian_filter(
        rng.standard_normal(coarse).astype(np.float32), [min(scale / d, 2.5) * 0.8 for d in step], mode="wrap"
    )
    for axis, (n, s, d) in enumerate(zip(space.shape, space.spacing, step, strict=True)):
        position = np.arange(n) * s / d + 1
        low = position.astype(int)
        share = (position - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        values = np.take(values, low, axis) * (1 - share) + np.take(values, low + 1, axis) * share
    return (values - values.mean()) / (values.std() + 1e-6)


def blob(
    rng: np.random.Generator, space: Space, centre, radius: float, roughness: float = 0.25, stretch: float = 0.5
) -> np.ndarray:
    """A rounded body about ``centre`` (mm) of mean ``radius`` mm: an ellipsoid in a random attitude with its surface
    pushed in and out."""
    axes = np.exp(rng.uniform(-stretch, stretch, 3))
    axes /= np.cbrt(axes.prod())
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    offset = [g - c for g, c in zip(space.coordinates(), centre, strict=True)]
    square = 0
    for row, length in zip(rotation, axes, strict=True):
        square = square + ((row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2]) / length) ** 2
    distance = np.sqrt(square) / radius
    return distance < 1 + roughness * np.clip(field(rng, space, radius * rng.uniform(0.5, 1.3)), -2, 2)


def tube(rng: np.random.Generator, space: Space, start, end, radius: float, bend: float = 0.2) -> np.ndarray:
    """A bent tube of ``radius`` mm between two points (mm)."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    length = np.linalg.norm(end - start)
    count = int(np.clip(length / max(radius / 2, min(space.spacing)), 2, 80))
    t = np.linspace(0, 1, count)[:, None]
    way = start + (end - start) * t
    for wave in (1, 2, 3):
        way += rng.normal(0, bend * length / wave**1.5, 3) * np.sin(np.pi * wave * t) * 0.4
    thickness = radius * (1 + 0.25 * np.sin(np.pi * rng.uniform(0.5, 3) * t[:, 0] + rng.uniform(0, 6)))
    mask = np.zeros(space.shape, bool)
    grids = space.coordinates()
    for point, r in zip(way, thickness, strict=True):
        r = max(r, 0.6 * min(space.spacing))
        box = tuple(
            slice(max(0, int((p - r) / s - 1)), max(0, int((p + r) / s + 2)))
            for p, s in zip(point, space.spacing, strict=True)
        )
        local = [g[tuple(b if a == axis else slice(None) for a, b in enumerate(box))] for axis, g in enumerate(grids)]
        mask[box] |= sum((g - p) ** 2 for g, p in zip(local, point, strict=True)) < r * r
    return mask


def cells(rng: np.random.Generator, space: Space, count: int) -> np.ndarray:
    """The space divided among ``count`` random points by nearness, with bent borders; int ``[k, j, i]``."""
    points = rng.uniform(0, 1, (count, 3)) * space.size
    weights = rng.uniform(0, 0.25 * space.size.mean(), count) ** 2
    bend = [field(rng, space, space.size.mean() / 5) * space.size.mean() * 0.03 for _ in range(3)]
    grids = [g + b for g, b in zip(space.coordinates(), bend, strict=True)]
    best, owner = np.full(space.shape, np.inf, np.float32), np.zeros(space.shape, np.int16)
    for number, (point, weight) in enumerate(zip(points, weights, strict=True)):
        square = sum((g - np.float32(p)) ** 2 for g, p in zip(grids, point, strict=True)) - np.float32(weight)
        nearer = square < best
        best[nearer], owner[nearer] = square[nearer], number
    return owner


def shell(mask: np.ndarray, thickness: float, space: Space) -> np.ndarray:
    """What lies within ``thickness`` mm around ``mask``."""
    return (ndimage.distance_transform_edt(~mask, sampling=space.spacing) <= thickness) & ~mask


def shrunk(mask: np.ndarray, by: float, space: Space) -> np.ndarray:
    """``mask`` without what lies within ``by`` mm of its border; the border of the volume does not count."""
    padded = np.pad(mask, 1, mode="edge")
    return (ndimage.distance_transform_edt(padded, sampling=space.spacing) > by)[1:-1, 1:-1, 1:-1]


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of ``mask``."""
    parts, count = ndimage.label(mask)
    return parts == 1 + np.bincount(parts.ravel())[1:].argmax() if count > 1 else mask
