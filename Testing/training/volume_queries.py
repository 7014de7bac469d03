"""Training data of the ranker for volumes: clicks in synthetic volumes, and how well each candidate fits the object meant.

The candidates and their features come from the product's own code, so that training sees what users will get.
"""

from __future__ import annotations

import numpy as np
from queries import Query
from volume_clicks import dice_with, innermost_voxel, random_voxel
from volume_scenes import VolumeScene, volume_scene

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.segment.objects import objects_of_volume
from S3NetSegmentLib.engine.segment.objects.ranked import Ranker
from S3NetSegmentLib.engine.segment.objects.volume_features import NAMES
from S3NetSegmentLib.engine.segment.regions.maps import volume_maps
from S3NetSegmentLib.engine.segment.settings import SegmentSettings

OBJECTS_PER_SCENE = 5
# Scores nothing: candidates are only measured here.
UNTRAINED = Ranker(
    NAMES, np.zeros(len(NAMES)), np.ones(len(NAMES)),
    [(np.zeros((1, n, 1)), np.zeros((1, 1))) for n in (len(NAMES), 1, 1)],
)  # fmt: skip


def volume_queries(seed: int, number: int) -> list[Query]:
    """The queries of volume ``number`` of the generator seeded with ``seed``: two clicks in up to five objects."""
    rng = np.random.default_rng([seed, number])
    made = volume_scene(rng)
    maps = run_to_end(volume_maps(made.features, made.spacing, SegmentSettings(), rng))
    objects = run_to_end(objects_of_volume(made.features, maps, made.spacing, UNTRAINED))
    out = []
    for mask, weight in chosen_objects(made, rng):
        for point in (innermost_voxel(mask, made.spacing), random_voxel(mask, made.spacing, rng)):
            measured = objects.measured(point)
            if len(measured.table) > 1:
                dice = dice_with(objects, measured.candidates, mask)
                out.append(Query(measured.table, dice, False, weight))
    return out


def chosen_objects(made: VolumeScene, rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Up to five objects of a scene with their weights, likelier ones those of more weight."""
    share = np.array(made.weights) / sum(made.weights)
    count = min(OBJECTS_PER_SCENE, len(share))
    picked = rng.choice(len(share), count, replace=False, p=share)
    # Drawn by weight they count alike, but for what drawing without replacement evens out.
    return [(made.objects[i], 1.0) for i in picked]
