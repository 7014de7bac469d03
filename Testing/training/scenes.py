"""Synthetic slices with objects whose outline is known: the only training data of the ranker.

No anatomy is drawn. A scene is a background with texture, objects of many kinds of outline (some nested, some alike),
and the faults of real pictures: soft edges, uneven light, blur, noise, hairs. Everything follows from one generator.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SIZES = (112, 224)  # side in pixels
_OUTLINES = {"blob": 0.5, "ellipse": 0.2, "ring": 0.08, "patch": 0.12, "cell": 0.1}


def scene(rng: np.random.Generator, colour: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture float32 ``[h, w, C]`` (0 to 1; C = 3 RGB or 1) and the masks of its objects (bool), at least one."""
    while True:
        picture, objects = _attempt(rng, int(rng.integers(*SIZES)), 3 if colour else 1)
        if objects and picture.std() > 0.02:
            return picture.astype(np.float32), objects


def _attempt(rng: np.random.Generator, side: int, channels: int) -> tuple[np.ndarray, list[np.ndarray]]:
    picture, cells = _background(rng, side, channels)
    objects: list[np.ndarray] = []
    colours: list[np.ndarray] = []
    for _ in range(int(rng.integers(1, 8))):
        mask, parent = _place(rng, side, objects)
        if mask is None:
            continue
        if colours and rng.random() < 0.3:
            colour = colours[rng.integers(len(colours))]  # an object alike: the wrong one is not wrong by its colour
        else:
            colour = _other_colour(rng, picture[mask].mean(0))
        _paint(rng, picture, mask, colour)
        _hide_behind(objects, mask, parent)
        objects.append(mask)
        colours.append(colour)
    if cells and rng.random() < 0.6:
        covered = np.any(objects, 0) if objects else np.zeros((side, side), bool)
        objects += [cell & ~covered for cell in cells]
    picture = _taken(rng, picture)
    whole = [_largest_part(mask) for mask in objects if mask.any()]
    return picture, [mask for mask in whole if mask.sum() > 50 and 0.002 < mask.mean() < 0.6]


def _background(rng: np.random.Generator, side: int, channels: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A plain or cellular ground, and the masks of its cells."""
    base = rng.uniform(0.2, 0.8, channels)
    picture = np.ones((side, side, channels)) * base + _texture(rng, side, channels)
    if rng.random() >= 0.35:
        return picture, []
    numbers = _cells(rng, side, int(rng.integers(3, 14)), 3.0)
    count = numbers.max() + 1
    colours = np.clip(base + rng.normal(0, rng.uniform(0.05, 0.25), (count, channels)), 0, 1)
    return picture + colours[numbers] - base, [numbers == n for n in range(count)]


def _place(rng: np.random.Generator, side: int, objects: list[np.ndarray]) -> tuple[np.ndarray | None, int | None]:
    """The mask of a new object (None if it came out too small or too large) and the object that it lies inside, if any."""
    parent = None
    if objects and rng.random() < 0.35:
        parent = int(rng.integers(len(objects)))
        rows, columns = np.nonzero(objects[parent])
        if rows.size < 60:
            parent = None
    if parent is None:
        mask = _outline(
            rng, side, rng.uniform(0.15, 0.85, 2) * side, np.exp(rng.uniform(np.log(0.05), np.log(0.38))) * side
        )
    else:
        at = rng.integers(rows.size)
        radius = np.sqrt(rows.size / np.pi) * rng.uniform(0.2, 0.8)
        mask = _outline(rng, side, (rows[at], columns[at]), radius) & objects[parent]
    if not mask.any():
        return None, None
    mask = _largest_part(mask)
    if mask.sum() < 40 or mask.mean() > 0.7:
        return None, None
    return mask, parent


def _outline(rng: np.random.Generator, side: int, centre, radius: float) -> np.ndarray:
    """A mask of one of the kinds of outline, about ``radius`` large."""
    kind = rng.choice(list(_OUTLINES), p=list(_OUTLINES.values()))
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    if kind == "cell":
        numbers = _cells(rng, side, int(rng.integers(6, 25)), 2.0)
        at = np.clip(np.asarray(centre, int), 0, side - 1)
        return numbers == numbers[at[0], at[1]]
    turn = rng.uniform(0, np.pi)
    stretch = np.exp(rng.uniform(0, 0.4 if kind == "blob" else 0.7))
    dy, dx = rows - centre[0], columns - centre[1]
    u = (dx * np.cos(turn) + dy * np.sin(turn)) / np.sqrt(stretch)
    v = (-dx * np.sin(turn) + dy * np.cos(turn)) * np.sqrt(stretch)
    distance = np.hypot(u, v)
    if kind == "ellipse":
        return distance < radius
    if kind == "ring":
        return (distance < radius) & (distance > radius * rng.uniform(0.45, 0.8))
    if kind == "patch":
        return (_field(rng, side, radius * 0.5) + 2 * (1 - distance / radius * 0.9) > 0.6) & (distance < 2.2 * radius)
    angle, wave, roughness = np.arctan2(v, u), 1.0, rng.uniform(0.05, 0.5)
    for k in range(2, 8):
        wave = wave + roughness * rng.normal() / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return distance < radius * np.clip(wave, 0.3, 2)


def _other_colour(rng: np.random.Generator, around: np.ndarray) -> np.ndarray:
    """A colour at a random distance from ``around``; in colour pictures mostly darker or lighter in all channels."""
    channels = around.size
    direction = rng.normal(0, 1, channels)
    direction /= np.linalg.norm(direction) + 1e-6
    if channels == 3 and rng.random() < 0.7:
        direction = np.sign(direction.sum()) * np.abs(direction) + rng.normal(0, 0.15, 3)
        direction /= np.linalg.norm(direction)
    contrast = np.exp(rng.uniform(np.log(0.07), np.log(0.6)))
    return np.clip(around + direction * contrast * np.sqrt(channels), 0, 1)


def _paint(rng: np.random.Generator, picture: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Draws the object with a soft edge, own texture and shading, at times with a rim."""
    side, channels = picture.shape[0], picture.shape[2]
    softness = rng.choice([0.5, 1, 2, 3.5], p=[0.4, 0.3, 0.2, 0.1])
    cover = np.clip(ndimage.gaussian_filter(mask.astype(float), softness), 0, 1)[..., None]
    ramp = _normalised(np.mgrid[:side, :side][rng.integers(2)].astype(float)) * rng.uniform(-0.06, 0.06)
    fill = colour + _texture(rng, side, channels) * rng.uniform(0.3, 2) + ramp[..., None]
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


def _taken(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """What a camera or a scanner adds: hairs, uneven light, vignette, blur, noise, inversion, gamma."""
    side = picture.shape[0]
    if rng.random() < 0.25:
        picture = _with_hairs(rng, picture)
    picture = picture * (1 + rng.uniform(0, 0.25) * _field(rng, side, 60))[..., None]
    if rng.random() < 0.2:
        rows, columns = np.mgrid[:side, :side]
        distance = np.hypot(rows - side / 2, columns - side / 2) / side * np.sqrt(2)
        picture = picture * (1 - rng.uniform(0.2, 0.9) * np.clip(distance, 0, 1) ** 3)[..., None]
    blur = rng.choice([0, 0.6, 1.2, 2])
    if blur:
        picture = ndimage.gaussian_filter(picture, (blur, blur, 0))
    picture = np.clip(picture + rng.normal(0, rng.choice([0.005, 0.02, 0.05]), picture.shape), 0, 1)
    if rng.random() < 0.3:
        picture = 1 - picture
    return picture ** np.exp(rng.uniform(-0.5, 0.5))


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


def _texture(rng: np.random.Generator, side: int, channels: int) -> np.ndarray:
    """Texture at two scales, ``[side, side, channels]``."""
    scales = rng.choice([1, 2, 4, 8, 16], 2, replace=False)
    return sum(rng.uniform(0, 0.06) * _field(rng, side, s) for s in scales)[..., None] * rng.uniform(0.6, 1.2, channels)


def _cells(rng: np.random.Generator, side: int, count: int, bend: float) -> np.ndarray:
    """Numbers 0 to ``count`` - 1 of the nearest of random seeds, with bent borders."""
    seeds = rng.uniform(0, side, (count, 2))
    rows, columns = np.mgrid[:side, :side]
    shift = bend * _field(rng, side, 9)
    distance = ((rows + shift)[..., None] - seeds[:, 0]) ** 2 + (columns[..., None] - seeds[:, 1]) ** 2
    return distance.argmin(-1)


def _field(rng: np.random.Generator, side: int, scale: float) -> np.ndarray:
    """Smooth noise ``[side, side]`` of mean 0, deviation 1 and about ``scale`` pixels coarse."""
    step = max(1, int(scale / 2))
    count = side // step + 3
    coarse = ndimage.gaussian_filter(rng.standard_normal((count, count)), max(0.6, scale / step), mode="wrap")
    coarse = _normalised(coarse)
    if step == 1:
        return coarse[:side, :side]
    return ndimage.zoom(coarse, (side + 2 * step) / count, order=1)[:side, :side]


def _normalised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-6)


def _largest_part(mask: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(mask)
    return mask if count < 2 else parts == 1 + np.bincount(parts.ravel())[1:].argmax()
