"""Where a part of one volume lies in another one: an affine map, found by likeness of the images.

Coarse alignments are refined by SimpleITK's Mattes mutual information, on one thread and with fixed samples: the same
volumes give the same map. A call of SimpleITK is one step of progress, usually of 0.1 to 0.3 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ...common.progress import Step, Steps, as_part_of
from ...images import Extent, Volume
from ...images.intensity import IntensityScale
from .label_alignment import KnownLabels, aligned_by_labels, overlap
from .picture import Picture, coarse_alignments, covered, likeness, picture_of, voxel_size

_BINS, _SAMPLES, _SEED = 32, 0.3, 1
_LEVELS = ((2.0, 60), (1.0, 48))  # (blur in voxels of the picture, iterations)
_ALIGNING = "Aligning the volumes"
_AT_ONCE = 4  # iterations of the optimiser between two steps of progress
_OVERLAP = 2.0  # what the overlap of known labels counts, against the correlation of the images
_MARGIN = 0.35  # of the searched part around where a start puts it, in the other volume


@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine map between two volumes in patient space.

    :param to_support: 4x4, RAS of the query volume to RAS of the support volume.
    :param correlation: of the aligned images inside the searched part, -1 to 1: how far the map can be trusted.
    """

    to_support: np.ndarray
    correlation: float


def align(
    query: Volume, query_scale: IntensityScale, support: Volume, support_scale: IntensityScale, part: Extent, axis: str,
    labels: np.ndarray | None = None, known: KnownLabels | None = None,
) -> Steps[Alignment]:  # fmt: skip
    """Where ``part`` of ``support`` lies in ``query``.

    :param axis: the axis across the slices of ``support``: turns are searched about it.
    :param labels, known: labels of the support, and what is known of them in ``query``: where they overlap best is a further
        start, and the overlap decides together with the likeness of the images.
    """
    moving = yield from picture_of(support, support_scale, part, voxel_size(support, part))
    starts = yield from as_part_of(coarse_alignments(query, query_scale, support, support_scale, part, axis), 0.0, 0.3)
    if known is not None and labels is not None:
        found = yield from aligned_by_labels(query, known, support, labels, axis)
        starts = starts if found is None else [*starts, (found, 0.0)]
    best, best_value = None, -np.inf
    for n, (start, penalty) in enumerate(starts):
        region = covered(query, start, support, part, _MARGIN)
        if region is None:
            continue
        fixed = yield from picture_of(query, query_scale, region, voxel_size(query, region))
        refining = _refined(fixed, moving, start)
        found = yield from as_part_of(refining, 0.3 + 0.7 * n / len(starts), 0.3 + 0.7 * (n + 1) / len(starts))
        for matrix in (start, found):
            yield Step(0.3 + 0.7 * (n + 1) / len(starts), _ALIGNING)
            value = likeness(fixed, moving, matrix)
            told = 0.0 if known is None or labels is None else _OVERLAP * overlap(query, known, support, labels, matrix)
            if value - penalty + told > best_value:
                best, best_value = Alignment(matrix, value), value - penalty + told
    return best or Alignment(np.eye(4), -1.0)


def _refined(fixed: Picture, moving: Picture, start: np.ndarray) -> Steps[np.ndarray]:
    """``start`` (RAS to RAS) after optimising all twelve numbers by mutual information."""
    a, b = (_itk_image(p) for p in (fixed, moving))
    frames = [p.matrix @ np.diag((*(1 / p.spacing), 1.0)) for p in (fixed, moving)]  # mm along the axes to RAS
    matrix = np.linalg.inv(frames[1]) @ start @ frames[0]
    transform = sitk.AffineTransform(3)
    centre = (np.array(a.GetSize()) - 1) / 2 * a.GetSpacing()
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation((matrix[:3, :3] @ centre + matrix[:3, 3] - centre).tolist())
    total, done = sum(iterations for _, iterations in _LEVELS), 0
    for blur, iterations in _LEVELS:
        rate, left = 1.0, iterations
        while left > 0:
            yield Step(done / total, _ALIGNING)
            method = _method(blur, min(left, _AT_ONCE), rate)
            method.SetInitialTransform(transform, True)
            try:
                with _one_itk_thread():
                    method.Execute(a, b)
            except RuntimeError:  # the pictures no longer overlap: what was found before counts
                return start
            left, done = left - _AT_ONCE, done + _AT_ONCE
            rate = method.GetOptimizerLearningRate()
            if method.GetOptimizerIteration() < _AT_ONCE - 1 or rate < 1e-3:
                done += max(0, left)
                break
    found = np.eye(4)
    found[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    centre, shift = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    found[:3, 3] = shift + centre - found[:3, :3] @ centre
    return frames[1] @ found @ np.linalg.inv(frames[0])


@contextmanager
def _one_itk_thread() -> Iterator[None]:
    """Sums of several threads differ in their last digits from run to run; the metric follows the global number only."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _itk_image(picture: Picture) -> sitk.Image:
    image = sitk.GetImageFromArray(picture.array)
    image.SetSpacing([float(s) for s in picture.spacing])
    return image


def _method(blur: float, iterations: int, rate: float) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_SAMPLES, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(rate, 1e-3, iterations, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([blur])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method
