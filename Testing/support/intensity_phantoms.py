"""One ball in soft surroundings, as an MR and as a CT, and all that files do to the numbers of an image without changing what
it shows: other voxel types, scales and offsets, padding, lone extreme voxels."""

from __future__ import annotations

import numpy as np

from S3NetSegmentLib.engine import Volume
from S3NetSegmentLib.engine.images.intensity import intensity_scale

SHAPE, CENTRE, RADIUS = (14, 24, 26), (7, 11, 12), 6.0  # [K, J, I]
_k, _j, _i = np.indices(SHAPE)
BALL = (_k - CENTRE[0]) ** 2 + (_j - CENTRE[1]) ** 2 + (_i - CENTRE[2]) ** 2 < RADIUS**2
SEED = (CENTRE[2], CENTRE[1], CENTRE[0])  # (i, j, k) in the ball
_FROM_AXIS = np.hypot(_j - 11.5, _i - 12.5)


def mr() -> np.ndarray:
    """About 300, the ball 360, noise of 10; float64 ``[K, J, I]``."""
    return 300 + 60 * BALL + np.random.default_rng(0).normal(0, 10, SHAPE)


def ct() -> np.ndarray:
    """Hounsfield units, whole: air, a body of 40 with a ball of 120, a plate of bone, noise of 12; float64 ``[K, J, I]``."""
    body = _FROM_AXIS < 10.5
    values = np.where(body, 40.0 + 80 * BALL, -1000.0)
    values[:, :, 22:23] = 1200
    return np.round(values + np.random.default_rng(1).normal(0, 12, SHAPE))


def padded(values: np.ndarray, value: float, share: float) -> tuple[np.ndarray, np.ndarray]:
    """``values`` with ``value`` outside a circle, on about ``share`` of the voxels; and where."""
    outside = (np.quantile(_FROM_AXIS, 1 - share) < _FROM_AXIS) & ~BALL
    return np.where(outside, value, values), outside


def scattered(values: np.ndarray, value: float, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The same on voxels here and there outside the ball."""
    there = (np.random.default_rng(2).random(SHAPE) < share) & ~BALL
    return np.where(there, value, values), there


def spoiled(values: np.ndarray, extremes, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """``values`` with ``extremes`` in turn on ``count`` voxels outside the ball; and where."""
    rng = np.random.default_rng(3)
    places = rng.choice(np.flatnonzero(~BALL), count, replace=False)
    out, where = values.copy(), np.zeros(SHAPE, bool)
    out.flat[places] = np.resize(np.asarray(extremes, float), count)
    where.flat[places] = True
    return out, where


# The MR in other number formats, name -> array; all show the same.
FORMATS = {
    "int16": lambda v: np.round(10 * v).astype(np.int16),
    "uint16": lambda v: np.round(100 * v).astype(np.uint16),
    "uint8": lambda v: np.round(2 * v - 500).clip(0, 255).astype(np.uint8),
    "int8": lambda v: np.round(v - 330).clip(-128, 127).astype(np.int8),
    "int32, negative": lambda v: np.round(100 * v - 5e6).astype(np.int32),
    "uint32 + 4e9": lambda v: np.round(10 * v + 4e9).astype(np.uint32),
    "int64 + 2^53": lambda v: np.round(10 * v).astype(np.int64) + 2**53,
    "int64 - 2^62": lambda v: np.round(10 * v).astype(np.int64) - 2**62,
    "uint64 + 2^63": lambda v: np.round(10 * v).astype(np.uint64) + np.uint64(2**63),
    "float16": lambda v: (v / 1000).astype(np.float16),
    "float32 + 1e6": lambda v: (10 * v + 1e6).astype(np.float32),
    "float32 * 1e-6": lambda v: (v * 1e-6).astype(np.float32),
    "float64 + 1e12": lambda v: v + 1e12,
    "float64 * 1e-40": lambda v: v * 1e-40,
    "float64 * 1e40": lambda v: v * 1e40,
    "+ 0.3": lambda v: (np.round(10 * v) + 0.3).astype(np.float32),
    "around 0": lambda v: (v - 330).astype(np.float32),
    "big endian": lambda v: np.round(10 * v).astype(">i2"),
}
PADDING = (-32768.0, -8192.0, -3024.0, -2000.0, -1024.0, -1.0, 0.0, 250.0, 420.0, 1000.0, 4095.0, 32767.0, 65535.0)
EXTREMES = {
    "hot": (65535,), "cold": (-32768,), "both": (-1e9, 1e9), "of any size": (2000, 5000, 9000, 4e4, 1e6), "-600": (-600,),
}  # fmt: skip

# The CT in other forms.
CT_FORMS = {
    "whole": lambda v: v.astype(np.int16),
    "resampled, + 0.3": lambda v: (v + 0.3).astype(np.float32),
    "unsigned, + 1024": lambda v: (v + 1024).clip(0).astype(np.uint16),
    "signed, + 1024, noise below 0": lambda v: np.where(v < -900, v - 12, v).astype(np.int16) + np.int16(1024),
    "float, + 1024, overshoots": lambda v: spoiled(v + 1024, (-90.5, -40.25), 60)[0],
    "-500 on much": lambda v: padded(v, -500, 0.3)[0],
    "-400 here and there": lambda v: scattered(v, -400, 0.3)[0].astype(np.int16),
    "float64": lambda v: v + 1e-3,
    "-1024 outside the circle": lambda v: padded(v, -1024, 0.12)[0].astype(np.int16),
    "-3024 outside the circle": lambda v: padded(v, -3024, 0.12)[0].astype(np.int16),
    "-2000 on much": lambda v: padded(v, -2000, 0.3)[0],
    "-8192": lambda v: padded(v, -8192, 0.02)[0],
    "-32768": lambda v: padded(v, -32768, 0.2)[0].astype(np.int16),
    "32767": lambda v: padded(v, 32767, 0.2)[0].astype(np.int16),
    "4095": lambda v: padded(v, 4095, 0.1)[0].astype(np.int16),
    "65535": lambda v: padded(v + 1024, 65535, 0.3)[0].clip(0).astype(np.uint16),
    "metal and streaks": lambda v: spoiled(v, (30000, -3000, 9000), 60)[0],
}


def volume_of(array: np.ndarray, modality: str = "") -> Volume:
    return Volume(np.asarray(array), np.diag([-1.0, -1, 1, 1]), "it", modality)


def features_of(array: np.ndarray, modality: str = "") -> np.ndarray:
    """The grey values on the common scale, float32 ``[K, J, I]``."""
    return intensity_scale(volume_of(array, modality)).apply(array)[..., 0]
