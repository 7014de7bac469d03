"""The model file: everything that using a trained network needs, in one file that holds data only and no code: the
network by a description of plain values and its tensors, and what it was trained for."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ...common.arrays import three
from ...common.errors import InputError
from ...common.progress import run_to_end
from ...nets.dinov2 import Dinov2Encoder
from ...nets.encoder import Encoder
from ...nets.unet import TwoStreamUNet, UNetEncoder, UNetFeatures
from ...nets.weights.checkpoint import is_described, read_torch_file
from ...nets.weights.store import file_digest
from ..cohort.label_classes import LabelClass
from ..slices.layout import SliceLayout
from ..slices.likeness import TrainingLook
from ..trainer.run_folder import write_torch_file

FORMAT = "S3NetSegment model"
VERSION = 1
KINDS = ("segmenter", "encoder")
_LARGER = 1.05  # than a slice: images of which clearly more than rounding was cut off
_POOR, _FAILED = 0.3, 0.1  # Dice in the validation below which a model, and one of its structures, is doubted
_REMEDY = "Copy it again, or train it again"


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network and how to use it.

    :param kind: "segmenter" (slices to classes) or "encoder" (slices to features).
    :param network: its description, see :func:`build_network`.
    :param tensors: its weights, on the CPU.
    :param classes: what a segmenter finds, in the order of its output after the background; () for encoders.
    :param layout: the slices that it takes, grey from 0 to 1 (scaled by :func:`~...images.intensity.intensity_scale`).
    :param provenance: how it was made, plain values: version, method, settings, seed, steps, counts of cases.
    :param training_cases: :func:`~..cohort.folder.image_hash` of every image that it was trained on, labelled or not.
    :param validation_cases: the same of the images that chose its state.
    :param validation: what was measured when its state was chosen, plain values; {} without validation.
    :param looks: what the images that it was trained on looked like; None: not known (made by an older version).
    :param level: the level of an encoder that was trained; :param temperature: see :class:`OneLevel`.
    """

    kind: str
    network: Mapping
    tensors: Mapping[str, torch.Tensor]
    layout: SliceLayout
    classes: tuple[LabelClass, ...] = ()
    provenance: Mapping = field(default_factory=dict)
    training_cases: tuple[str, ...] = ()
    validation_cases: tuple[str, ...] = ()
    validation: Mapping = field(default_factory=dict)
    level: int = -1
    temperature: float | None = None
    looks: TrainingLook | None = None

    def build(self) -> nn.Module:
        """The network, on the CPU, in evaluation mode. Raises InputError if the weights do not fit it."""
        return build_network(self.network, self.tensors)

    @property
    def knows_middle_only(self) -> bool:
        """Whether the slices of its training were larger than what it sees at once, so that it learnt from their middles."""
        return self.looks is not None and self.looks.width[1] > _LARGER * self.layout.side * self.layout.spacing

    def doubts(self) -> list[str]:
        """Sentences for the user of a model that did badly on the cases that chose its state; [] without validation."""
        score = _number(self.validation.get("score"))
        if score is not None and score < _POOR:
            sentence = (
                f"on its validation cases the model agreed with the drawing by a Dice of only {score:.3f}: its answers cannot be "
                "relied on. Train it longer, or draw more cases"
            )
            return [sentence]
        each = {c.name: _number(self.validation.get(f"dice {c.name}")) for c in self.classes}
        failed = [f"{name} (Dice {dice:.3f})" for name, dice in each.items() if dice is not None and dice < _FAILED]
        if not failed:
            return []
        names = ", ".join(failed)
        return [
            f"on its validation cases the model did not find {names}: do not rely on that. Train it longer, or draw more"
        ]

    def summary(self) -> dict:
        """What a person wants to know, plain values."""
        return {
            "kind": self.kind, "network": dict(self.network), "classes": [c.as_dict() for c in self.classes],
            "slices": self.layout.as_dict(), "weights": sum(t.numel() for t in self.tensors.values()),
            "training_cases": len(self.training_cases), "validation": dict(self.validation),
            "provenance": dict(self.provenance), "doubts": self.doubts(),
            "looks": None if self.looks is None else {k: v for k, v in self.looks.as_dict().items() if k != "pose"},
        }  # fmt: skip


def save_model(model: Model, path: str | os.PathLike) -> Path:
    """Writes ``model``; an older file is replaced only by a whole one. Raises InputError or ResourceError for the place, and
    TypeError for provenance or validation that are not plain values."""
    made, checked = (json.loads(json.dumps(dict(facts))) for facts in (model.provenance, model.validation))
    write_torch_file(Path(path), {
        "format": FORMAT, "version": VERSION, "kind": model.kind, "network": dict(model.network),
        "tensors": dict(model.tensors), "classes": [c.as_dict() for c in model.classes],
        "slices": model.layout.as_dict(), "provenance": made,
        "training_cases": list(model.training_cases), "validation_cases": list(model.validation_cases), "validation": checked, "level": model.level,
        "temperature": model.temperature, "looks": None if model.looks is None else model.looks.as_dict(),
    })  # fmt: skip
    return Path(path)


def load_model(path: str | os.PathLike, kind: str | None = None) -> Model:
    """The model at ``path``.

    :param kind: the kind that is needed, of :data:`KINDS`; None: any.
    :raises InputError: missing, damaged, of another program or version, or of another kind.
    """
    shown = repr(os.fspath(path))
    content = read_torch_file(path, remedy=_REMEDY)
    if not is_described(content, but=("tensors",)) or content["format"] != FORMAT:
        raise InputError(
            f"{shown} is not a model file of S3NetSegment{_looks_like(content)}; give the model.pt of a training run"
        )
    if content.get("version") != VERSION:
        raise InputError(
            f"{shown} is a model file of format {content.get('version')}, and this version of S3NetSegment reads format "
            f"{VERSION}; update S3NetSegment, or train the model again"
        )
    try:
        model = _from_content(content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, InputError) as error:
        raise InputError(f"{shown} is damaged ({error}). {_REMEDY}") from None
    if kind is not None and model.kind != kind:
        remedy = {
            "segmenter": "make one of it with 's3net finetune --init'",
            "encoder": "give a file that 's3net pretrain' made",
        }[kind]
        raise InputError(f"{shown} holds a model of kind {model.kind}, but one of kind {kind} is needed; {remedy}")
    return model


def is_model_file(path: str | os.PathLike) -> bool:
    """Whether ``path`` is a model file of any version; False for anything else that can or cannot be read."""
    try:
        content = read_torch_file(path, mapped=True)
    except InputError:
        return False
    return is_described(content, but=("tensors",)) and content["format"] == FORMAT


class EncoderFile(NamedTuple):
    """An encoder of a model file: the network (frozen, one level), the SHA-256 of the file, a name to show."""

    network: OneLevel
    sha256: str
    name: str


def load_encoder_file(path: str | os.PathLike) -> EncoderFile:
    """The encoder in the model file at ``path``; of a segmenter its own encoder. Takes grey slices from 0 to 1.

    :raises InputError: as :func:`load_model`.
    """
    path = Path(path)
    model = load_model(path)
    if model.layout.is_3d:
        raise InputError(
            f"{str(path)!r} holds a 3D network, and few-shot shows one slice at a time; give one that was trained on slices (--set dimensions=2)"
        )
    if model.layout.inputs != 1:
        raise InputError(
            f"{str(path)!r} was trained on {model.layout.inputs} channels (colour, several images or neighbouring slices), and few-shot "
            "shows one grey slice; pre-train with --set colour=lightness --set neighbours=0 on one channel"
        )
    try:
        network = model.build()
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}. {_REMEDY}") from None
    if isinstance(network, TwoStreamUNet):
        network = network.encoder
    if not isinstance(network, Encoder):
        raise InputError(f"{str(path)!r} holds no encoder. {_REMEDY}")
    name = f"{path.parent.name}/{path.name}" if path.parent.name else path.name
    if not -len(network.channels) <= model.level < len(network.channels):
        raise InputError(f"{str(path)!r} is damaged (its encoder has no level {model.level}). {_REMEDY}")
    encoder = OneLevel(network, model.level, model.temperature).requires_grad_(False).eval()
    return EncoderFile(encoder, run_to_end(file_digest(path)), name)


def _from_content(content: Mapping) -> Model:
    if content["kind"] not in KINDS:
        raise ValueError(f"its kind is {content['kind']!r}")
    tensors = content["tensors"]
    if (
        not isinstance(tensors, Mapping)
        or not tensors
        or not all(isinstance(t, torch.Tensor) for t in tensors.values())
    ):
        raise ValueError("its weights are missing")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"its weights {name!r} are not finite numbers")
    classes = tuple(
        LabelClass(c["name"], int(c["value"]), three(map(float, c["color"])), c["terminology"])
        for c in content["classes"]
    )
    if content["kind"] == "segmenter" and not 1 <= len(classes) <= 254:
        raise ValueError(f"it has {len(classes) or 'no'} classes")
    temperature = content["temperature"]
    if temperature is not None and not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"its temperature is {temperature}")
    looks = content.get("looks")  # not in files of older versions
    return Model(
        content["kind"], dict(content["network"]), tensors, SliceLayout(**content["slices"]), classes,
        dict(content["provenance"]), tuple(content["training_cases"]), tuple(content["validation_cases"]), dict(content["validation"]), int(content["level"]),
        temperature, None if looks is None else TrainingLook.from_dict(looks),
    )  # fmt: skip


def _number(value) -> float | None:
    return float(value) if isinstance(value, float | int) and math.isfinite(value) else None


def _looks_like(content) -> str:
    """What a file of torch is instead."""
    if not isinstance(content, Mapping):
        return ""
    if content.get("format") == "S3NetSegment training state":
        return ", but the state of a training run (the model is model.pt beside it)"
    names: Sequence = [k for k in content if isinstance(k, str)]
    return f" (it holds {', '.join(names[:3])})" if names else ""


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
