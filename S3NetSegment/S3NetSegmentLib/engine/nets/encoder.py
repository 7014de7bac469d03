"""What every encoder is: an image in, feature maps at one or more resolutions out; and lists of parts of one kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

M = TypeVar("M", bound=nn.Module)


class ModuleListOf(nn.ModuleList, Generic[M]):
    """An ``nn.ModuleList`` of parts of one kind."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[M]: ...
        def __getitem__(self, index: int) -> M: ...  # type: ignore[override]  # slices are not needed


class Encoder(nn.Module):
    """``forward(image)`` takes ``[N, in_channels, H, W]`` and returns one map per level, finest first.

    Attributes: ``in_channels``; ``channels``, the channel count of each level; ``strides``, the image pixels per feature
    pixel of each level (a map of stride s has ceil(H / s) rows and ceil(W / s) columns).
    """

    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
