"""Where a NIfTI image lies: its two matrices (qform, sform), which of them counts for ITK and so for Slicer, and quaternions.
Source: the NIfTI-1 and NIfTI-2 header definitions (nifti1.h, nifti2.h)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...common.arrays import corners
from ...common.errors import InputError, image_warning
from ..segmentation import Segmentation
from ..volume import Volume, spans_space
from .text_header import NOT_PLACED

_APART = 0.01  # mm between two matrices, or a tenth of a voxel if that is less
_ROUNDING = 1e-4  # parts of the diagonal: so far from right angles may axes be, which a quaternion cannot tell
_ALIKE = 0.01  # parts of the smallest voxel


@dataclass(frozen=True)
class NiftiHeader:
    """What the header of a NIfTI file tells, as it stands there."""

    order: str  # "<" or ">"
    datatype: int
    dim: tuple[int, ...]
    pixdim: tuple[float, ...]
    offset: int
    slope: float
    intercept: float
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]  # b, c, d, then the shift x, y, z
    sform: np.ndarray  # 3x4
    unit: float
    paired: bool  # voxels in a separate .img file


def matrices(header: NiftiHeader, shape, shown: str) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The voxel-to-RAS matrix of an image of ``shape`` (K, J, I) and those that other programs take, where they are others.
    Warns where both matrices of the header are valid and disagree."""
    matrix = _matrix(header, shown)
    with np.errstate(all="ignore"):  # one that is not used may hold anything
        others = {
            "sform": _sform(header) if header.sform_code > 0 else None,
            "qform": _qform(header) if header.qform_code > 0 else None,
            "none": _centred(header, shape) if header.sform_code <= 0 and header.qform_code <= 0 else None,
        }
    usable = {name: m for name, m in others.items() if m is not None and np.isfinite(m).all() and spans_space(m)}
    if "none" in usable and shape[0] > 1:
        image_warning(f"{shown}: {NOT_PLACED}")
    distance = {name: farthest(matrix, m, shape) for name, m in usable.items()}
    apart = [name for name in usable if are_apart(distance[name], matrix, shape)]
    if len(usable) == 2 and apart:
        used = next((name for name in usable if name not in apart), "sform")
        other = apart[-1]
        image_warning(
            f"{shown}: its header gives two places, which differ by up to {distance[other]:.3g} mm; that of the {used} is used, as "
            f"Slicer does. Other programs may go by the {other}, and what was drawn with them lies elsewhere"
        )
    found = [usable[name] for name in apart]
    if header.unit != 1:  # there are programs that take every number as mm
        found.append(np.diag([1 / header.unit] * 3 + [1.0]) @ matrix)
    return matrix, tuple(found)


def _sform(header: NiftiHeader) -> np.ndarray:
    return np.vstack([header.sform * header.unit, (0, 0, 0, 1)])


def _qform(header: NiftiHeader) -> np.ndarray:
    matrix = np.eye(4)
    sizes = np.where(np.arange(1, 4) <= header.dim[0], np.abs(header.pixdim[1:4]), 1.0)
    matrix[:3, :3] = rotation_of(header.quaternion[:3], -1.0 if header.pixdim[0] < 0 else 1.0) * sizes
    matrix[:3, 3] = header.quaternion[3:]
    matrix[:3] *= header.unit
    return matrix


def _centred(header: NiftiHeader, shape) -> np.ndarray:
    """Where nibabel puts an image without a matrix: its middle at 0, its first axis to the left."""
    sizes = np.abs(header.pixdim[1:4]) * (-1, 1, 1)
    matrix = np.diag([*sizes, 1.0])
    matrix[:3, 3] = -sizes * (np.array(shape[::-1]) - 1) / 2
    return matrix


def _matrix(header: NiftiHeader, shown: str) -> np.ndarray:
    """Voxel-to-RAS matrix by ITK's rule: the sform if there is no qform or if it is the scanner's, else the qform, with
    the voxel sizes of ``pixdim``; without both, axes along left, posterior, superior."""
    used = np.arange(1, 4) <= header.dim[0]
    sizes = np.where(used, np.abs(header.pixdim[1:4]), 1.0)
    usable = np.isfinite(sizes) & (sizes > 0)
    lengths = np.linalg.norm(header.sform[:, :3], axis=0)
    full = header.sform_code > 0 and bool((lengths > 0).all()) and bool(np.isfinite(header.sform).all())
    square = full and bool(np.abs((axes := header.sform[:, :3] / lengths).T @ axes - np.eye(3)).max() < 1e-3)
    if full and (header.qform_code <= 0 or (header.sform_code == 1 and square)):
        matrix = _sform(header)
        if not square:
            image_warning(f"{shown}: its axes are not at right angles; they are kept as they are")
        elif usable[used].all() and not np.allclose(sizes[used], lengths[used], rtol=0.01):
            image_warning(
                f"{shown}: its header gives voxel sizes of {_mm(sizes)} and of {_mm(lengths)} mm; the first are used, "
                "as Slicer does"
            )
            matrix[:3, :3] *= np.where(used, sizes, lengths) / lengths
        return matrix
    if not usable.all():
        raise InputError(f"{shown} has voxel sizes of {_mm(sizes)} mm; correct pixdim in its header")
    if header.qform_code > 0:
        return _qform(header)
    return np.diag([*(np.array([-1.0, -1.0, 1.0]) * sizes * header.unit), 1.0])


def _mm(sizes) -> str:
    return " x ".join(f"{s:g}" for s in sizes)


def rotation_of(bcd, handed: float) -> np.ndarray:
    """3x3 rotation of a unit quaternion given by its last three parts; ``handed`` -1 mirrors the third axis."""
    v = np.array(bcd, float)
    w = np.sqrt(max(0.0, 1.0 - v @ v))
    if w < 3e-4:  # a half turn: rounding may leave less than nothing for the first part
        v, w = v / np.linalg.norm(v), 0.0
    rotation = (w * w - v @ v) * np.eye(3) + 2 * np.outer(v, v) + 2 * w * np.cross(v, np.eye(3)).T
    return rotation * (1.0, 1.0, handed)


def quaternion_of(axes: np.ndarray) -> tuple[np.ndarray, float, bool]:
    """Last three parts of the unit quaternion of orthonormal ``axes``, their handedness, and whether they are
    orthonormal at all (otherwise the quaternion is that of no rotation)."""
    if not np.abs(axes.T @ axes - np.eye(3)).max() < 1e-4:
        return np.zeros(3), 1.0, False
    handed = 1.0 if np.linalg.det(axes) > 0 else -1.0
    m = axes * (1.0, 1.0, handed)
    # Four times the products of the parts; the row of the largest one is the quaternion without loss of digits.
    products = np.zeros((4, 4))
    products[0] = 1 + np.trace(m), m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    products[1:, 0] = products[0, 1:]
    products[1:, 1:] = m + m.T + (1 - np.trace(m)) * np.eye(3)
    part = products[np.argmax(np.diag(products))]
    part = part / np.linalg.norm(part)
    return (part if part[0] >= 0 else -part)[1:], handed, True


def farthest(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance in mm between the places of a voxel of an image of ``shape`` (K, J, I) by two matrices (4, 4)."""
    apart = (one - other)[:3]
    ends = corners((0, 0, 0), np.array(shape[::-1]) - 1) @ apart[:, :3].T + apart[:, 3]
    return float(np.linalg.norm(ends, axis=1).max())


def are_apart(distance: float, matrix: np.ndarray, shape: Sequence[int]) -> bool:
    """Whether a ``distance`` in mm between two matrices of an image of ``shape`` (K, J, I), one of them ``matrix``, is more than
    the rounding of a header."""
    diagonal = float(np.linalg.norm(matrix[:3, :3] @ (np.array(shape[::-1], float) - 1)))
    return distance > max(min(_APART, 0.1 * _smallest(matrix)), _ROUNDING * diagonal)


def on_voxels_of(segmentation: Segmentation, image: Volume | Segmentation) -> Segmentation:
    """``segmentation``, put voxel for voxel onto ``image`` where it has its size and lies just where the other matrix of the
    image's NIfTI file, or of its own, puts the image; which is reported (ImageWarning). Otherwise as it is."""
    shape = (image.array if isinstance(image, Volume) else image.layers[0]).shape[:3]
    if segmentation.layers[0].shape != shape:
        return segmentation
    smallest = _smallest(image.ijk_to_ras)
    apart = farthest(segmentation.ijk_to_ras, image.ijk_to_ras, shape)
    if apart <= 0.1 * smallest:
        return segmentation
    own = (segmentation.ijk_to_ras, *segmentation.other_matrices)
    its = (image.ijk_to_ras, *image.other_matrices)
    if not any(farthest(a, b, shape) <= _ALIKE * smallest for a in own for b in its):
        return segmentation
    image_warning(
        f"the labels lie {apart:.3g} mm from their image, just where the other matrix of a NIfTI header with two (qform, sform) "
        "puts them: they were made by a program that goes by that one; they are taken voxel for voxel"
    )
    return Segmentation(segmentation.layers, segmentation.segments, np.array(image.ijk_to_ras))


def _smallest(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix[:3, :3], axis=0).min())
