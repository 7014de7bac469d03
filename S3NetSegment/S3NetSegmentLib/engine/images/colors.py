"""Colours: sRGB and CIE Lab, and those for segments, apart for people with red-green colour blindness as far as possible."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from ..common.arrays import three

_XYZ_FROM_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    np.float32,
)
_WHITE = np.array([0.95047, 1.0, 1.08883], np.float32)  # D65
# The first ones: Okabe and Ito's palette for the colour blind (2008), without black, the strongest contrasts first.
_FIRST = (
    (0.902, 0.624, 0.000), (0.337, 0.706, 0.914), (0.000, 0.620, 0.451), (0.800, 0.475, 0.655),
    (0.941, 0.894, 0.259), (0.835, 0.369, 0.000), (0.000, 0.447, 0.698),
)  # fmt: skip
# What a deuteranope sees of linear red, green, blue (Vienot, Brettel and Mollon 1999, reduced to one plane).
_DEUTERANOPIA = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])


def label_colors(count: int) -> list[tuple[float, float, float]]:
    """``count`` colours (red, green, blue, each 0 to 1), always in the same order: more colours only add to the list.

    After a fixed start each colour is the one of a bright set that lies farthest from all before it, in CIE Lab for
    normal and for red-green blind eyes. Beyond 256 they repeat.
    """
    colors = _palette(256) if count > len(_FIRST) else _FIRST
    return [colors[n % len(colors)] for n in range(count)]


@lru_cache(maxsize=1)
def _palette(count: int) -> tuple[tuple[float, float, float], ...]:
    levels = np.linspace(0, 1, 16)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = lab_from_rgb(candidates)
    # Neither dark nor nearly white nor grey, so that labels stand out from a grey image, and nothing glaring.
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    pleasant = (lab[:, 0] > 45) & (lab[:, 0] < 90) & (chroma > 28) & (chroma < 85)
    candidates = np.concatenate([_FIRST, candidates[pleasant]])
    seen = [lab_from_rgb(candidates), lab_from_rgb(_gamma_coded(np.clip(_linear(candidates) @ _DEUTERANOPIA.T, 0, 1)))]

    def distance_to(n: int) -> np.ndarray:
        normal, blind = (np.linalg.norm(s - s[n], axis=1) for s in seen)
        return np.minimum(normal, 2.0 * blind)

    chosen = list(range(len(_FIRST)))
    nearest = np.min([distance_to(n) for n in chosen], axis=0)
    while len(chosen) < count:
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, distance_to(chosen[-1]))
    return tuple(three(round(float(c), 3) for c in candidates[n]) for n in chosen)


def _linear(rgb: np.ndarray) -> np.ndarray:
    """sRGB 0 to 1 as amounts of light. Source: IEC 61966-2-1."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _gamma_coded(linear: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_linear`."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def lab_from_rgb(rgb: ArrayLike) -> np.ndarray:
    """sRGB 0 to 1 ``[..., 3]`` to CIE L*a*b* (D65), L 0 to 100. Source: IEC 61966-2-1 and CIE 15."""
    xyz = _linear(np.asarray(rgb, dtype=np.float32)) @ _XYZ_FROM_RGB.T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), xyz * np.float32(24389 / 27 / 116) + np.float32(16 / 116))
    return np.stack((116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])), -1).astype(
        np.float32
    )


def rgb_from_lab(lab: ArrayLike) -> np.ndarray:
    """CIE L*a*b* (D65), L 0 to 100, ``[..., 3]`` to sRGB 0 to 1: the inverse of :func:`lab_from_rgb`; colours that no screen
    shows are clipped."""
    lightness, a, b = np.moveaxis(np.asarray(lab, dtype=np.float32), -1, 0)
    y = (lightness + 16) / 116
    f = np.stack((y + a / 500, y, y - b / 200), -1)
    xyz = np.where(f > 6 / 29, f**3, (f - np.float32(16 / 116)) * np.float32(116 * 27 / 24389))
    return _gamma_coded(np.clip(xyz * _WHITE @ np.linalg.inv(_XYZ_FROM_RGB).T, 0, 1)).astype(np.float32)


def hex_color(color) -> str:
    """A colour (red, green, blue, each 0 to 1) as HTML writes it, e.g. "#e69f00"."""
    return "#" + "".join(f"{round(255 * c):02x}" for c in color)
