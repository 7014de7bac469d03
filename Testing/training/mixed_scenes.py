"""Scenes of any objects on any ground: nested, alike, overlapping. No kind of image in mind."""

from __future__ import annotations

import numpy as np
from outlines import cells, largest_part, normalised, outline, soft, texture
from scipy import ndimage


def mixed_scene(rng: np.random.Generator, side: int, channels: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture ``[side, side, channels]`` and the masks of its objects."""
    picture, ground = _ground(rng, side, channels)
    objects: list[np.ndarray] = []
    colours: list[np.ndarray] = []
    for _ in range(int(rng.integers(1, 8))):
        mask, parent = _placed(rng, side, objects)
        if mask is None:
            continue
        if colours and rng.random() < 0.3:
            colour = colours[rng.integers(len(colours))]  # an object alike: the wrong one is not wrong by its colour
        else:
            colour = other_colour(rng, picture[mask].mean(0))
        _paint(rng, picture, mask, colour)
        _hide_behind(objects, mask, parent)
        objects.append(mask)
        colours.append(colour)
    if ground and rng.random() < 0.6:
        covered = np.any(objects, 0) if objects else np.zeros((side, side), bool)
        objects += [cell & ~covered for cell in ground]
    return picture, objects


def other_colour(rng: np.random.Generator, around: np.ndarray) -> np.ndarray:
    """A colour at a random distance from ``around``; in colour pictures mostly darker or lighter in all channels."""
    channels = around.size
    direction = rng.normal(0, 1, channels)
    direction /= np.linalg.norm(direction) + 1e-6
    if channels == 3 and rng.random() < 0.7:
        direction = np.sign(direction.sum()) * np.abs(direction) + rng.normal(0, 0.15, 3)
        direction /= np.linalg.norm(direction)
    contrast = np.exp(rng.uniform(np.log(0.07), np.log(0.6)))
    return np.clip(around + direction * contrast * np.sqrt(channels), 0, 1)


def _ground(rng: np.random.Generator, side: int, channels: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A plain or cellular ground, and the masks of its cells."""
    base = rng.uniform(0.2, 0.8, channels)
    picture = np.ones((side, side, channels)) * base + texture(rng, side, channels)
    if rng.random() >= 0.35:
        return picture, []
    numbers = cells(rng, side, int(rng.integers(3, 14)), 3.0)
    count = numbers.max() + 1
    colours = np.clip(base + rng.normal(0, rng.uniform(0.05, 0.25), (count, channels)), 0, 1)
    return picture + colours[numbers] - base, [numbers == n for n in range(count)]


def _placed(rng: np.random.Generator, side: int, objects: list[np.ndarray]) -> tuple[np.ndarray | None, int | None]:
    """The mask of a new object (None if it came out too small or too large) and the object that it lies inside, if any."""
    parent, rows, columns = None, np.zeros(0), np.zeros(0)
    if objects and rng.random() < 0.35:
        parent = int(rng.integers(len(objects)))
        rows, columns = np.nonzero(objects[parent])
        if rows.size < 60:
            parent = None
    if parent is None:
        radius = np.exp(rng.uniform(np.log(0.05), np.log(0.38))) * side
        mask = outline(rng, side, rng.uniform(0.15, 0.85, 2) * side, radius)
    else:
        at = rng.integers(rows.size)
        radius = np.sqrt(rows.size / np.pi) * rng.uniform(0.2, 0.8)
        mask = outline(rng, side, (rows[at], columns[at]), radius) & objects[parent]
    if not mask.any():
        return None, None
    mask = largest_part(mask)
    if mask.sum() < 40 or mask.mean() > 0.7:
        return None, None
    return mask, parent


def _paint(rng: np.random.Generator, picture: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Draws the object with a soft edge, own texture and shading, at times with a rim."""
    side, channels = picture.shape[0], picture.shape[2]
    cover = soft(mask, rng.choice([0.5, 1, 2, 3.5], p=[0.4, 0.3, 0.2, 0.1]))
    ramp = normalised(np.mgrid[:side, :side][rng.integers(2)].astype(float)) * rng.uniform(-0.06, 0.06)
    fill = colour + texture(rng, side, channels) * rng.uniform(0.3, 2) + ramp[..., None]
    picture *= 1 - cover
    picture += cover * fill
    if rng.random() < 0.12:
        rim = mask ^ ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 3)))
        picture[rim] = 0.3 * picture[rim] + 0.7 * np.clip(colour + rng.normal(0, 0.3, channels), 0, 1)


def _hide_behind(objects: list[np.ndarray], mask: np.ndarray, parent: int | None) -> None:
    """Takes the part under a new object away from the others, except from those that hold it."""
    for n, other in enumerate(objects):
        swallowed = not (other & ~mask).any()
        holds_parent = parent is not None and not (objects[parent] & ~other).any()
        if n != parent and not swallowed and not holds_parent:
            objects[n] = other & ~mask
