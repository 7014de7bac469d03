"""The log of a training run while it grows: points of its learning curve, time left, last lines."""

from __future__ import annotations

import json
from pathlib import Path

_MOST_POINTS = 2000  # of a curve; a longer one is thinned out
_MOST_LINES = 200


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
