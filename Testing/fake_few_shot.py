"""A small engine in place of Few-shot's real one: known answers at once, in as many steps as a test wants."""

from __future__ import annotations

import numpy as np

from S3NetSegmentLib.engine import InputError, Step
from S3NetSegmentLib.engine.few_shot.support import SupportVolume
from S3NetSegmentLib.engine.images import AXES


class FakeFewShot:
    """``FewShot`` that repeats the first drawn slice with labels on all slices, one pixel wider to the right.

    In another volume each label is a box in the middle. Attributes tell what it was given: ``volume``, ``settings``,
    ``axis``, ``encoder``, ``device``, ``items``, ``slices``, ``quick``; ``labels`` is the latest answer.

    :param error: raised in the middle of each run, if set.
    """

    steps = 4
    error: Exception | None = None

    def __init__(self, volume, settings=None, axis="auto", encoder=None, device="auto"):
        self.volume, self.settings, self.axis, self.encoder, self.device = volume, settings, axis, encoder, device
        self.items, self.runs = [], []

    def set_support(self, items):
        if not any(item.labels.any() for item in items):
            raise InputError("nothing is drawn; draw at least one segment on at least one slice")
        self.items = list(items)

    def propagate(self, slices=None, quick=False):
        self.slices, self.quick = slices, quick
        self.runs.append((slices, quick))
        for n in range(self.steps):
            if self.error is not None and n == self.steps // 2:
                raise self.error
            yield Step(n / self.steps, f"Working on part {n + 1} of {self.steps}")
        self.labels = np.zeros(self.volume.array.shape[:3], np.uint8)
        first = next(item for item in self.items if item.labels.any())
        if isinstance(first, SupportVolume):
            axis = "z"
            middle = tuple(slice(n // 4, n - n // 4) for n in self.labels.shape)
            for value in np.unique(first.labels)[1:]:
                self.labels[middle] = value
        else:
            axis = first.axis
            wider = first.labels.copy()
            wider[:, 1:] = np.maximum(wider[:, 1:], first.labels[:, :-1])
            number = slice(None) if slices is None else slice(slices[0], slices[1] + 1)
            np.moveaxis(self.labels, 2 - AXES.index(axis), 0)[number] = wider
        return FakeAnswer(self.labels, axis)


class FakeAnswer:
    def __init__(self, labels, axis):
        self.labels, self.axis = labels, axis
        self.confidence = np.full(labels.shape, 0.7, np.float32)
        self.next_slices = [(0, 12.0), (1, 3.0)]
        self.expected_dice = {int(v): 0.85 for v in np.unique(labels) if v}
        self.mix, self.notes = {"carried": 1.0}, ["this is a small engine for tests"]
