"""Synthetic slices with objects whose outline is known: the only training data of the ranker.

No anatomy and no real picture is copied. The kinds of scene stand for what a click usually means: in a colour picture
mostly the one spot that the picture was taken of, in a grey section any of the things in it, in a cut-out the thing
that it was cut around. That choice of kinds, and
the weight of large objects in mixed colour scenes, is the prior that the ranker learns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from camera import taken
from mixed_scenes import mixed_scene
from outlines import largest_part
from section_scenes import section_scene
from spot_scenes import spot_scene

SIZES = (128, 232)  # side in pixels
COLOUR_SHARES = {"spot": 0.6, "mixed": 0.4}
GREY_SHARES = {"section": 0.5, "mixed": 0.35, "spot": 0.15}
_CLOSE_UP = 0.25  # share of sections and mixed scenes that are cut out around one object, which alone is meant
# A click counts by the object's area to this power, except in scenes of one spot: of the things under a click the larger
# is the likelier one to be meant, much so in a picture, a little in a section.
_AREA_POWER = {"colour": 0.8, "grey": 0.2}


@dataclass(frozen=True)
class Scene:
    """A picture float32 ``[side, side, C]`` (0 to 1; C = 3 RGB or 1), its objects and how much each click counts."""

    picture: np.ndarray
    objects: list[np.ndarray]
    weights: list[float]


def scene(rng: np.random.Generator, colour: bool) -> Scene:
    """A random scene with at least one object and some contrast."""
    shares = COLOUR_SHARES if colour else GREY_SHARES
    while True:
        side, channels = int(rng.integers(*SIZES)), 3 if colour else 1
        kind = rng.choice(list(shares), p=list(shares.values()))
        close_up = kind != "spot" and rng.random() < _CLOSE_UP
        if close_up:
            side = int(side * rng.uniform(1.2, 2))
        if kind == "spot":
            picture, objects = spot_scene(rng, side, channels)
        elif kind == "section":
            picture, objects = section_scene(rng, side)
        else:
            picture, objects = mixed_scene(rng, side, channels)
        objects = [largest_part(mask) for mask in objects if mask.any()]
        if close_up and objects:
            picture, objects = _cut_out(rng, picture, objects)
        picture = taken(rng, picture, photo=kind == "spot" and colour)
        objects = [mask for mask in objects if mask.sum() > 50 and 0.002 < mask.mean() < 0.6]
        if objects and picture.std() > 0.02:
            power = _AREA_POWER["colour" if colour else "grey"] if kind != "spot" else 0.0
            weights = [float((20 * mask.mean()) ** power) for mask in objects]  # 1 for a share of 5 %
            return Scene(picture.astype(np.float32), objects, weights)


def _cut_out(
    rng: np.random.Generator, picture: np.ndarray, objects: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A square around one of the objects, with that object alone."""
    mask = objects[rng.integers(len(objects))]
    rows, columns = np.nonzero(mask)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    side = int(np.clip(extent * rng.uniform(1.2, 3), min(96, len(mask)), len(mask)))
    top, left = (
        int(np.clip(v.mean() - side / 2 + rng.normal(0, 0.08) * side, 0, len(mask) - side)) for v in (rows, columns)
    )
    box = np.s_[top : top + side, left : left + side]
    return picture[box], [largest_part(mask[box])] if mask[box].any() else []
