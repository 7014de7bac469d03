"""What can be trained in the panel: kinds, their presets, and what they need and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slicer.i18n import tr as _

from ...engine.tasks.train import FinetuneTask, PretrainTask, TrainTask
from .text import counted

_TINY, _PAPER = _("tiny: small, for a CPU"), _("paper: as published, for a GPU")


@dataclass(frozen=True)
class TrainingKind:
    """One kind of training.

    :param name: for people.
    :param task: the class of its task, and the fields that make it this kind.
    :param presets: name -> text for people; the first is for a graphics device.
    :param start_field, start_label, start_hint: what it can start from; "": nothing.
    :param gives: what its model.pt is good for.
    :param help: what it learns from, with the name of the method.
    """

    name: str
    task: tuple[type[TrainTask], Mapping[str, str]]
    presets: Mapping[str, str]
    start_field: str
    start_label: str
    start_hint: str
    gives: str
    help: str

    @property
    def needs_labels(self) -> bool:
        return self.task[0] is FinetuneTask

    def asked(self, start_from: str = "", **fields) -> TrainTask:
        """The task with these ``fields``."""
        task_class, own = self.task
        start = {self.start_field: start_from} if self.start_field and start_from else {}
        return task_class(**own, **start, **fields)

    def start_of(self, task: TrainTask) -> str:
        """What ``task`` starts from, "" for nothing."""
        return (getattr(task, self.start_field) if self.start_field else "") or ""


def kind_of(task: TrainTask) -> str:
    """The key of the kind that ``task`` belongs to."""
    return next(
        key
        for key, kind in KINDS.items()
        if type(task) is kind.task[0] and all(getattr(task, name) == value for name, value in kind.task[1].items())
    )


KINDS = {
    "finetune": TrainingKind(
        _("Segmentation model"),
        (FinetuneTask, {}),
        {"plus": _("plus: full size, for a GPU"), "paper": _PAPER, "tiny": _TINY},
        "init", _("Start from:"), _("nothing (optional: a trained encoder)"),
        _("Its model segments new volumes: Apply, above."),
        _("Learns to segment what is drawn in the cases of the training folder; cases without a drawing teach it, too (IDEAL, fine-tuning)"),
    ),
    "ideal": TrainingKind(
        _("Start for a segmentation model"),
        (PretrainTask, {"method": "ideal"}),
        {"default": _("default: full size, for a GPU"), "paper": _PAPER, "tiny": _TINY},
        "", "", "",
        _("Its model does not segment: it is a start for a segmentation model on the same images."),
        _("Learns from images without drawings; a segmentation model that starts from it needs fewer drawings (IDEAL, pre-training)"),
    ),
    "alpnet": TrainingKind(
        _("Image features for Few-shot"),
        (PretrainTask, {"method": "alpnet"}),
        {"default": _("default: full size, for a GPU"), "paper": _PAPER, "tiny": _TINY},
        "encoder", _("Encoder:"), _("a U-Net (or DINOv2 weights)"),
        _("Its model does not segment: choose it in Few-shot under Advanced, Image features."),
        _("Learns from images without drawings to describe them for Few-shot (ALPNet, superpixel episodes)"),
    ),
}  # fmt: skip


def training_hint(kind: TrainingKind, images: int, labelled: int) -> str:
    """What the training works on, what it gives, and what is missing for it.

    :param images, labelled: numbers of cases in the cohort, and of those with a label file.
    """
    if not images:
        need = _("images, and a drawing of some of them") if kind.needs_labels else _("images; drawings are not needed")
        return _("Needs {need}: choose a training folder above, or add cases to one. {gives}").format(
            need=need, gives=kind.gives
        )
    if not kind.needs_labels:
        return _("The training folder holds {images}; drawings are not needed. {gives}").format(
            images=counted(images, "image"), gives=kind.gives
        )
    if not labelled:
        return _(
            "None of the {images} of the training folder is drawn. Draw at least one and add it as a case."
        ).format(images=counted(images, "image"))
    others = images - labelled
    text = _("Learns from {labelled}").format(labelled=counted(labelled, _("drawn case")))
    text += (
        _(" and {others} that nobody drew.").format(others=counted(others, "other"))
        if others
        else _("; images that nobody drew would help too.")
    )
    if labelled < 4:
        text += _(" With fewer than four drawn patients none can be held out to measure how good it is.")
    return f"{text} {kind.gives}"
