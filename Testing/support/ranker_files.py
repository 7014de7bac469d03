"""Files of rankers, as the engine reads them: written where rankers are trained."""

import json
from pathlib import Path

import numpy as np

from S3NetSegmentLib.engine.segment.objects.ranked import Ranker


def save_rankers(rankers: dict[str, Ranker], path: Path) -> None:
    """Writes rankers by kind of image ("grey", "colour") to one file."""
    arrays = {}
    for kind, ranker in rankers.items():
        prefix = f"{kind}_" if kind else ""
        arrays[f"{prefix}about"] = np.array(json.dumps(ranker.about))
        arrays[f"{prefix}names"] = np.array(ranker.names)
        arrays[f"{prefix}centre"] = np.asarray(ranker.centre, np.float32)
        arrays[f"{prefix}scale"] = np.asarray(ranker.scale, np.float32)
        for n, (weights, biases) in enumerate(ranker.layers):
            # Half precision moves scores by less than 0.01 and halves the file.
            arrays[f"{prefix}weights_{n}"] = weights.astype(np.float16)
            arrays[f"{prefix}biases_{n}"] = biases.astype(np.float16)
    np.savez_compressed(path, **arrays)
