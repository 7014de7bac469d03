"""Synthetic volumes with three classes that look a little like a heart in short-axis slices: a disc (3) in a ring (2) with a
crescent (1) beside it, at a random place, size and turn; and distractors of the same intensities, so that no threshold finds
the classes. Made for tests of training: it must be learnt what the classes look like together.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

CLASSES = {1: "crescent", 2: "ring", 3: "disc"}
_INTENSITIES = {1: 0.75, 2: 0.35, 3: 0.8}
_BACKGROUND, _BODY = 0.05, 0.5
_BLUR, _NOISE = 0.7, 0.04


def phantom(seed: int, shape: tuple[int, int, int] = (6, 64, 64)) -> tuple[np.ndarray, np.ndarray]:
    """Image (float32, about 0 to 1) and labels (uint8), both ``shape`` (slices, rows, columns); the same for a seed."""
    rng = np.random.default_rng((seed, 77))
    depth, height, width = shape
    scale = min(height, width) / 64
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    middle = np.array([height, width]) / 2 + rng.uniform(-6, 6, 2) * scale
    radius, turn = rng.uniform(7, 10) * scale, rng.uniform(-0.5, 0.5)
    thickness = rng.uniform(2.5, 4) * scale
    distractors = [(rng.uniform(0.15, 0.85, 2) * (height, width), rng.uniform(3, 6) * scale, v) for v in (1, 2, 3, 3)]
    image, labels = np.empty(shape, np.float32), np.zeros(shape, np.uint8)
    for k in range(depth):
        size = 1 - 0.45 * abs(2 * k / max(depth - 1, 1) - 1) ** 2  # smaller towards both ends
        y, x = rows - middle[0], columns - middle[1]
        across, along = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        distance = np.hypot(across, along * 0.9)
        inner, outer = radius * size, radius * size + thickness
        beside = np.hypot((across + outer * 0.9) / 1.1, along) < outer * 0.95
        labels[k][beside & (distance >= outer)] = 1
        labels[k][(distance >= inner) & (distance < outer)] = 2
        labels[k][distance < inner] = 3
        body = np.hypot((rows - height / 2) / height, (columns - width / 2) / width) < 0.47
        plane = np.where(body, _BODY, _BACKGROUND)
        for place, reach, value in distractors:
            plane[np.hypot(rows - place[0], columns - place[1]) < reach] = _INTENSITIES[value]
        around = distance < outer + 2.5 * outer * (across < 0)  # nothing lies between or upon the classes
        plane[around & body & (np.abs(along) < outer * 1.1)] = _BODY
        for value, intensity in _INTENSITIES.items():
            plane[labels[k] == value] = intensity
        image[k] = ndimage.gaussian_filter(plane, _BLUR)
    bias = ndimage.zoom(rng.normal(0, 0.15, (3, 3)), (height / 3, width / 3), order=1)[:height, :width]
    image *= np.exp(bias) * np.exp(rng.normal(0, 0.1))
    real, imaginary = image + rng.normal(0, _NOISE, shape), rng.normal(0, _NOISE, shape)
    return np.hypot(real, imaginary).astype(np.float32), labels


def write_phantom_cohort(folder: Path, labelled: int, unlabelled: int, *, first_seed: int = 0, **options) -> list[str]:
    """Writes ``folder``/images and ``folder``/labels as training expects a cohort; returns the names of its cases, the
    labelled ones first. ``options``: the ``shape`` of :func:`phantom`."""
    names = [f"case_{first_seed + n:03d}" for n in range(labelled + unlabelled)]
    for n, name in enumerate(names):
        arrays = phantom(first_seed + n, **options)
        for kind, array, wanted in zip(("images", "labels"), arrays, (True, n < labelled), strict=True):
            if wanted:
                (folder / kind).mkdir(parents=True, exist_ok=True)
                stored = np.round(array * 1000).astype(np.int16) if kind == "images" else array
                volume = sitk.GetImageFromArray(stored)
                volume.SetSpacing((1.5, 1.5, 8.0))
                sitk.WriteImage(volume, str(folder / kind / f"{name}.nii.gz"), useCompression=True)
    return names
