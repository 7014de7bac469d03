"""Methods of the 3D benchmark: the product, k-means with a plain score, region growing by SimpleITK.

Each is made for one volume (that time is the preparation) and then asked for one click after the other.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from volume_clicks import dice_with

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.images import Volume
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.images.resample import mask_to_grid, shrunk_features
from S3NetSegmentLib.engine.segment.find_regions import find_regions
from S3NetSegmentLib.engine.segment.object_choice import ObjectChoice
from S3NetSegmentLib.engine.segment.regions.clustering import kmeans, nearest_centre
from S3NetSegmentLib.engine.segment.regions.maps import volume_working_shape
from S3NetSegmentLib.engine.segment.settings import SegmentSettings

COUNTS = (2, 3, 4, 5, 6, 8)


class Product:
    """What the product answers, as a user gets it: ``answers`` are the choice and the two alternatives."""

    def __init__(self, volume: Volume, seed: int):
        self.regions = run_to_end(find_regions(volume, settings=SegmentSettings(seed=seed), device="cpu"))

    def answers(self, point) -> tuple[list[np.ndarray], ObjectChoice]:
        """Native masks of the offered answers, and the choice among the candidates."""
        choice = self.object_at([point])
        return [choice.at(n).mask for n in choice.alternatives], choice

    def object_at(self, inside, outside=()) -> ObjectChoice:
        """:param inside, outside: points (k, j, i)."""
        return self.regions.object_at(*([p[::-1] for p in points] for points in (inside, outside)))

    def bound(self, choice: ObjectChoice, truth: np.ndarray) -> float:
        """Dice of the best candidate, on the working grid."""
        grid, objects = self.regions._grid, self.regions._objects
        working = mask_to_grid(np.ascontiguousarray(grid.order.array(truth)), grid.shape)
        return float(dice_with(objects, objects.measured(choice.ranked.point).candidates, working).max())


class ScoredKMeans:
    """3D k-means with 2 to 8 clusters after a blur of one voxel; the clicked components, with and without a cut of thin
    bridges, chosen by contrast and compactness. The recipe that preceded the present one."""

    def __init__(self, volume: Volume, seed: int):
        spacing = np.array(volume.spacing[::-1])
        self.native = volume.array.shape[:3]
        self.shape = volume_working_shape(self.native, tuple(spacing))
        self.spacing = spacing * self.native / self.shape
        features = run_to_end(shrunk_features(volume.array, intensity_scale(volume), self.shape))[..., 0]
        blur = (0 if self.shape[0] < 25 else 0.5, 1, 1)
        smooth = ndimage.gaussian_filter(features, blur)
        self.standard = (smooth - smooth.mean()) / (smooth.std() + 0.04)
        rng = np.random.default_rng([seed, 1])
        flat = self.standard.reshape(-1, 1)
        self.maps = [nearest_centre(self.standard[..., None], kmeans(flat, n, rng, samples=6000)) for n in COUNTS]

    def answers(self, point):
        point = tuple(int((p + 0.5) * m / n) for p, m, n in zip(point, self.shape, self.native, strict=True))
        found = []
        for labels in self.maps:
            parts, _ = ndimage.label(labels == labels[point], np.ones((3, 3, 3)))
            mask = parts == parts[point]
            cut = _cut(mask, point, 1.6 * self.spacing[2], self.spacing)
            found += [mask] if cut is None else [mask, cut]
        best = max(found, key=lambda mask: _plain_score(mask, self.standard))
        return [mask_to_grid(best, self.native)], None


class GrowingRegion:
    """SimpleITK's ConfidenceConnected from the click, four iterations, on slices smoothed by 0.7 voxels."""

    def __init__(self, volume: Volume, multiplier: float):
        values = run_to_end(shrunk_features(volume.array, intensity_scale(volume), volume.array.shape[:3]))[..., 0]
        self._image = sitk.GetImageFromArray(ndimage.gaussian_filter(values, (0, 0.7, 0.7)))
        self._multiplier, self._radius = multiplier, 1 if values.shape[0] < 25 else 2

    def answers(self, point):
        grown = sitk.ConfidenceConnected(
            self._image, [point[::-1]], numberOfIterations=4, multiplier=self._multiplier,
            initialNeighborhoodRadius=self._radius, replaceValue=1,
        )  # fmt: skip
        return [sitk.GetArrayFromImage(grown) > 0], None


def _cut(mask: np.ndarray, point, radius: float, spacing) -> np.ndarray | None:
    """``mask`` eroded by ``radius`` mm, the part at ``point`` kept and grown back."""
    depth = ndimage.distance_transform_edt(mask, sampling=spacing)
    parts, count = ndimage.label(depth > radius)
    if count == 0:
        return None
    number = parts[point]
    if number == 0:
        spots = np.argwhere(parts)
        distance = np.square((spots - point) * spacing).sum(1)
        if distance.min() > (3 * radius) ** 2:
            return None
        number = parts[tuple(spots[distance.argmin()])]
    return mask & (ndimage.distance_transform_edt(parts != number, sampling=spacing) <= 1.1 * radius)


def _plain_score(mask: np.ndarray, standard: np.ndarray) -> float:
    """Contrast to a ring in the slices, over the deviation inside, times the root of the slices' compactness."""
    if not 2e-4 <= mask.mean() <= 0.5:
        return -1.0
    spots = np.nonzero(mask)
    box = tuple(slice(max(0, s.min() - 3), s.max() + 4) for s in spots)
    mask, standard = mask[box], standard[box]
    cross = np.zeros((3, 3, 3), bool)
    cross[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    core = ndimage.binary_erosion(mask, cross, iterations=2)
    core = core if core.any() else mask
    ring = ndimage.binary_dilation(mask, cross, iterations=3) & ~ndimage.binary_dilation(mask, cross)
    edge = mask & ~ndimage.binary_erosion(mask, cross)
    slices = np.count_nonzero(mask.any((1, 2)))
    compactness = min(1.0, 4 * np.pi * mask.sum() / slices / ((edge.sum() / slices) ** 2 * 1.1))
    contrast = abs(standard[core].mean() - standard[ring].mean()) if ring.any() else 0.0
    return float(contrast / (standard[core].std() + 0.3) * compactness**0.5)
