"""Encoders for Few-shot: pretrained networks whose features make prototypes, by name or from a file; and
the features of slices, computed once per volume and orientation, and kept within bounds."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ...common.arrays import LimitedCache
from ...common.device import choose_device
from ...common.errors import InputError
from ...common.progress import Step, Steps, as_part_of, run_to_end
from ...images import AXES, Volume
from ...images.intensity import IntensityScale
from ...images.volume import slices_first
from ...nets.dinov2 import Dinov2Encoder, encode_slices
from ...nets.encoder import Encoder
from ...nets.weights import CATALOGUE, DEFAULT_WEIGHTS, WeightsStore, weights_named
from ...nets.weights.store import file_digest
from ...training.model.model_file import is_model_file, load_encoder_file

NO_ENCODER = "default"  # the name of Few-shot without any pretrained weights
_DARK = 0.15  # scaled intensity below which a pixel counts as outside of the body
_LEAST_FILLED = 0.02  # share of a row or column that must be brighter for it to be encoded
_LOOKED_AT = 24  # slices in which the body is looked for, and whose intensities stand for the volume's
_LEAST_DEVIATION = 1e-6
_MOST_PIXELS = 1022  # longest side that is encoded
_BYTES = 600_000_000


@dataclass(frozen=True, eq=False)
class FewShotEncoder:
    """A network that is ready to encode slices, and what names its features in a cache.

    :param name: shown to the user.
    :param digest: names the weights (SHA-256 of their file).
    :param network: an :class:`~...nets.encoder.Encoder`, frozen, on its device; takes grey slices from 0 to 1.
    :param temperature: factor of the cosine similarity with which the features were trained; 60 for others.
    """

    name: str
    digest: str
    network: Encoder
    temperature: float = 60.0

    @property
    def is_zscored(self) -> bool:
        """Whether it takes intensities of mean 0 and deviation 1 over the volume, and not from 0 to 1."""
        return getattr(self.network, "input_scale", None) == "zscore"

    @property
    def takes_colours(self) -> bool:
        """Whether it was trained on three channels."""
        return isinstance(self.network, Dinov2Encoder)

    def with_zscores(self) -> FewShotEncoder:
        """The same weights, not copied, for intensities of mean 0 and deviation 1. Networks other than DINOv2 stay as they are:
        they were trained here, on their own scale."""
        if not isinstance(self.network, Dinov2Encoder) or self.is_zscored:
            return self
        network = copy.copy(self.network)
        network.input_scale = "zscore"
        return dataclasses.replace(self, network=network)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device


def load_encoder(
    name: str | os.PathLike = "auto", device: str = "auto", store: WeightsStore | None = None
) -> FewShotEncoder | None:
    """The encoder that ``name`` asks for; None: Few-shot without pretrained weights.

    :param name: "auto": the best DINOv2 weights that are on this computer, None if there are none (nothing is ever
        downloaded by itself); "default": None; "dinov2-...": these weights; else the path of a local file: a published
        DINOv2 backbone, or a model file that ``s3net pretrain`` or ``finetune`` made.
    :param device: as :func:`~...common.device.choose_device`; bfloat16 is used where the device computes in it.
    :param store: the user's folder of weights; None: the usual one.
    :raises InputError: unknown name, weights that are not there, or a file that holds none, with the remedy.
    """
    text = os.fspath(name)
    if text == NO_ENCODER:
        return None
    store = store or WeightsStore()
    where = choose_device(device)
    if text == "auto":
        # The default first: it is fast, and larger ones gained nothing in the published comparisons.
        order = [DEFAULT_WEIGHTS, *(n for n in CATALOGUE if n != DEFAULT_WEIGHTS)]
        found = next((s for n in order if (s := store.find(n))), None)
        if found is None:
            return None
        return FewShotEncoder(found.name, found.sha256, store.load(found.name, precision="auto", device=where))
    path = Path(text).expanduser()
    if path.is_file() and is_model_file(path):
        trained = load_encoder_file(path)
        temperature = trained.network.temperature or FewShotEncoder.temperature
        return FewShotEncoder(trained.name, trained.sha256, trained.network.to(where), temperature)
    if path.is_file():
        network = store.load(path, precision="auto", device=where)
        return FewShotEncoder(path.name, run_to_end(file_digest(path)), network)
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"there is no file {text!r}; check the path, or give auto, default or the name of a model")
    try:
        entry = weights_named(text)
    except InputError:
        raise InputError(
            f"encoder is {text!r}; it must be auto, default, a file, or one of {', '.join(CATALOGUE)}"
        ) from None
    network = store.load(entry.name, precision="auto", device=where)  # which refuses what is not there
    stored = store.find(entry.name)
    return FewShotEncoder(entry.name, stored.sha256 if stored else "", network)


# Features of slices: a volume that is opened again in this process is not encoded again.
SHARED: LimitedCache[torch.Tensor] = LimitedCache(_BYTES)


@dataclass(frozen=True)
class View:
    """Rows and columns of the slices that are encoded, and the grid of their features.

    :param rows, columns: first (included) and last (excluded).
    :param pixels: height and width of the encoded image; its pixels are square in mm.
    :param grid: rows and columns of the features.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    pixels: tuple[int, int]
    grid: tuple[int, int]

    @property
    def index(self) -> tuple[slice, slice]:
        return slice(*self.rows), slice(*self.columns)


class SliceFeatures:
    """Features of the slices of ``volume`` across ``axis``.

    :param pitch: mm per encoded pixel; None: such that the longer side of the body has ``side`` pixels. Support and
        query must have the same.
    :param side: see ``pitch``; :param cells: of the grid of features along the longer side of ``side`` pixels.
    :param digest: names the content of the volume (:func:`content_digest`).
    :param whole: encode the whole slices, also where they show nothing.
    :param three: a slice, the one below and the one above it are the three channels that an encoder of colours sees.
    """

    def __init__(
        self,
        volume: Volume,
        scale: IntensityScale,
        axis: str,
        encoder: FewShotEncoder,
        digest: bytes,
        side: int,
        cells: int,
        pitch: float | None = None,
        cache: LimitedCache[torch.Tensor] = SHARED,
        whole: bool = False,
        three: bool = False,
    ):
        self._slices, self._scale, self._encoder, self._cache = slices_first(volume.array, axis), scale, encoder, cache
        across = 2 - AXES.index(axis)
        spacing = volume.spacing[::-1]
        self.slice_spacing = spacing[across]
        height, width = self._slices.shape[1:3]
        rows, columns = ((0, height), (0, width)) if whole else self._body()
        lengths = [
            (last - first) * s
            for (first, last), s in zip((rows, columns), np.delete(spacing, across).tolist(), strict=True)
        ]
        self.pitch = pitch or max(lengths) / side
        pixels = tuple(min(_MOST_PIXELS, max(14, round(n / self.pitch))) for n in lengths)
        grid = tuple(max(1, round(n * cells / side)) for n in pixels)
        self.view = View(rows, columns, pixels, grid)
        self._beside = (-1, 0, 1) if three and encoder.takes_colours else (0,)
        self._key = (
            digest,
            scale,
            axis,
            encoder.name,
            encoder.digest,
            encoder.is_zscored,
            len(self._beside),
            self.view,
        )
        self._standard = self._mean_and_deviation() if encoder.is_zscored else None

    def of(self, numbers: Sequence[int], network: Encoder | None = None) -> Steps[torch.Tensor]:
        """Features ``[n, C, h, w]`` (float16, on the CPU) of the slices ``numbers``; those that are kept cost nothing.

        :param network: in place of that of the encoder; its features are not kept.
        """
        found: dict[int, torch.Tensor] = {}
        missing = []
        for number in dict.fromkeys(numbers):
            kept = None if network else self._cache.get((self._key, number))
            if kept is None:
                missing.append(number)
            else:
                found[number] = kept
        for n, number in enumerate(missing):
            encoding = encode_slices(
                network or self._encoder.network,
                self.image(number),
                side=max(self.view.pixels),
                grid=max(self.view.grid),
            )
            features = (yield from as_part_of(encoding, n / len(missing), (n + 1) / len(missing)))[0]
            if tuple(features.shape[1:]) != self.view.grid:
                resized = F.interpolate(features[None].float(), self.view.grid, mode="bilinear", align_corners=False)
                features = resized[0].half()
            found[number] = features
            if network is None:
                self._cache.add((self._key, number), features, features.nbytes)
        return torch.stack([found[number] for number in numbers])

    def image(self, number: int) -> torch.Tensor:
        """Slice ``number`` as the encoder takes it, ``[1, 1 or 3, H, W]``: 0 to 1, or mean 0 and deviation 1 over the volume. Beyond
        the first and the last slice stand these once more."""
        numbers = [min(max(number + n, 0), len(self._slices) - 1) for n in self._beside]
        planes = [self._scale.apply(self._slices[n][self.view.index])[..., 0] for n in numbers]
        plane = torch.from_numpy(np.stack(planes))[None]
        if self._standard is not None:
            plane = (plane - self._standard[0]) / self._standard[1]
        smaller = any(a < b for a, b in zip(self.view.pixels, plane.shape[2:], strict=True))
        return F.interpolate(plane, self.view.pixels, mode="bilinear", align_corners=False, antialias=smaller)

    def _body(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns (first, last + 1) with more than a little that is brighter than air."""
        bright = np.stack([self._scale.apply(self._slices[n])[..., 0] > _DARK for n in self._looked_at()])
        spans = []
        for axis in (2, 1):
            filled = np.flatnonzero((bright.mean(axis) > _LEAST_FILLED).any(0))
            spans.append((int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, bright.shape[3 - axis]))
        return spans[0], spans[1]

    def _mean_and_deviation(self) -> tuple[float, float]:
        """Of the scaled intensities of slices all over the volume."""
        seen = np.stack([self._scale.apply(self._slices[n])[..., 0] for n in self._looked_at()])
        return float(seen.mean(dtype=np.float64)), max(float(seen.std(dtype=np.float64)), _LEAST_DEVIATION)

    def _looked_at(self) -> list[int]:
        return np.unique(np.linspace(0, len(self._slices) - 1, _LOOKED_AT).round().astype(int)).tolist()


def content_digest(volume: Volume) -> Steps[bytes]:
    """Names the intensities and the voxel size of ``volume``."""
    content = blake2b(repr((volume.array.dtype.str, volume.array.shape, volume.spacing)).encode(), digest_size=16)
    for k, plane in enumerate(volume.array):
        if k % 16 == 0:
            yield Step(k / len(volume.array), "Recognising the volume")
        content.update(np.ascontiguousarray(plane).data)
    return content.digest()
