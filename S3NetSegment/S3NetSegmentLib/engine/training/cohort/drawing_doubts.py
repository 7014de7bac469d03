"""What a drawing of a training case lets doubt: a training takes all that is not drawn for background, and whoever drew a few slices
alone, or the background in place of the object, learns of it by a poor model only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .label_classes import LabelClass

_WIDE = 3.0  # times the distance of slices: what is so wide in one does not end before the next
_MOST, _USUAL = 0.5, 0.25  # shares of an image that a structure covers in one case, and in most


def sparse_slices(labels: np.ndarray, spacing: Sequence[float]) -> tuple[str, list[int]] | None:
    """Across which axis ("x", "y", "z") and on which slices alone something is drawn in ``labels`` ``[K, J, I]``, none of which is
    beside another although what is drawn there is wide; None if it goes on from slice to slice. ``spacing``: mm along (i, j, k)."""
    drawn = labels > 0
    each = []
    for array_axis, axis in enumerate("zyx"):
        counts = np.count_nonzero(np.moveaxis(drawn, array_axis, 0), axis=(1, 2))
        each.append((len(np.flatnonzero(counts)), array_axis, axis, counts))
    _, array_axis, axis, counts = min(each, key=lambda one: one[0])
    found = np.flatnonzero(counts)
    if not len(found) or len(counts) < 3 or (np.diff(found) == 1).any():
        return None
    apart = spacing["xyz".index(axis)]
    area = float(np.median(counts[found])) * math.prod(spacing) / apart
    return (axis, found.tolist()) if math.sqrt(area) > _WIDE * apart else None


def covering_notes(shares: Mapping[str, Sequence[float]], classes: Sequence[LabelClass]) -> list[str]:
    """Sentences about cases in which a structure covers most of the image: all of it, or far more than in most.

    :param shares: by case, of the image that each of ``classes`` covers.
    """
    notes = []
    for number, one in enumerate(classes):
        each = {case: found[number] for case, found in shares.items()}
        usual = float(np.median([share for share in each.values() if share > 0] or [0]))
        whole = [case for case, share in each.items() if share == 1]
        most = [case for case, share in each.items() if share > _MOST and usual < _USUAL and share < 1]
        for cases, what in ((whole, "all of the image"), (most, f"most of the image, and {usual:.0%} in most others")):
            if cases:
                shown = ", ".join(cases[:4]) + (", ..." if len(cases) > 4 else "")
                notes.append(
                    f"{one.name!r} covers {what} in {len(cases)} cases ({shown}): is the background drawn there?"
                )
    return notes
