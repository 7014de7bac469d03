"""``ApplyTask``: trained models for one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .fields import asked
from .forms import SWITCH, Form, texts


@dataclass(frozen=True)
class ApplyTask:
    """Which models are applied to an image; the probabilities of several are averaged."""

    model: tuple[str, ...] = asked(
        (), "the model file; the folder of a cross-validation stands for the models of its folds, and the answers of several files, "
        "separated by ';', are averaged", Form(texts, "FILE", is_path=True), option="",
    )  # fmt: skip
    flips: bool = asked(
        False,
        "also look at mirrored slices and average the answers, for models that were trained with the setting flip: twice as long",
        SWITCH,
    )

    def contradictions(self, called: Callable[[str], str]) -> list[str]:
        """What is missing; see :meth:`SegmentTask.contradictions`."""
        return [] if self.model else [f"{called('model')}: it is missing; name the model file"]
