"""What is measured of each candidate of a volume: size, shape, border, agreement between sources, place of the click.

Everything comes from sums over supervoxels and over the borders between them, so it costs about the same for any size.
Intensities are in standard deviations of the volume.
"""

from __future__ import annotations

import numpy as np

from ...common.progress import Step, Steps
from ..regions.volume_graph import Columns, RegionGraph
from .volume_candidates import VolumeCandidates

NAMES = (
    "log_share", "log_radius", "compactness", "frame_share", "frame_across", "extent", "elongation", "flatness",
    "log_slices", "slice_share",
    "contrast", "contrast_inside", "coherence", "strength", "weak_share", "step", "neighbour_contrast", "deviation",
    "inner_strength", "log_vc",
    "consensus", "consensus_max", "consensus_min", "support", "vote_share", "own_support",
    "size_rank", "gap_up", "gap_down", "growth_up", "growth_down", "log_share_to_median", "strength_to_best",
    "vc_to_best", "consensus_to_best", "coherence_to_best", "log_hand", "hand_to_best",
    "strength_up", "strength_down",
    "click_deviation", "click_offset", "ray_shortest", "ray_quarter", "ray_median", "ray_mean", "ray_spread",
    "ray_returns", "ray_out", "ray_step_quarter", "ray_step", "ray_step_same", "ray_level_change",
)  # fmt: skip
COLUMN = {name: i for i, name in enumerate(NAMES)}
ALIKE = 0.8  # candidates of a higher Dice coefficient count as the same opinion
_AT_ONCE = 64  # candidates compared with all others in one step
_RAYS = np.array([(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)])
_RAY_STEPS = 96
_PER_RADIUS = 0.7  # the step of a ray in units of the smallest voxel side


def overlap_matrix(candidates: VolumeCandidates, graph: RegionGraph) -> Steps[np.ndarray]:
    """Dice coefficients ``[n, n]`` (float32) between the candidates, as a generator of progress steps."""
    # Most supervoxels lie in the same candidates as others: such a group counts as one.
    columns = np.ascontiguousarray(np.packbits(candidates.sets, axis=0).T)
    patterns, group = np.unique(columns.view(f"V{columns.shape[1]}").ravel(), return_inverse=True)
    bits = patterns.view(np.uint8).reshape(len(patterns), -1)
    sets = np.unpackbits(bits, axis=1, count=len(candidates.sets)).T.astype(np.float32)
    voxels = np.rint(graph.volume / float(np.prod(graph.spacing)))  # whole numbers: their sums are exact
    weighted = sets * np.bincount(group, voxels).astype(np.float32)
    shared = np.empty((len(sets), len(sets)), np.float32)
    for first in range(0, len(sets), _AT_ONCE):
        yield Step(first / len(sets), "Comparing objects")
        shared[first : first + _AT_ONCE] = sets[first : first + _AT_ONCE] @ weighted.T
    size = np.diag(shared)
    return 2 * shared / (size[:, None] + size[None])


def measure(
    candidates: VolumeCandidates, graph: RegionGraph, overlap: np.ndarray, point: tuple[int, int, int]
) -> np.ndarray:
    """Features ``[n, len(NAMES)]`` (float32) of the candidates at ``point`` (k, j, i)."""
    values: dict[str, np.ndarray] = {}
    _add_shape(values, candidates, graph)
    _add_border(values, candidates, graph)
    _add_agreement(values, candidates, overlap)
    _add_comparisons(values, overlap)
    _add_click(values, candidates, graph, point)
    table = np.stack([values[name] for name in NAMES], 1)
    return np.nan_to_num(table, nan=0.0, posinf=4.0, neginf=-4.0).astype(np.float32)


def agreement_of_sections(sets: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Dice coefficients ``[n]`` of the sections of candidates in a cut through the volume with ``mask``.

    :param sets: bool ``[n, regions]``. ``labels``: the region of each sample of the cut. ``mask``: bool, of the same shape.
    """
    inside, there = (np.bincount(part, minlength=sets.shape[1]) for part in (labels[mask], labels.ravel()))
    return 2 * (sets @ inside) / np.maximum(sets @ there + np.count_nonzero(mask), 1)


def hand_score(table: np.ndarray) -> np.ndarray:
    """log of contrast / (deviation + 0.3) x compactness^0.5 x consensus^2, the score without any learning; ``[n]``."""
    return table[:, COLUMN["log_hand"]]


def _add_shape(values, candidates, graph) -> None:
    sums, volume = candidates.sums, candidates.volume
    side = min(graph.spacing)
    surface = np.maximum(sums[:, Columns.SURFACE], 1e-9)
    faces = sums[:, Columns.FACES]
    values["log_share"] = np.log(volume / graph.volume.sum())
    values["log_radius"] = np.log(_radius(candidates) / side)
    # The surface of a ball of voxels is 1.5 times that of the ball.
    values["compactness"] = np.cbrt(36 * np.pi * volume**2) / (surface / 1.5)
    values["frame_share"] = faces[:, 1:].sum(1) / surface
    values["frame_across"] = faces[:, 0] / surface
    length = candidates.high - candidates.low + 1
    values["extent"] = volume / np.prod(length * graph.spacing, 1)
    values["log_slices"] = np.log(length[:, 0])
    values["slice_share"] = length[:, 0] / graph.labels.shape[0]
    place = sums[:, Columns.PLACE] / volume[:, None]
    covariance = np.zeros((len(sums), 3, 3))
    for a in range(3):
        covariance[:, a, a] = place[:, 3 + a] - place[:, a] ** 2
    for column, (a, b) in enumerate(((0, 1), (0, 2), (1, 2)), 6):
        covariance[:, a, b] = covariance[:, b, a] = place[:, column] - place[:, a] * place[:, b]
    axes = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance), (0.3 * side) ** 2))
    values["elongation"] = np.log(axes[:, 2] / axes[:, 1])
    values["flatness"] = np.log(axes[:, 1] / axes[:, 0])


def _add_border(values, candidates, graph) -> None:
    sums, inner, columns = candidates.sums, candidates.inner, graph.columns
    mean, deviation = _moments(candidates, graph)
    area = np.maximum(sums[:, Columns.SURFACE] - sums[:, Columns.FACES].sum(1), 1e-9)  # to other regions
    contrast = np.sqrt(np.square(sums[:, columns.outward]).sum(1)) / area
    strength = sums[:, Columns.GRADIENT] / area
    within = inner[:, 1] / np.maximum(inner[:, 0], 1e-9)
    beyond = sums[:, columns.beyond] / area[:, None]
    floor = 0.1 * graph.mean_gradient
    values["contrast"] = contrast
    values["contrast_inside"] = contrast / (deviation + 0.3)
    values["step"] = sums[:, Columns.LENGTH] / area
    values["coherence"] = contrast / np.maximum(values["step"], 1e-6)
    values["strength"] = np.log((strength + floor) / graph.mean_gradient)
    values["weak_share"] = sums[:, Columns.WEAK] / area
    values["neighbour_contrast"] = np.sqrt(np.square(mean - beyond).sum(1)) / (deviation + 0.3)
    values["deviation"] = deviation
    values["inner_strength"] = np.where(inner[:, 0] > 0, np.log((within + floor) / (strength + floor)), -2.0)
    vc = values["neighbour_contrast"] * np.sqrt(np.minimum(values["compactness"], 1))
    values["log_vc"] = np.log(vc + 0.02)


def _radius(candidates: VolumeCandidates) -> np.ndarray:
    """Radius of the ball of the same volume, mm, ``[n]``."""
    return np.cbrt(3 * candidates.volume / (4 * np.pi))


def _moments(candidates: VolumeCandidates, graph: RegionGraph) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``[n, C]`` and standard deviation ``[n]`` of the intensities."""
    mean = candidates.sums[:, graph.columns.sums] / candidates.volume[:, None]
    squares = candidates.sums[:, Columns.SQUARES] / candidates.volume
    return mean, np.sqrt(np.maximum(squares - np.square(mean).sum(1), 0))


def _add_agreement(values, candidates, overlap) -> None:
    votes = candidates.votes
    present = votes.sum(0) > 0
    best = (
        np.stack([overlap[:, votes[:, s] > 0].max(1) for s in np.flatnonzero(present)], 1)
        if present.any()
        else np.ones((len(votes), 1))
    )
    own = votes[:, present] > 0 if present.any() else np.zeros((len(votes), 1), bool)
    # What a source says of its own candidate is no second opinion, unless there is no other.
    others = np.where(own, np.nan, best)
    alone = np.isnan(others).all(1)
    others[alone] = best[alone]
    values["consensus"] = np.nanmean(others, 1)
    values["consensus_max"] = np.nanmax(others, 1)
    values["consensus_min"] = np.nanmin(others, 1)
    values["support"] = (overlap > ALIKE).mean(1)
    values["vote_share"] = votes.sum(1) / max(1, votes.sum())
    values["own_support"] = own.mean(1)
    values["log_hand"] = values["log_vc"] + 2 * np.log(values["consensus"] + 1e-3)


def _add_comparisons(values, overlap) -> None:
    size, strength = values["log_share"], values["strength"]
    n = len(size)
    order = np.argsort(size, kind="stable")
    rank = np.empty(n)
    rank[order] = np.arange(n) / max(1, n - 1)
    values["size_rank"] = rank
    apart = size[None] - size[:, None]
    different = overlap < 0.97
    values["gap_up"] = np.where(different & (apart > 0.02), apart, 2).min(1, initial=2)
    values["gap_down"] = np.where(different & (apart < -0.02), -apart, 2).min(1, initial=2)
    # The next larger and smaller clearly different candidates that this one is nested with: how much the border's
    # strength changes on the way to them.
    shared = overlap * (np.exp(size)[:, None] + np.exp(size)[None]) / 2
    nested = shared > 0.95 * np.minimum(np.exp(size)[:, None], np.exp(size)[None])
    for name, closer in (("up", nested & (apart > 0.15)), ("down", nested & (apart < -0.15))):
        distance = np.where(closer, np.abs(apart), np.inf)
        nearest = distance.argmin(1)
        found = np.isfinite(distance[np.arange(n), nearest])
        values[f"strength_{name}"] = np.where(found, strength - strength[nearest], 0)
        values[f"growth_{name}"] = np.where(found, np.minimum(distance[np.arange(n), nearest], 2), 2)
    values["log_share_to_median"] = size - np.median(size)
    for name, source in (
        ("strength_to_best", strength), ("vc_to_best", values["log_vc"]), ("consensus_to_best", values["consensus"]),
        ("coherence_to_best", values["coherence"]), ("hand_to_best", values["log_hand"]),
    ):  # fmt: skip
        values[name] = source - source.max()


def _add_click(values, candidates, graph, point) -> None:
    radius = _radius(candidates)
    at = np.array(point) * graph.spacing
    centre = candidates.sums[:, Columns.PLACE][:, :3] / candidates.volume[:, None]
    values["click_offset"] = np.sqrt(np.square(centre - at).sum(1)) / radius
    mean, deviation = _moments(candidates, graph)
    off = np.sqrt(np.square(mean - graph.standard[tuple(point)]).sum(1))
    values["click_deviation"] = off / (deviation + 0.3)
    regions, levels = _along_rays(graph, point)
    held = candidates.sets[:, np.maximum(regions, 0)] & (regions >= 0)
    left = ~held
    steps = regions.shape[1]
    ends = np.where(left.any(2), left.argmax(2), steps)
    distance = ends * _PER_RADIUS * min(graph.spacing) / radius[:, None]
    values["ray_shortest"] = distance.min(1)
    values["ray_quarter"] = np.quantile(distance, 0.25, axis=1)
    values["ray_median"] = np.median(distance, 1)
    values["ray_mean"] = distance.mean(1)
    values["ray_spread"] = np.log((distance.std(1) + 0.05) / (distance.mean(1) + 0.05))
    # How much of the object on the rays lies behind a gap: 0 for a body that is seen wholly from the click.
    values["ray_returns"] = 1 - ends.sum(1) / np.maximum(held.sum((1, 2)), 1)
    first_outside = np.where((regions >= 0).all(1), steps + 1, (regions < 0).argmax(1))
    out = ends >= np.minimum(first_outside, steps)[None]
    values["ray_out"] = out.mean(1)
    _add_steps(values, levels, ends, out)


def _add_steps(values, levels, ends, out) -> None:
    """What is seen on the rays: the step of intensity where they leave the candidate, and the change before.

    :param levels: ``[rays, steps, C]`` intensities. ``ends``: ``[n, rays]`` first step outside; ``out``: it is beyond the
        volume.
    """
    rays = np.arange(levels.shape[0])
    padded = np.concatenate((levels, np.repeat(levels[:, -1:], 3, 1)), 1)
    window = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3  # of three steps
    step = window[rays, np.minimum(ends, levels.shape[1])] - window[rays, np.maximum(ends - 3, 0)]
    size = np.sqrt(np.square(step).sum(-1))
    seen = ~out
    count = np.maximum(seen.sum(1), 1)
    ordered = np.sort(np.where(seen, size, np.inf), 1)
    quarter = np.take_along_axis(ordered, (count[:, None] - 1) // 4, 1)[:, 0]
    values["ray_step_quarter"] = np.where(seen.any(1), quarter, 0)
    values["ray_step"] = (size * seen).sum(1) / count
    total = np.sqrt(np.square((step * seen[..., None]).sum(1)).sum(-1))
    values["ray_step_same"] = total / np.maximum((size * seen).sum(1), 1e-6)
    change = np.sqrt(np.square(levels - levels[:, :1]).sum(-1))
    so_far = np.cumsum(np.concatenate((np.zeros((len(rays), 1)), change), 1), 1)
    values["ray_level_change"] = (so_far[rays, ends] / np.maximum(ends, 1)).mean(1)


def _along_rays(graph: RegionGraph, point: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Supervoxels ``[rays, steps]`` met on straight ways from ``point``, -1 beyond the volume, and the intensities there
    ``[rays, steps, C]``. Directions are those of the 26 neighbours of a cubic voxel, steps are in mm, so that thick
    slices do not distort them."""
    shape = np.array(graph.labels.shape)
    directions = _RAYS / np.linalg.norm(_RAYS, axis=1, keepdims=True)
    lengths = np.arange(_RAY_STEPS) * _PER_RADIUS * min(graph.spacing)
    index = np.rint(np.array(point) + directions[:, None] * lengths[None, :, None] / graph.spacing).astype(int)
    within = ((index >= 0) & (index < shape)).all(2)
    index = tuple(np.moveaxis(np.clip(index, 0, shape - 1), 2, 0))
    return np.where(within, graph.labels[index].astype(np.int64), -1), graph.standard[index]
