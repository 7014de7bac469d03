"""Pictures of one uneven spot on a plain ground: wherever one clicks in the spot, the whole spot is meant."""

from __future__ import annotations

import numpy as np
from outlines import blob, field, largest_part, outline, soft, texture
from scipy import ndimage


def spot_scene(rng: np.random.Generator, side: int, channels: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture ``[side, side, channels]`` and the mask of its spot."""
    ground = rng.uniform(0.35, 0.95, channels)
    if channels == 3:  # mostly reddish to yellowish, as skin, but not always
        ground = np.sort(ground)[::-1] if rng.random() < 0.7 else ground
        ground = ground.mean() + (ground - ground.mean()) * rng.uniform(0.2, 1.0)
    picture = np.ones((side, side, channels)) * ground + texture(rng, side, channels, 0.04)
    picture += (rng.uniform(0, 0.06) * field(rng, side, 30))[..., None] * rng.uniform(0.3, 1.5, channels)
    radius = np.exp(rng.uniform(np.log(0.07), np.log(0.45))) * side
    centre = side * (0.5 + rng.uniform(-0.18, 0.18, 2))
    spot = _ragged(rng, blob(rng, side, centre, radius, rng.uniform(0.05, 0.6)), radius)

    dark = -np.exp(rng.uniform(np.log(0.06), np.log(0.55)))
    tint = rng.normal(0, 0.3, channels) if channels == 3 else np.zeros(1)
    depth = dark * (1 + tint)
    cover = soft(spot, np.clip(rng.uniform(0.01, 0.16) * radius, 0.6, 10))
    fill = ground + depth + texture(rng, side, channels, 0.3 * abs(dark))
    fill = fill + depth * (rng.uniform(0, 0.5) * field(rng, side, radius * rng.uniform(0.3, 1.0)))[..., None]
    picture = picture * (1 - cover) + cover * fill
    for _ in range(int(rng.integers(0, 6))):  # darker, lighter and otherwise coloured parts
        at = centre + rng.normal(0, 0.5, 2) * radius
        part = outline(rng, side, at, radius * rng.uniform(0.15, 0.7)) & spot
        if part.any():
            own = ground + depth * rng.uniform(0.2, 2.0) + rng.normal(0, 0.08, channels)
            over = soft(part, rng.uniform(0.6, 5)) * cover * rng.uniform(0.4, 1)
            picture = picture * (1 - over) + over * own
    for _ in range(int(rng.integers(0, 5)) if rng.random() < 0.3 else 0):  # small spots beside it
        other = soft(outline(rng, side, rng.uniform(0, side, 2), side * rng.uniform(0.01, 0.05), "ellipse"), 1.5)
        picture = picture * (1 - other) + other * (ground + depth * rng.uniform(0.3, 1.2))
    if rng.random() < 0.15:
        picture = _with_glare(rng, picture)
    return np.clip(picture, 0, 1), [spot]


def _ragged(rng: np.random.Generator, mask: np.ndarray, radius: float) -> np.ndarray:
    """``mask`` with notches and bays of several sizes."""
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    for share in (0.08, 0.2, 0.5):
        depth = depth + rng.uniform(0, 0.12) * radius * field(rng, mask.shape[0], max(2.0, share * radius))
    ragged = depth > 0
    return ndimage.binary_fill_holes(largest_part(ragged)) if ragged.any() else mask


def _with_glare(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Bright specks and bubbles."""
    side = picture.shape[0]
    for _ in range(int(rng.integers(1, 10))):
        kind = str(rng.choice(["ellipse", "ring"]))
        speck = soft(outline(rng, side, rng.uniform(0, side, 2), side * rng.uniform(0.005, 0.03), kind), 0.7)
        picture = picture + speck * rng.uniform(0.1, 0.6)
    return picture
