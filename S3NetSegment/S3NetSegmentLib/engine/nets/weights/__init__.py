"""Published encoder weights: which exist, where this user keeps them, and how they get there (never by themselves)."""

from .catalogue import CATALOGUE, DEFAULT_WEIGHTS, WeightsFile, weights_named
from .store import StoredWeights, WeightsStore, weights_folder

__all__ = [
    "CATALOGUE", "DEFAULT_WEIGHTS", "StoredWeights", "WeightsFile", "WeightsStore", "weights_folder", "weights_named",
]  # fmt: skip
