"""Makes the further parts of the vote, and keeps what a changed drawing leaves as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np
import torch

from ...common.progress import Steps, within
from ...images import Volume
from ...images.intensity import IntensityScale, intensity_scale
from ..alpnet.prototypes import PUBLISHED, HeadSettings
from ..drawings.drawing import Drawing, drawing_of
from ..drawings.support import DrawnPlane, SupportVolume
from ..frame import slices_first
from ..settings import FewShotSettings
from .encoders import FewShotEncoder
from .prototype_scores import ElsewhereSlices, PrototypePart, chosen_elsewhere, known_slices
from .slice_features import SliceFeatures, content_digest
from .transfer import Fitted, TransferredPart, fit

_DRAWINGS = 4  # whose prototypes are kept: layers of one support


class FurtherParts:
    """The further parts for one query volume.

    :param fill_in: the labels of all slices of a support volume of which only some are drawn.
    :param device: where prototypes are compared.
    """

    def __init__(
        self,
        volume: Volume,
        scale: IntensityScale,
        settings: FewShotSettings,
        encoder: FewShotEncoder | None,
        device: torch.device,
        fill_in: Callable[[SupportVolume], Steps[np.ndarray]],
    ):
        self._volume, self._scale, self._settings = volume, scale, settings
        self._encoder, self._device, self._fill_in = encoder, device, fill_in
        self._fitted: dict[bytes, Fitted] = {}  # of the drawings in other volumes that are in use
        self._digests: dict[int, tuple[Volume, bytes]] = {}
        self._features: dict[str, SliceFeatures] = {}
        self._prototypes: dict[tuple, PrototypePart] = {}  # (axis, label values)

    def transferred(self, drawing: Drawing, others: Sequence[SupportVolume]) -> Steps[TransferredPart | None]:
        """The drawings in ``others`` laid over this volume; None if there are none."""
        if not others:
            return None
        fitted = {}
        for n, other in enumerate(others):
            key = _digest(other)
            if key not in self._fitted:
                self._fitted[key] = yield from within(self._fit(other), n / len(others), (n + 1) / len(others))
            fitted[key] = self._fitted[key]
        return TransferredPart(self._volume, list(fitted.values()), drawing.values)

    def forget_all_but(self, others: Sequence[SupportVolume]) -> None:
        """Keeps of the fitted drawings in other volumes only ``others``."""
        names = {_digest(other) for other in others} if self._fitted else set()
        self._fitted = {name: found for name, found in self._fitted.items() if name in names}

    def prototypes(self, drawing: Drawing, others: Sequence[SupportVolume], quick: bool) -> Steps[PrototypePart | None]:
        """The prototype scores of the encoder; None without one."""
        if self._encoder is None:
            return None
        axis = drawing.axis
        if axis not in self._features:
            self._features[axis] = yield from self._features_of(self._volume, self._scale, axis, None)
        elsewhere = []
        for other in others:
            scale, pitch = intensity_scale(other.volume), self._features[axis].pitch
            features = yield from self._features_of(other.volume, scale, other.axis, pitch)
            if other.drawings:
                ring = self._settings.partial_ring
                known = known_slices(drawing_of(other.volume, other.drawings, other.axis, ring, drawing.values))
            else:
                known = chosen_elsewhere(slices_first(other.labels, other.axis), other.drawn, drawing.values)
            elsewhere.append(ElsewhereSlices(features, known))
        former = self._prototypes.get((axis, drawing.values))
        part = PrototypePart(
            self._features[axis], drawing, self._encoder.temperature, self._device, elsewhere, former, not quick,
            published_head(self._settings),
        )  # fmt: skip
        if not quick:
            older = [(key, old) for key, old in self._prototypes.items() if key != (axis, drawing.values)]
            self._prototypes = {**dict(older[-_DRAWINGS + 1 :]), (axis, drawing.values): part}
        return part

    def _fit(self, other: SupportVolume) -> Steps[Fitted]:
        labels, start = other.labels, 0.0
        if not other.is_whole:
            labels, start = (yield from within(self._fill_in(other), 0.0, 0.4)), 0.4
        scale = intensity_scale(other.volume)
        fitting = fit(self._volume, self._scale, other.volume, scale, labels, other.axis)
        return (yield from within(fitting, start, 1.0))

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
            whole=settings.encoder_view == "slice",
        )  # fmt: skip


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
