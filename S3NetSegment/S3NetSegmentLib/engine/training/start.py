"""What fine-tuning starts from: a pre-trained encoder, with its decoders where they are pre-trained too, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from ..common.errors import InputError
from ..nets.unet import CHANNELS, UNetEncoder, UNetFeatures
from .configuration import FinetuningConfiguration
from .model_file import Model
from .preparation import PreparedCohort
from .slice_layout import SliceLayout


@dataclass(frozen=True, eq=False)
class Start:
    """Where a run comes from; by itself: from nothing.

    :param weights: by the part of the network that they are for; {} for a run that goes on, which has its own.
    :param layout: of the slices that the model was trained on; None: there is no model.
    :param cases: :func:`~.cohort.image_hash` of every image that it was trained on.
    """

    weights: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    layout: SliceLayout | None = None
    cases: tuple[str, ...] = ()

    def as_dict(self) -> dict | None:
        """Plain values for the state of the run, without the weights; None where there is no model."""
        return None if self.layout is None else {"layout": self.layout.as_dict(), "cases": sorted(self.cases)}

    def leaks(self, data: PreparedCohort) -> list[str]:
        """A sentence for the user if the model has seen images that ``data`` holds out."""
        seen = len(set(data.held.hashes.values()) & set(self.cases)) if data.held is not None else 0
        if data.held is None or not seen:
            return []
        sentence = (
            f"the model to start from has seen {seen} of {len(data.held.names)} validation images (without their labels): the "
            "validation scores flatter the model"
        )
        return [sentence]


def start_kept(facts: Mapping | None) -> Start:
    """That of a run that goes on, from :meth:`Start.as_dict`."""
    return Start(layout=SliceLayout(**facts["layout"]), cases=tuple(facts["cases"])) if facts else Start()


def start_from(init: Model) -> Start:
    """That of a new run. Raises InputError if ``init`` holds another kind of network."""
    network = init.build()
    encoder = network if isinstance(network, UNetEncoder) else getattr(network, "encoder", None)
    if not isinstance(encoder, UNetEncoder):
        raise InputError(
            f"the model to start from holds a {init.network.get('name')}; fine-tuning starts from a U-Net encoder, as "
            "s3net pretrain makes it"
        )
    weights = {"encoder": encoder.state_dict()}
    if isinstance(network, UNetFeatures):
        weights["decoders"] = network.decoders.state_dict()
    return Start(weights, init.layout, init.training_cases)


def with_network_of(init: Model, configuration: FinetuningConfiguration) -> FinetuningConfiguration:
    """``configuration`` with the size and normalisation of the network to start from. Raises InputError for an unknown size."""
    network = init.network
    size = next((name for name, channels in CHANNELS.items() if list(channels) == list(network["channels"])), None)
    if size is None:
        raise InputError(f"the encoder to start from has {network['channels']} channels, which is no known size")
    return configuration.replaced(network=size, normalization=network["normalization"])
