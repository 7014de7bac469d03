"""The demo of Few-shot: three drawn slices of a sample become all its organs in all slices, beside the nearest drawn slice.

The drawing is taken from the labels that come with the sample, on slices 1/5, 1/2 and 4/5 of the way through them; the
figures are of the other slices.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...engine import Segment, Segmentation, Step, Steps, Volume
from ...engine.common.arrays import dice
from ...engine.common.progress import as_part_of
from ...engine.few_shot.frame import slices_first
from ...engine.images.colors import label_colors
from ...engine.images.overlay import draw_overlay, montage
from ...engine.images.reading import read_image
from ...engine.images.writing import write_png, write_segmentation
from ...engine.tasks.few_shot import FewShotTask
from .samples import PANEL

SAMPLES = ("ct_abdomen", "mr_spinal_cord")
DRAWN_AT = (0.2, 0.5, 0.8)  # parts of the way from the first to the last slice with labels


@dataclass
class FewShotSegment:
    """One segment: Dice with the labels on the slices that were not drawn, of Few-shot and of the nearest drawn slice."""

    name: str
    dice: float
    nearest_dice: float
    expected_dice: float


@dataclass
class FewShotResult:
    """One sample: what was drawn, the figures, and the files written."""

    name: str
    title: str
    modality: str
    image: str
    size: tuple[int, int, int]
    axis: str
    drawn: list[int]
    seconds: float
    drawing: str
    segmentation: str
    picture: str
    panels: list[str]
    segments: list[FewShotSegment]


def run_few_shot(samples: Path, folder: Path) -> Steps[list[FewShotResult]]:
    """Runs the samples that are volumes with room for three drawn slices; writes into ``folder``."""
    listed = {sample["name"]: sample for sample in json.loads((samples / "samples.json").read_text(encoding="utf-8"))}
    results = []
    for number, name in enumerate(SAMPLES):
        work, count = _run_sample(listed[name], samples, folder), len(SAMPLES)
        result = yield from as_part_of(work, number / count, (number + 1) / count, f"{listed[name]['title']}: ")
        results.append(result)
    return results


def _run_sample(sample: dict, samples: Path, folder: Path) -> Steps[FewShotResult]:
    from ...engine.few_shot.run import carry_drawings, read_drawings

    volume = read_image(samples / sample["image"])
    truth = read_image(samples / sample["labels"]).array.astype(np.uint8)
    axis, values = volume.slice_axis(), sample["values"]
    drawn = slices_to_draw(truth, axis)
    files = [f"{sample['name']}_{kind}" for kind in ("drawn.seg.nrrd", "few_shot.seg.nrrd", "few_shot.png")]
    labels = np.zeros_like(truth)
    slices_first(labels, axis)[drawn] = slices_first(truth, axis)[drawn]
    drawing = _segmentation(volume, labels, values)
    write_segmentation(drawing, folder / files[0])
    started = time.perf_counter()
    task = FewShotTask(
        support=(str(folder / files[0]),), support_image=(None,), drawn=(None,), axis=axis, encoder="default"
    )
    support = yield from read_drawings(volume, task)
    outcome = yield from carry_drawings(volume, task, support)
    seconds = time.perf_counter() - started

    yield Step(1.0, "pictures")
    nearest, answer = nearest_slice(truth, axis, drawn), outcome.segmentation
    copied = _segmentation(volume, nearest, values)
    picture, panels = _picture(volume, truth, axis, drawn, drawing, answer, copied)
    write_segmentation(answer, folder / files[1])
    write_png(picture, folder / files[2])
    open_slices = np.setdiff1d(np.arange(len(slices_first(truth, axis))), drawn)
    wanted, theirs = (slices_first(array, axis)[open_slices] for array in (truth, nearest))
    segments = []
    for segment, expected in zip(answer.segments, outcome.expected_by_segment(), strict=True):
        own, value = slices_first(answer.mask(segment), axis)[open_slices], values[segment.name]
        scores = dice(own, wanted == value), dice(theirs == value, wanted == value)
        segments.append(FewShotSegment(segment.name, *scores, round(expected or 0.0, 4)))
    return FewShotResult(
        sample["name"], sample["title"], sample["modality"], sample["image"], volume.size, axis, drawn,
        round(seconds, 2), *files, panels, segments,
    )  # fmt: skip


def slices_to_draw(labels: np.ndarray, axis: str) -> list[int]:
    """The three slices that the demo draws on."""
    filled = np.flatnonzero(slices_first(labels, axis).any((1, 2)))
    return [round(float(filled[0] + part * (filled[-1] - filled[0]))) for part in DRAWN_AT]


def nearest_slice(labels: np.ndarray, axis: str, drawn: list[int]) -> np.ndarray:
    """The simple method beside it: each slice is the nearest drawn one."""
    out = np.empty_like(labels)
    for z, plane in enumerate(slices_first(out, axis)):
        plane[...] = slices_first(labels, axis)[min(drawn, key=lambda d: abs(d - z))]
    return out


def _segmentation(volume: Volume, labels: np.ndarray, values: dict[str, int]) -> Segmentation:
    segments = [Segment(n, c, v) for (n, v), c in zip(values.items(), label_colors(len(values)), strict=True)]
    return Segmentation([labels], segments, volume.ijk_to_ras)


def _picture(volume, truth, axis: str, drawn, drawing, found, copied) -> tuple[np.ndarray, list[str]]:
    """A row: the middle drawn slice, then two slices half-way between drawn ones, each as answered and as copied."""
    place = {"axis": axis, "size": PANEL}
    pictures = [draw_overlay(volume, drawing, index=drawn[1], **place)]
    panels = [f"drawn slice {drawn[1]}"]
    for a, b in pairwise(drawn):
        index = (a + b) // 2
        pictures += [draw_with_truth(volume, s, truth, axis, index, PANEL) for s in (found, copied)]
        panels += [f"slice {index}: few-shot (white: the label)", "the nearest drawn slice there"]
    return montage(pictures, len(pictures)), panels


WHITE = (1.0, 1.0, 1.0)


def draw_with_truth(volume: Volume, answer: Segmentation, truth: np.ndarray, axis: str, index: int, size: int):
    """One slice with the areas of ``answer`` and, in white, the outlines of the labels ``truth`` ``[K, J, I]``; uint8
    ``[H, W, 3]``."""
    values = [int(v) for v in np.unique(truth) if v]
    outlines = Segmentation([truth], [Segment(f"drawn {v}", WHITE, v) for v in values], volume.ijk_to_ras)
    place = {"axis": axis, "index": index, "size": size}
    image, lines = (draw_overlay(volume, s, **place, fill=0.0, outline=1) for s in (None, outlines))
    areas = draw_overlay(volume, answer, **place, fill=0.45, outline=0)
    return np.where((lines != image).any(-1, keepdims=True), lines, areas)
