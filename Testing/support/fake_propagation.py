"""A small engine in place of Few-shot's: carries each drawn slice unchanged to all others, in as many steps as a test wants."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np

from S3NetSegmentLib.engine import Step
from S3NetSegmentLib.engine.few_shot.answer import SegmentOutlook
from S3NetSegmentLib.engine.few_shot.drawings.overlaps import flattened
from S3NetSegmentLib.engine.images import AXES


class FakePropagation:
    """Makes engines for the panel: ``FakePropagation(...)(volume, settings, axis, encoder, device)``.

    Every slice gets the drawing of the nearest drawn slice; a slice whose nearest one is empty gets none, and where only planes
    are drawn none gets any.

    :param steps: number of progress steps of a full run, each ``seconds`` long; a quick one takes one step.
    :param error: raised after half of the steps, if given.
    """

    def __init__(self, steps=4, seconds=0.002, error=None, notes=()):
        self.steps, self.seconds, self.error, self.notes = steps, seconds, error, list(notes)
        self.made, self.runs, self.finished = [], [], 0
        self.outlook = lambda value, far: SegmentOutlook(0.9, wrong=dict.fromkeys(far, 10.0))

    def __call__(self, volume, settings, axis, encoder, device):
        self.made.append({"volume": volume, "settings": settings, "axis": axis, "encoder": encoder, "device": device})
        return FakeEngineOfVolume(self, volume, axis)

    @property
    def quick_runs(self):
        return [run for run in self.runs if run["quick"]]

    @property
    def full_runs(self):
        return [run for run in self.runs if not run["quick"]]


class FakeEngineOfVolume:
    encoder = None

    def __init__(self, owner, volume, axis):
        self.owner, self.volume, self.axis, self.items = owner, volume, axis, []

    def set_support(self, items):
        self.items = list(items)

    def propagate(self, slices=None, quick=False):
        self.owner.runs.append({"slices": slices, "quick": quick, "items": self.items})
        steps = 1 if quick else self.owner.steps
        for n in range(steps):
            time.sleep(self.owner.seconds)
            if self.owner.error is not None and n == steps // 2 and not quick:
                raise self.owner.error
            yield Step(n / steps, f"Carrying slice {n + 1} of {steps}")
        self.owner.finished += 1
        return self._answer(slices)

    def _answer(self, slices):
        axis = next((i.axis for i in self.items if hasattr(i, "axis")), "z") if self.axis == "auto" else self.axis
        layers, known = [], set()
        for layer in sorted({getattr(item, "layer", 0) for item in self.items}):
            labels, far, near = self._carried([item for item in self.items if item.layer == layer], axis, slices)
            labels[np.isin(labels, list(known))] = 0  # of an earlier layer
            known |= {int(v) for v in np.unique(labels) if v}
            layers.append(labels)
        values = sorted(known)
        return SimpleNamespace(
            layers=layers,
            labels=flattened(layers),
            confidence=near,
            next_slices=[(n, 10.0) for n in far],
            outlook={value: self.owner.outlook(value, far) for value in values},
            expected_dice={value: 0.95 - 0.1 * n for n, value in enumerate(values)},
            axis=axis,
            mix={"carried": 0.6, "grown": 0.4},
            notes=self.owner.notes,
        )

    def _carried(self, items, axis, slices):
        """Labels, the slices in the order of their distance from drawn ones, and the confidence."""
        drawn = {}  # number along the axis -> labels
        for item in items:
            if hasattr(item, "drawn"):  # another volume: the same place, cut to fit
                plane = np.moveaxis(item.labels, 2 - AXES.index(axis), 0)
                drawn.update({n: plane[n] for n in (range(len(plane)) if item.drawn is None else item.drawn)})
            elif getattr(item, "axis", "") == axis:  # planes have none
                drawn[item.index] = item.labels
        labels = np.zeros(self.volume.array.shape[:3], np.uint8)
        confidence = np.ones(labels.shape, np.float32)
        planes = np.moveaxis(labels, 2 - AXES.index(axis), 0)
        first, last = slices or (0, len(planes) - 1)
        if not drawn:
            return labels, [], confidence
        for n in range(first, last + 1):
            near = drawn[min(drawn, key=lambda d: abs(d - n))]
            rows, columns = (min(a, b) for a, b in zip(near.shape, planes[n].shape, strict=True))
            planes[n][:rows, :columns] = near[:rows, :columns]
            distance = min(abs(d - n) for d in drawn)
            np.moveaxis(confidence, 2 - AXES.index(axis), 0)[n] = 1 / (1 + 0.1 * distance)
        far = sorted(set(range(first, last + 1)) - set(drawn), key=lambda n: -min(abs(d - n) for d in drawn))
        return labels, far, confidence
