"""Synthetic volumes with objects whose extent is known: the only training data of the ranker for volumes.

No anatomy and no real image is copied. Four kinds of scene stand for what one meets in scans: a trunk full of organs,
tubes and bones; a heart-like group of cavities of one brightness behind walls; folded tissue with lesions in it; and
loose bodies of any kind. Then a scanner: thick slices, partial volume, bias field, blur, noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from volume_shapes import Space, blob, cells, field, largest_part, shell, shrunk, tube

_SHARES = (0.0003, 0.4)  # share of the volume that an object may fill
_FEWEST_VOXELS = 60
_FINE = 3  # thick slices are averaged from so many thinner ones


@dataclass(frozen=True, eq=False)
class VolumeScene:
    """A volume float32 ``[k, j, i]`` (0 to 1), its voxel sides (mm), its objects and how much each click counts."""

    features: np.ndarray
    spacing: tuple[float, float, float]
    objects: list[np.ndarray]
    weights: list[float]


class _Painter:
    """A volume while it is painted; later things cover earlier ones."""

    def __init__(self, rng: np.random.Generator, space: Space):
        self.rng, self.space = rng, space
        self.values = np.zeros(space.shape, np.float32)
        self.objects: list[tuple[np.ndarray, float]] = []

    def paint(self, mask: np.ndarray, level: float, *, weight: float = 0.0, texture: float = 0.02) -> None:
        """Fills ``mask`` with ``level``; with a ``weight`` it is an object to be clicked."""
        rng = self.rng
        values = np.full(mask.shape, level, np.float32)
        if texture > 0:
            scale = np.exp(rng.uniform(np.log(2), np.log(12))) * min(self.space.spacing)
            values += rng.uniform(0.2, 1.5) * texture * field(rng, self.space, scale)
        self.values = np.where(mask, values, self.values)
        self.objects = [(m & ~mask, w) for m, w in self.objects]
        if weight > 0:
            self.objects.append((mask, weight))


def volume_scene(rng: np.random.Generator) -> VolumeScene:
    """A random scene with at least one object and some contrast."""
    while True:
        thick = rng.random() < 0.45
        if thick:
            side = rng.integers(72, 136)
            shape = (int(rng.integers(6, 24)), int(side), int(side * rng.uniform(0.75, 1.3)))
            spacing = (float(rng.uniform(2.5, 7.5)), 1.0, 1.0)
        else:
            side = np.exp(rng.uniform(np.log(34), np.log(84)))
            shape = tuple(int(side * v) for v in rng.uniform(0.75, 1.3, 3))
            spacing = (float(rng.uniform(0.8, 1.6)), 1.0, 1.0)
        fine = Space((shape[0] * _FINE, *shape[1:]), (spacing[0] / _FINE, 1.0, 1.0)) if thick else Space(shape, spacing)
        painter = _Painter(rng, fine)
        draw = rng.choice([_trunk, _heart, _head, _loose], p=[0.4, 0.2, 0.2, 0.2])
        draw(painter)
        features = _scanned(rng, painter.values, fine, thick)
        objects, weights = [], []
        for mask, weight in painter.objects:
            if thick:
                mask = mask.reshape(shape[0], _FINE, *shape[1:]).mean(1) > 0.5
            if not mask.any():
                continue
            mask = largest_part(mask)
            if mask.sum() >= _FEWEST_VOXELS and _SHARES[0] <= mask.mean() <= _SHARES[1]:
                objects.append(mask)
                weights.append(weight)
        if objects and features.std() > 0.03:
            return VolumeScene(features, spacing, objects, weights)


def _trunk(p: _Painter) -> None:
    """A body along k with air around it: fat, organs of few and similar levels side by side, tubes, bones, gas."""
    rng, space = p.rng, p.space
    size = space.size
    body = blob(
        rng,
        Space((1, *space.shape[1:]), space.spacing),
        (0, *(size[1:] / 2)),
        rng.uniform(0.4, 0.55) * size[1:].mean(),
        0.06,
        0.15,
    )
    body = np.broadcast_to(body, space.shape).copy()
    if rng.random() < 0.25:
        body[:] = True
    fat, muscle = rng.uniform(0.08, 0.3), rng.uniform(0.35, 0.6)
    if not body.all():
        p.paint(body, fat, texture=0.015)
    skin = rng.uniform(0.02, 0.1) * size[1:].mean()
    inner = shrunk(body, skin, space) if not body.all() else body
    p.paint(inner, muscle if rng.random() < 0.6 else fat, texture=0.02)
    core = shrunk(inner, rng.uniform(0.02, 0.12) * size[1:].mean(), space)
    gap = rng.uniform(0, 0.02) * size[1:].mean()
    levels = np.clip(muscle + rng.normal(0, rng.uniform(0.03, 0.15), int(rng.integers(2, 6))), 0.05, 0.98)
    owner = cells(rng, space, int(rng.integers(6, 40)))
    p.paint(core, fat if rng.random() < 0.6 else muscle, texture=0.02)
    for number in rng.permutation(int(owner.max()) + 1):
        if rng.random() < 0.35:
            continue
        cell = (owner == number) & core
        if gap > 0 and rng.random() < 0.7:
            cell = shrunk(cell, gap * rng.uniform(0.3, 2), space) & core
        if rng.random() < 0.5:
            smooth = ndimage.gaussian_filter(
                cell.astype(np.float32), [1.5 * min(space.spacing) / s for s in space.spacing]
            )
            cell = (smooth > 0.5) & core
        if cell.sum() >= _FEWEST_VOXELS:
            p.paint(cell, float(rng.choice(levels)) + rng.normal(0, 0.01), weight=1.0, texture=0.03)
            if rng.random() < 0.15:  # a cavity or a core in it
                p.paint(
                    shrunk(cell, rng.uniform(0.05, 0.15) * size[1:].mean() / 2, space), rng.uniform(0, 1), weight=0.4
                )
    for _ in range(int(rng.integers(0, 5))):
        at = rng.uniform(0.25, 0.75, 2) * size[1:]
        to = at + rng.normal(0, 0.12, 2) * size[1:]
        thickness = np.exp(rng.uniform(np.log(0.015), np.log(0.07))) * size[1:].mean()
        way = tube(rng, space, (-2, *at), (size[0] + 2, *to), thickness, 0.1)
        level = float(rng.choice(levels)) if rng.random() < 0.5 else rng.uniform(0.1, 1)
        p.paint(way, level, weight=0.7)
    for _ in range(int(rng.integers(0, 4))):  # bones: a bright shell with a duller inside
        centre = rng.uniform(0.15, 0.85, 3) * size
        bone = blob(rng, space, centre, rng.uniform(0.04, 0.12) * size[1:].mean(), 0.3, 0.8) & inner
        if bone.sum() >= _FEWEST_VOXELS:
            p.paint(bone, rng.uniform(0.75, 1), weight=0.7, texture=0.05)
            p.paint(
                shrunk(bone, rng.uniform(0.01, 0.03) * size[1:].mean(), space), rng.uniform(0.55, 0.9), texture=0.06
            )
            mask = p.objects.pop()[0] if p.objects and not p.objects[-1][0].any() else None
            if mask is None and p.objects:
                p.objects[-1] = (bone, 0.7)  # shell and inside together are the bone
    for _ in range(int(rng.integers(0, 3))):
        gas = blob(rng, space, rng.uniform(0.3, 0.7, 3) * size, rng.uniform(0.02, 0.08) * size[1:].mean(), 0.5) & core
        p.paint(gas, 0.0, weight=0.2, texture=0.0)


def _heart(p: _Painter) -> None:
    """Cavities of one brightness, one in a thick wall and one bent around it, open to vessels at an end; other things
    around, some equally bright."""
    rng, space = p.rng, p.space
    size = space.size
    tissue = rng.uniform(0.15, 0.5)
    p.values[:] = tissue
    owner = cells(rng, space, int(rng.integers(5, 20)))
    for number in range(int(owner.max()) + 1):
        weight = 0.15 if rng.random() < 0.5 else 0.0
        p.paint(owner == number, float(np.clip(tissue + rng.normal(0, 0.15), 0, 1)), weight=weight, texture=0.04)
    unit = size[1:].mean()
    bright, wall_level = rng.uniform(0.55, 0.95), rng.uniform(0.05, 0.45)
    axis = np.array([1.0, *rng.normal(0, 0.25, 2)])
    centre = np.array([size[0] * rng.uniform(0.4, 0.6), *(size[1:] * rng.uniform(0.38, 0.62, 2))])
    radius = rng.uniform(0.06, 0.14) * unit
    long = rng.uniform(0.4, 1.1) * size[0] / 2
    z, y, x = space.coordinates()
    height = (z - centre[0]) / long
    along = [centre[a] + axis[a] * (z - centre[0]) for a in (1, 2)]
    width = np.sqrt(np.clip(1 - np.clip(height, -1, 1) ** 2 * rng.uniform(0.3, 0.95), 0.02, 1))
    rough = 1 + rng.uniform(0.02, 0.12) * np.clip(field(rng, space, radius), -2, 2)
    off = np.sqrt((y - along[0]) ** 2 + (x - along[1]) ** 2)
    cavity = (off < radius * width * rough) & (np.abs(height) <= 1)
    thickness = radius * rng.uniform(0.25, 0.7)
    wall = (off < (radius * width + thickness) * rough) & (np.abs(height) <= 1.05) & ~cavity
    direction = rng.normal(0, 1, 2)
    direction *= radius * rng.uniform(1.1, 1.9) / np.linalg.norm(direction)
    beside = np.sqrt((y - along[0] - direction[0]) ** 2 + (x - along[1] - direction[1]) ** 2)
    second = (beside < radius * rng.uniform(0.9, 1.6) * width * rough) & (np.abs(height) <= rng.uniform(0.7, 1))
    thin = shell(cavity | wall | (second & ~(cavity | wall)), rng.uniform(0.1, 0.3) * radius, space)
    p.paint(thin, wall_level + rng.normal(0, 0.05))
    p.paint(second & ~wall & ~cavity, bright + rng.normal(0, 0.05), weight=1.0, texture=0.04)
    p.paint(wall, wall_level, weight=0.7, texture=0.03)
    p.paint(cavity, bright, weight=1.0, texture=0.04)
    if rng.random() < 0.5:  # muscles in the cavity: they count as part of it
        spots = (field(rng, space, radius * 0.5) > 1.6) & cavity
        p.values[spots] = wall_level
    for _ in range(int(rng.integers(0, 3))):  # vessels that leave a cavity, equally bright
        start = centre + np.array([long * rng.choice([-0.9, 0.9]), *rng.normal(0, radius * 0.5, 2)])
        start[1:] += direction * rng.integers(0, 2)
        end = rng.uniform(0, 1, 3) * size
        vessel = tube(rng, space, start, end, radius * rng.uniform(0.2, 0.5), 0.3) & ~wall & ~cavity & ~second
        p.paint(vessel, bright + rng.normal(0, 0.03), weight=0.2)


def _head(p: _Painter) -> None:
    """Two tissues folded into each other, fluid between, deep grey bodies, and lesions of one or several zones."""
    rng, space = p.rng, p.space
    size = space.size
    unit = size.mean()
    whole = blob(rng, space, size / 2, rng.uniform(0.4, 0.7) * unit, 0.05, 0.2)
    if rng.random() < 0.35:
        whole[:] = True  # a small part of a head
    grey, white = rng.uniform(0.3, 0.7, 2)
    fluid = rng.uniform(0, 0.3) if rng.random() < 0.6 else rng.uniform(0.7, 1)
    folds = field(rng, space, rng.uniform(0.08, 0.3) * unit)
    p.paint(whole, grey, texture=0.03)
    p.paint(whole & (folds > rng.uniform(-0.3, 0.3)), white, texture=0.03)
    p.paint(
        whole & (np.abs(field(rng, space, rng.uniform(0.1, 0.3) * unit)) < rng.uniform(0, 0.12)), fluid, texture=0.01
    )
    for _ in range(int(rng.integers(0, 3))):
        p.paint(
            blob(rng, space, rng.uniform(0.3, 0.7, 3) * size, rng.uniform(0.04, 0.12) * unit, 0.4, 0.8) & whole,
            fluid,
            weight=0.4,
        )
    for _ in range(int(rng.integers(1, 4))):  # bodies hardly brighter or darker than what is around, in part by fluid
        centre = rng.uniform(0.25, 0.75, 3) * size
        body = blob(rng, space, centre, np.exp(rng.uniform(np.log(0.05), np.log(0.2))) * unit, 0.2, 0.9) & whole
        if rng.random() < 0.6:
            rim = shell(body, rng.uniform(0.01, 0.04) * unit, space) & (
                field(rng, space, 0.2 * unit) > rng.uniform(-0.8, 0.8)
            )
            p.paint(rim & whole, fluid if rng.random() < 0.6 else white)
        p.paint(body, grey + rng.normal(0, 0.05), weight=1.0, texture=0.02)
    if rng.random() < 0.6:
        centre = rng.uniform(0.25, 0.75, 3) * size
        radius = np.exp(rng.uniform(np.log(0.03), np.log(0.22))) * unit
        lesion = blob(rng, space, centre, radius, rng.uniform(0.15, 0.5), 0.4) & whole
        level = (
            float(np.clip(max(grey, white) + rng.uniform(0.05, 0.35), 0, 1))
            if rng.random() < 0.75
            else rng.uniform(0, 0.25)
        )
        if lesion.any():
            lesion = largest_part(lesion)
            p.paint(lesion, level, weight=1.5, texture=0.05)
            if rng.random() < 0.6:  # zones inside; the whole stays one object
                zone = (
                    blob(rng, space, centre + rng.normal(0, radius * 0.2, 3), radius * rng.uniform(0.3, 0.7), 0.4)
                    & lesion
                )
                p.values[zone] = (
                    np.clip(level + rng.uniform(-0.4, 0.3), 0, 1) + 0.03 * field(rng, space, 0.1 * unit)[zone]
                )
                p.objects.append((zone, 0.2))
        for _ in range(int(rng.integers(0, 5))):
            p.paint(
                blob(rng, space, rng.uniform(0.2, 0.8, 3) * size, rng.uniform(0.01, 0.04) * unit, 0.4) & whole,
                level,
                weight=0.4,
            )


def _loose(p: _Painter) -> None:
    """Bodies of any kind in a plain or cellular surrounding: alone, touching with equal levels, nested, bridged."""
    rng, space = p.rng, p.space
    size = space.size
    unit = size[1:].mean() if size[0] < 0.5 * size[1] else size.mean()
    p.values[:] = rng.uniform(0.1, 0.9)
    if rng.random() < 0.4:
        owner = cells(rng, space, int(rng.integers(3, 10)))
        spread = rng.uniform(0.03, 0.2)
        for number in range(int(owner.max()) + 1):
            p.paint(owner == number, float(np.clip(p.values.flat[0] + rng.normal(0, spread), 0, 1)), weight=0.2)
    last = None
    for _ in range(int(rng.integers(1, 9))):
        radius = np.exp(rng.uniform(np.log(0.04), np.log(0.3))) * unit
        centre = rng.uniform(0.15, 0.85, 3) * size
        kind = rng.random()
        if last is not None and kind < 0.3:  # touches the last one, with the same level
            spot = np.argwhere(last[0])
            centre = spot[rng.integers(len(spot))] * space.spacing + rng.normal(0, 1, 3) * radius
            body, level = blob(rng, space, centre, radius) & ~last[0], last[1]
        elif last is not None and kind < 0.45:  # lies inside the last one
            body, level = blob(rng, space, centre, radius) & shrunk(last[0], 0.02 * unit, space), rng.uniform(0, 1)
        else:
            near = float(np.median(p.values))
            sign = rng.choice([-1, 1])
            level = float(np.clip(near + sign * np.exp(rng.uniform(np.log(0.07), np.log(0.6))), 0, 1))
            body = blob(rng, space, centre, radius, rng.uniform(0.05, 0.5))
            if rng.random() < 0.2:
                body = tube(rng, space, centre, rng.uniform(0, 1, 3) * size, radius * 0.4)
        if body.sum() < _FEWEST_VOXELS:
            continue
        body = largest_part(body)
        p.paint(body, level, weight=1.0, texture=0.03)
        if last is not None and rng.random() < 0.25:  # a bridge to the last one, part of neither
            a, b = (np.argwhere(m).mean(0) * space.spacing for m in (last[0], body))
            bridge = tube(rng, space, a, b, rng.uniform(0.01, 0.04) * unit) & ~last[0] & ~body
            p.paint(bridge, level)
        last = (body, level)


def _scanned(rng: np.random.Generator, values: np.ndarray, space: Space, thick: bool) -> np.ndarray:
    """What a scanner makes of it, on the final grid, 0 to 1 between its 0.5 and 99.5 percentiles."""
    blur = rng.choice([0.0, 0.5, 0.8, 1.3], p=[0.25, 0.35, 0.25, 0.15])
    values = ndimage.gaussian_filter(values, [blur / s for s in space.spacing]) if blur else values
    if thick:
        values = values.reshape(-1, _FINE, *values.shape[1:]).mean(1)
        space = Space(values.shape, (space.spacing[0] * _FINE, *space.spacing[1:]))
    if rng.random() < 0.5:
        values = values * (
            1 + rng.uniform(0, 0.25) * np.clip(field(rng, space, rng.uniform(0.6, 1.5) * space.size.max()), -2, 2)
        )
    if rng.random() < 0.2:
        values = 1 - values
    noise = rng.standard_normal(values.shape).astype(np.float32)
    grain = rng.choice([0.0, 0.5, 0.8])
    if grain:
        noise = ndimage.gaussian_filter(noise, [grain / s for s in space.spacing])
        noise /= noise.std()
    values = values + noise * np.exp(rng.uniform(np.log(0.003), np.log(0.07)))
    low, high = np.percentile(values, (0.5, 99.5))
    values = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    return (values ** np.exp(rng.uniform(-0.35, 0.35))).astype(np.float32)
