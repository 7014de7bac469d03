"""ALPNet's head: the features of drawn slices become prototypes, and their likeness scores every other slice.

Source: Ouyang et al., "Self-supervision with Superpixels: Training Few-shot Medical Image Segmentation without
Annotation", ECCV 2020, arXiv 2007.09886. There is nothing to train in it. Here for any number of classes and slices at
once, and for masks that are tiny, empty or fill the slice; :data:`PUBLISHED` restores the published arithmetic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from ...common.errors import InputError
from .class_prototypes import LEAST_NORM, chosen_prototypes, prototypes_of, rejection_similarity, unit_vectors

MODES = ("mask", "gridconv", "gridconv+")
WEIGHTINGS = ("none", "similarity", "distance", "both")
SHOTS = ("pooled", "max")
_SIMILARITY_TEMPERATURE = 0.07


@dataclass(frozen=True)
class HeadSettings:
    """How prototypes are made and compared.

    :param foreground, background: "mask" (one mean prototype per class), "gridconv" (local prototypes, the means of
        windows that the class covers) or "gridconv+" (both).
    :param window: side of the windows, in cells; each is used once, none overlap.
    :param threshold: least share of a window that the class must cover.
    :param temperature: factor of the cosine similarity; 20 for features trained with it, higher for others.
    :param adaptive: a class that covers no window so far gets the windows that it covers best, and windows average only
        what it covers. Off: as published.
    :param fallback_window: a class that covers no window of this side by ``threshold`` is left with its mean prototype
        (published: 4). None: never.
    :param weighting: how slices of support share the say for each query slice. "none": all prototypes of a class in one
        pool (published). "similarity": by how well the slice explains the query. "distance": by distance. "both".
    :param shots: with weighting "none": "pooled", or "max", where each slice has a pool of its own for the classes that are drawn,
        and the best of their scores counts (the background stays one pool; published with DINOv2).
    :param reach_mm: distance at which the weight of a slice has fallen to 1/e ("distance", "both").
    :param neighbourhood: how far in the plane a prototype speaks, as a share of the view (standard deviation); 0:
        everywhere (published). Only for support in the same frame: it tells left from right.
    :param most_prototypes: local prototypes of a class and slice beyond so many are joined by k-means; 0: never.
    """

    foreground: str = "gridconv+"
    background: str = "gridconv"
    window: int = 1
    threshold: float = 0.5
    temperature: float = 60.0
    adaptive: bool = True
    fallback_window: int | None = None
    weighting: str = "none"
    shots: str = "pooled"
    reach_mm: float = 20.0
    neighbourhood: float = 0.0
    most_prototypes: int = 64

    def __post_init__(self):
        for name, allowed in (
            ("foreground", MODES),
            ("background", MODES),
            ("weighting", WEIGHTINGS),
            ("shots", SHOTS),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")
        if self.window < 1 or not 0 <= self.threshold <= 1 or not self.temperature > 0 or not self.reach_mm > 0:
            raise InputError(
                f"window {self.window}, threshold {self.threshold}, temperature {self.temperature} or reach_mm "
                f"{self.reach_mm} is out of range; they must be >= 1, 0 to 1, > 0 and > 0"
            )


# The arithmetic of the paper's code with its settings for testing; training uses window 4.
PUBLISHED = HeadSettings(
    window=2, threshold=0.95, temperature=20.0, adaptive=False, fallback_window=4, most_prototypes=0
)


@dataclass(frozen=True, eq=False)
class SupportSlice:
    """A drawn slice on the grid of its features.

    :param features: float ``[C, h, w]``.
    :param coverage: ``[1 + K, h, w]``, 0 to 1: how much of each cell the background and each class cover (means
        of the drawn masks, :func:`~...common.tensors.area_average`). What nothing covers is unknown and not used.
    """

    features: torch.Tensor
    coverage: torch.Tensor

    def __post_init__(self):
        if self.features.ndim != 3 or self.coverage.ndim != 3 or self.features.shape[1:] != self.coverage.shape[1:]:
            raise InputError(
                f"a support slice needs features [C, h, w] and coverage [classes, h, w] on one grid; got "
                f"{tuple(self.features.shape)} and {tuple(self.coverage.shape)}"
            )


class PrototypeHead:
    """The prototypes of a set of drawn slices, ready to score slices.

    :param support: at least one drawn slice; all with the same classes and channels (grids may differ).
    :raises InputError: no slice, or slices that do not belong together.
    """

    def __init__(self, support: Sequence[SupportSlice], settings: HeadSettings | None = None):
        self.settings = settings or HeadSettings()
        self.support = tuple(support)
        shapes = {(s.features.shape[0], s.coverage.shape[0]) for s in self.support}
        if len(shapes) != 1:
            raise InputError(
                "draw at least one slice" if not shapes else f"support slices differ in channels and classes: {shapes}"
            )
        ((self.channels, self.classes),) = shapes
        self._made = [prototypes_of(s, self.settings) for s in self.support]
        self._assemble()

    def replaced(self, index: int, changed: SupportSlice) -> PrototypeHead:
        """The head after slice ``index`` was drawn anew; only its prototypes are made again."""
        if (changed.features.shape[0], changed.coverage.shape[0]) != (self.channels, self.classes):
            raise InputError("the changed slice has other channels or classes than the support that it belongs to")
        support = (*self.support[:index], changed, *self.support[index + 1 :])
        made = [*self._made[:index], prototypes_of(changed, self.settings), *self._made[index + 1 :]]
        return self._with(self.settings, support, made)

    def only(self, indices: Sequence[int], **changes) -> PrototypeHead:
        """The head of some of the slices, with other temperature, weighting, reach_mm or modes; nothing is made again."""
        if not changes.keys() <= {"temperature", "weighting", "reach_mm", "foreground", "background"} or not indices:
            raise InputError(f"{sorted(changes)} cannot be changed without making the prototypes again")
        settings = dataclasses.replace(self.settings, **changes)
        return self._with(settings, [self.support[i] for i in indices], [self._made[i] for i in indices])

    def _with(self, settings, support, made) -> PrototypeHead:
        head = object.__new__(PrototypeHead)
        head.settings, head.support, head._made = settings, tuple(support), list(made)
        head.channels, head.classes = self.channels, self.classes
        head._assemble()
        return head

    def scores(self, features: torch.Tensor, distances_mm: torch.Tensor | None = None) -> torch.Tensor:
        """Scores of the query slices ``features`` ``[N, C, h, w]``: ``[N, 1 + K, h, w]``, background first, within
        +- temperature. The most probable class is the one with the highest score.

        A class that no slice shows scores -temperature; a background that no slice shows gets a constant score that most
        of the drawn cells exceed. Differentiable.

        :param distances_mm: ``[N, S]``, distance of each query slice from each support slice (weighting "distance" or
            "both").
        """
        if features.ndim != 4 or features.shape[1] != self.channels:
            raise InputError(f"features must be [N, {self.channels}, h, w]; got {tuple(features.shape)}")
        count, _, height, width = features.shape
        likeness = self._likeness(features)  # [N, P, h * w]
        weights = self._weights(likeness, distances_mm)  # [N, groups]
        sharp = likeness * self.settings.temperature
        if self.settings.neighbourhood > 0:
            sharp = sharp - self._penalty(height, width).to(sharp)
        found = []
        for c, (groups, absent) in enumerate(zip(self._groups, self._absent, strict=True)):
            if not groups:
                found.append(sharp.new_full((count, height * width), absent))
                continue
            each = torch.stack([_smooth_maximum(sharp[:, start:stop]) for _, start, stop in groups], 1)
            if c and self._takes_best:
                found.append(each.amax(1))
                continue
            share = weights[:, [number for number, _, _ in groups]]
            share = share / share.sum(1, keepdim=True).clamp_min(1e-12)
            found.append((each * share[:, :, None]).sum(1))
        return torch.stack(found, 1).unflatten(2, (height, width))

    @property
    def _takes_best(self) -> bool:
        """Whether the best slice counts for each class that is drawn."""
        return self.settings.weighting == "none" and self.settings.shots == "max"

    def _assemble(self) -> None:
        """Puts all prototypes into one bank, group by group: ``_groups[class]`` lists (slice, first, last + 1)."""
        pooled = self.settings.weighting == "none"
        vectors, places, covered, position = [], [], [], 0
        self._groups: list[list[tuple[int, int, int]]] = []
        for c in range(self.classes):
            mode = self.settings.foreground if c else self.settings.background
            own = [(s, found) for s, made in enumerate(self._made) if (found := made[c]) is not None]
            widest = max((p.widest for _, p in own), default=0.0)
            if c and mode != "mask" and self.settings.fallback_window and widest < self.settings.threshold:
                mode = "mask"
            together = pooled and not (c and self._takes_best)
            groups = [own] if together and own else [[entry] for entry in own]
            self._groups.append([])
            for group in groups:
                rows, where, shown = chosen_prototypes([p for _, p in group], mode)
                vectors.append(rows)
                places.append(where)
                covered.extend(shown)
                self._groups[-1].append((0 if pooled else group[0][0], position, position + len(rows)))
                position += len(rows)
        like = self.support[0].features
        dtype = like.dtype if like.dtype.is_floating_point and like.dtype.itemsize > 2 else torch.float32
        self._bank = (
            unit_vectors(torch.cat(vectors).to(dtype), -1)
            if vectors
            else like.new_zeros((0, self.channels), dtype=dtype)
        )
        self._places = torch.cat(places).to(self._bank) if places else self._bank.new_zeros((0, 2))
        self._covered = covered  # one per prototype: None for a local one
        self._penalties: dict = {}
        temperature = self.settings.temperature
        background = temperature * rejection_similarity(self.support, self._made) if not self._groups[0] else 0.0
        self._absent = [background] + [-temperature] * (self.classes - 1)

    def _weights(self, likeness: torch.Tensor, distances_mm: torch.Tensor | None) -> torch.Tensor:
        """Say of each support slice for each query slice, ``[N, S]`` (one column where all share one pool)."""
        kind, slices = self.settings.weighting, len(self.support)
        if kind == "none":
            return likeness.new_ones((len(likeness), 1))
        logits = likeness.new_zeros((len(likeness), slices))
        if kind in ("similarity", "both"):
            logits = logits + self._similarity(likeness) / _SIMILARITY_TEMPERATURE
        if kind in ("distance", "both"):
            if distances_mm is None or tuple(distances_mm.shape) != (len(likeness), slices):
                raise InputError(
                    f"weighting {kind!r} needs distances_mm [{len(likeness)}, {slices}], from each query to each support slice"
                )
            logits = logits - distances_mm.to(likeness).abs() / self.settings.reach_mm
        # a floor, so that a class that only a far slice shows keeps its relative order
        return logits.log_softmax(1).clamp_min(-60).exp()

    def _likeness(self, features: torch.Tensor) -> torch.Tensor:
        """Cosine similarity of every prototype to every cell of ``features`` ``[N, C, h, w]``: ``[N, P, h * w]``."""
        cells = features.to(self._bank.dtype).flatten(2)
        # dividing the products is cheaper than dividing the features
        return (self._bank @ cells) / cells.norm(dim=1, keepdim=True).clamp_min(LEAST_NORM)

    def _similarity(self, likeness: torch.Tensor) -> torch.Tensor:
        columns = []
        for s in range(len(self.support)):
            best = [
                likeness[:, start:stop].amax(1)
                for groups in self._groups
                for number, start, stop in groups
                if number == s
            ]
            columns.append(torch.stack(best).amax(0).mean(1) if best else likeness.new_full((len(likeness),), -1.0))
        return torch.stack(columns, 1)

    def _penalty(self, height: int, width: int) -> torch.Tensor:
        """What distance in the plane takes from each prototype's likeness, ``[P, h * w]``, for grids of this size."""
        if (height, width) not in self._penalties:
            rows = (torch.arange(height, dtype=torch.float64) + 0.5) / height
            columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width
            here = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).view(-1, 2)
            squared = torch.cdist(self._places.detach().cpu().double(), here).square()
            for number, shown in enumerate(self._covered):
                if shown is not None:  # a mean prototype is at home wherever its class is drawn
                    squared[number] = torch.from_numpy(_distance_to(shown, height, width)).square()
            self._penalties[height, width] = (squared / (2 * self.settings.neighbourhood**2)).float()
        return self._penalties[height, width].to(self._bank.device)


def _smooth_maximum(scores: torch.Tensor) -> torch.Tensor:
    """Over the prototypes (axis 1): the mean of ``scores`` weighted by their own softmax, as published."""
    if scores.shape[1] == 1:
        return scores[:, 0]
    top = scores.detach().amax(1, keepdim=True)
    below = scores - top  # small numbers where the weights are large: less rounding
    return top[:, 0] + (below.softmax(1) * below).sum(1)


def _distance_to(shown: np.ndarray, height: int, width: int) -> np.ndarray:
    """Distance of each cell of a grid ``[height * width]`` from the cells ``shown``, as shares of the view."""
    own = ndimage.distance_transform_edt(~shown, sampling=(1 / shown.shape[0], 1 / shown.shape[1]))
    rows = np.minimum((np.arange(height) + 0.5) * shown.shape[0] / height, shown.shape[0] - 1).astype(int)
    columns = np.minimum((np.arange(width) + 0.5) * shown.shape[1] / width, shown.shape[1] - 1).astype(int)
    return own[np.ix_(rows, columns)].ravel()
