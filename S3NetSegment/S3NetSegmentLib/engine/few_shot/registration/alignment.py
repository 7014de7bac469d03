"""Where a part of one volume lies in another one: an affine map, found by likeness of the images, or with fewer numbers by overlap
of labels, of which some are known in both (a few drawn slices, or what other patients agree on). Labels tell the place far better
than intensities do: which of several dark rings is meant, and where it ends.

Of several places, that one counts where the images are most alike around the drawing once they are roughly deformed onto each
other. How alike they looked before counts, too, and how much of the drawing's surroundings lies inside the image there: at its rim
little is compared, and little is easily alike. The place is refined by SimpleITK's Mattes mutual information, on one thread and
with fixed samples: the same volumes give the same map. A call of SimpleITK takes 0.1 to 0.3 s; it runs in a thread, for which the
steps of progress wait.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from ...common.progress import Step, Steps, as_part_of, in_thread
from ...images import Extent
from .deformation import ROUGH, deformed, is_flat, same_intensities, warped
from .known_labels import KnownLabels, aligned_by_labels, overlap
from .picture import Picture, Scaled, covered, likeness, local_likeness, moved
from .places import Place, coarse_places

_BINS, _SAMPLES, _SEED = 32, 0.3, 1
_LEVELS = ((2.0, 60), (1.0, 48))  # (blur in voxels of the picture, iterations)
_ALIGNING = "Aligning the volumes"
_AT_ONCE = 4  # iterations of the optimiser between two steps of progress
_OVERLAP = 2.0  # what the overlap of known labels counts, against the correlation of the images
_NEAR_MM = 8.0  # around what is drawn, in which the images are compared
_REACH_MM = 3.0  # standard deviation of the neighbourhoods whose correlation is taken
_LEAST_VOXELS = 50  # that are compared
_SCORE = 0.5  # what the likeness of the coarse images counts, and
_COMPARED = 0.1  # how much could be compared, against the place of which most could be
_MARGIN = 0.35  # of the searched part around where a start puts it, in the other volume
_before: list[int] = []  # ITK's number of threads before the first of the runs that hold it at one


@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine map between two volumes in patient space.

    :param to_support: 4x4, RAS of the query volume to RAS of the support volume.
    :param correlation: of the aligned images inside the searched part, -1 to 1: how far the map can be trusted.
    """

    to_support: np.ndarray
    correlation: float


def align(
    query: Scaled, support: Scaled, part: Extent, axis: str, labels: np.ndarray, known: KnownLabels | None = None
) -> Steps[Alignment]:
    """Where ``part`` of ``support`` lies in ``query``.

    :param axis: the axis across the slices of ``support``: turns are searched about it.
    :param labels: of the support: of several places that one counts where the images are most alike in and around them.
    :param known: what is known of ``labels`` in ``query``: where they overlap best is a further start, and the overlap decides
        together with the likeness of the images.
    """
    here, there = query.volume, support.volume
    moving = yield from support.picture(part)
    yield Step(0.0, _ALIGNING)
    near = _nearness(labels, part, moving)
    places = yield from as_part_of(coarse_places(query, support, part, axis), 0.0, 0.3)
    if known is not None:
        found = yield from aligned_by_labels(here, known, there, labels, axis)
        best_score = max(place.score for place in places)  # nothing is known against it
        places = places if found is None else [*places, Place(found, best_score)]

    def told(matrix: np.ndarray) -> float:
        return 0.0 if known is None else _OVERLAP * overlap(here, known, there, labels, matrix)

    compared: list[tuple[Place, float, float]] = []  # how alike around the drawing, and of how many mm3 that is known
    for n, place in enumerate(places):
        region = covered(here, place.to_support, there, part, 0.0)
        if region is None:
            continue
        fixed = yield from query.picture(region)
        comparing = _alike_when_deformed(fixed, moving, near, place.to_support)
        done, after = (0.3 + 0.4 * m / len(places) for m in (n, n + 1))
        compared.append((place, *(yield from as_part_of(comparing, done, after))))
    most = max((size for _, _, size in compared), default=0.0) or 1.0

    def value(entry: tuple[Place, float, float]) -> float:
        place, alike, size = entry
        return alike + _SCORE * place.score + _COMPARED * size / most + told(place.to_support)

    best = max(compared, key=value)[0].to_support if compared else None
    region = None if best is None else covered(here, best, there, part, _MARGIN)
    if best is None or region is None:
        return Alignment(np.eye(4), -1.0)
    fixed = yield from query.picture(region)
    refined = yield from as_part_of(_refined(fixed, moving, best), 0.7, 1.0)
    ends = [Alignment(matrix, likeness(fixed, moving, matrix)) for matrix in (best, refined)]
    return max(ends, key=lambda one: one.correlation + told(one.to_support))


def _nearness(labels: np.ndarray, part: Extent, like: Picture) -> np.ndarray:
    """Which voxels of ``like``, a picture of ``part``, lie in or close around ``labels``, float32 0 or 1."""
    filled = labels[part.slices] > 0
    for axis, (count, size) in enumerate(zip(like.array.shape, filled.shape, strict=True)):
        filled = np.logical_or.reduceat(filled, np.arange(count) * size // count, axis)
    away = ndimage.distance_transform_edt(~filled, sampling=like.spacing[::-1])
    return (away <= _NEAR_MM).astype(np.float32)


def _alike_when_deformed(
    fixed: Picture, moving: Picture, near: np.ndarray, to_support: np.ndarray
) -> Steps[tuple[float, float]]:
    """How alike both pictures are where ``near`` of ``moving`` comes to lie, after a rough deformation: mean local
    correlation, -1 to 1, and of how many mm3; -1 and 0 for hardly any overlap. A place that is a little wrong and one that is
    quite wrong look equally unlike before it, and the brightness of what lies around the object decides in a plain correlation.
    """
    image, inside = moved(fixed, moving, to_support)
    yield Step(0.0, _ALIGNING)
    close, _ = moved(fixed, dataclasses.replace(moving, array=near), to_support)
    if np.count_nonzero(inside & (close > 0.5)) < _LEAST_VOXELS:
        return -1.0, 0.0
    spacing = fixed.spacing[::-1].tolist()
    alike = same_intensities(image, fixed.array, inside)
    field = yield from deformed(torch.from_numpy(alike), torch.from_numpy(fixed.array), spacing, ROUGH)
    image, close = warped(torch.from_numpy(np.stack((alike, close.astype(np.float32)))), field).numpy()
    yield Step(1.0, _ALIGNING)
    counted = inside & (close > 0.5)
    if np.count_nonzero(counted) < _LEAST_VOXELS:
        return -1.0, 0.0
    reach = [0.0 if is_flat(spacing) and n == 0 else _REACH_MM / s for n, s in enumerate(spacing)]
    alike_there = local_likeness(image, fixed.array, inside, reach)[counted].mean()
    return float(alike_there), float(np.count_nonzero(counted) * np.prod(fixed.spacing))


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
                yield from as_part_of(_executed(method, a, b), done / total, (done + _AT_ONCE) / total)
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


def _executed(method: sitk.ImageRegistrationMethod, a: sitk.Image, b: sitk.Image) -> Steps[None]:
    """``method.Execute(a, b)`` in a thread: fewer iterations at once would end elsewhere, and these take a quarter of a second.
    Whoever drops the steps waits for its end, too: nothing goes on behind a cancelled run.

    :raises RuntimeError: of ITK.
    """
    with _one_itk_thread():
        yield from in_thread(partial(method.Execute, a, b), Step(0.0, _ALIGNING))


@contextmanager
def _one_itk_thread() -> Iterator[None]:
    """Sums of several threads differ in their last digits from run to run; the metric follows the global number only. It comes
    back with the last of several runs whose steps alternate."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    _before.append(threads if not _before else _before[0])
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        threads = _before.pop()
        if not _before:
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
