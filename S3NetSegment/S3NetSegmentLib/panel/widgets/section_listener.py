"""``SectionListener``: what all sections of the panel do with what their controllers tell."""

from __future__ import annotations

from .progress_row import ProgressRow


class SectionListener:
    """The part of a :class:`~..run.Listener` that sections share: progress goes into the panel's row, words to the panel.

    A section adds ``state_changed``, and names itself in the two texts below.

    :param notify: the panel, which shows messages: ``refused``, ``informed``, ``torch_missed``, ``failed``, and hears
        ``running_changed``.
    """

    torch_text = ""  # told where torch is not there
    what = ""  # that failed, as the beginning of a message

    def __init__(self, notify, progress: ProgressRow):
        self._notify, self._progress = notify, progress

    def progressed(self, step, seconds_left: float | None) -> None:
        self._progress.show(step, seconds_left)

    def refused(self, text: str) -> None:
        self._notify.refused(text)

    def informed(self, text: str) -> None:
        self._notify.informed(text)

    def torch_missed(self) -> None:
        self._notify.torch_missed(self.torch_text)

    def failed(self, error: Exception) -> None:
        self._notify.failed(error, self.what)
