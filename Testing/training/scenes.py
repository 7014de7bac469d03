"""Synthetic slices with objects whose outline is known: the only training data of the ranker.

No anatomy and no real picture is copied. The kinds of scene stand for what a click usually means: in a colour picture
mostly the one spot that the picture was taken of, in a grey section any of the things in it. That choice of kinds, and
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
_SPOT_SHARE = 0.6  # of colour scenes
_SECTION_SHARE = 0.5  # of grey scenes
_AREA_POWER = {"colour": 0.7, "grey": 0.0}  # a click in a mixed scene counts by the object's area to this power


@dataclass(frozen=True)
class Scene:
    """A picture float32 ``[side, side, C]`` (0 to 1; C = 3 RGB or 1), its objects and how much each click counts."""

    picture: np.ndarray
    objects: list[np.ndarray]
    weights: list[float]


def scene(rng: np.random.Generator, colour: bool) -> Scene:
    """A random scene with at least one object and some contrast."""
    while True:
        side = int(rng.integers(*SIZES))
        power = 0.0
        if colour and rng.random() < _SPOT_SHARE:
            picture, objects = spot_scene(rng, side, 3)
            picture = taken(rng, picture, photo=True)
        elif not colour and rng.random() < _SECTION_SHARE:
            picture, objects = section_scene(rng, side)
            picture = taken(rng, picture, photo=False)
        else:
            power = _AREA_POWER["colour" if colour else "grey"]
            picture, objects = mixed_scene(rng, side, 3 if colour else 1)
            picture = taken(rng, picture, photo=False)
        objects = [largest_part(mask) for mask in objects if mask.any()]
        objects = [mask for mask in objects if mask.sum() > 50 and 0.002 < mask.mean() < 0.6]
        if objects and picture.std() > 0.02:
            weights = [float((20 * mask.mean()) ** power) for mask in objects]  # 1 for a share of 5 %
            return Scene(picture.astype(np.float32), objects, weights)
