"""Where a part of one volume lies in another one: an affine map, found by likeness of the images, or with fewer numbers by overlap
of labels, of which some are known in both (a few drawn slices, or what other patients agree on). Labels tell the place far better
than intensities do: which of several dark rings is meant, and where it ends.

Coarse alignments are refined by SimpleITK's Mattes mutual information, on one thread and with fixed samples: the same
volumes give the same map. A call of SimpleITK takes 0.1 to 0.3 s; it runs in a thread, for which the steps of progress wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, optimize

from ...common.arrays import box_around, dice
from ...common.progress import Step, Steps, as_part_of
from ...images import AXES, Extent, Volume
from ...images.intensity import IntensityScale
from ...images.volume import slices_first
from .picture import Picture, coarse_alignments, covered, likeness, picture_of, rotation, voxel_size

_BINS, _SAMPLES, _SEED = 32, 0.3, 1
_LEVELS = ((2.0, 60), (1.0, 48))  # (blur in voxels of the picture, iterations)
_ALIGNING = "Aligning the volumes"
_AT_ONCE = 4  # iterations of the optimiser between two steps of progress
_WAIT = 0.03  # seconds between two steps while they are computed
_OVERLAP = 2.0  # what the overlap of known labels counts, against the correlation of the images
_MARGIN = 0.35  # of the searched part around where a start puts it, in the other volume
_POINTS = 4000  # of the query volume at which labels are compared
_AROUND = 0.35  # of the labelled box around it, where there has to be background
_HEIGHTS = (0.2, 0.35, 0.5, 0.65, 0.8)  # of the labelled extent of the support, where a single known slice may lie
_before: list[int] = []  # ITK's number of threads before the first of the runs that hold it at one
_ROUNDS = 3  # of the optimiser
_BLUR = 1.0  # voxels: overlap then also tells how far away something is


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
    """``method.Execute(a, b)``. Fewer iterations at once would end elsewhere, and these take a quarter of a second: they run in
    a thread, which needs no lock of Python, and the steps wait for it in short pieces. Whoever drops them waits for its end, too:
    nothing goes on behind a cancelled run.

    :raises RuntimeError: of ITK.
    """
    with _one_itk_thread(), ThreadPoolExecutor(1) as pool:
        running = pool.submit(method.Execute, a, b)
        while not wait([running], _WAIT).done:
            yield Step(0.0, _ALIGNING)
        running.result()


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


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """What is known of the query volume: labels ``values`` ``[n]`` (0 background) at its voxels ``index`` ``[3, n]`` (i, j, k).

    :param few_slices: whether they lie on a few slices only, and not all over what is labelled.
    """

    index: np.ndarray
    values: np.ndarray
    few_slices: bool

    @classmethod
    def of_slices(cls, planes: Mapping[int, np.ndarray], axis: str, size: Sequence[int]) -> KnownLabels:
        """From label images ``[rows, columns]`` of slices across ``axis``, by their numbers; ``size``: of the volume."""
        across = 2 - AXES.index(axis)
        index, values = [], []
        filled = [np.argwhere(plane > 0) for plane in planes.values() if (plane > 0).any()]
        if not filled:
            return cls(np.zeros((3, 0)), np.zeros(0, np.uint8), True)
        low, high = np.concatenate(filled).min(0), np.concatenate(filled).max(0) + 1
        more = np.ceil(_AROUND * (high - low)).astype(int)
        box = tuple(slice(max(0, a - m), b + m) for a, b, m in zip(low, high, more, strict=True))
        for z, plane in planes.items():
            here = np.argwhere(np.ones_like(plane[box], bool)) + [s.start for s in box]
            here = here[:: 1 + len(planes) * len(here) // _POINTS]
            values.append(plane[tuple(here.T)])
            index.append(np.insert(here, across, z, axis=1))
        return cls(
            np.concatenate(index).T[::-1].astype(float), np.concatenate(values), len(planes) < size[2 - across] / 3
        )


def overlap(query: Volume, known: KnownLabels, support: Volume, labels: np.ndarray, to_support: np.ndarray) -> float:
    """Mean Dice of the known labels and those of ``support`` laid over them by ``to_support`` (RAS to RAS), 0 to 1."""
    index, values = known.index, known.values
    matrix = np.linalg.inv(support.ijk_to_ras) @ to_support @ query.ijk_to_ras
    place = np.rint(matrix[:3, :3] @ index + matrix[:3, 3:]).astype(int)
    inside = ((place >= 0) & (place < np.array(support.size)[:, None])).all(0)
    found = np.zeros(len(values), np.uint8)
    found[inside] = labels[tuple(place[::-1, inside])]
    return mean_dice(found, values)


def mean_dice(found: np.ndarray, true: np.ndarray) -> float:
    """Mean Dice over the labels of ``true``; 0 where it has none."""
    scores = [dice(found == v, true == v) for v in np.unique(true[true > 0])]
    return float(np.mean(scores)) if scores else 0.0


def aligned_by_labels(
    query: Volume, known: KnownLabels, support: Volume, labels: np.ndarray, axis: str
) -> Steps[np.ndarray | None]:
    """The map (RAS to RAS) that lays ``labels`` of ``support`` best over what is known: moved, turned about ``axis`` of the
    support and resized, in the slices and across them. None if they share no label."""
    index, values = known.index, known.values
    shared = [int(v) for v in np.unique(values[values > 0]) if (labels == v).any()]
    if not shared:
        return None
    ras = query.ijk_to_ras[:3, :3] @ index + query.ijk_to_ras[:3, 3:]
    across = support.ijk_to_ras[:3, AXES.index(axis)] / np.linalg.norm(support.ijk_to_ras[:3, AXES.index(axis)])
    wanted = np.stack([values == v for v in shared]).astype(np.float32)
    box = box_around(labels > 0)
    part = labels[box]
    soft = [ndimage.gaussian_filter((part == v).astype(np.float32), _BLUR, mode="constant") for v in shared]
    origin = np.array([[s.start] for s in box[::-1]])
    back = np.linalg.inv(support.ijk_to_ras)
    middle = ras[:, values > 0].mean(1)

    def matrix_of(numbers: np.ndarray, start: np.ndarray) -> np.ndarray:
        turn, size, thick = np.deg2rad(15 * numbers[3]), np.exp(0.2 * numbers[4]), np.exp(0.2 * numbers[5])
        linear = rotation(across, turn) / size @ (np.eye(3) + (size / thick - 1) * np.outer(across, across))
        matrix = np.eye(4)
        matrix[:3, :3] = linear
        matrix[:3, 3] = start + 10 * numbers[:3] - linear @ middle
        return matrix

    def lacking(numbers: np.ndarray, start: np.ndarray) -> float:
        matrix = back @ matrix_of(numbers, start)
        place = (matrix[:3, :3] @ ras + matrix[:3, 3:] - origin)[::-1]
        found = np.stack([ndimage.map_coordinates(s, place, order=1, mode="constant") for s in soft])
        both = 2 * (found * wanted).sum(1) / np.maximum((found + wanted).sum(1), 1e-6)
        unusual = 0.01 * float((numbers[3:] ** 2).sum())
        return unusual - float(both.mean())

    starts = _starts(support, labels, shared, axis, not known.few_slices)
    best, least = None, np.inf
    ranked = sorted(starts, key=lambda s: lacking(np.zeros(6), s))[:2]
    for n, start in enumerate(ranked):
        numbers = np.zeros(6)
        for round_ in range(_ROUNDS):
            yield Step((n * _ROUNDS + round_) / (len(ranked) * _ROUNDS), "Laying the labels over")
            found = optimize.minimize(
                lacking, numbers, (start,), method="Powell", options={"maxiter": 1, "xtol": 0.05, "ftol": 1e-3}
            )
            numbers = found.x
        if found.fun < least:
            best, least = matrix_of(numbers, start), found.fun
    return best


def _starts(support: Volume, labels: np.ndarray, shared: list[int], axis: str, whole: bool) -> list[np.ndarray]:
    """Middles of what is labelled in the support: of all of it, or of some of its slices where few are known."""
    mask = np.isin(labels, shared)
    if whole:
        places = [np.argwhere(mask)]
    else:
        planes = slices_first(mask, axis)
        filled = np.flatnonzero(planes.any((1, 2)))
        places = []
        for height in _HEIGHTS:
            z = filled[round(height * (len(filled) - 1))]
            index = np.argwhere(planes[z])
            places.append(np.insert(index, 2 - AXES.index(axis), z, axis=1))
    return [support.ras_of(place.mean(0)[::-1]) for place in places if len(place)]
