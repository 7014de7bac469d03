"""What is measured of each candidate of a slice: size, shape, contrast, agreement between sources, place of the click.

All lengths are in pixels of the working grid, all intensities in standard deviations of the slice.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...common.arrays import box_around
from . import candidates
from .candidates import Candidates

# Areas that can be an object, as shares of the slice, and the share of the frame that an object may touch.
PLAUSIBLE_AREA = (0.0015, 0.6)
PLAUSIBLE_FRAME = 0.3
AREA_EXPONENT = 0.15
IMPLAUSIBLE_FACTOR = 0.01
ALIKE = 0.8  # candidates of a higher Dice coefficient count as the same opinion

NAMES = (
    "log_area", "area_power", "compactness", "frame_share", "extent", "log_elongation", "inscribed",
    "contrast", "contrast_inside", "contrast_ring", "fisher", "deviation_inside", "deviation_ring",
    "largest_contrast", "edge_strength", "edge_to_inside", "purity",
    "log_vc", "log_vca", "consensus", "consensus_max", "consensus_min", "support", "support_share", "vote_share",
    "area_rank", "gap_up", "gap_down", "vca_to_best", "consensus_to_best", "log_area_to_median", "vc_to_best",
    "log_hand", "hand_to_best", "click_depth", "click_deviation", "click_offset",
)  # fmt: skip
COLUMN = {name: i for i, name in enumerate(NAMES)}
# Levels of distance from a candidate's border, from far outside to deep inside, see nested_levels.
_LEVELS = 7
_RING, _OUTER_EDGE, _BORDER, _NEAR, _DEEP, _CORE = range(1, _LEVELS)
_MARGIN = 5
_FEW_SAMPLES = 8000


class SliceStatistics:
    """What the features of all candidates of a slice share.

    :param standard: float32 ``[h, w, C]``, the slice with mean 0 and deviation about 1 in each channel.
    :param partition: label map ``[h, w]`` of fine regions, against which a candidate's border is compared.
    """

    def __init__(self, standard: np.ndarray, partition: np.ndarray):
        self.smooth = ndimage.gaussian_filter(standard, (1.0, 1.0, 0)).astype(np.float32)
        self.channels = self.smooth.shape[2]
        gradient = np.sqrt(sum(ndimage.gaussian_gradient_magnitude(c, 1.0) ** 2 for c in np.moveaxis(standard, 2, 0)))
        self.mean_gradient = float(gradient.mean()) + 1e-6
        pairs = zip(*np.triu_indices(self.channels), strict=True)
        products = [self.smooth[..., a] * self.smooth[..., b] for a, b in pairs]
        self.moments = np.stack([np.ones_like(gradient), gradient, *np.moveaxis(self.smooth, 2, 0), *products]).astype(
            np.float32
        )
        self.partition = partition.astype(np.int32)
        self.partition_sizes = np.bincount(self.partition.ravel())

    def part(self, rows: slice, columns: slice) -> SliceStatistics:
        """The same of some rows and columns alone."""
        part = object.__new__(SliceStatistics)
        part.smooth, part.channels, part.mean_gradient = self.smooth[rows, columns], self.channels, self.mean_gradient
        part.moments = np.ascontiguousarray(self.moments[:, rows, columns])
        part.partition = np.ascontiguousarray(self.partition[rows, columns])
        part.partition_sizes = np.bincount(part.partition.ravel())
        return part

    @property
    def shape(self) -> tuple[int, int]:
        return self.smooth.shape[:2]


def measure(
    candidates: Candidates,
    statistics: SliceStatistics,
    overlap: np.ndarray,
    point: tuple[int, int] | None,
    plausible_frame: float = PLAUSIBLE_FRAME,
) -> np.ndarray:
    """Features ``[n, len(NAMES)]`` (float32) of the candidates.

    :param overlap: Dice coefficients between the candidates, ``[n, n]``.
    :param point: the click; None: the features of the click are 0.
    """
    values: dict[str, np.ndarray] = {}
    counts, sums, geometry = _samples(candidates.masks, statistics, point)
    _add_shape(values, counts, geometry, statistics.shape)
    _add_contrast(values, sums, statistics, point)
    _add_agreement(values, candidates.votes, overlap)
    _add_scores(values, plausible_frame)
    _add_comparisons(values)
    table = np.stack([values[name] for name in NAMES], 1)
    return np.nan_to_num(table, nan=0.0, posinf=4.0, neginf=-4.0).astype(np.float32)


def contrast_inside(masks: np.ndarray, statistics: SliceStatistics) -> np.ndarray:
    """The feature "contrast_inside" of :func:`measure` alone, ``[n]``, for bool masks ``[n, h, w]``."""
    values: dict[str, np.ndarray] = {}
    moments = statistics.moments.reshape(len(statistics.moments), -1).T
    sums = np.zeros((len(masks), _LEVELS, moments.shape[1]))
    for start in range(0, len(masks), candidates.CAPACITY):
        part = slice(start, start + candidates.CAPACITY)
        count = len(masks[part])
        within = [candidates.layers(stack, count) @ moments for stack in nested_levels(masks[part], None)[0]]
        everywhere = np.broadcast_to(moments.sum(0), (count, 1, moments.shape[1]))
        sums[part] = -np.diff(np.stack(within, 1), axis=1, prepend=everywhere, append=0)
    _add_contrast(values, sums, statistics, None)
    return values["contrast_inside"]


def hand_score(table: np.ndarray) -> np.ndarray:
    """log of contrast x compactness^0.5 x area^0.15 x consensus^2, the score without any learning; ``[n]``."""
    return table[:, COLUMN["log_hand"]]


def _samples(
    masks: np.ndarray, statistics: SliceStatistics, point: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Number of samples ``[n, levels]`` and sums of the moments ``[n, levels, m]`` over the levels of each candidate,
    and its geometry by name, ``[n]``."""
    counts, sums, rows = [], [], []
    for start in range(0, len(masks), candidates.CAPACITY):
        part = masks[start : start + candidates.CAPACITY]
        levels, depth, deepest = nested_levels(part, point)
        for number, mask in enumerate(part):
            box = box_around(mask, _MARGIN)
            own = mask[box]
            bit = np.uint64(1) << np.uint64(number)
            level = np.zeros(own.shape, np.uint8)
            for stack in levels:
                level += (stack[box] & bit) != 0
            counts.append(np.bincount(level.ravel(), minlength=_LEVELS))
            thin = 1 if own.size < _FEW_SAMPLES else 2  # of a large candidate every fourth sample says enough
            sums.append(_level_sums(level[::thin, ::thin], statistics.moments[(slice(None), *box)][:, ::thin, ::thin]))
            frame = np.count_nonzero(mask[0]) + np.count_nonzero(mask[-1])
            frame += np.count_nonzero(mask[:, 0]) + np.count_nonzero(mask[:, -1])
            cy, cx, long_axis, short_axis, box_area = _ellipse(own.astype(np.float32))
            inside = np.bincount(statistics.partition[box][own], minlength=statistics.partition_sizes.size)
            mixed = np.minimum(inside, statistics.partition_sizes - inside).sum()
            offset = 0.0 if point is None else np.hypot(point[0] - box[0].start - cy, point[1] - box[1].start - cx)
            rows.append((frame, box_area, long_axis, short_axis, depth[number], deepest[number], mixed, offset))
    names = ("frame", "box_area", "long_axis", "short_axis", "depth", "deepest", "mixed", "offset")
    return np.stack(counts), np.stack(sums), dict(zip(names, np.array(rows, np.float64).T, strict=True))


def nested_levels(masks: np.ndarray, point: tuple[int, int] | None) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Stacks of the masks grown by 4 and 1 pixels, as they are, and shrunk by 1, 3 and 4 (octagonal distance), each
    one inside the one before; and of each mask the depth of ``point`` in it and its largest depth, ``[n]``."""
    own = candidates.stacked(masks)
    inner, outer = [own], [own]
    for step in range(4):
        inner.append(candidates.eroded(inner[-1], diagonal=step % 2 == 1))
        outer.append(candidates.dilated(outer[-1], diagonal=step % 2 == 1))
    depth, deepest = np.zeros(len(masks)), np.ones(len(masks))
    for stack in inner[:4]:
        _deepen(stack, point, 1, depth, deepest)
    at = None if point is None else (point[0] // 2, point[1] // 2)
    rest, step = inner[4][::2, ::2], 0  # deeper down half the resolution will do
    while rest.any():
        _deepen(rest, at, 2, depth, deepest)
        rest, step = candidates.eroded(rest, diagonal=step % 2 == 1), step + 1
    return [outer[4], outer[1], own, inner[1], inner[3], inner[4]], depth, deepest


def _deepen(stack: np.ndarray, point, step: int, depth: np.ndarray, deepest: np.ndarray) -> None:
    """Adds ``step`` to the depth of every mask that has something left in ``stack``, and of the point where it has."""
    bits = np.uint64(1) << np.arange(len(depth), dtype=np.uint64)
    deepest += step * ((np.bitwise_or.reduce(stack, axis=None) & bits) != 0)
    if point is not None:
        depth += step * ((stack[point] & bits) != 0)


def _level_sums(level: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Sums ``[_LEVELS, m]`` of ``moments`` ``[m, ...]`` over the samples of each level (0: far outside)."""
    chosen = np.equal(level.ravel()[None], np.arange(_LEVELS, dtype=np.uint8)[:, None]).astype(np.float32)
    return (chosen @ moments.reshape(len(moments), -1).T).astype(np.float64)


def _ellipse(weight: np.ndarray) -> tuple[float, float, float, float, float]:
    """Centroid (row, column), standard deviations along the long and the short axis, and the area of the bounding box
    of a mask (0 or 1)."""
    by_row, by_column = weight.sum(1), weight.sum(0)
    area = by_row.sum()
    y, x = np.arange(len(by_row), dtype=np.float32), np.arange(len(by_column), dtype=np.float32)
    cy, cx = by_row @ y / area, by_column @ x / area
    yy = by_row @ (y - cy) ** 2 / area
    xx = by_column @ (x - cx) ** 2 / area
    xy = (y - cy) @ (weight @ (x - cx)) / area
    root = np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
    middle = (yy + xx) / 2
    box_area = float(np.count_nonzero(by_row) * np.count_nonzero(by_column))
    return cy, cx, np.sqrt(max(middle + root, 1 / 12)), np.sqrt(max(middle - root, 1 / 12)), box_area


def _add_shape(values: dict, counts: np.ndarray, geometry: dict, shape: tuple[int, int]) -> None:
    area = counts[:, _BORDER:].sum(1)
    border = np.maximum(counts[:, _BORDER], 1)
    share = area / (shape[0] * shape[1])
    radius = np.sqrt(area / np.pi)
    values["log_area"] = np.log(share)
    values["area_power"] = share**AREA_EXPONENT
    values["compactness"] = np.minimum(1, 4 * np.pi * area / (border**2 * 1.1))
    values["frame_share"] = geometry["frame"] / (2 * shape[0] + 2 * shape[1])
    values["extent"] = area / geometry["box_area"]
    values["log_elongation"] = np.log(geometry["long_axis"] / geometry["short_axis"])
    values["inscribed"] = geometry["deepest"] / radius
    values["purity"] = 1 - geometry["mixed"] / area
    values["click_depth"] = geometry["depth"] / geometry["deepest"]
    values["click_offset"] = geometry["offset"] / radius


def _add_contrast(values: dict, sums: np.ndarray, statistics: SliceStatistics, point: tuple[int, int] | None) -> None:
    channels = statistics.channels
    core = sums[:, _DEEP:].sum(1)
    thin = core[:, 0] == 0
    core[thin] = sums[thin, _BORDER:].sum(1)
    mean, covariance = _mean_and_covariance(core, channels)
    ring_mean, ring_covariance = _mean_and_covariance(sums[:, _RING], channels)
    whole = sums[:, _RING, 0] == 0  # nothing around: the candidate is the whole slice
    ring_mean[whole], ring_covariance[whole] = mean[whole], np.eye(channels) / channels
    _, edge_covariance = _mean_and_covariance(sums[:, _BORDER:_CORE].sum(1), channels)

    difference = mean - ring_mean
    contrast = np.sqrt((difference**2).sum(1))
    direction = difference / (contrast[:, None] + 1e-6)
    spread = np.einsum("na,nab,nb->n", direction, edge_covariance + ring_covariance, direction)
    inside = np.sqrt(np.trace(covariance, axis1=1, axis2=2))
    ring = np.sqrt(np.trace(ring_covariance, axis1=1, axis2=2))
    values["contrast"] = contrast
    values["contrast_inside"] = contrast / (inside + 0.3)
    values["contrast_ring"] = contrast / (ring + 0.3)
    values["fisher"] = contrast / np.sqrt(spread + 0.01)
    values["deviation_inside"], values["deviation_ring"] = inside, ring
    values["largest_contrast"] = np.abs(difference).max(1)
    edge_sums = sums[:, _OUTER_EDGE] + sums[:, _BORDER]
    edge = edge_sums[:, 1] / np.maximum(edge_sums[:, 0], 1) / statistics.mean_gradient
    within = core[:, 1] / np.maximum(core[:, 0], 1) / statistics.mean_gradient
    values["edge_strength"] = np.log(edge + 0.1)
    values["edge_to_inside"] = np.log((edge + 0.1) / (within + 0.1))
    deviation = 0.0 if point is None else np.sqrt(((statistics.smooth[point] - mean) ** 2).sum(1))
    values["click_deviation"] = deviation / (inside + 0.3)


def _mean_and_covariance(sums: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Means ``[n, C]`` and covariances ``[n, C, C]`` from sums of moments ``[n, m]``."""
    count = np.maximum(sums[:, :1], 1)
    mean = sums[:, 2 : 2 + channels] / count
    covariance = np.zeros((len(sums), channels, channels))
    a, b = np.triu_indices(channels)
    covariance[:, a, b] = covariance[:, b, a] = sums[:, 2 + channels :] / count
    covariance -= mean[:, :, None] * mean[:, None]
    diagonal = np.arange(channels)
    covariance[:, diagonal, diagonal] = np.maximum(covariance[:, diagonal, diagonal], 0)
    return mean, covariance


def _add_agreement(values: dict, votes: np.ndarray, overlap: np.ndarray) -> None:
    """How well the candidates of each source agree with each candidate."""
    sources = np.flatnonzero(votes.any(0))
    best = np.stack([overlap[:, votes[:, s] > 0].max(1) for s in sources], 1)  # 1 for the candidate's own source
    ordered = np.sort(best, 1)
    lonely = len(sources) == 1
    values["consensus"] = np.ones(len(best)) if lonely else (best.sum(1) - 1) / (len(sources) - 1)
    values["consensus_max"] = np.ones(len(best)) if lonely else ordered[:, -2]
    values["consensus_min"] = ordered[:, 0]
    others = max(1, len(overlap) - 1)
    values["support"] = (overlap.sum(1) - 1) / others
    values["support_share"] = ((overlap > ALIKE).sum(1) - 1) / others
    weight = votes.sum(1)
    values["vote_share"] = (overlap > ALIKE) @ weight / weight.sum()


def _add_scores(values: dict, plausible_frame: float) -> None:
    vc = values["contrast_inside"] * np.sqrt(values["compactness"])
    vca = vc * values["area_power"]
    area = np.exp(values["log_area"])
    plausible = (area >= PLAUSIBLE_AREA[0]) & (area <= PLAUSIBLE_AREA[1]) & (values["frame_share"] <= plausible_frame)
    hand = np.where(plausible, vca, IMPLAUSIBLE_FACTOR * vca) * values["consensus"] ** 2
    values["log_vc"], values["log_vca"] = np.log(vc + 0.02), np.log(vca + 0.02)
    values["log_hand"] = np.log(hand + 0.001)


def _add_comparisons(values: dict) -> None:
    """What compares a candidate with the others of the same click."""
    log_area = values["log_area"]
    gap = log_area[None] - log_area[:, None]  # [of, to]
    values["area_rank"] = (gap < 0).mean(1)
    values["gap_up"] = np.where(gap > 0.02, gap, 2.0).min(1).clip(max=2.0)
    values["gap_down"] = np.where(gap < -0.02, -gap, 2.0).min(1).clip(max=2.0)
    values["log_area_to_median"] = log_area - np.median(log_area)
    values["consensus_to_best"] = values["consensus"] - values["consensus"].max()
    for to_best, score in (("vca_to_best", "log_vca"), ("vc_to_best", "log_vc"), ("hand_to_best", "log_hand")):
        values[to_best] = values[score] - values[score].max()
