"""Synthetic cohorts for tests: small volumes with a ring and a disc among look-alikes, on any grid and in any format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from S3NetSegmentLib.engine import Segment, Segmentation, Volume
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation

NAMES = ("Ring", "Core")
COLORS = ((0.9, 0.2, 0.1), (0.1, 0.4, 0.9))


def phantom(seed: int, size=(40, 36, 6), spacing=(1.0, 1.0, 3.0), matrix=None) -> tuple[Volume, np.ndarray]:
    """A volume with a dark ring around a bright core, and a bright look-alike of the core beside; and its labels, 1 ring,
    2 core, uint8 ``[K, J, I]``.

    :param matrix: 4x4, voxel to RAS; default: ``spacing`` alone.
    """
    rng = np.random.default_rng(seed)
    k, j, i = np.mgrid[: size[2], : size[1], : size[0]]
    middle = np.array(size[:2]) / 2 + rng.uniform(-4, 4, 2)
    radius = rng.uniform(8, 10) * np.sqrt(np.clip(1 - ((k - size[2] / 2 + 0.5) / size[2]) ** 2, 0.3, 1))
    distance = np.hypot(i - middle[0], j - middle[1])
    labels = np.where(distance < 0.6 * radius, 2, np.where(distance < radius, 1, 0)).astype(np.uint8)
    image = np.select([labels == 2, labels == 1], [200.0, 60.0], 120.0)
    image[(np.hypot(i - 5, j - 6) < 4) & (labels == 0)] = 200.0
    image = image * (1 + 0.15 * (i / size[0] - 0.5)) + rng.normal(0, 10, image.shape)
    matrix = np.diag((*spacing, 1.0)) if matrix is None else np.asarray(matrix)
    return Volume(np.clip(image, 0, 400).astype(np.int16), matrix, f"phantom{seed}"), labels


def drawn(volume: Volume, labels: np.ndarray, names=NAMES) -> Segmentation:
    segments = [Segment(n, c, v) for v, (n, c) in enumerate(zip(names, COLORS, strict=False), 1)]
    return Segmentation([labels], segments, volume.ijk_to_ras)


def write_cohort(
    folder: Path, labelled: int, unlabelled: int = 0, *, suffix=".nii.gz", label=".seg.nrrd", **options
) -> Path:
    """A cohort of cases "case00", "case01", ..., the first ``labelled`` of them with labels."""
    for number in range(labelled + unlabelled):
        volume, labels = phantom(number, **options)
        name = f"case{number:02d}"
        write_image(volume, folder / "images" / f"{name}{suffix}")
        if number < labelled:
            write_segmentation(drawn(volume, labels), folder / "labels" / f"{name}{label}")
    return folder
