"""A small ensemble of networks that ranks candidates by their features. numpy only; weights in ``ranker.npz``.

Trained on synthetic scenes alone by ``Testing/training/train_ranker.py``, which also rebuilds the file.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.special import erf, logsumexp

WEIGHTS = Path(__file__).with_name("ranker.npz")
_CLIP = 4.0  # standardised features beyond are taken as this


class Ranker:
    """Networks of two hidden layers (GELU) that each give candidates a score; their log-probabilities are averaged.

    :param names: features in the order of the first layer's inputs.
    :param centre, scale: of each feature, from the training data; ``[F]``.
    :param layers: three (weights ``[networks, inputs, outputs]``, biases ``[networks, outputs]``).
    """

    def __init__(self, names, centre, scale, layers, about: dict | None = None):
        self.names, self.centre, self.scale = tuple(names), np.asarray(centre), np.asarray(scale)
        self.layers = [(np.asarray(w, np.float32), np.asarray(b, np.float32)) for w, b in layers]
        self.about = about or {}

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Ranker:
        with np.load(path, allow_pickle=False) as file:
            layers = [(file[f"weights_{n}"], file[f"biases_{n}"]) for n in range(3)]
            about = json.loads(str(file["about"]))
            return cls([str(n) for n in file["names"]], file["centre"], file["scale"], layers, about)

    def save(self, path: Path) -> None:
        arrays = {"names": np.array(self.names), "centre": self.centre, "scale": self.scale}
        for n, (weights, biases) in enumerate(self.layers):
            # Half precision moves scores by less than 0.01 and halves the file.
            arrays[f"weights_{n}"], arrays[f"biases_{n}"] = weights.astype(np.float16), biases.astype(np.float16)
        np.savez_compressed(path, about=np.array(json.dumps(self.about)), **arrays)

    def standardised(self, table: np.ndarray) -> np.ndarray:
        return np.clip((table - self.centre) / self.scale, -_CLIP, _CLIP).astype(np.float32)

    def score(self, table: np.ndarray) -> np.ndarray:
        """Mean log-probability ``[n]`` that each of the candidates, rows of ``table`` ``[n, F]``, is meant."""
        hidden = np.broadcast_to(self.standardised(table), (len(self.layers[0][0]), *table.shape))
        for number, (weights, biases) in enumerate(self.layers):
            hidden = hidden @ weights + biases[:, None]
            if number < 2:
                hidden = hidden * (0.5 * (1 + erf(hidden * np.float32(np.sqrt(0.5)))))
        scores = hidden[..., 0].astype(np.float64)
        return (scores - logsumexp(scores, axis=1, keepdims=True)).mean(0)


@lru_cache(maxsize=1)
def default_ranker() -> Ranker:
    """The ranker that ships with the engine."""
    return Ranker.load()
