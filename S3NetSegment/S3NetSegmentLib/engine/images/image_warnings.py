"""What reading and writing images want the user to know, collected for the notes of a result."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from ..common.errors import ImageWarning, image_warning
from .volume import Volume

_LARGE, _FEW_VALUES = 1000, 8  # voxels above which so few values are looked at with suspicion
_NAMED, _MOST = 3, 10  # files that a sentence names, and sentences, at most


def label_map_notes(volume: Volume) -> list[str]:
    """A sentence for the user of an image that may be a label map by mistake: hardly any different values, all whole."""
    array = volume.array
    if volume.is_rgb or array.size < _LARGE:
        return []
    values = np.unique(array[tuple(slice(None, None, max(1, n // 64)) for n in array.shape)])
    if len(values) > _FEW_VALUES or not np.isfinite(values).all() or (values != np.rint(values)).any():
        return []
    return [
        f"image {volume.name!r} holds only {len(values)} different values, as label maps do; if it is one, give the image itself"
    ]


def note_transparency(alpha: np.ndarray, shown: str) -> None:
    """Issues ImageWarning where ``alpha``, the opacity of an image that is ``shown`` as this, differs from place to place."""
    if alpha.min() != alpha.max():
        image_warning(f"{shown} is transparent in places; its transparency is left out")


def note_print_size(pixel: float, shown: str) -> None:
    """Issues ImageWarning for a picture whose ``pixel`` size in mm is that of dots in print."""
    image_warning(
        f"{shown}: its pixels of {pixel:.3g} mm are those of its resolution in print ({25.4 / pixel:.0f} dpi), which Slicer takes, "
        "too; lengths and areas are real only if it was scanned with that"
    )


@contextlib.contextmanager
def collected_image_warnings() -> Iterator[list[str]]:
    """A list that holds the texts of all ImageWarnings when the block has ended, each once."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        yield notes
        notes += dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, ImageWarning))


def grouped_warnings(texts: Sequence[str]) -> list[str]:
    """Warnings of many images as few sentences: what several files have in common is said once, with how many they are.

    :param texts: of ImageWarnings, "'path': what is so".
    """
    files: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        path, found, rest = text.partition("': ")
        files.setdefault(rest if found else text, []).append(os.path.basename(path.strip("'")) if found else "")
    sentences = []
    for rest, names in files.items():
        shown = ", ".join(filter(None, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")
        sentences.append(f"{f'{len(names)} files ({shown})' if len(names) > 1 else shown}: {rest}" if shown else rest)
    more = len(sentences) - _MOST
    return sentences if more <= 0 else [*sentences[:_MOST], f"{more} further warnings of this kind about other files"]
