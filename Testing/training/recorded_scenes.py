"""Scenes of real images: planes through labelled CT volumes, as they are or filled with random intensities, and pictures of the skin.

Of the shared sets only those whose licences allow it (named in ``../shared/data/SOURCES.md``). Label maps that are filled with random
intensities: Billot et al., "SynthSeg", Medical Image Analysis 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk
from outlines import field, largest_part
from paths import SHARED_DATA
from scipy import ndimage
from shape_scenes import filled, rounded

from S3NetSegmentLib.engine.images import Volume
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.images.resample import resized

_SCANS = ("ctA", "ctB")
_FILLED_SHARE = 0.5  # of the planes: random intensities in the place of the recorded ones
_OBLIQUE_SHARE = 0.5  # of the planes of a volume that is not flat
_FLAT_MM = 60.0  # of a thinner volume only slices as they were recorded
_FIELD_MM = (60.0, 320.0)  # what a plane shows along its sides
_TURN = 0.6  # radians, of a plane that is not oblique, within the plane
_TISSUES = (2, 6)  # of what has no label, by its intensity
_SMALLEST, _LARGEST = 40, 0.7  # pixels, and share of the picture, of an object
_ROUNDED_SHARE = 0.2
_TOGETHER = ((10, 11), (12, 13, 14))  # lobes, which are a lung as well
_SKIN = "derm_isic2017_train_more"  # none of its pictures is among those of the benchmarks


@dataclass(frozen=True)
class _Scan:
    """Grey values (0 to 1) and labels ``[K, J, I]``, the size of a voxel in mm (k, j, i), and what is labelled ``[3, n]``."""

    image: np.ndarray
    labels: np.ndarray
    spacing: np.ndarray
    labelled: np.ndarray


def plane_scene(rng: np.random.Generator, side: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture ``[side, side, 1]`` of a plane through a CT, and the masks of organs and bones in it."""
    scan = _scan(_SCANS[int(rng.integers(len(_SCANS)))])
    places = _plane(rng, scan, side)
    image = ndimage.map_coordinates(scan.image, places, order=1, mode="nearest")
    labels = _labels_at(scan.labels, places)
    objects = _objects(rng, labels)
    if rng.random() < _FILLED_SHARE:
        image = filled(rng, _with_tissues(rng, labels, image))
    return np.clip(image, 0, 1)[..., None], objects


def skin_scene(rng: np.random.Generator, side: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture ``[side, side, 3]`` of the skin, and the mask of its lesion."""
    path = _skin_pictures()[int(rng.integers(len(_skin_pictures())))]
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(path.with_name(path.stem + "_mask.png"))))
    lesion = resized((mask > 127).astype(np.float32)[..., None], (side, side))[..., 0] > 0.5
    objects = [largest_part(lesion)] if np.count_nonzero(lesion) >= _SMALLEST else []
    return np.clip(resized(picture.astype(np.float32) / 255, (side, side)), 0, 1), objects


@lru_cache(maxsize=len(_SCANS))
def _scan(name: str) -> _Scan:
    folder = SHARED_DATA / "ct_abdomen_totalseg"
    image, labels = (sitk.ReadImage(str(folder / f"{name}_{kind}.nii.gz")) for kind in ("image", "label"))
    array = sitk.GetArrayFromImage(image)
    grey = intensity_scale(Volume(array, np.diag((*image.GetSpacing(), 1.0)), name)).apply(array)[..., 0]
    values = sitk.GetArrayFromImage(labels)
    return _Scan(grey, values, np.array(image.GetSpacing()[::-1]), np.stack(np.nonzero(values)))


@lru_cache(maxsize=1)
def _skin_pictures() -> list:
    return sorted((SHARED_DATA / _SKIN).glob("*.jpg"))


def _plane(rng: np.random.Generator, scan: _Scan, side: int) -> np.ndarray:
    """Voxels ``[3, side, side]`` (k, j, i; fractional) of a bent square through something labelled."""
    flat = scan.image.shape[0] * scan.spacing[0] < _FLAT_MM
    across = 0 if flat else int(rng.integers(3))
    axes = np.eye(3)[[across, *(n for n in range(3) if n != across)]]
    angle = rng.uniform(-_TURN, _TURN)
    axes[1:] = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle)))) @ axes[1:]
    if not flat and rng.random() < _OBLIQUE_SHARE:
        axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    length = np.exp(rng.uniform(*np.log(_FIELD_MM)))
    lengths = length * np.exp(rng.normal(0, 0.15, 2))
    middle = scan.labelled[:, int(rng.integers(scan.labelled.shape[1]))] * scan.spacing
    at = (np.arange(side) + 0.5) / side - 0.5
    scale = side * np.exp(rng.uniform(np.log(0.1), np.log(0.4)))
    bend = [rng.uniform(0, 0.15) * scale / side * field(rng, side, scale) for _ in range(2)]
    rows, columns = at[:, None] + bend[0] + rng.uniform(-0.3, 0.3), at + bend[1] + rng.uniform(-0.3, 0.3)
    mm = middle[:, None, None] + lengths[0] * axes[1][:, None, None] * rows + lengths[1] * axes[2][:, None, None] * columns
    if flat:
        mm[0] = middle[0]
    return mm / scan.spacing[:, None, None]


def _labels_at(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The label with the largest share at each place, uint8 ``[side, side]``: outlines without steps."""
    size = np.array(labels.shape)
    low = np.clip(np.floor(places.min((1, 2))).astype(int), 0, size - 1)
    high = np.clip(np.ceil(places.max((1, 2))).astype(int) + 1, low + 1, size)
    part = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    values, local = np.unique(part), places - low[:, None, None]
    outside = ((places < -0.5) | (places > (size - 0.5)[:, None, None])).any(0)
    shares = [ndimage.map_coordinates((part == v).astype(np.float32), local, order=1, mode="nearest") for v in values]
    return np.where(outside, 0, values[np.argmax(shares, 0)]).astype(np.uint8)


def _with_tissues(rng: np.random.Generator, labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """``labels`` from 0 on without gaps, and what has none divided by how bright it is."""
    smooth = ndimage.gaussian_filter(image, rng.uniform(0.5, 3))
    count = int(rng.integers(*_TISSUES))
    knots = np.quantile(smooth, np.sort(rng.uniform(0.05, 0.95, count - 1)))
    return np.unique(np.where(labels > 0, 100 + labels, np.digitize(smooth, knots)), return_inverse=True)[1].reshape(labels.shape)


def _objects(rng: np.random.Generator, labels: np.ndarray) -> list[np.ndarray]:
    objects = []
    groups = [(v,) for v in np.unique(labels[labels > 0])] + [g for g in _TOGETHER if np.isin(g, labels).sum() > 1]
    for group in groups:
        mask = np.isin(labels, group)
        if np.count_nonzero(mask) < _SMALLEST:
            continue
        mask = largest_part(mask)
        if rng.random() < _ROUNDED_SHARE:
            mask = rounded(mask, rng.uniform(1, 4))
        if _SMALLEST <= np.count_nonzero(mask) <= _LARGEST * mask.size:
            objects.append(mask)
    return objects
