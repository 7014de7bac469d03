"""A box split into object and surroundings by grey values or colours alone."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_ROUNDS = 3
_OBJECT_PARTS, _SURROUNDING_PARTS = 2, 3  # normal distributions of each side
_MOST_SAMPLES = 600
_INNER = 0.6  # the ellipse that the object is first learned from, as a share of the box
_SMALLEST_DEVIATION = 0.15  # of a normal distribution, in standard deviations of the lightness
_RATIO = 4.0  # log-ratios beyond are taken as this
_PRIOR_SLOPE, _PRIOR_LIMITS = 4.0, (-3.0, 2.0)
_SMOOTHING = 1.0  # pixels


def colour_split(features: np.ndarray, box: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A box split into object and surroundings, in the way of GrabCut but without a cut.

    A mixture of normal distributions learns the inner ellipse, another one the band around the box; the log-ratio of their
    densities, plus how far inside the ellipse a sample lies, is smoothed and cut at 0. Repeated with the answer as the object.

    :returns: how much each sample looks like the object (float ``[h, w]``, above 0: more than like its surroundings), and the
    connected object in the box (bool), which is never empty.

    :param features: float ``[h, w, C]``, a part of a slice with some surroundings of the box.
    :param box: bool ``[h, w]``. ``radius``: :func:`elliptic_radius` of it.
    """
    rng = np.random.default_rng(0)
    smooth = np.stack([ndimage.gaussian_filter(c, 0.7) for c in np.moveaxis(features, 2, 0)], -1)
    samples = smooth / (smooth[..., 0].std() + 1e-3)
    ellipse = box & (radius <= 1)
    ellipse = ellipse if ellipse.any() else box
    current = box & (radius <= _INNER)
    current = current if np.count_nonzero(current) >= 5 else ellipse
    around = ~box if np.count_nonzero(~box) >= 5 else ~ellipse
    around = around if around.any() else np.ones_like(box)
    outside = _log_density(samples, around, _SURROUNDING_PARTS, rng)
    prior = np.clip(_PRIOR_SLOPE * (1 - radius), *_PRIOR_LIMITS)
    likeness = prior
    for _ in range(_ROUNDS):
        ratio = np.clip(_log_density(samples, current, _OBJECT_PARTS, rng) - outside, -_RATIO, _RATIO)
        likeness = ndimage.gaussian_filter(ratio + prior, _SMOOTHING)
        found = _main_part((likeness > 0) & box, ellipse)
        if found is None:
            break
        current = found
    return likeness, current


def _main_part(mask: np.ndarray, ellipse: np.ndarray) -> np.ndarray | None:
    """The connected part that covers most of the ellipse; None where there is hardly any."""
    parts, count = ndimage.label(mask)
    covered = np.bincount(parts[ellipse], minlength=count + 1)
    covered[0] = 0
    if covered.max() < 5:
        return None
    return parts == covered.argmax()


def _log_density(samples: np.ndarray, chosen: np.ndarray, parts: int, rng: np.random.Generator) -> np.ndarray:
    """log-density of every sample under a mixture of ``parts`` round normal distributions learned from the chosen."""
    values = samples[chosen]
    values = values[rng.permutation(len(values))[:_MOST_SAMPLES]]
    parts = min(parts, max(1, len(values) // 12))
    centres = values[:parts]
    for _ in range(6):
        nearest = ((values[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.stack([values[nearest == n].mean(0) if (nearest == n).any() else c for n, c in enumerate(centres)])
    own = [values[nearest == n] for n in range(parts)]
    deviations = np.array([max(v.std(0).mean(), _SMALLEST_DEVIATION) if len(v) > 2 else 0.4 for v in own])
    shares = np.array([max(len(v) / len(values), 1e-3) for v in own])
    squared = ((samples[:, :, None] - centres) ** 2).sum(3)
    density = (shares * np.exp(-squared / (2 * deviations**2)) / deviations ** samples.shape[2]).sum(2)
    return np.log(density + 1e-4)
