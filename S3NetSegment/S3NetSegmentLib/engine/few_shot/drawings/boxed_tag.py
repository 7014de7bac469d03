"""The tag of a segment that says which of its slices boxes and clicks have drawn, and how good that is expected to be. The panel
writes it; a drawing that is read from a file is then taken for no better than in the panel."""

from __future__ import annotations

import json
from hashlib import blake2b

import numpy as np

from ...common.provenance import PREFIX

BOXED_TAG = PREFIX + "Boxed"  # JSON, for each slice [digest of its pixels, expected Dice, its place, its boxes]


def expected_of(tag: str, drawn: np.ndarray) -> float:
    """Dice, 0 to 1, of what is drawn on a slice with what is meant there, as is to be expected: below 1 where exactly these pixels
    were found in boxes or at clicks. A tag that is damaged, or of another version, says nothing.

    :param drawn: the segment there, bool ``[rows, columns]``.
    """
    try:
        known = {str(digest): float(expected) for digest, expected, *_ in json.loads(tag or "[]")}
    except (ValueError, TypeError):
        return 1.0
    return known.get(pixel_digest(drawn), 1.0)


def pixel_digest(pixels: np.ndarray) -> str:
    """Tells drawings on a slice, bool ``[rows, columns]``, apart."""
    return f"{pixels.shape[0]}x{pixels.shape[1]} {array_digest(np.packbits(pixels))}"


def array_digest(array: np.ndarray) -> str:
    """Tells arrays apart."""
    return blake2b(array.tobytes(), digest_size=8).hexdigest()
