"""What a camera or a scanner adds to a scene: hairs, uneven light, dark corners, blur, noise, inversion, gamma."""

from __future__ import annotations

import numpy as np
from outlines import field
from scipy import ndimage


def taken(rng: np.random.Generator, picture: np.ndarray, *, photo: bool) -> np.ndarray:
    """The scene ``[side, side, C]`` as it is recorded, 0 to 1.

    :param photo: a photograph of skin: more hairs and dark corners, never inverted.
    """
    side = picture.shape[0]
    if rng.random() < (0.35 if photo else 0.15):
        picture = _with_hairs(rng, picture)
    picture = picture * (1 + rng.uniform(0, 0.25) * field(rng, side, 60))[..., None]
    if rng.random() < (0.4 if photo else 0.2):
        picture = picture * _dark_corners(rng, side)[..., None]
    blur = rng.choice([0, 0.6, 1.2, 2])
    if blur:
        picture = ndimage.gaussian_filter(picture, (blur, blur, 0))
    picture = np.clip(picture + rng.normal(0, rng.choice([0.005, 0.02, 0.05]), picture.shape), 0, 1)
    if not photo and rng.random() < 0.3:
        picture = 1 - picture
    return picture ** np.exp(rng.uniform(-0.5, 0.5))


def _dark_corners(rng: np.random.Generator, side: int) -> np.ndarray:
    """A vignette, or the black surroundings of a round field of view; factors ``[side, side]``."""
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(rows - side / 2, columns - side / 2) / side * np.sqrt(2)
    if rng.random() < 0.6:
        return 1 - rng.uniform(0.2, 0.9) * np.clip(distance, 0, 1) ** 3
    radius, width = rng.uniform(0.75, 0.98), rng.uniform(0.01, 0.08)
    return 0.05 + 0.95 / (1 + np.exp((distance - radius) / width))


def _with_hairs(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    side = picture.shape[0]
    for _ in range(int(rng.integers(2, 14))):
        steps = np.arange(0, rng.uniform(0.3, 1) * side, 0.5)
        angle = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.012) * steps
        start = rng.uniform(0, side, 2)
        rows = (start[0] + np.cumsum(np.sin(angle)) / 2).astype(int)
        columns = (start[1] + np.cumsum(np.cos(angle)) / 2).astype(int)
        seen = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
        line = np.zeros((side, side))
        line[rows[seen], columns[seen]] = 1
        cover = 0.8 * np.clip(ndimage.gaussian_filter(line, 0.6) * 1.8, 0, 1)[..., None]
        picture = picture * (1 - cover) + cover * rng.uniform(0, 0.3)
    return picture
