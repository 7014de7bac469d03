"""Published encoder weights: which exist, where this user keeps them, and how they get there (never by themselves)."""

from .store import CATALOGUE, DEFAULT_WEIGHTS, StoredWeights, WeightsFile, WeightsStore, weights_folder, weights_named

__all__ = [
    "CATALOGUE", "DEFAULT_WEIGHTS", "StoredWeights", "WeightsFile", "WeightsStore", "weights_folder", "weights_named",
]  # fmt: skip
