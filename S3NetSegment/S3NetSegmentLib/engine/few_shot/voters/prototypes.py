"""ALPNet's prototypes as a voter: how much each place looks like what was drawn, to a pretrained encoder.

Source of the head: Ouyang et al., ECCV 2020, see :mod:`.alpnet`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ...common.progress import Step, Steps, as_part_of
from ...common.tensors import area_average
from ...nets.encoder import Encoder
from ..drawings.drawing import Drawing, SoftDrawing
from ..frame import Frame
from .alpnet import HeadSettings, PrototypeHead, SupportSlice
from .encoders import SliceFeatures
from .self_training import SelfTraining
from .voter import Voter

_PRIOR_SHARE = 0.05  # in the vote, where fewer than two drawn slices say how good it is
_NEIGHBOURHOOD = 0.15  # of the view: a prototype of the same volume speaks near its own place, so left stays left
_REACH_MM = 20.0
_MOST_SUPPORT = 12  # slices of another volume, or with voxels of crossing planes
_MOST_LEFT_OUT = 6  # of these that are left out in turn to choose temperature and window
_SLICES_AT_ONCE = 4
TEMPERATURES = (20.0, 60.0, 100.0)
WINDOWS = (1, 2, 4)
_WORTH = 0.005  # Dice that another setting must gain: less is noise of a few slices


@dataclass(frozen=True, eq=False)
class OtherVolumeSlices:
    """Drawn slices of another volume.

    :param features: of that volume, at the same mm per pixel as those of the query.
    :param known: number of the slice -> what is known of it (see :mod:`drawing`), ``[H, W]``.
    """

    features: SliceFeatures
    known: dict[int, np.ndarray]


class Prototypes(Voter):
    """How much each place resembles the drawn slices.

    :param other_volumes: their drawn slices; they count where a slice resembles them.
    :param former: the voter made of the drawing before this one: prototypes of unchanged slices are taken from it.
    :param choose: find temperature and window by leaving out each drawn slice in turn.
    :param published: how prototypes are made and compared instead, for all slices alike; nothing is chosen then.
    :param training: trains the encoder on each slice and its first answer (TTT); None: one answer is enough.
    """

    name = "prototypes"
    prior_share = undrawn_share = _PRIOR_SHARE

    def __init__(
        self,
        features: SliceFeatures,
        drawing: Drawing,
        temperature: float,
        device: torch.device,
        other_volumes: Sequence[OtherVolumeSlices] = (),
        former: Prototypes | None = None,
        choose: bool = True,
        published: HeadSettings | None = None,
        training: SelfTraining | None = None,
    ):
        self._features, self._drawing, self._device, self._choose = features, drawing, device, choose
        self._published, self._training = published, training
        self._other_volumes, self._former = tuple(other_volumes), former
        self._temperature = temperature
        self._known: dict[int, np.ndarray] = {}  # of the slices drawn in this volume, by their numbers
        self._head: PrototypeHead | None = None
        self._other_head: PrototypeHead | None = None

    def masks(self, drawn: SoftDrawing, first: int, last: int, without: int | None = None) -> Steps[torch.Tensor]:
        """See :class:`Voter`. What lies outside of the encoded view is background."""
        if self._head is None and self._other_head is None:
            yield from as_part_of(self._prepare(), 0.0, 0.3)
        count = last - first + 1
        out = torch.empty(count, self._drawing.classes, *drawn.frame.work_shape)
        place = _resampling(self._features.view, drawn.frame)
        for start in range(first, last + 1, _SLICES_AT_ONCE):
            numbers = range(start, min(start + _SLICES_AT_ONCE, last + 1))
            done = 0.3 + 0.7 * (start - first) / count
            features = yield from as_part_of(self._features.of(numbers), done, done + 0.7 * len(numbers) / count)
            shares = self._shares(features, numbers, without, self._head, self._other_head)
            if self._training is not None:
                part = self._after_training(self._training, shares, numbers, without)
                shares = yield from as_part_of(part, done, done + 0.7 * len(numbers) / count)
            out[start - first : start - first + len(numbers)] = place(shares)
            yield Step(done, "Comparing with the drawn slices")
        return out

    def scores(
        self,
        features: torch.Tensor,
        numbers: Sequence[int],
        without: int | None = None,
        head: PrototypeHead | None = None,
    ) -> torch.Tensor:
        """Scores ``[n, C, h, w]`` of the slices ``numbers`` with ``features`` ``[n, C', h, w]`` by the slices drawn in this volume.

        :param head: of these slices; None: the one that was made of the encoder's features.
        """
        head, own = head or self._head, list(self._known)
        if head is None:
            raise ValueError("nothing is drawn in this volume")
        if without in own and len(own) > 1:
            keep = [i for i, number in enumerate(own) if number != without]
            head, own = head.only(keep), [own[i] for i in keep]
        distances = torch.tensor([[abs(z - s) * self._features.slice_spacing for s in own] for z in numbers])
        return head.scores(features.to(self._device, torch.float32), distances.to(self._device))

    def _shares(
        self, features: torch.Tensor, numbers: Sequence[int], without: int | None, head: PrototypeHead | None,
        other_head: PrototypeHead | None,
    ) -> torch.Tensor:  # fmt: skip
        """Class memberships ``[n, C, h, w]`` on the grid of the features, on the CPU."""
        with torch.inference_mode():
            found = []
            if head is not None:
                found.append(self.scores(features, numbers, without, head).softmax(1))
            if other_head is not None:
                found.append(other_head.scores(features.to(self._device, torch.float32)).softmax(1))
            return torch.stack(found).mean(0).cpu()

    def _after_training(
        self, training: SelfTraining, shares: torch.Tensor, numbers: Sequence[int], without: int | None
    ) -> Steps[torch.Tensor]:
        """The memberships once more, each slice's by an encoder that was trained on it and on its ``shares``."""
        found = []
        for n, (first, number) in enumerate(zip(shares, numbers, strict=True)):
            image = self._features.image(number)
            classes = F.interpolate(first[None], image.shape[2:], mode="bilinear", align_corners=False)[0].argmax(0)
            begin, trained, drawn, end = ((n + share) / len(numbers) for share in (0.0, 0.8, 0.9, 1.0))
            network = yield from as_part_of(training.trained(image[0], classes, number), begin, trained)
            if network is not None:
                heads = yield from as_part_of(self._heads_by(network), trained, drawn)
                features = yield from as_part_of(self._features.of([number], network), drawn, end)
                first = self._shares(features, [number], without, *heads)[0]
            found.append(first)
        return torch.stack(found)

    def _heads_by(self, network: Encoder) -> Steps[tuple[PrototypeHead | None, PrototypeHead | None]]:
        """The heads once more, of features by ``network``."""
        head = other_head = None
        if self._head is not None:
            features = yield from self._features.of(list(self._known), network)
            slices = zip(features, self._known.values(), strict=True)
            head = PrototypeHead([self._support(*one, self._features) for one in slices], self._head.settings)
        if self._other_head is not None:
            other_head = PrototypeHead((yield from self._support_elsewhere(network)), self._other_head.settings)
        return head, other_head

    def _prepare(self) -> Steps[None]:
        self._known = known_slices(self._drawing)
        if self._known:
            features = yield from as_part_of(self._features.of(list(self._known)), 0.0, 0.5)
            self._head = self._head_of(list(zip(features, self._known.values(), strict=True)))
        other = yield from as_part_of(self._support_elsewhere(), 0.5, 1.0)
        if other:
            settings = self._published or HeadSettings(temperature=self._temperature, weighting="similarity")
            if self._choose and self._published is None:
                settings = choose_settings([other[n] for n in _spread(len(other), _MOST_LEFT_OUT)], settings)
            self._other_head = PrototypeHead(other, settings)
        self._former = None

    def _support_elsewhere(self, network: Encoder | None = None) -> Steps[list[SupportSlice]]:
        """The drawn slices of the other volumes."""
        found = []
        for n, one in enumerate(self._other_volumes):
            done, after = (m / len(self._other_volumes) for m in (n, n + 1))
            features = yield from as_part_of(one.features.of(list(one.known), network), done, after)
            for f, plane in zip(features, one.known.values(), strict=True):
                found.append(self._support(f, plane, one.features))
        return found

    def _head_of(self, slices: list[tuple[torch.Tensor, np.ndarray]]) -> PrototypeHead:
        """The head of the drawn slices; where only some of them changed, the rest of the former one stays."""
        former = self._former
        same_values = former is not None and former._drawing.values == self._drawing.values
        if former is not None and former._head is not None and same_values and list(former._known) == list(self._known):
            head = former._head
            for i, (new, old) in enumerate(zip(self._known.values(), former._known.values(), strict=True)):
                if not np.array_equal(new, old):
                    head = head.replaced(i, self._support(*slices[i], self._features))
            return self._chosen(list(head.support), head)
        return self._chosen([self._support(*s, self._features) for s in slices], None)

    def _chosen(self, support: list[SupportSlice], head: PrototypeHead | None) -> PrototypeHead:
        base = self._published or HeadSettings(
            temperature=self._temperature, neighbourhood=_NEIGHBOURHOOD, weighting="distance", reach_mm=_REACH_MM
        )
        if self._choose and self._published is None and len(support) > 1:
            place = (
                torch.tensor(list(self._known), dtype=torch.float32, device=self._device) * self._features.slice_spacing
            )
            base = choose_settings(support, base, (place[:, None] - place[None]).abs())
        return head if head is not None and head.settings == base else PrototypeHead(support, base)

    def _support(self, features: torch.Tensor, known: np.ndarray, of: SliceFeatures) -> SupportSlice:
        part = known[of.view.index]
        masks = torch.from_numpy(np.stack([part == c + 1 for c in range(self._drawing.classes)]).astype(np.float32))
        coverage = area_average(masks, of.view.grid)
        return SupportSlice(features.to(self._device, torch.float32), coverage.to(self._device))


def known_slices(drawing: Drawing) -> dict[int, np.ndarray]:
    """What is known of the slices of a drawing that serve as support: number -> whole plane ``[H, W]``."""
    if drawing.slices:
        return {z: drawn.known for z, drawn in drawing.slices.items()}
    known = drawing.known_voxels(drawing.whole)
    filled = np.flatnonzero((known > 1).any((1, 2)))
    return {int(filled[n]): known[filled[n]] for n in _spread(len(filled), _MOST_SUPPORT)}


def chosen_in_other_volume(
    labels: np.ndarray, drawn: Sequence[int] | None, values: Sequence[int]
) -> dict[int, np.ndarray]:
    """Slices of ``labels`` ``[Z, H, W]`` that serve as support, as known planes: a few of the drawn ones that hold
    segments."""
    candidates = [z for z in (range(len(labels)) if drawn is None else sorted(drawn)) if labels[z].any()]
    classes = np.zeros(256, np.uint8)
    classes[list(values)] = np.arange(len(values), dtype=np.uint8)
    return {
        candidates[n]: classes[labels[candidates[n]]] + np.uint8(1) for n in _spread(len(candidates), _MOST_SUPPORT)
    }


def _spread(count: int, most: int) -> np.ndarray:
    """At most ``most`` of ``count`` indices, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)) if count else np.zeros(0, int)


def _resampling(view, frame: Frame):
    """Brings shares ``[n, C, h, w]`` of ``view`` to the working grid of ``frame``; beyond the view is background."""
    weights = []
    for (first, last), cells, low, high, count in (
        (view.rows, view.grid[0], frame.box.top, frame.box.bottom, frame.work_shape[0]),
        (view.columns, view.grid[1], frame.box.left, frame.box.right, frame.work_shape[1]),
    ):
        pixel = low + (np.arange(count) + 0.5) * (high - low) / count  # edges of pixels, not their middles
        place = (pixel - first) * cells / (last - first) - 0.5
        inside = (pixel >= first) & (pixel <= last)
        place = np.clip(place, 0, cells - 1)
        linear = np.clip(1 - np.abs(place[:, None] - np.arange(cells)), 0, None) * inside[:, None]
        weights.append(torch.from_numpy(linear.astype(np.float32)))
    down, along = weights

    def place_on_frame(shares: torch.Tensor) -> torch.Tensor:
        out = down @ shares @ along.T
        out[:, 0] += (1 - out.sum(1)).clamp(min=0)
        return out

    return place_on_frame


def choose_settings(
    support: Sequence[SupportSlice], base: HeadSettings, distances_mm: torch.Tensor | None = None
) -> HeadSettings:
    """``base`` with the temperature and window that predict each slice best from the others; ``base`` itself unless that is
    clearly better, or where no two slices share a class.

    :param distances_mm: ``[S, S]`` between the drawn slices, if the weighting of ``base`` needs it.
    """
    if len(support) < 2:
        return base
    smallest = min(min(s.features.shape[1:]) for s in support)
    dice: dict[tuple[int, float], float] = {}
    for window in dict.fromkeys((base.window, *(w for w in WINDOWS if w <= smallest))):
        whole = PrototypeHead(support, dataclasses.replace(base, window=window))
        for temperature in dict.fromkeys((base.temperature, *TEMPERATURES)):
            known = [d for d in left_out_dice(whole, temperature, distances_mm) if d is not None]
            if known:
                dice[window, temperature] = sum(known) / len(known)
    first = (base.window, base.temperature)
    best = max(dice, key=lambda key: dice[key], default=first)
    if best == first or dice[best] <= dice[first] + _WORTH:
        return base
    return dataclasses.replace(base, window=best[0], temperature=best[1])


def left_out_dice(whole: PrototypeHead, temperature: float, distances_mm=None) -> list[float | None]:
    """Mean Dice of each slice predicted from all others, on the grid of the features; classes that only this slice shows do not
    count, None where that is so of all."""
    found: list[float | None] = []
    for i, left in enumerate(whole.support):
        others = [j for j in range(len(whole.support)) if j != i]
        head = whole.only(others, temperature=temperature)
        distances = None if distances_mm is None else distances_mm[i : i + 1, others]
        with torch.no_grad():
            answer = head.scores(left.features[None], distances)[0].argmax(0)
        coverage = left.coverage.to(answer.device, torch.float32)
        known = coverage.sum(0)  # what was not marked as known is not judged
        values = []
        for c in range(1, whole.classes):
            drawn = float(coverage[c].sum())
            is_elsewhere = any(float(whole.support[j].coverage[c].sum()) > 0 for j in others)
            if drawn > 0 and is_elsewhere:
                said = (answer == c).to(coverage) * known
                values.append(2 * float(torch.minimum(said, coverage[c]).sum()) / (float(said.sum()) + drawn))
        found.append(sum(values) / len(values) if values else None)
    return found
