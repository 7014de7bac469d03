"""Encoders for Few-shot: pretrained networks whose features make prototypes, by name or from a file."""

from __future__ import annotations

import copy
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ...common.device import choose_device
from ...common.errors import InputError
from ...common.progress import run_to_end
from ...nets.dinov2 import Dinov2Encoder
from ...nets.encoder import Encoder
from ...nets.weights import CATALOGUE, DEFAULT_WEIGHTS, WeightsStore, weights_named
from ...nets.weights.store import file_digest
from ...training.model_file import is_model_file, load_encoder_file

NO_ENCODER = "default"  # the name of Few-shot without any pretrained weights


@dataclass(frozen=True, eq=False)
class FewShotEncoder:
    """A network that is ready to encode slices, and what names its features in a cache.

    :param name: shown to the user.
    :param digest: names the weights (SHA-256 of their file).
    :param network: an :class:`~..nets.encoder.Encoder`, frozen, on its device; takes grey slices from 0 to 1.
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
    :param device: as :func:`~..device.choose_device`; bfloat16 is used where the device computes in it.
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
