"""What can be trained in the panel: kinds, their presets, and what they need and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_TINY, _PAPER = "tiny: small, for a CPU", "paper: as published, for a GPU"


@dataclass(frozen=True)
class TrainingKind:
    """One kind of training.

    :param name: for people.
    :param command: of the command line.
    :param presets: name -> text for people; the first is for a graphics device.
    :param start_option, start_label, start_hint: what it can start from.
    :param gives: what its model.pt is good for.
    :param help: what it learns from, with the name of the method.
    """

    name: str
    command: tuple[str, ...]
    presets: Mapping[str, str]
    start_option: str
    start_label: str
    start_hint: str
    gives: str
    help: str

    @property
    def needs_labels(self) -> bool:
        return self.command == ("finetune",)


KINDS = {
    "finetune": TrainingKind(
        "Segmentation model",
        ("finetune",),
        {"plus": "plus: full size, for a GPU", "paper": _PAPER, "tiny": _TINY},
        "--init", "Start from:", "nothing (optional: a trained encoder)",
        "Its model segments new volumes: Apply, above.",
        "Learns to segment what is drawn in the cases of the training folder; cases without a drawing teach it, too (IDEAL, fine-tuning)",
    ),
    "ideal": TrainingKind(
        "Start for a segmentation model",
        ("pretrain", "--method", "ideal"),
        {"default": "default: full size, for a GPU", "paper": _PAPER, "tiny": _TINY},
        "", "", "",
        "Its model does not segment: it is a start for a segmentation model on the same images.",
        "Learns from images without drawings; a segmentation model that starts from it needs fewer drawings (IDEAL, pre-training)",
    ),
    "alpnet": TrainingKind(
        "Image features for Few-shot",
        ("pretrain", "--method", "alpnet"),
        {"default": "default: full size, for a GPU", "paper": _PAPER, "tiny": _TINY},
        "--encoder", "Encoder:", "a U-Net (or DINOv2 weights)",
        "Its model does not segment: choose it in Few-shot under Advanced, Image features.",
        "Learns from images without drawings to describe them for Few-shot (ALPNet, superpixel episodes)",
    ),
}  # fmt: skip


def training_hint(kind: TrainingKind, images: int, labelled: int) -> str:
    """What the training works on, what it gives, and what is missing for it.

    :param images, labelled: numbers of cases in the cohort, and of those with a label file.
    """
    if not images:
        need = "images, and a drawing of some of them" if kind.needs_labels else "images; drawings are not needed"
        return f"Needs {need}: choose a training folder above, or add cases to one. {kind.gives}"
    if not kind.needs_labels:
        return f"The training folder holds {_counted(images, 'image')}; drawings are not needed. {kind.gives}"
    if not labelled:
        return f"None of the {_counted(images, 'image')} of the training folder is drawn. Draw at least one and add it as a case."
    others = images - labelled
    text = f"Learns from {_counted(labelled, 'drawn case')}"
    text += (
        f" and {_counted(others, 'other')} that nobody drew." if others else "; images that nobody drew would help too."
    )
    if labelled < 4:
        text += " With fewer than four drawn patients none can be held out to measure how good it is."
    return f"{text} {kind.gives}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
