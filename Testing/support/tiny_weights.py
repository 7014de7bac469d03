"""The tiny DINOv2 model that tests of weights take for a published one, see ``engine/nets/conftest.py``."""

from __future__ import annotations

TINY = "dinov2-tiny14"


def names_in(store) -> list[str]:
    """The files in the folder of a WeightsStore."""
    return sorted(path.name for path in store.folder.iterdir())
