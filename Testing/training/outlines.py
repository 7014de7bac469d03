"""Random outlines, smooth noise and cells: what synthetic scenes are made of. All masks are bool ``[side, side]``."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_KINDS = {"blob": 0.5, "ellipse": 0.2, "ring": 0.08, "patch": 0.12, "cell": 0.1}


def outline(rng: np.random.Generator, side: int, centre, radius: float, kind: str | None = None) -> np.ndarray:
    """A mask of one of the kinds of outline (None: any), about ``radius`` large."""
    kind = kind or rng.choice(list(_KINDS), p=list(_KINDS.values()))
    if kind == "cell":
        numbers = cells(rng, side, int(rng.integers(6, 25)), 2.0)
        at = np.clip(np.asarray(centre, int), 0, side - 1)
        return numbers == numbers[at[0], at[1]]
    if kind == "blob":
        return blob(rng, side, centre, radius, rng.uniform(0.05, 0.5))
    distance, _ = polar(rng, side, centre, np.exp(rng.uniform(0, 0.7)))
    if kind == "ellipse":
        return distance < radius
    if kind == "ring":
        return (distance < radius) & (distance > radius * rng.uniform(0.45, 0.8))
    return (field(rng, side, radius * 0.5) + 2 * (1 - distance / radius * 0.9) > 0.6) & (distance < 2.2 * radius)


def blob(rng: np.random.Generator, side: int, centre, radius: float, roughness: float) -> np.ndarray:
    """A star-shaped mask with a wavy border."""
    distance, angle = polar(rng, side, centre, np.exp(rng.uniform(0, 0.4)))
    wave = 1.0
    for k in range(2, 8):
        wave = wave + roughness * rng.normal() / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return distance < radius * np.clip(wave, 0.3, 2)


def polar(rng: np.random.Generator, side: int, centre, stretch: float) -> tuple[np.ndarray, np.ndarray]:
    """Distance from ``centre`` and angle around it in a frame that is turned at random and stretched along one axis."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    turn = rng.uniform(0, np.pi)
    dy, dx = rows - centre[0], columns - centre[1]
    u = (dx * np.cos(turn) + dy * np.sin(turn)) / np.sqrt(stretch)
    v = (-dx * np.sin(turn) + dy * np.cos(turn)) * np.sqrt(stretch)
    return np.hypot(u, v), np.arctan2(v, u)


def cells(rng: np.random.Generator, side: int, count: int, bend: float) -> np.ndarray:
    """Numbers 0 to ``count`` - 1 of the nearest of random seeds, with bent borders."""
    seeds = rng.uniform(0, side, (count, 2))
    rows, columns = np.mgrid[:side, :side]
    shift = bend * field(rng, side, 9)
    distance = ((rows + shift)[..., None] - seeds[:, 0]) ** 2 + (columns[..., None] - seeds[:, 1]) ** 2
    return distance.argmin(-1)


def field(rng: np.random.Generator, side: int, scale: float) -> np.ndarray:
    """Smooth noise ``[side, side]`` of mean 0, deviation 1 and about ``scale`` pixels coarse."""
    step = max(1, int(scale / 2))
    count = side // step + 3
    coarse = ndimage.gaussian_filter(rng.standard_normal((count, count)), max(0.6, scale / step), mode="wrap")
    coarse = normalised(coarse)
    if step == 1:
        return coarse[:side, :side]
    return ndimage.zoom(coarse, (side + 2 * step) / count, order=1)[:side, :side]


def texture(rng: np.random.Generator, side: int, channels: int, strength: float = 0.06) -> np.ndarray:
    """Texture at two scales, ``[side, side, channels]``, of up to ``strength`` deviation at each."""
    scales = rng.choice([1, 2, 4, 8, 16], 2, replace=False)
    noise = sum(rng.uniform(0, strength) * field(rng, side, s) for s in scales)
    return noise[..., None] * rng.uniform(0.6, 1.2, channels)


def normalised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-6)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest 4-connected part of ``mask``."""
    parts, count = ndimage.label(mask)
    return mask if count < 2 else parts == 1 + np.bincount(parts.ravel())[1:].argmax()


def soft(mask: np.ndarray, softness: float) -> np.ndarray:
    """``mask`` with an edge about ``softness`` pixels wide, float ``[side, side, 1]``."""
    return np.clip(ndimage.gaussian_filter(mask.astype(np.float64), softness), 0, 1)[..., None]
