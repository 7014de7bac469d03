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
    def load(cls, path: Path, kind: str = "") -> Ranker:
        """The ranker in ``path``; of several in one file the one for ``kind`` of image."""
        prefix = f"{kind}_" if kind else ""
        with np.load(path, allow_pickle=False) as file:
            return cls(
                [str(n) for n in file[f"{prefix}names"]],
                file[f"{prefix}centre"],
                file[f"{prefix}scale"],
                [(file[f"{prefix}weights_{n}"], file[f"{prefix}biases_{n}"]) for n in range(3)],
                json.loads(str(file[f"{prefix}about"])),
            )

    def save(self, path: Path) -> None:
        save_rankers({"": self}, path)

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


def save_rankers(rankers: dict[str, Ranker], path: Path = WEIGHTS) -> None:
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
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # none of the names is allow_pickle


@lru_cache(maxsize=2)
def default_ranker(kind: str) -> Ranker:
    """The ranker that ships with the engine for "grey" slices or "colour" pictures."""
    return Ranker.load(WEIGHTS, kind)
