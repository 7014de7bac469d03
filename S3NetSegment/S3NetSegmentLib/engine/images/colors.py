"""Colours for segments: distinct, bright, and apart for people with red-green colour blindness as far as possible."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .intensity import lab_from_rgb

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
    seen = [lab_from_rgb(candidates), lab_from_rgb(_as_deuteranope(candidates))]

    def distance_to(n: int) -> np.ndarray:
        normal, blind = (np.linalg.norm(s - s[n], axis=1) for s in seen)
        return np.minimum(normal, 2.0 * blind)

    chosen = list(range(len(_FIRST)))
    nearest = np.min([distance_to(n) for n in chosen], axis=0)
    while len(chosen) < count:
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, distance_to(chosen[-1]))
    return tuple(tuple(round(float(c), 3) for c in candidates[n]) for n in chosen)


def _as_deuteranope(rgb: np.ndarray) -> np.ndarray:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ _DEUTERANOPIA.T, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
