"""A small engine in place of the real one: known answers at once, in as many steps as a test wants."""

from __future__ import annotations

import time

import numpy as np

from S3NetSegmentLib.engine import InputError, Step, run_to_end
from S3NetSegmentLib.engine.segment.prompts import Prompts


class FakeEngine:
    """``find_regions`` for the panel. Regions are intensity bands; objects are balls around the first point.

    :param steps: number of progress steps, each ``seconds`` long.
    :param error: raised after half of the steps, if given.
    """

    def __init__(self, steps=5, seconds=0.002, error=None, notes=(), main=True):
        self.steps, self.seconds, self.error, self.notes, self.main = steps, seconds, error, list(notes), main
        self.calls, self.finished, self.asked = [], 0, []

    def __call__(self, volume, *, extent, axis, settings, device):
        self.calls.append({"volume": volume, "extent": extent, "axis": axis, "settings": settings, "device": device})
        for n in range(self.steps):
            time.sleep(self.seconds)
            if self.error is not None and n == self.steps // 2:
                raise self.error
            yield Step(n / self.steps, f"Working on part {n + 1} of {self.steps}")
        self.finished += 1
        regions = FakeRegions(volume, extent, axis, settings, device, self.notes, self.main)
        regions.asked = self.asked  # what objects were asked for, of any regions
        return regions


class FakeRegions:
    counts = (2, 3, 4, 6)

    def __init__(self, volume, extent, axis, settings, device, notes, main):
        self.volume, self.extent, self.axis, self.settings = volume, extent, axis, settings
        self.device, self.notes, self._main = device, notes, main
        self._array = volume.array[extent.slices].astype(float)
        if self._array.ndim == 4:
            self._array = self._array.mean(-1)

    def labels(self, count):
        if count not in self.counts:
            raise InputError(f"{count} regions were not prepared")
        low, high = self._array.min(), self._array.max()
        return np.clip(((self._array - low) / (high - low + 1e-9) * count).astype(np.uint8), 0, count - 1) + np.uint8(1)

    def object_at(self, inside, outside=(), radius_mm=None, *, excluded=None, slices_so_far=None, **further):
        prompts = Prompts(tuple(inside), tuple(outside), **{kind: tuple(own) for kind, own in further.items()})
        return run_to_end(self.object_steps(prompts, radius_mm, excluded=excluded, slices_so_far=slices_so_far))

    def object_steps(self, prompts, radius_mm=None, *, excluded=None, slices_so_far=None, crossing=None):
        self.asked.append({**vars(prompts), "excluded": excluded, "slices": tuple(slices_so_far or ())})
        prompts = prompts.checked(self.extent)
        yield Step(0.5, "Searching objects")
        return FakeChoice(self, prompts, 2 if radius_mm is None else 4, excluded)

    def main_steps(self):
        yield Step(0.5, "Searching the main object")
        return self.main_object()

    def main_object(self):
        middle = tuple((a + b) // 2 for a, b in zip(self.extent.start, self.extent.stop, strict=True))
        return FakeChoice(self, Prompts((middle,)), 1) if self._main else None

    def region_at(self, voxel, count):
        labels = self.labels(count)
        at = tuple(v - s for v, s in zip(voxel, self.extent.start, strict=True))[::-1]
        return labels == labels[at]

    def confidence_steps(self, choice=None, count=None):
        yield Step(0.5, "Weighing")
        return self.confidence(choice, count)

    def confidence(self, choice=None, count=None):
        return np.full(self._array.shape, 0.5, np.float32)

    def rectangle(self, box):
        k, j, i = np.ogrid[
            tuple(slice(s, e) for s, e in zip(self.extent.start[::-1], self.extent.stop[::-1], strict=True))
        ]
        (i0, j0, k0), (i1, j1, k1) = box.low, box.high
        return (i >= i0) & (i <= i1) & (j >= j0) & (j <= j1) & (k >= k0) & (k <= k1)

    def ball(self, voxel, radius):
        k, j, i = np.ogrid[
            tuple(slice(s, e) for s, e in zip(self.extent.start[::-1], self.extent.stop[::-1], strict=True))
        ]
        return (i - voxel[0]) ** 2 + (j - voxel[1]) ** 2 + (k - voxel[2]) ** 2 <= radius**2


class FakeChoice:
    steps = 6
    alternatives = (2, 4, 0)

    def __init__(self, regions, prompts, index, excluded=None):
        self._regions, self._prompts, self.index, self._excluded = regions, prompts, index, excluded

    @property
    def mask(self):
        prompts, ball = self._prompts, self._regions.ball
        mask = np.zeros(self._regions.labels(2).shape, bool)
        for box in prompts.boxes:
            mask |= self._regions.rectangle(box)
        for number, voxel in enumerate(prompts.inside_voxels):
            mask |= ball(voxel, 3 if number or prompts.boxes else 3 + 2 * self.index)
        for plane in prompts.planes:
            mask |= ball(self._regions.volume.voxel_at(plane.matrix[:3, 3]), 3)
        for voxel in prompts.outside_voxels:
            mask &= ~ball(voxel, 3)
        return mask if self._excluded is None else mask & ~self._excluded

    def at(self, index):
        return FakeChoice(self._regions, self._prompts, int(np.clip(index, 0, self.steps - 1)), self._excluded)
