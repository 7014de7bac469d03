"""What reading and writing images want the user to know, collected for the notes of a result."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from ..errors import ImageWarning


@contextlib.contextmanager
def collected_image_warnings() -> Iterator[list[str]]:
    """A list that holds the texts of all ImageWarnings when the block has ended, each once."""
    notes = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        yield notes
        notes += dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, ImageWarning))
