"""Grey sections through a body: organs of nearly the same brightness side by side, walls, rings, folded tissue."""

from __future__ import annotations

import numpy as np
from outlines import blob, field, largest_part, outline, soft, texture
from scipy import ndimage


def section_scene(rng: np.random.Generator, side: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture ``[side, side, 1]`` and the masks of its objects."""
    body = np.ones((side, side), bool)
    picture = np.zeros((side, side, 1))
    if rng.random() < 0.7:
        body = blob(rng, side, side * (0.5 + rng.uniform(-0.06, 0.06, 2)), side * rng.uniform(0.38, 0.6), 0.15)
    tissue = rng.uniform(0.25, 0.6)
    inside = tissue + texture(rng, side, 1, 0.04)
    cover = soft(body, 0.7)
    picture = picture * (1 - cover) + cover * inside
    if not body.all():  # a layer under the surface
        picture += soft(body & ~_shrunk(body, side * rng.uniform(0.02, 0.06)), 0.7) * rng.uniform(-0.2, 0.4)
    draw = rng.choice([_organs, _heart, _folds], p=[0.6, 0.25, 0.15])
    picture, objects = draw(rng, picture, body, tissue)
    return np.clip(picture, 0, 1), objects


def _organs(rng, picture, body, tissue):
    """Organs that touch, often hard to tell apart, with thin walls between some; small bright or dark ones among them."""
    side = picture.shape[0]
    objects: list[np.ndarray] = []
    taken = ~body
    rows, columns = np.nonzero(_shrunk(body, 0.06 * side))
    level = tissue + rng.normal(0, 0.15)
    for _ in range(int(rng.integers(3, 10))):
        at = rng.integers(rows.size)
        radius = np.exp(rng.uniform(np.log(0.03), np.log(0.22))) * side
        kind = str(rng.choice(["blob", "ellipse", "patch"], p=[0.6, 0.25, 0.15]))
        mask = outline(rng, side, (rows[at], columns[at]), radius, kind) & ~taken
        if mask.sum() < 40:
            continue
        mask = largest_part(mask)
        own = level + rng.normal(0, 0.06) if rng.random() < 0.6 else rng.uniform(0.05, 0.95)
        cover = soft(mask, rng.choice([0.5, 1.0, 1.8]))
        picture = picture * (1 - cover) + cover * (own + texture(rng, side, 1, 0.03))
        if rng.random() < 0.5:
            wall = ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 3))) & ~mask
            cover = soft(wall, 0.5) * rng.uniform(0.3, 1)
            picture = picture * (1 - cover) + cover * np.clip(tissue + rng.normal(0, 0.25), 0, 1)
        objects.append(mask)
        taken = taken | mask
    return picture, objects


def _heart(rng, picture, body, tissue):
    """A ring with its own content, and a crescent as bright as the content beside it."""
    side = picture.shape[0]
    picture, objects = _organs(rng, picture, body, tissue) if rng.random() < 0.6 else (picture, [])
    centre = side * (0.5 + rng.uniform(-0.12, 0.12, 2))
    radius = side * rng.uniform(0.06, 0.16)
    hole = blob(rng, side, centre, radius, 0.15)
    wall = ndimage.distance_transform_edt(~hole) < radius * rng.uniform(0.3, 0.7)
    ring = wall & ~hole
    shift = rng.normal(0, 1, 2)
    shift *= radius * rng.uniform(1.2, 1.8) / np.linalg.norm(shift)
    crescent = blob(rng, side, centre + shift, radius * rng.uniform(1.0, 1.7), 0.3) & ~wall
    bright, dark = rng.uniform(0.55, 0.95), rng.uniform(0.1, 0.4)
    drawn = [(hole, bright), (ring, dark)] + (
        [(largest_part(crescent), bright + rng.normal(0, 0.08))] if crescent.any() else []
    )
    for mask, own in drawn:
        cover = soft(mask, rng.choice([0.5, 1.0, 1.8]))
        picture = picture * (1 - cover) + cover * (own + texture(rng, side, 1, 0.04))
    covered = hole | ring | crescent
    return picture, [mask & ~covered for mask in objects] + [mask for mask, _ in drawn]


def _folds(rng, picture, body, tissue):
    """Two tissues folded into each other inside an outer border, at times with patches in them."""
    side = picture.shape[0]
    region = _shrunk(body, side * rng.uniform(0.03, 0.12))
    depth = ndimage.distance_transform_edt(region)
    folded = field(rng, side, side * rng.uniform(0.02, 0.07)) + depth / (side * rng.uniform(0.05, 0.15)) - 1.2
    inner = region & (folded > 0)
    outer = region & ~inner
    levels = tissue + np.array([1, -1]) * rng.choice([-1, 1]) * rng.uniform(0.04, 0.2)
    for mask, own in ((inner, levels[0]), (outer, levels[1])):
        cover = soft(mask, 0.7)
        picture = picture * (1 - cover) + cover * (own + texture(rng, side, 1, 0.02))
    objects = [largest_part(mask) for mask in (inner, outer) if mask.any()]
    rows, columns = np.nonzero(region)
    for _ in range(int(rng.integers(0, 6)) if rows.size else 0):
        at = rng.integers(rows.size)
        patch = outline(
            rng, side, (rows[at], columns[at]), side * np.exp(rng.uniform(np.log(0.015), np.log(0.15))), "blob"
        )
        cover = soft(patch & region, rng.uniform(0.6, 3))
        picture = picture * (1 - cover) + cover * np.clip(tissue + rng.choice([-1, 1]) * rng.uniform(0.1, 0.5), 0, 1)
        objects = [mask & ~patch for mask in objects] + [patch & region]
    return picture, objects


def _shrunk(mask: np.ndarray, pixels: float) -> np.ndarray:
    shrunk = ndimage.distance_transform_edt(mask) > pixels if not mask.all() else mask
    return shrunk if shrunk.any() else mask
