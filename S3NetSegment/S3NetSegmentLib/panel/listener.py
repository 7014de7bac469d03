"""``Listener``: what a controller tells whoever shows it, and how an error is told."""

from __future__ import annotations

from typing import Protocol

from ..engine import InputError, ResourceError


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


def tell(listener: Listener, error: Exception) -> None:
    """Tells ``listener`` of an error: what the user can mend is refused in words, missing torch is offered, all else failed."""
    if isinstance(error, (InputError, ResourceError)):
        listener.refused(str(error))
    elif isinstance(error, ImportError) and (error.name or "").split(".")[0] == "torch":
        listener.torch_missed()
    else:
        listener.failed(error)
