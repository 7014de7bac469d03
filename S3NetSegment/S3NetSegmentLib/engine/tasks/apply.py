"""``ApplyTask``: a trained model for one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .fields import asked
from .forms import PATH


@dataclass(frozen=True)
class ApplyTask:
    """Which model is applied to an image."""

    model: str = asked("", "the model file", PATH, option="")

    def contradictions(self, called: Callable[[str], str]) -> list[str]:
        """What is missing; see :meth:`SegmentTask.contradictions`."""
        return [] if self.model else [f"{called('model')}: it is missing; name the model file"]
