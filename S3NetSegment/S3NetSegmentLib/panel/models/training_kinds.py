"""What can be trained in the panel: kinds, their presets, and what they need and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...engine.tasks.train import FinetuneTask, PretrainTask, TrainTask
from .text import counted

_TINY, _PAPER = "tiny: small, for a CPU", "paper: as published, for a GPU"


@dataclass(frozen=True)
class TrainingKind:
    """One kind of training.

    :param name: for people.
    :param task: the class of its task, and the fields that make it this kind.
    :param presets: name -> text for people; the first is for a graphics device.
    :param start_field, start_label, start_hint: what it can start from; "": nothing.
    :param gives: what its model.pt is good for.
    """

    name: str
    task: tuple[type[TrainTask], Mapping[str, str]]
    presets: Mapping[str, str]
    start_field: str
    start_label: str
    start_hint: str
    gives: str

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
        "Segmentation model",
        (FinetuneTask, {}),
        {"plus": "plus: full size, for a GPU", "paper": _PAPER, "tiny": _TINY},
        "init", "Start from:", "nothing (optional: a trained encoder)",
        "Its model segments new volumes: Apply, above.",
    ),
    "ideal": TrainingKind(
        "Encoder for a segmentation model (IDEAL)",
        (PretrainTask, {"method": "ideal"}),
        {"default": "default: full size, for a GPU", "paper": _PAPER, "tiny": _TINY},
        "", "", "",
        "Its model does not segment: it is a start for a segmentation model on the same images.",
    ),
    "alpnet": TrainingKind(
        "Encoder for Few-shot (ALPNet)",
        (PretrainTask, {"method": "alpnet"}),
        {"default": "default: full size, for a GPU", "paper": _PAPER, "tiny": _TINY},
        "encoder", "Encoder:", "a U-Net (or DINOv2 weights)",
        "Its model does not segment: choose it in Few-shot under Advanced, Encoder.",
    ),
}  # fmt: skip


def training_hint(kind: TrainingKind, images: int, labelled: int) -> str:
    """What the training works on, what it gives, and what is missing for it.

    :param images, labelled: numbers of cases in the cohort, and of those with a label file.
    """
    if not images:
        need = "images, and a drawing of some of them" if kind.needs_labels else "images; drawings are not needed"
        return f"Needs {need}: choose a cohort above, or save cases to one. {kind.gives}"
    if not kind.needs_labels:
        return f"The cohort holds {counted(images, 'image')}; drawings are not needed. {kind.gives}"
    if not labelled:
        return (
            f"None of the {counted(images, 'image')} of the cohort is drawn. Draw at least one and save it as a case."
        )
    others = images - labelled
    text = f"Learns from {counted(labelled, 'drawn case')}"
    text += (
        f" and {counted(others, 'other')} that nobody drew." if others else "; images that nobody drew would help too."
    )
    if labelled < 4:
        text += " With fewer than four drawn patients none can be held out to measure how good it is."
    return f"{text} {kind.gives}"
