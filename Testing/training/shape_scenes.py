"""Grey scenes of label maps that are filled with random intensities: shapes of any kind side by side, in and around each other.

As in SynthSeg and SynthMorph the label maps are bent at random and each label has a brightness and a texture of its own; here the
maps themselves are random, too, so that no anatomy is copied.
"""

from __future__ import annotations

import numpy as np
from outlines import blob, cells, field, largest_part, outline
from scipy import ndimage

_LARGEST = 0.7  # share of the picture that an object may cover
_SMALLEST = 40  # pixels
_FILLED, _CAVITY_FILLED = 0.6, 0.25  # how often what lies inside a thing is a part of it; the same of a large cavity
_WALLED, _PARTED, _WITH_THINGS = 0.35, 0.15, 0.15  # of the organs: with a wall; of several parts; with things in them
_PART_MEANT = 0.3  # how often a part of an organ is an object, too
_ROUNDED, _FARTHEST_ROUNDED = 0.3, 4.0  # objects whose outline leaves out folds, and pixels of their width


def shape_scene(rng: np.random.Generator, side: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture ``[side, side, 1]`` and the masks of its objects."""
    labels = _background(rng, side)
    drawn: list[np.ndarray] = []
    organs: list[list[int]] = []  # labels of those that have several, which together are one thing
    for _ in range(int(rng.integers(2, 12))):
        drawn += _draw(rng, labels, drawn, organs)
    labels = _bent(rng, labels)
    return np.clip(_filled(rng, labels), 0, 1)[..., None], _objects(rng, labels, organs)


def _background(rng: np.random.Generator, side: int) -> np.ndarray:
    """Labels of the ground: one, cells, or the largest of several smooth fields."""
    kind = rng.random()
    if kind < 0.3:
        return np.zeros((side, side), np.int32)
    if kind < 0.5:
        return cells(rng, side, int(rng.integers(3, 12)), 4.0).astype(np.int32)
    scale = side * np.exp(rng.uniform(np.log(0.04), np.log(0.2)))
    return np.stack([field(rng, side, scale) for _ in range(int(rng.integers(2, 6)))]).argmax(0).astype(np.int32)


def _draw(
    rng: np.random.Generator, labels: np.ndarray, drawn: list[np.ndarray], organs: list[list[int]]
) -> list[np.ndarray]:
    """Draws an organ into ``labels``: of one kind, with a wall, of several parts, or with things in it. Returns the masks that were
    drawn; parts and things are noted in ``organs``."""
    side, number = len(labels), int(labels.max()) + 1
    centre = rng.uniform(0.1, 0.9, 2) * side
    if drawn and rng.random() < 0.4:  # beside or in another one
        rows, columns = np.nonzero(drawn[rng.integers(len(drawn))])
        at = rng.integers(len(rows))
        centre = np.array([rows[at], columns[at]]) + rng.normal(0, 2, 2)
    radius = np.exp(rng.uniform(np.log(0.03), np.log(0.3))) * side
    kind = str(rng.choice(["blob", "ellipse", "patch", "cell", "tube"], p=[0.4, 0.15, 0.15, 0.1, 0.2]))
    mask = _tube(rng, side, centre, radius) if kind == "tube" else outline(rng, side, centre, radius, kind)
    if np.count_nonzero(mask) < _SMALLEST:
        return []
    mask = largest_part(mask)
    labels[mask] = number
    content = rng.random()
    if content < _WALLED:  # a wall, as thick and as folded as it likes, around a cavity
        depth = ndimage.distance_transform_edt(mask)
        folds = np.exp(rng.uniform(np.log(0.3), np.log(max(0.4, 0.35 * depth.max()))))
        cavity = depth > depth.max() * rng.uniform(0.15, 0.7) + folds * field(rng, side, rng.uniform(3, 12))
        cavity = ndimage.binary_opening(cavity & mask)
        labels[cavity] = number + 1
        return [mask, cavity] if cavity.any() else [mask]
    if content < _WALLED + _PARTED:
        fields = [field(rng, side, radius * rng.uniform(0.3, 1.5)) for _ in range(int(rng.integers(2, 4)))]
        labels[mask] = number + np.stack(fields).argmax(0)[mask]
        organs.append(list(range(number, number + len(fields))))
    elif content < _WALLED + _PARTED + _WITH_THINGS:
        rows, columns = np.nonzero(mask)
        for part in range(int(rng.integers(1, 5))):
            at = rng.integers(len(rows))
            inner = blob(rng, side, (rows[at], columns[at]), radius * rng.uniform(0.1, 0.5), 0.4) & mask
            labels[inner] = number + 1 + part * (rng.random() < 0.5)
        organs.append(list(range(number, int(labels.max()) + 1)))
    return [mask]


def _tube(rng: np.random.Generator, side: int, centre, length: float) -> np.ndarray:
    """A vessel, a cord, a bowel: a line that bends, some pixels thick, at times through the whole picture."""
    steps = np.arange(-1, 1, 1 / side) * length * np.exp(rng.uniform(0, 1.5))
    angle = rng.uniform(0, np.pi) if rng.random() < 0.6 else rng.integers(2) * np.pi / 2 + rng.normal(0, 0.1)
    bend = np.cumsum(rng.normal(0, 1, len(steps)))
    bend = angle + rng.uniform(0, 0.06) * (bend - bend.mean())
    step = steps[1] - steps[0]
    rows = centre[0] + np.cumsum(np.sin(bend)) * step - np.sin(angle) * steps[-1]
    columns = centre[1] + np.cumsum(np.cos(bend)) * step - np.cos(angle) * steps[-1]
    seen = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    line = np.ones((side, side), bool)
    line[rows[seen].astype(int), columns[seen].astype(int)] = False
    if line.all():
        return ~line
    thickness = max(1.5, length * np.exp(rng.uniform(np.log(0.06), np.log(0.5))))
    return ndimage.distance_transform_edt(line) < thickness * (1 + rng.uniform(0, 0.3) * field(rng, side, 12))


def _bent(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    side = len(labels)
    scale = side * np.exp(rng.uniform(np.log(0.05), np.log(0.3)))
    shift = [rng.uniform(0, 0.3) * scale * field(rng, side, scale) for _ in range(2)]
    rows, columns = np.mgrid[:side, :side]
    places = [
        np.clip(np.round(at + by), 0, side - 1).astype(int) for at, by in zip((rows, columns), shift, strict=True)
    ]
    return labels[places[0], places[1]]


def _filled(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """A picture ``[side, side]``: a brightness for each label, at times nearly another's, with texture and an edge that is more or less soft."""
    side, count = len(labels), int(labels.max()) + 1
    levels = rng.uniform(0, 1, count)
    if rng.random() < 0.5:  # a few tissues only, as in most images
        tissues = rng.uniform(0, 1, int(rng.integers(2, 6)))
        levels = tissues[rng.integers(len(tissues), size=count)] + rng.normal(0, 0.05, count)
    spread = np.exp(rng.uniform(np.log(0.005), np.log(0.15)))
    strengths = spread * rng.uniform(0.3, 1.5, count)
    scales = rng.choice([1, 2, 4, 8], 2, replace=False)
    textures = [field(rng, side, float(scale)) for scale in scales]
    which = rng.integers(2, size=count)[labels]
    own = np.where(which == 0, textures[0], textures[1])
    picture = levels[labels] + strengths[labels] * own
    blur = rng.choice([0.4, 0.7, 1.0, 1.6])
    if rng.random() < 0.3:  # a bright or dark line between parts
        edges = ndimage.morphological_gradient(labels, size=3) > 0
        picture = np.where(edges & (field(rng, side, 12) > rng.uniform(-1.5, 0.5)), rng.uniform(0, 1), picture)
    return ndimage.gaussian_filter(picture, blur)


def _objects(rng: np.random.Generator, labels: np.ndarray, organs: list[list[int]]) -> list[np.ndarray]:
    """The largest part of each organ and of each other label; of those with a hole either the ring or the whole."""
    parts = {number for organ in organs for number in organ}
    groups = [[n] for n in range(int(labels.max()) + 1) if n not in parts or rng.random() < _PART_MEANT]
    objects = []
    for group in groups + organs:
        mask = np.isin(labels, group)
        if np.count_nonzero(mask) < _SMALLEST:
            continue
        mask = largest_part(mask)
        filled = ndimage.binary_fill_holes(mask)
        holes = 1 - np.count_nonzero(mask) / np.count_nonzero(filled)
        if holes and (holes < 0.03 or rng.random() < (_FILLED if holes < 0.3 else _CAVITY_FILLED)):
            mask = filled
        if rng.random() < _ROUNDED:
            mask = _rounded(mask, rng.uniform(1, _FARTHEST_ROUNDED))
        if _SMALLEST <= np.count_nonzero(mask) <= _LARGEST * mask.size:
            objects.append(mask)
    return objects


def _rounded(mask: np.ndarray, width: float) -> np.ndarray:
    """``mask`` as a hand outlines it that does not go into every fold: closed by a disk of radius ``width``."""
    margin = int(width) + 2
    wide = ndimage.distance_transform_edt(~np.pad(mask, margin)) <= width
    closed = ndimage.distance_transform_edt(wide) > width
    return closed[margin:-margin, margin:-margin] | mask
