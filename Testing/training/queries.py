"""Training data of the ranker: clicks in synthetic scenes, and how well each candidate fits the object that was meant.

The candidates and their features come from the product's own code, so that training sees what users will get.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scenes import scene
from simulated_clicks import innermost_point, random_point

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.images.colors import lab_from_rgb
from S3NetSegmentLib.engine.segment.objects.ranked import Ranker
from S3NetSegmentLib.engine.segment.objects.slice_features import NAMES
from S3NetSegmentLib.engine.segment.objects.slice_objects import SliceObjects
from S3NetSegmentLib.engine.segment.regions.maps import slice_maps
from S3NetSegmentLib.engine.segment.settings import SegmentSettings

OBJECTS_PER_SCENE = 3
# Scores nothing: candidates are only measured here.
UNTRAINED = Ranker(
    NAMES, np.zeros(len(NAMES)), np.ones(len(NAMES)),
    [(np.zeros((1, len(NAMES), 1)), np.zeros((1, 1))), (np.zeros((1, 1, 1)), np.zeros((1, 1))), (np.zeros((1, 1, 1)), np.zeros((1, 1)))],
)  # fmt: skip


@dataclass(frozen=True)
class Query:
    """One click: features ``[n, F]`` of its candidates, their Dice coefficients ``[n]`` with the object that was meant,
    and how much the click counts."""

    table: np.ndarray
    dice: np.ndarray
    colour: bool
    weight: float = 1.0


def scene_queries(seed: int, number: int) -> list[Query]:
    """The queries of scene ``number`` of the generator seeded with ``seed``: two clicks in up to three objects."""
    rng = np.random.default_rng([seed, number])
    colour = number % 2 == 1
    made = scene(rng, colour)
    features = lab_from_rgb(made.picture) / np.float32(100) if colour else made.picture
    maps = run_to_end(slice_maps(features, (1.0, 1.0), SegmentSettings(), rng))
    slice_objects = SliceObjects(features, maps, ranker=UNTRAINED)
    out = []
    for chosen in rng.permutation(len(made.objects))[:OBJECTS_PER_SCENE]:
        mask, weight = made.objects[chosen], made.weights[chosen]
        for point in (innermost_point(mask), random_point(mask, rng)):
            measured = slice_objects.measured(point)
            if len(measured.table) > 1:
                out.append(Query(measured.table, dice_with(measured.candidates.masks, mask), colour, weight))
    return out


def dice_with(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice coefficients ``[n]`` of bool masks ``[n, h, w]`` with ``truth``."""
    shared = (masks & truth).sum((1, 2))
    return (2 * shared / (masks.sum((1, 2)) + truth.sum())).astype(np.float32)
