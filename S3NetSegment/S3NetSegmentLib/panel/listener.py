"""``Listener``: what a controller tells whoever shows it."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Who shows what a controller does: a section of the panel, or the Segment Editor effect."""

    def state_changed(self) -> None:
        """A run began or ended, or the answer, or what it depends on, came, changed or went."""

    def progressed(self, step, seconds_left: float | None) -> None: ...

    def refused(self, text: str) -> None:
        """Something cannot be done; ``text`` says why and what to do."""

    def informed(self, text: str) -> None: ...

    def torch_missed(self) -> None:
        """The run needs torch, which is not there."""

    def failed(self, error: Exception) -> None:
        """An unexpected error."""
