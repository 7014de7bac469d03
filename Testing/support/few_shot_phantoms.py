"""Small volumes with known segments, for the tests of Few-shot."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from S3NetSegmentLib.engine import Volume


def organs(
    size=(40, 36, 20), spacing=(1.5, 1.5, 3.0), shift=(0.0, 0.0, 0.0), turn=0.0, grow=1.0, seed=0, inverted=False
) -> tuple[Volume, np.ndarray]:
    """A body with two organs (labels 1 and 2) and a bright column that is none, and their labels ``[K, J, I]``.

    :param shift: of everything, mm; ``turn``: radians about the long axis; ``grow``: factor of all sizes.
    :param inverted: dark and bright exchanged, as in another kind of image.
    """
    matrix = np.diag((*spacing, 1.0))
    middle = np.array([(n - 1) / 2 * s for n, s in zip(size, spacing, strict=True)])
    index = np.indices(size[::-1])[::-1]  # i, j, k
    place = np.stack([i * s for i, s in zip(index, spacing, strict=True)], -1) - middle - np.array(shift)
    c, s = np.cos(turn), np.sin(turn)
    x, y, z = (
        (place[..., 0] * c + place[..., 1] * s) / grow,
        (place[..., 1] * c - place[..., 0] * s) / grow,
        place[..., 2] / grow,
    )
    image = np.where((x / 27) ** 2 + (y / 24) ** 2 < 1, 0.3, 0.0)
    labels = np.zeros(image.shape, np.uint8)
    labels[((x + 10) / 7) ** 2 + ((y - 4) / 9) ** 2 + (z / 20) ** 2 < 1] = 1
    labels[((x - 9) / 6) ** 2 + ((y + 3) / 6) ** 2 + ((z - 4) / 14) ** 2 < 1] = 2
    image[labels == 1], image[labels == 2] = 0.75, 0.55
    image[(x - 2) ** 2 + (y - 15) ** 2 < 10] = 1.0
    image = ndimage.gaussian_filter(image, (0, 0.6, 0.6))
    image += 0.02 * np.random.default_rng(seed).standard_normal(image.shape)
    image = 1 - image if inverted else image
    return Volume((1000 * image).astype(np.int16), matrix, f"organs {seed}"), labels


def dice(found: np.ndarray, true: np.ndarray, label: int) -> float:
    a, b = found == label, true == label
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))
