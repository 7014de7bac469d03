"""How well a segmentation agrees with a reference: Dice, HD95 and ASSD in mm, volumes in ml (in pictures: pixels).

Conventions, since results of different programs differ by them:

- Surfaces are the voxels of a mask with a face neighbour outside it (or outside the image); distances are between their
  centres, in patient millimetres with the true voxel sizes (and shear).
- HD95 is the larger of the two directed 95th percentiles (linear interpolation). Pooling both directions, as some do,
  gives other values.
- Neither mask has a voxel: "absent", nothing is scored. Only the reference: "missed", Dice 0 and no distance (NaN), never
  a distance of 0. Only the found one: "extra", likewise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from .common.arrays import box_around
from .common.errors import InputError
from .images import Segment, Segmentation
from .images.segmentation import is_picture, is_without_pixel_size, name_key
from .images.volume import covered, shift_between

_MOST_VOXELS = 1 << 28  # of a grid around two segmentations of which most lies in neither
STATES = ("scored", "missed", "extra", "absent")


@dataclass(frozen=True)
class SegmentScore:
    """Agreement of one segment.

    :param state: one of :data:`STATES`, see the head of this file.
    :param dice: 0 to 1; NaN if absent.
    :param hd95_mm, assd_mm: NaN unless scored.
    :param found_ml, reference_ml: volumes; NaN in pictures, which have none.
    :param found_voxels, reference_voxels: the same in voxels (pixels).
    """

    name: str
    state: str
    dice: float
    hd95_mm: float
    assd_mm: float
    found_ml: float
    reference_ml: float
    found_voxels: int = 0
    reference_voxels: int = 0

    @property
    def difference_ml(self) -> float:
        """Found minus reference."""
        return self.found_ml - self.reference_ml

    @property
    def difference_voxels(self) -> int:
        """Found minus reference."""
        return self.found_voxels - self.reference_voxels

    def as_dict(self) -> dict:
        """For JSON: NaN becomes None."""
        values = asdict(self) | {"difference_ml": self.difference_ml, "difference_voxels": self.difference_voxels}
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def score_masks(name: str, found: np.ndarray, reference: np.ndarray, ijk_to_ras: np.ndarray) -> SegmentScore:
    """Agreement of two masks, bool ``[K, J, I]``, on a grid with the voxel-to-RAS matrix ``ijk_to_ras`` (4x4)."""
    if found.shape != reference.shape or found.ndim != 3:
        raise InputError(f"masks of {name!r} have shapes {found.shape} and {reference.shape}; they must share one grid")
    voxel_ml = math.nan if is_picture(found.shape) else abs(np.linalg.det(np.asarray(ijk_to_ras)[:3, :3])) / 1000
    counts = int(np.count_nonzero(found)), int(np.count_nonzero(reference))
    sizes = counts[0] * voxel_ml, counts[1] * voxel_ml, *counts
    if not all(counts):
        state = "extra" if counts[0] else "missed" if counts[1] else "absent"
        return SegmentScore(name, state, 0.0 if any(counts) else math.nan, math.nan, math.nan, *sizes)
    dice = 2 * int(np.count_nonzero(found & reference)) / sum(counts)
    there, back = surface_distances(found, reference, ijk_to_ras)
    hd95 = float(max(np.percentile(there, 95), np.percentile(back, 95)))
    assd = float((there.sum() + back.sum()) / (len(there) + len(back)))
    return SegmentScore(name, "scored", dice, hd95, assd, *sizes)


def surface_distances(a: np.ndarray, b: np.ndarray, ijk_to_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm from each surface voxel of mask ``a`` to the surface of ``b``, and the other way round."""
    points = [surface_voxels(mask) @ np.asarray(ijk_to_ras, float)[:3, :3].T for mask in (a, b)]
    trees = [cKDTree(p) for p in points]
    return trees[1].query(points[0])[0], trees[0].query(points[1])[0]


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """The voxels (i, j, k) of ``mask`` [K, J, I] with a face neighbour outside it, ``[N, 3]``. An axis of one voxel has
    no faces, so that pictures have outlines."""
    box = box_around(mask)
    part = mask[box]
    cross = ndimage.generate_binary_structure(3, 1)
    for axis, size in enumerate(mask.shape):
        if size == 1:
            cross = cross & (np.arange(3) == 1).reshape([3 if a == axis else 1 for a in range(3)])
    edge = part & ~ndimage.binary_erosion(part, cross)
    return np.argwhere(edge)[:, ::-1] + [s.start for s in box[::-1]]


def compare_segmentations(found: Segmentation, reference: Segmentation) -> list[SegmentScore]:
    """Scores of all segments of either side, in the reference's order, then those that only ``found`` has.

    Segments are paired by name (upper and lower case alike) where the two share a name, otherwise by label value, as for
    label maps without names; two that are alone on their sides are one pair. A score has the name that one of the two
    sides gives, the reference's before the other's.

    :raises InputError: the two do not lie on voxels of one grid, or names occur twice.
    """
    ours, theirs, matrix = _on_one_grid(found, reference)
    key = _pairing(found, reference)
    left, right = ({key(s): s for s in seg.segments} for seg in (ours, theirs))
    scores = []
    for each in dict.fromkeys([*right, *left]):
        sides = [side[each] for side in (right, left) if each in side]
        shown = next((s for s in sides if not s.is_unnamed), sides[0]).name
        ours_mask, theirs_mask = (
            seg.mask(side[each]) if each in side else np.zeros(seg.layers[0].shape, bool)
            for seg, side in ((ours, left), (theirs, right))
        )
        scores.append(score_masks(shown, ours_mask, theirs_mask, matrix))
    return scores


def summarise(scores: Iterable[SegmentScore]) -> dict:
    """Means over several scores of one structure, with the counts that show what the means leave out.

    "dice" includes missed and extra segments as 0; distances are over scored ones only, volumes over those that are not pictures; absent ones are left out.
    """
    scores = list(scores)
    count = {state: sum(s.state == state for s in scores) for state in STATES}
    present = [s for s in scores if s.state != "absent"]
    scored = [s for s in scores if s.state == "scored"]
    deep = [s for s in present if not math.isnan(s.difference_ml)]
    return {
        "cases": len(scores),
        **count,
        "dice": _mean(s.dice for s in present),
        "dice_sd": _deviation([s.dice for s in present]),
        "hd95_mm": _mean(s.hd95_mm for s in scored),
        "assd_mm": _mean(s.assd_mm for s in scored),
        "difference_ml": _mean(s.difference_ml for s in deep),
        "absolute_difference_ml": _mean(abs(s.difference_ml) for s in deep),
        "difference_voxels": _mean(s.difference_voxels for s in present),
    }


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return float(np.mean(values)) if values else None


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def pairing_notes(found: Segmentation, reference: Segmentation) -> list[str]:
    """What the user should know of how :func:`compare_segmentations` pairs segments and of its units."""
    notes = []
    by = _paired_by(found, reference)
    sides = {"the found segmentation": found, "the reference": reference}
    if empty := [name for name, seg in sides.items() if not seg.segments]:
        notes.append(
            f"{' and '.join(empty)} {'hold' if len(empty) > 1 else 'holds'} no segment at all; is it the file that you mean?"
        )
    elif by == "alone":
        names = [seg.segments[0].name for seg in (found, reference)]
        notes.append(f"each side has one segment, so {names[0]!r} was compared with {names[1]!r}")
    elif by == "value":
        bare = [all(s.is_unnamed for s in seg.segments) for seg in (found, reference)]
        if not any(bare):
            theirs = {(s.layer, s.value): s.name for s in reference.segments}
            pairs = [(s.name, theirs[s.layer, s.value]) for s in found.segments if (s.layer, s.value) in theirs]
            told = ", ".join(f"{a!r} with {b!r}" for a, b in pairs[:4]) + (", ..." if len(pairs) > 4 else "")
            notes.append(f"the two share no name of a segment, so they were paired by label value: {told or 'none'}")
        elif not {(s.layer, s.value) for s in found.segments} & {(s.layer, s.value) for s in reference.segments}:
            notes.append(
                "the two share neither a name nor a label value of a segment, so no segment could be compared with another"
            )
        elif not all(bare):
            notes.append("one side has no names of segments; they were paired by label value")
    (low, high), (other_low, other_high) = map(_covered, (found, reference))
    if (np.maximum(low, other_low) > np.minimum(high, other_high)).any():
        notes.append(f"the two lie apart, as those of different images or frames do: {_apart(found, reference)}")
    if is_without_pixel_size(found.layers[0].shape, found.ijk_to_ras):
        notes.append("the files do not say how large a pixel is: the distances are in pixels, not mm")
    return notes


def _apart(a: Segmentation, b: Segmentation) -> str:
    boxes = (zip("RAS", *_covered(seg), strict=True) for seg in (a, b))
    shown = (", ".join(f"{n} {low:.0f} to {high:.0f}" for n, low, high in box) for box in boxes)
    return f"one covers {' mm, the other '.join(shown)} mm"


def _covered(segmentation: Segmentation) -> tuple[np.ndarray, np.ndarray]:
    return covered(segmentation.ijk_to_ras, segmentation.layers[0].shape[::-1])


def _paired_by(found: Segmentation, reference: Segmentation) -> str:
    """How segments of the two are paired: "name", "value", or "alone" where each side has one segment only."""
    names = [{_folded(s) for s in seg.segments} for seg in (found, reference)]
    if names[0] & names[1]:
        return "name"
    values = [{(s.layer, s.value) for s in seg.segments} for seg in (found, reference)]
    alone = len(found.segments) == len(reference.segments) == 1
    return "alone" if alone and not values[0] & values[1] else "value"


def _pairing(found: Segmentation, reference: Segmentation):
    """The key by which segments of the two are paired: a function of a segment."""
    by = _paired_by(found, reference)
    if by == "name":
        for side in (found, reference):
            names = [_folded(s) for s in side.segments]
            twice = next((n for n in names if names.count(n) > 1), None)
            if twice is not None:
                raise InputError(f"segment name {twice!r} occurs twice in one segmentation; rename one of them")
        return _folded
    return (lambda segment: 0) if by == "alone" else (lambda segment: (segment.layer, segment.value))


def _folded(segment: Segment) -> str:
    return name_key(segment.name)


def _on_one_grid(a: Segmentation, b: Segmentation) -> tuple[Segmentation, Segmentation, np.ndarray]:
    """Both segmentations on the smallest grid that holds both, and its matrix."""
    sizes = np.array([seg.layers[0].shape[::-1] for seg in (a, b)])
    shift = shift_between(a.ijk_to_ras, b.ijk_to_ras, sizes[1])
    if shift is None:
        spacings = [" x ".join(f"{s:.3g}" for s in np.linalg.norm(seg.ijk_to_ras[:3, :3], axis=0)) for seg in (a, b)]
        raise InputError(
            f"the two segmentations lie on different grids ({tuple(sizes[0].tolist())} voxels of {spacings[0]} mm and "
            f"{tuple(sizes[1].tolist())} of {spacings[1]} mm, or turned or shifted by part of a voxel); resample one to the "
            "grid of the other first, in Slicer with 'Resample scalar/vector/DWI volume' and nearest neighbour"
        )
    low = np.minimum(0, shift)
    high = np.maximum(sizes[0], shift + sizes[1])
    voxels = math.prod((high - low).tolist())
    if voxels > _MOST_VOXELS and voxels > 8 * sum(math.prod(size.tolist()) for size in sizes):
        raise InputError(
            f"the two segmentations lie apart, as those of different images or frames do ({_apart(a, b)}), and a grid that holds "
            f"both would have {voxels:,} voxels; compare segmentations of one image"
        )
    matrix = np.array(a.ijk_to_ras, float)
    matrix[:3, 3] += matrix[:3, :3] @ low
    size = tuple((high - low).tolist())[::-1]
    return a.on_larger_grid(-low, size, matrix), b.on_larger_grid(shift - low, size, matrix), matrix
