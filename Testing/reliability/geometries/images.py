"""Random images with a known object: any grid, any shape, any voxel type, plain, in colour or a time series."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from S3NetSegmentLib.engine import Volume

GRIDS = ("plain", "oblique", "long voxels", "tiny voxels", "huge voxels", "far away", "sheared")
SHAPES = ("volume", "slice", "colour slice", "colour volume", "frames")
TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_OBJECT, _OTHER, _REST, _NOISE = 200.0, 125.0, 60.0, 4.0


@dataclass(frozen=True, eq=False)
class KnownImage:
    """An image and the object in it.

    :param array: ``[T, K, J, I]`` or ``[1, K, J, I, 3]``; one frame of a time series shows the object.
    :param frame: that frame.
    :param ijk_to_ras: voxel to world RAS, everything included.
    :param parents: transforms (4x4) that a scene has above the image, the innermost first; part of ``ijk_to_ras``.
    :param mask: the object, bool ``[K, J, I]``; ``center``: its voxel (i, j, k).
    :param ellipsoid: its exact centre and half axes in voxels, (2, 3).
    """

    array: np.ndarray
    frame: int
    ijk_to_ras: np.ndarray
    mask: np.ndarray
    center: tuple[int, int, int]
    grid: str
    parents: tuple[np.ndarray, ...] = ()
    ellipsoid: np.ndarray = field(default=None, repr=False)

    @property
    def is_series(self) -> bool:
        return len(self.array) > 1

    @property
    def is_rgb(self) -> bool:
        return self.array.ndim == 5

    @property
    def stored(self) -> np.ndarray:
        """Voxel to the coordinates below all parents."""
        matrix = self.ijk_to_ras
        for parent in self.parents[::-1]:
            matrix = np.linalg.solve(parent, matrix)
        return matrix

    def volume(self) -> Volume:
        """The image in the world, of a time series the frame with the object."""
        return Volume(self.array[self.frame], self.ijk_to_ras, "known")


def random_image(rng: np.random.Generator, shape: str, grid: str, transformed: bool = False) -> KnownImage:
    """An image of one of :data:`SHAPES` on one of :data:`GRIDS`; ``transformed``: under one to three linear transforms."""
    size = rng.integers([25, 25, 18], [33, 33, 23])[rng.permutation(3)]
    if "slice" in shape:
        size = rng.integers(34, 48, 3)
        size[rng.integers(3)] = 1
    matrix = random_grid(rng, grid, size)
    radii = np.where(size == 1, 1e3, rng.uniform(5.5, 7.5, 3))
    reach = np.minimum(radii + 2, (size - 1) / 2)
    center = tuple(int(c) for c in np.rint(rng.uniform(reach, size - 1 - reach)))
    parents = (
        tuple(random_transform(rng, grid, _unit(matrix, grid)) for _ in range(rng.integers(1, 4)))
        if transformed
        else ()
    )
    world = matrix
    for parent in parents:
        world = parent @ world
    places = np.indices(size[::-1])[::-1].astype(float)  # i, j, k of every voxel
    grey, mask = _painted(places, np.array(center), radii, rng)
    dtype = "uint8" if "colour" in shape else str(rng.choice(TYPES))
    frame, array = 0, _typed(grey, dtype)
    if "colour" in shape:
        array = np.stack([array, array * 0.8, array * 0.6], -1).astype(np.uint8)[None]
    elif shape == "frames":
        frame = int(rng.integers(3))
        blank = _typed(_REST + rng.normal(0, _NOISE, grey.shape), dtype)
        array = np.stack([array if t == frame else blank for t in range(3)])
    else:
        array = array[None]
    return KnownImage(array, frame, world, mask, center, grid, parents, np.stack([np.array(center), radii]))


def another_image(image: KnownImage, rng: np.random.Generator) -> KnownImage:
    """The same body in another image: other axes, a little turned, larger and moved, other noise."""
    size = np.array(image.mask.shape[::-1])
    axes = np.eye(3)[:, rng.permutation(3)] @ np.diag(rng.choice([-1.0, 1.0], 3))
    scale = rng.uniform(0.9, 1.15, 3)
    new_size = np.ceil(np.abs(axes.T @ size) / scale).astype(int) + 2
    to_first = np.eye(4)  # voxel of the new image to voxel of the first
    to_first[:3, :3] = axes * scale
    to_first[:3, 3] = (size - 1) / 2 - to_first[:3, :3] @ ((new_size - 1) / 2)
    index = np.indices(new_size[::-1])[::-1].astype(float)
    places = np.einsum("ab,b...->a...", to_first[:3, :3], index) + to_first[:3, 3][:, None, None, None]
    grey, mask = _painted(places, *image.ellipsoid, rng)
    center = tuple(int(c) for c in np.rint(np.argwhere(mask).mean(0))[::-1])
    array = _typed(grey, image.array.dtype.name)
    return KnownImage(array[None], 0, image.ijk_to_ras @ to_first, mask, center, image.grid)


def random_grid(rng: np.random.Generator, grid: str, size: np.ndarray) -> np.ndarray:
    """A voxel-to-world matrix with permuted and flipped axes."""
    axes = np.eye(3)[:, rng.permutation(3)] @ np.diag(rng.choice([-1.0, 1.0], 3))
    if grid == "oblique" or (grid != "plain" and rng.random() < 0.5):
        axes = rotation(rng) @ axes
    spacing = rng.uniform(0.5, 2.0) * rng.uniform(1, 1.6, 3)
    if grid == "long voxels":
        thick = 0 if 1 not in size else int(rng.choice(np.flatnonzero(size > 1)))
        spacing[thick if 1 in size else rng.integers(3)] *= rng.uniform(4, 12)
    spacing *= {"tiny voxels": 10 ** rng.uniform(-5, -2), "huge voxels": 10 ** rng.uniform(1.5, 4)}.get(grid, 1.0)
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    if grid == "sheared":
        first, second = rng.permutation(3)[:2]
        matrix[:3, first] += rng.uniform(0.05, 0.35) * matrix[:3, second]
    matrix[:3, 3] = rng.uniform(-300, 300, 3) * _unit(matrix, grid)
    if grid == "far away":
        matrix[:3, 3] *= 10 ** rng.uniform(2, 4)
    return matrix


def random_transform(rng: np.random.Generator, grid: str = "plain", unit: float = 1.0) -> np.ndarray:
    """A parent transform: turned, moved by some ``unit``, sometimes mirrored, scaled or (for sheared images) sheared."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(rng)
    if rng.random() < 0.3:
        matrix[:3, :3] = matrix[:3, :3] @ np.diag(rng.choice([-1.0, 1.0], 3)) * rng.uniform(0.7, 1.4)
    if grid == "sheared":
        matrix[0, 1] += rng.uniform(-0.2, 0.2)
    matrix[:3, 3] = rng.uniform(-80, 80, 3) * unit
    return matrix


def _unit(matrix: np.ndarray, grid: str) -> float:
    """mm of a step that is not out of proportion: far from tiny voxels 32 bit numbers could not tell them apart."""
    return float(np.linalg.norm(matrix[:3, :3], axis=0).min()) if "voxels" in grid else 1.0


def rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def _painted(places: np.ndarray, center: np.ndarray, radii: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """Grey values at ``places`` (3, K, J, I) and the mask of the object there: an ellipsoid in voxels, so that some of it
    lies in every direction whatever the voxel size, and a small dimmer one beside it, so that no mirror image is the same."""

    def ellipsoid(middle, half):
        return sum(((p - m) / h) ** 2 for p, m, h in zip(places, middle, half, strict=True)) < 1

    mask = ellipsoid(center, radii)
    beside = ellipsoid(center + np.where(radii > 100, 0, (1.1, 1.0, 0.95)) * radii, np.minimum(radii, 100) * 0.5)
    grey = np.where(mask, _OBJECT, np.where(beside, _OTHER, _REST))
    return grey + rng.normal(0, _NOISE, grey.shape), mask


def _typed(grey: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "int8":
        grey = grey - 128
    elif np.dtype(dtype).itemsize > 1:
        grey = grey * (7.3 if dtype != "float64" else 1e-3)
    return grey.astype(dtype) if dtype.startswith("float") else np.rint(np.clip(grey, *_limits(dtype))).astype(dtype)


def _limits(dtype: str) -> tuple[int, int]:
    return np.iinfo(dtype).min, np.iinfo(dtype).max
