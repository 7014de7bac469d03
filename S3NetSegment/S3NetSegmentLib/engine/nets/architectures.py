"""Networks by a description of plain values, as a model file keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from ..common.errors import InputError
from .dinov2 import Dinov2Encoder
from .encoder import Encoder
from .unet import TwoStreamUNet, UNetEncoder, UNetFeatures


class OneLevel(Encoder):
    """One level of an encoder as an encoder of its own.

    :param level: its number, finest 0; -1 is the coarsest.
    :param temperature: factor of the cosine similarity with which its features were trained; None: unknown.
    """

    def __init__(self, encoder: Encoder, level: int, temperature: float | None = None):
        super().__init__()
        self.encoder, self.level, self.temperature = encoder, level, temperature
        self.in_channels = encoder.in_channels
        self.channels, self.strides = (encoder.channels[level],), (encoder.strides[level],)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.encoder(image)[self.level]]


def describe_network(network: nn.Module) -> dict:
    """The description from which :func:`build_network` makes ``network`` again."""
    if isinstance(network, TwoStreamUNet):
        return {"name": "two-stream U-Net", **network.architecture}
    if isinstance(network, UNetFeatures):
        return {"name": "U-Net features", **network.architecture}
    if isinstance(network, UNetEncoder):
        return {
            "name": "U-Net encoder", "in_channels": network.in_channels, "channels": list(network.channels),
            "normalization": network.normalization,
        }  # fmt: skip
    if isinstance(network, Dinov2Encoder):
        return {"name": "DINOv2", "input_scale": network.input_scale}
    raise InputError(f"a network of type {type(network).__name__} cannot be kept in a model file")


def network_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of ``network`` as :func:`build_network` takes them, copied to the CPU."""
    inner = network.transformer if isinstance(network, Dinov2Encoder) else network
    return {name: t.detach().to("cpu", copy=True) for name, t in inner.state_dict().items()}


def build_network(description: Mapping, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """The network of ``description`` with the weights ``tensors``, in evaluation mode.

    :raises InputError: an unknown network, or tensors that are not those of it.
    """
    options = {k: v for k, v in description.items() if k != "name"}
    name = description.get("name")
    if name == "DINOv2":
        try:
            return Dinov2Encoder.from_tensors(tensors, **options)
        except TypeError as error:
            raise InputError(f"its weights do not fit its network ({error})") from None
    makers: dict[str, Callable[..., nn.Module]] = {
        "two-stream U-Net": TwoStreamUNet,
        "U-Net encoder": UNetEncoder,
        "U-Net features": UNetFeatures,
    }
    if not isinstance(name, str) or name not in makers:
        raise InputError(f"it holds a network {name!r}, which this version of S3NetSegment does not know")
    try:
        if any(len(value) > len(tensors) for value in options.values() if isinstance(value, Sequence)):
            raise ValueError("it has more levels than tensors")
        with torch.device("meta"):  # nothing is allocated for what a damaged description says
            makers[name](**options).load_state_dict(tensors, assign=True)
        network = makers[name](**options)
        network.load_state_dict(tensors)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, OverflowError) as error:
        raise InputError(f"its weights do not fit its network ({str(error).splitlines()[0]})") from None
    return network.requires_grad_(False).eval()
