"""One case of the geometry suite: an image, what is asked of it, and what any front end must answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .images import GRIDS, KnownImage, another_image, random_image

# What is tried, in turns: (shape of the image, method).
TRIED = (
    ("volume", "few-shot"), ("slice", "point"), ("frames", "model"), ("volume", "other image"), ("colour slice", "network"),
    ("volume", "slice"), ("slice", "regions"), ("volume", "planes"), ("colour volume", "point"), ("volume", "slices"),
    ("volume", "point"), ("frames", "few-shot"), ("slice", "model"), ("colour slice", "point"), ("volume", "regions"),
    ("colour volume", "few-shot"), ("frames", "point"), ("volume", "model"), ("volume", "few-shot"),
)  # fmt: skip
# Least Dice of the found object with the true one.
FLOORS = {"other image": 0.75, "planes": 0.75, "few-shot": 0.8, "model": 0.85}
_FLOOR, _LONG_FLOOR = 0.8, 0.65
NAME = "Ball"


@dataclass(frozen=True, eq=False)
class GeometryTask:
    """What is asked.

    :param method: one of those in :data:`TRIED`.
    :param by_voxel: the point is given as a voxel, not in mm (files only).
    :param axis: of the slices that are drawn or searched.
    :param slices: drawn slices, or the first and last searched one.
    :param partial: only what lies near the drawing is background.
    :param other: the image that the drawing belongs to, None: the image itself.
    :param model: the model file.
    """

    image: KnownImage
    method: str
    seed: int
    by_voxel: bool = False
    axis: str = "auto"
    slices: tuple[int, ...] = ()
    partial: bool = False
    other: KnownImage | None = None
    model: Path | None = None

    @property
    def drawn_on(self) -> KnownImage:
        return self.other or self.image

    @property
    def floor(self) -> float:
        """Of pixels up to 12 times as long as wide Few-shot's registration sees little along the long side."""
        drawn = self.method in ("few-shot", "other image", "planes")
        return _LONG_FLOOR if drawn and self.image.grid == "long voxels" else FLOORS.get(self.method, _FLOOR)

    def expected(self) -> np.ndarray:
        """Where the object must be found."""
        if self.method not in ("slice", "slices"):
            return self.image.mask
        part = np.zeros(self.image.mask.shape, bool)
        first, last = self.slices
        np.moveaxis(part, 2 - "xyz".index(self.axis), 0)[first : last + 1] = True
        return self.image.mask & part

    def drawing(self) -> np.ndarray:
        """What is drawn, uint8 ``[K, J, I]`` on the grid of ``drawn_on``."""
        mask = self.drawn_on.mask
        drawn = np.zeros(mask.shape, np.uint8)
        across = 2 - "xyz".index(self.axis)
        np.moveaxis(drawn, across, 0)[list(self.slices)] = np.moveaxis(mask, across, 0)[list(self.slices)]
        return drawn


def random_task(number: int, rng: np.random.Generator, folder: Path, make_model) -> GeometryTask:
    """The task of case ``number``. ``make_model(volume, path)`` writes a model for the grid of ``volume``."""
    shape, method = TRIED[number % len(TRIED)]
    # 19 and 7 share no factor: every method meets every grid. Every second image is under transforms in the scene.
    grid = GRIDS[number % len(GRIDS)]
    image = random_image(rng, shape, grid, transformed=bool(rng.random() < 0.5))
    options = {"by_voxel": bool(rng.random() < 0.5), "axis": "xyz"[rng.integers(3)]}
    across = "xyz".index(options["axis"])
    if method == "other image" or (method == "planes" and rng.random() < 0.5):
        options["other"], image = image, another_image(image, rng)
    if method in ("few-shot", "other image", "planes"):
        drawn_on = options.get("other", image)
        middle, reach = drawn_on.ellipsoid[0][across], drawn_on.ellipsoid[1][across]
        options["slices"] = tuple(sorted({round(middle + d * reach) for d in (-0.5, 0.4)}))
        options["partial"] = bool(rng.random() < 0.4)
    elif method == "slice":
        options["slices"] = (image.center[across],) * 2
    elif method == "slices":
        options["slices"] = (image.center[across] - 3, image.center[across] + 3)
    elif method == "model":
        options["model"] = make_model(image.volume(), folder / f"{number}.pt")
    return GeometryTask(image, method, number, **options)
