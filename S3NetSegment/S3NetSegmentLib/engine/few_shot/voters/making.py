"""Makes the voters that see more than the drawn slices of this volume, and keeps what a changed drawing leaves as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

import numpy as np
import torch

from ...common.progress import Steps, as_part_of
from ...images import AXES, Volume
from ...images.intensity import IntensityScale, intensity_scale
from ...images.volume import slices_first
from ..answer import FewShotAnswer
from ..drawings.drawing import Drawing, SupportLayer, drawing_of
from ..drawings.support import DrawnPlane, SupportVolume
from ..registration.fitting import Fitted, fit
from ..registration.known_labels import KnownLabels, mean_dice
from ..registration.picture import Scaled
from ..settings import FewShotSettings
from .alpnet import PUBLISHED, HeadSettings
from .encoders import FewShotEncoder, SliceFeatures, content_digest
from .prototypes import OtherVolumeSlices, Prototypes, chosen_in_other_volume, known_slices
from .self_training import SelfTraining
from .transferred import Transferred, consensus_of, pooled_dice, voted
from .voter import Voter

_MISSES = 0.75  # Dice on the slices drawn here below which another volume is fitted again, to these
_LEAST_RELIABLE = 0.1
_LOST = 0.2  # agreement with the other patients below which one is left out, if most agree better
_REFITTED = 16  # fits to what is known here that are kept
_DRAWINGS = 4  # whose prototypes are kept: layers of one support


class VoterMaker:
    """The voters for one query volume besides those that go by its drawn slices alone.

    :param fill_in: the answer to a support volume of which only some slices are drawn.
    :param device: where prototypes are compared.
    """

    def __init__(
        self,
        volume: Volume,
        scale: IntensityScale,
        settings: FewShotSettings,
        encoder: FewShotEncoder | None,
        device: torch.device,
        fill_in: Callable[[SupportVolume], Steps[FewShotAnswer]],
    ):
        self._volume, self._scale, self._settings = volume, scale, settings
        self._encoder, self._device, self._fill_in = encoder, device, fill_in
        self._fitted: dict[bytes, Fitted] = {}  # of the drawings in other volumes that are in use
        self._refitted: dict[tuple, Fitted] = {}
        self._digests: dict[int, tuple[Volume, bytes]] = {}
        self._features: dict[str, SliceFeatures] = {}
        self._prototypes: dict[tuple, Prototypes] = {}  # (axis, label values)
        self._training: SelfTraining | None = None

    def voters(self, layer: SupportLayer, quick: bool) -> Steps[list[Voter]]:
        """All of them. A new kind of voter is made here."""
        alone = self._settings.method == "alpnet"
        found: list[Voter | None] = []
        if not alone:
            found.append((yield from as_part_of(self.transferred(layer.drawing, layer.others), 0.0, 0.9)))
        if alone or not quick:
            found.append((yield from as_part_of(self.prototypes(layer.drawing, layer.others, quick), 0.9, 1.0)))
        return [voter for voter in found if voter is not None]

    def transferred(self, drawing: Drawing, others: Sequence[SupportVolume]) -> Steps[Transferred | None]:
        """The drawings in ``others`` laid over this volume; None if there are none."""
        if not others:
            return None
        drawn = {_digest(other): other for other in others}  # what is given twice counts once
        for n, (key, other) in enumerate(drawn.items()):
            if key not in self._fitted:
                work = self._fit(other)
                self._fitted[key] = yield from as_part_of(work, 0.7 * n / len(drawn), 0.7 * (n + 1) / len(drawn))
        fitted = {key: self._fitted[key] for key in drawn}
        known = known_here(drawing)
        if known is not None:
            blind, foretold = self._unseeing(known, list(fitted.values()), drawing.axis)
            best = yield from as_part_of(self._fitted_to(known, fitted, drawn), 0.7, 1.0)
            return Transferred(self._volume, best, drawing.values, blind, foretold)
        if len(fitted) > 2:
            best = yield from as_part_of(self._gathered(fitted, drawn), 0.7, 1.0)
        else:
            best = list(fitted.values())
        return Transferred(self._volume, best, drawing.values)

    def _unseeing(
        self, known: KnownLabels, fitted: Sequence[Fitted], axis: str
    ) -> tuple[dict[int, list[Fitted]], float]:
        """For each slice drawn here ``fitted``, rated by the other drawn slices alone; and the Dice with which they together
        predict what is drawn here. None of ``fitted`` has seen it."""
        found = np.stack([one.labels_at(self._volume, known.index) for one in fitted])
        places, told, blind = known.index[AXES.index(axis)], np.zeros_like(known.values), {}
        for z in np.unique(places):
            others, here = places != z, places == z
            rated = []
            for one, labels in zip(fitted, found, strict=True):
                score = mean_dice(labels[others], known.values[others]) if known.values[others].any() else 1.0
                rated.append(dataclasses.replace(one, reliability=max(_LEAST_RELIABLE, score)))
            weights = np.array([one.reliability * max(_LEAST_RELIABLE, one.alignment.correlation) for one in rated])
            told[here] = voted(found[:, here], weights)
            blind[int(z)] = rated
        return blind, pooled_dice(told, known.values)

    def _fitted_to(
        self, known: KnownLabels, fitted: dict[bytes, Fitted], drawn: dict[bytes, SupportVolume]
    ) -> Steps[list[Fitted]]:
        """Each of ``fitted`` with how well it predicts what is drawn here; those that do it badly are fitted again, to that."""
        found = []
        for n, (key, one) in enumerate(fitted.items()):
            best, score = one, mean_dice(one.labels_at(self._volume, known.index), known.values)
            if score < _MISSES:
                again = (key, known.values.tobytes(), known.index.tobytes())
                if again not in self._refitted:
                    work = self._fit(drawn[key], known, one)
                    self._refitted[again] = yield from as_part_of(work, n / len(fitted), (n + 1) / len(fitted))
                other = self._refitted[again]
                reached = mean_dice(other.labels_at(self._volume, known.index), known.values)
                if reached > score:
                    best, score = other, reached
            found.append(dataclasses.replace(best, reliability=max(_LEAST_RELIABLE, score)))
        return found

    def _gathered(self, fitted: dict[bytes, Fitted], drawn: dict[bytes, SupportVolume]) -> Steps[list[Fitted]]:
        """Each of ``fitted`` with how far the others agree with it; those that lie elsewhere are fitted again, to where the
        others agree."""
        best, keys = list(fitted.values()), list(fitted)
        consensus = consensus_of(self._volume, best)
        astray = consensus.astray
        for n, number in enumerate(astray):
            key = (keys[number], *sorted(keys))
            if key not in self._refitted:
                work = self._fit(drawn[keys[number]], consensus.without(number), best[number])
                self._refitted[key] = yield from as_part_of(work, n / len(astray), (n + 1) / len(astray))
            best[number] = self._refitted[key]
        consensus = consensus_of(self._volume, best) if astray else consensus
        agreed = [max(_LEAST_RELIABLE, float(agrees)) for agrees in consensus.agreement]
        rated = [dataclasses.replace(one, reliability=agrees) for one, agrees in zip(best, agreed, strict=True)]
        lost = [one for one in rated if one.reliability < _LOST < np.median(agreed)]
        if len(rated) - len(lost) < 2:
            return rated
        kept = [one for one in rated if one not in lost]
        if lost:
            told = ", ".join(f"{one.support.name!r} (Dice {one.reliability:.2f})" for one in lost)
            note = (
                f"left out, since the other patients agree on another place: {told}; is it the same part of the body?"
            )
            kept[0] = dataclasses.replace(kept[0], notes=[*kept[0].notes, note])
        return kept

    def forget_all_but(self, others: Sequence[SupportVolume]) -> None:
        """Keeps of the fitted drawings in other volumes only ``others``."""
        names = {_digest(other) for other in others} if self._fitted else set()
        self._fitted = {name: found for name, found in self._fitted.items() if name in names}
        self._refitted = {key: found for key, found in list(self._refitted.items())[-_REFITTED:] if key[0] in names}

    def prototypes(self, drawing: Drawing, others: Sequence[SupportVolume], quick: bool) -> Steps[Prototypes | None]:
        """The prototype scores of the encoder; None without one."""
        if self._encoder is None:
            return None
        axis = drawing.axis
        if axis not in self._features:
            self._features[axis] = yield from self._features_of(self._volume, self._scale, axis, None)
        other_volumes = []
        for other in others:
            scale, pitch = intensity_scale(other.volume), self._features[axis].pitch
            features = yield from self._features_of(other.volume, scale, other.axis, pitch)
            if other.drawings:
                ring = self._settings.partial_ring
                known = known_slices(drawing_of(other.volume, other.drawings, other.axis, ring, drawing.values))
            else:
                known = chosen_in_other_volume(slices_first(other.labels, other.axis), other.drawn, drawing.values)
            other_volumes.append(OtherVolumeSlices(features, known))
        former = self._prototypes.get((axis, drawing.values))
        voter = Prototypes(
            self._features[axis], drawing, self._encoder.temperature, self._device, other_volumes, former, not quick,
            published_head(self._settings), None if quick else self._self_training(),
        )  # fmt: skip
        if not quick:
            older = [(key, old) for key, old in self._prototypes.items() if key != (axis, drawing.values)]
            self._prototypes = {**dict(older[-_DRAWINGS + 1 :]), (axis, drawing.values): voter}
        return voter

    def _self_training(self) -> SelfTraining | None:
        """What trains the encoder on each slice; None: nothing does."""
        settings = self._settings
        if settings.test_time_steps and self._training is None and self._encoder is not None:
            self._training = SelfTraining(
                self._encoder.network,
                settings.test_time_steps,
                settings.encoder_side,
                settings.encoder_grid,
                settings.seed,
            )
        return self._training

    def _fit(
        self, other: SupportVolume, known: KnownLabels | None = None, former: Fitted | None = None
    ) -> Steps[Fitted]:
        """``former``: fitted in another way, so that all its slices are filled in already."""
        labels, start = other.labels, 0.0
        expected: Mapping[int, float] = {}
        if former is not None:
            labels, expected = former.labels, former.expected
        elif not other.is_whole:
            answer, start = (yield from as_part_of(self._fill_in(other), 0.0, 0.4)), 0.4
            labels, expected = answer.labels, answer.expected_dice
        query, support = Scaled(self._volume, self._scale), Scaled(other.volume, intensity_scale(other.volume))
        fitting = fit(query, support, labels, other.axis, known)
        return dataclasses.replace((yield from as_part_of(fitting, start, 1.0)), expected=expected)

    def _features_of(
        self, volume: Volume, scale: IntensityScale, axis: str, pitch: float | None
    ) -> Steps[SliceFeatures]:
        if self._encoder is None:
            raise ValueError("there is no encoder")
        if id(volume) not in self._digests:
            self._digests[id(volume)] = volume, (yield from content_digest(volume))
        digest, settings = self._digests[id(volume)][1], self._settings
        return SliceFeatures(
            volume, scale, axis, self._encoder, digest, settings.encoder_side, settings.encoder_grid, pitch,
            whole=settings.encoder_view == "slice", three=settings.encoder_slices == "three",
        )  # fmt: skip


def known_here(drawing: Drawing) -> KnownLabels | None:
    """What is drawn on whole slices of the query volume; None if nothing is."""
    values = np.array(drawing.values, np.uint8)
    planes = {z: values[drawn.classes] for z, drawn in drawing.slices.items() if drawn.complete}
    if not any(plane.any() for plane in planes.values()):
        return None
    return KnownLabels.of_slices(planes, drawing.axis, drawing.volume.size)


def published_head(settings: FewShotSettings) -> HeadSettings | None:
    """How prototypes are made and compared as published; None: as found best here."""
    if settings.prototypes != "published":
        return None
    return dataclasses.replace(
        PUBLISHED, foreground=settings.foreground, background=settings.background, window=settings.prototype_window,
        threshold=settings.prototype_threshold, temperature=settings.prototype_temperature, shots=settings.shots,
    )  # fmt: skip


def _digest(other: SupportVolume) -> bytes:
    """Names what is drawn in ``other``, and where."""
    content = blake2b(repr((id(other.volume), other.axis, other.drawn)).encode() + other.labels.tobytes())
    for drawn in other.drawings:
        place = drawn.plane_to_ras if isinstance(drawn, DrawnPlane) else (drawn.axis, drawn.index)
        content.update(repr((drawn.complete, np.asarray(place).tolist())).encode() + drawn.labels.tobytes())
    return content.digest()
