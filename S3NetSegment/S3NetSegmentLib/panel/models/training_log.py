"""The log of a training run while it grows: learning curve, time left, last lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import qt
from slicer.i18n import tr as _

_MOST_POINTS = 2000  # of a curve; a longer one is thinned out
_MOST_LINES = 200
SIZE = (320, 130)  # pixels; the panel is 380 wide
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 30, 8, 18
_LOSS, _SCORE = (66, 133, 200), (225, 120, 40)


class TrainingLog:
    """Reads ``log.jsonl`` of a run folder, each time only what is new.

    Attributes: ``losses`` and ``scores`` (lists of (step, value)), ``joined`` (the first step with unlabelled slices, None before),
    ``steps`` (planned, 0 while that is not known), ``progress`` (0 to 1), ``lines`` (texts
    for people).
    """

    def __init__(self, path: Path):
        self._path = path
        self._forget()

    @property
    def seconds_left(self) -> float | None:
        """How long it will still take, by what it took so far; None while that cannot be said."""
        if not 0.01 < self.progress <= 1 or self._seconds <= 0:
            return None
        return self._seconds * (1 - self.progress) / self.progress

    def read(self) -> bool:
        """Reads what is new; returns whether anything was."""
        try:
            facts = self._path.stat()
        except OSError:
            changed = self._offset > 0
            self._forget()
            return changed
        key = facts.st_ino
        if facts.st_size < self._offset or key != self._key:  # a resumed run takes out what it does again
            self._forget()
        self._key = key
        if facts.st_size == self._offset:
            return False
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            new = file.read()
        end = new.rfind(b"\n") + 1  # the last line may be half written
        self._offset += end
        for line in new[:end].decode("utf-8", "replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                self._take(entry)
        return end > 0

    def _forget(self) -> None:
        self._offset, self._key = 0, None
        self.losses: list[tuple[int, float]] = []
        self.scores: list[tuple[int, float]] = []
        self.lines: list[str] = []
        self.joined: int | None = None
        self.steps, self.progress, self._seconds = 0, 0.0, 0.0

    def _take(self, entry: dict) -> None:
        event, step = entry.get("event"), entry.get("step", 0)
        if event is None and isinstance(entry.get("loss"), (int, float)):
            self.losses.append((step, float(entry["loss"])))
            self.steps = entry.get("steps", self.steps)
            if self.joined is None and entry.get("unlabelled") is not None:
                self.joined = step
            self.progress, self._seconds = float(entry.get("progress", 0)), float(entry.get("seconds", 0))
            planned = f" of {self.steps}" if self.steps else ""
            self.lines.append(f"step {step}{planned}: loss {entry['loss']:.4g}")
        elif event == "validation" and isinstance(entry.get("score"), (int, float)):
            self.scores.append((step, float(entry["score"])))
            self.lines.append(f"step {step}: validation score {entry['score']:.3f}")
        elif event == "note":
            self.lines.append(str(entry.get("text", "")))
        elif event == "end":
            self.lines.append(f"step {step}: end ({entry.get('reason', '')})")
        elif event == "failed":
            self.lines.append(f"step {step}: failed ({entry.get('broken', '')} is no number)")
        del self.lines[:-_MOST_LINES]
        if len(self.losses) > _MOST_POINTS:
            self.losses = self.losses[::2]


def learning_curve(
    losses: Sequence[tuple[int, float]],
    scores: Sequence[tuple[int, float]],
    steps: int,
    palette,
    joined: int | None = None,
) -> qt.QPixmap:
    """A picture of :data:`SIZE`.

    :param losses, scores: (step, value), in order; the last of them is the right end of the picture.
    :param steps: planned; 0 while that is not known.
    :param joined: the first step with unlabelled slices, from which on the loss has one part more; None: none yet.
    :param palette: of the widget that shows it, for background and text.
    """
    width, height = SIZE
    pixmap = qt.QPixmap(width, height)
    pixmap.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter(pixmap)
    painter.setRenderHint(qt.QPainter.Antialiasing, True)
    last = max([1, *(step for step, _value in (*losses[-1:], *scores[-1:]))])
    low, high = _range([value for _step, value in losses])

    def x(step: float) -> float:
        return _LEFT + (width - _LEFT - _RIGHT) * step / last

    def y(share: float) -> float:
        return height - _BOTTOM - (height - _TOP - _BOTTOM) * min(max(share, 0.0), 1.0)

    painter.setPen(palette.color(qt.QPalette.Mid))
    for share in (0.0, 0.5, 1.0):
        painter.drawLine(int(x(0)), int(y(share)), int(x(last)), int(y(share)))
    if joined is not None:
        place = int(x(joined))
        pen = qt.QPen(palette.color(qt.QPalette.Text))
        pen.setStyle(qt.Qt.DotLine)
        painter.setPen(pen)
        painter.drawLine(place, _TOP, place, height - _BOTTOM)
        wide = 130
        left = place + 4 if place + wide < width - _RIGHT else place - wide - 4
        side = "AlignLeft" if left > place else "AlignRight"
        painter.drawText(left, _TOP, wide, 14, _flags(side), _("unlabelled slices join"))
    _line(painter, [(x(s), y((v - low) / (high - low))) for s, v in losses], _LOSS)
    _line(painter, [(x(s), y(v)) for s, v in scores], _SCORE, dots=True)
    text = palette.color(qt.QPalette.Text)
    for share in (0.0, 1.0):
        top = int(y(share)) - 7
        painter.setPen(qt.QColor(*_LOSS))
        painter.drawText(0, top, _LEFT - 4, 14, _flags("AlignRight"), f"{low + share * (high - low):.3g}")
        if not scores:
            continue
        painter.setPen(qt.QColor(*_SCORE))
        painter.drawText(width - _RIGHT + 4, top, _RIGHT - 4, 14, _flags("AlignLeft"), f"{share:g}")
    painter.setPen(text)
    painter.drawText(
        _LEFT,
        height - 15,
        width - _LEFT - _RIGHT,
        14,
        _flags("AlignRight"),
        _("step {last} of {steps}").format(last=last, steps=steps) if steps else _("step {last}").format(last=last),
    )
    painter.setPen(qt.QColor(*_LOSS))
    painter.drawText(_LEFT, height - 15, 60, 14, _flags("AlignLeft"), "loss")
    if scores:
        painter.setPen(qt.QColor(*_SCORE))
        painter.drawText(_LEFT + 40, height - 15, 120, 14, _flags("AlignLeft"), "validation")
    painter.end()
    return pixmap


def _line(painter, points: Sequence[tuple[float, float]], color: tuple[int, int, int], dots: bool = False) -> None:
    if not points:
        return
    pen = qt.QPen(qt.QColor(*color))
    pen.setWidthF(1.5)
    painter.setPen(pen)
    path = qt.QPainterPath()
    path.moveTo(*points[0])
    for point in points[1:]:
        path.lineTo(*point)
    painter.drawPath(path)
    for px, py in points if dots or len(points) == 1 else ():
        painter.drawEllipse(int(px) - 2, int(py) - 2, 4, 4)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Bottom and top of the axis of the losses; a few wild first values do not flatten the rest."""
    if not values:
        return 0.0, 1.0
    ordered = sorted(values)
    low, high = min(0.0, ordered[0]), ordered[int(0.98 * (len(ordered) - 1))]
    return (low, high) if high > low else (low, low + 1.0)


def _flags(name: str) -> int:
    return int(getattr(qt.Qt, name)) | int(qt.Qt.AlignVCenter)
