"""The U-Net of semi-supervised segmentation: one encoder, and decoders that differ in how they enlarge.

Source: Ronneberger et al., "U-Net", arXiv 1505.04597; sizes, dropout and LeakyReLU as in the community protocol SSL4MIS
(Luo et al.): 16-32-64-128-256 channels, 1.81 million weights with one decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import torch
from torch import nn

from ..common.errors import InputError
from ..common.progress import run_to_end
from ..common.tensors import torch_random_numbers
from .encoder import Encoder, ModuleListOf
from .layers import (
    Block,
    checked_across,
    convolution,
    enlarging,
    in_channels_last,
    linearly_enlarged,
    reaches,
    shrunk,
)

CHANNELS = {"unet": (16, 32, 64, 128, 256), "tiny": (8, 16, 32, 64)}
_DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)  # from the finest level to the coarsest
_LEAST_DROPOUT_OF_SMALL = 0.2  # below it, dropout of a small network costs a seventh of a step on a CPU and does little

T = TypeVar("T")
N = TypeVar("N", bound=nn.Module)
# A forward pass that stops after each layer and returns its result in the end: for a window that must stay alive meanwhile.
ByLayers = Generator[None, None, T]


class UNetEncoder(Encoder):
    """Two 3x3 convolutions per level, maximum pooling between levels.

    :param channels: channels of each level, finest first; level n has the stride 2^n.
    :param normalization: "batch", or "group" (no statistics are shared by the images of a batch).
    :param dropout: False switches the dropout off; the weights have the same names with and without it.
    :param across: () for slices. For stacks of slices, ``[N, in_channels, D, H, W]`` (3D): by what maps shrink across the slices
        before each level but the finest, 1 or 2; convolutions mix slices from the first 2 on, and at the coarsest level.
    """

    def __init__(
        self,
        in_channels: int = 1,
        channels: Sequence[int] = CHANNELS["unet"],
        *,
        normalization: str = "batch",
        dropout: bool = True,
        across: Sequence[int] = (),
    ):
        super().__init__()
        self.in_channels = in_channels
        self.channels = tuple(channels)
        self.across = checked_across(across, len(self.channels))
        self.strides = tuple(2**n for n in range(len(self.channels)))
        self.normalization = normalization
        rates: tuple[float, ...] = _DROPOUT
        if len(self.channels) < len(_DROPOUT):
            rates = _DROPOUT[: len(self.channels) - 1] + _DROPOUT[-1:]
            rates = tuple(rate if rate >= _LEAST_DROPOUT_OF_SMALL else 0.0 for rate in rates)
        if not dropout:
            rates = (0.0,) * len(self.channels)
        inputs = (in_channels, *self.channels[:-1])
        self.levels: ModuleListOf[Block] = ModuleListOf(
            Block(before, after, normalization, rate, reach)
            for before, after, rate, reach in zip(
                inputs, self.channels, rates, reaches(self.across, len(self.channels)), strict=True
            )
        )
        in_channels_last(self)  # a quarter faster on a CPU, where there are few channels

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """``image`` ``[N, in_channels, H, W]`` of any size to maps ``[N, channels[n], ceil(H / 2^n), ceil(W / 2^n)]``."""
        return run_to_end(self.by_layers(image))

    def by_layers(self, image: torch.Tensor) -> ByLayers[list[torch.Tensor]]:
        """:meth:`forward`, layer by layer."""
        maps = [(yield from _by_layers(self.levels[0], image))]
        for level, across in zip(islice(self.levels, 1, None), _steps(self.across, self.channels), strict=True):
            maps.append((yield from _by_layers(level, shrunk(maps[-1], across))))
        return maps


class UNetDecoder(nn.Module):
    """From the maps of an encoder back to full resolution, with skip connections.

    :param channels: those of the encoder.
    :param classes: channels of the logits; 0: no last layer, for features alone.
    :param upsampling: "transposed" (2x2 transposed convolution) or "bilinear" (1x1 convolution, linear enlargement).
    :param across: that of the encoder.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        *,
        upsampling: str = "bilinear",
        normalization: str = "batch",
        across: Sequence[int] = (),
    ):
        super().__init__()
        if upsampling not in ("transposed", "bilinear"):
            raise InputError(f"upsampling is {upsampling!r}; it must be transposed or bilinear")
        self.upsampling = upsampling
        self._across = _steps(checked_across(across, len(channels)), channels)[::-1]
        reach = reaches(across, len(channels))
        steps = list(zip(channels[:0:-1], channels[-2::-1], self._across, reach[-2::-1], strict=True))  # coarsest first
        self.enlarge = nn.ModuleList(
            enlarging(coarse, fine, upsampling == "transposed", factor) for coarse, fine, factor, _ in steps
        )
        self.levels: ModuleListOf[Block] = ModuleListOf(
            Block(2 * fine, fine, normalization, 0.0, over) for _, fine, _, over in steps
        )
        self.head = convolution(channels[0], classes, reach[0]) if classes else nn.Identity()
        in_channels_last(self)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """``maps`` of an encoder, finest first, to logits ``[N, classes, H, W]``."""
        return run_to_end(self.by_layers(maps))

    def by_layers(self, maps: Sequence[torch.Tensor]) -> ByLayers[torch.Tensor]:
        """:meth:`forward`, layer by layer."""
        decoded = yield from self._features(maps, 0)
        return self.head(decoded[0])

    def features(self, maps: Sequence[torch.Tensor], finest: int = 0) -> list[torch.Tensor]:
        """What is decoded at each level from ``finest`` on, finest first, in the sizes of ``maps``; the coarsest map is the
        encoder's."""
        return run_to_end(self._features(maps, finest))

    def _features(self, maps: Sequence[torch.Tensor], finest: int) -> ByLayers[list[torch.Tensor]]:
        decoded = [maps[-1]]
        steps = list(zip(maps[-2::-1], self.enlarge, self.levels, self._across, strict=True))
        for skip, enlarge, level, across in steps[: len(steps) - finest]:
            x = enlarge(decoded[0])
            yield
            if self.upsampling == "bilinear":
                x = linearly_enlarged(x, across)
            x = torch.cat((skip, x[(..., *map(slice, skip.shape[2:]))]), 1)  # an odd side was rounded up
            yield
            decoded.insert(0, (yield from _by_layers(level, x)))
        return decoded


class UNetFeatures(Encoder):
    """An encoder and the two decoders of a :class:`TwoStreamUNet` without their last layers: what can be learnt without
    classes. As an :class:`~.encoder.Encoder` it gives the maps of both decoders side by side, and the coarsest of the encoder.
    """

    def __init__(
        self, in_channels: int = 1, channels: Sequence[int] = CHANNELS["unet"], *, normalization: str = "batch"
    ):
        super().__init__()
        self.architecture = {
            "in_channels": in_channels,
            "channels": list(channels),
            "normalization": normalization,
        }
        self.encoder = UNetEncoder(in_channels, channels, normalization=normalization, dropout=False)
        self.decoders = _decoders(channels, 0, normalization)
        self.in_channels = in_channels
        self.channels = (*(2 * n for n in channels[:-1]), channels[-1])
        self.strides = self.encoder.strides

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        maps = self.encoder(image)
        pairs = zip(*(decoder.features(maps)[:-1] for decoder in self.decoders), strict=True)
        return [*(torch.cat(pair, 1) for pair in pairs), maps[-1]]


class TwoStreamUNet(nn.Module):
    """One encoder with two different decoders, or two whole networks; the streams' mean probability is the answer.

    :param classes: number of classes, the background included.
    :param across: see :class:`UNetEncoder`; () for slices. Stacks of slices (3D) have one axis more, D, before H.
    :param streams: "decoders" (they share the encoder) or "models" (each has one of its own: more diverse, twice the work).
    """

    def __init__(
        self,
        classes: int,
        in_channels: int = 1,
        channels: Sequence[int] = CHANNELS["unet"],
        *,
        normalization: str = "batch",
        dropout: bool = True,
        streams: str = "decoders",
        across: Sequence[int] = (),
    ):
        super().__init__()
        if streams not in ("decoders", "models"):
            raise InputError(f"streams is {streams!r}; it must be decoders or models")
        if classes < 2:
            raise InputError(f"classes is {classes}; a segmentation needs the background and at least one class")
        self.architecture = {
            "classes": classes,
            "in_channels": in_channels,
            "channels": list(channels),
            "normalization": normalization,
            "dropout": dropout,
            "streams": streams,
            **({"across": list(across)} if across else {}),  # older versions read 2D networks without it
        }
        encoder = partial(
            UNetEncoder, in_channels, channels, normalization=normalization, dropout=dropout, across=across
        )
        self.encoder = encoder()
        self.second_encoder: UNetEncoder | None = None
        self.decoders = _decoders(channels, classes, normalization, across)
        if streams == "models":
            self.second_encoder = encoder()

    @property
    def encoders(self) -> tuple[UNetEncoder, ...]:
        """The one that both streams share, or that of each."""
        return (self.encoder,) if self.second_encoder is None else (self.encoder, self.second_encoder)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[N, classes, H, W]`` of ``images`` ``[N, in_channels, H, W]``: the logarithm of the two streams' mean
        probability."""
        return run_to_end(self.by_layers(images))

    def by_layers(self, images: torch.Tensor) -> ByLayers[torch.Tensor]:
        """:meth:`forward`, layer by layer."""
        first = yield from self.encoder.by_layers(images)
        second = first if self.second_encoder is None else (yield from self.second_encoder.by_layers(images))
        streams = []
        for decoder, maps in zip(self.decoders, (first, second), strict=True):
            streams.append((yield from decoder.by_layers(maps)).float().log_softmax(1))
            yield
        return torch.logaddexp(*streams) - math.log(2)

    def streams(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits ``[N, classes, H, W]`` of each decoder."""
        first, second = (decoder(maps) for decoder, maps in zip(self.decoders, self.maps(images), strict=True))
        return first, second

    def maps(self, images: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """What each stream's encoder makes of ``images``; the same maps twice where they share it."""
        first = self.encoder(images)
        return first, first if self.second_encoder is None else self.second_encoder(images)

    def load_encoder(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Takes pre-trained ``weights`` of a :class:`UNetEncoder`, for both streams. Raises InputError if they belong to
        another one."""
        own = self.encoder.state_dict()
        wrong = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
        if wrong or len(weights) != len(own):
            raise InputError(
                f"the pre-trained encoder is another network than this one ({', '.join(map(str, self.encoder.channels))} "
                f"channels, {self.encoder.normalization} normalisation, {self.encoder.in_channels} input channels); "
                "pre-train and fine-tune with the same network"
            )
        for encoder in self.encoders:
            encoder.load_state_dict(weights)

    def load_decoders(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Takes ``weights`` of the decoders of a :class:`UNetFeatures`; the last layers stay as they are. Raises InputError if
        they belong to other decoders."""
        own = {name: t for name, t in self.decoders.state_dict().items() if ".head." not in name}
        if own.keys() != weights.keys() or any(weights[name].shape != t.shape for name, t in own.items()):
            raise InputError("the pre-trained decoders are others than these; pre-train and fine-tune the same network")
        self.decoders.load_state_dict(weights, strict=False)


def seeded(make: Callable[[], N], seed: int) -> N:
    """The network that ``make()`` builds, with first weights that follow from ``seed`` alone."""
    with torch_random_numbers(seed):
        return make()


def _by_layers(block: nn.Sequential, x: torch.Tensor) -> ByLayers[torch.Tensor]:
    for layer in block:
        x = layer(x)
        yield
    return x


def _steps(across: Sequence[int], channels: Sequence[int]) -> tuple[int | None, ...]:
    """``across`` for each step between two levels, finest first; None for all steps of a 2D network."""
    return tuple(across) or (None,) * (len(channels) - 1)


def _decoders(
    channels: Sequence[int], classes: int, normalization: str, across: Sequence[int] = ()
) -> ModuleListOf[UNetDecoder]:
    """The two decoders that differ in how they enlarge."""
    return ModuleListOf(
        UNetDecoder(channels, classes, upsampling=way, normalization=normalization, across=across)
        for way in ("transposed", "bilinear")
    )
