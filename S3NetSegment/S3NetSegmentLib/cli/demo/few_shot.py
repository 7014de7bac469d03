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
from ...engine.common.provenance import FEW_SHOT, OutcomeFacts, TaskFacts, provenance, support_text
from ...engine.few_shot.drawings.support import DrawnSlice
from ...engine.few_shot.frame import slices_first
from ...engine.few_shot.settings import FewShotSettings
from ...engine.images.colors import label_colors
from ...engine.images.overlay import draw_overlay, montage
from ...engine.images.reading import read_image
from ...engine.images.writing import write_png, write_segmentation
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
    from ...engine.few_shot.method import FewShot

    volume = read_image(samples / sample["image"])
    truth = read_image(samples / sample["labels"]).array.astype(np.uint8)
    axis = volume.slice_axis()
    drawn = slices_to_draw(truth, axis)
    started = time.perf_counter()
    few_shot = FewShot(volume, axis=axis)
    few_shot.set_support([DrawnSlice(axis, z, slices_first(truth, axis)[z]) for z in drawn])
    answer = yield from few_shot.propagate()
    seconds = time.perf_counter() - started

    yield Step(1.0, "pictures")
    nearest = nearest_slice(truth, axis, drawn)
    support = support_text(f"{sample['name']}_drawn.seg.nrrd", {axis: drawn})
    tags = provenance(TaskFacts(FEW_SHOT, volume.name, FewShotSettings(), support=support), OutcomeFacts("cpu"))
    drawing = np.zeros_like(truth)
    slices_first(drawing, axis)[drawn] = slices_first(truth, axis)[drawn]
    drawing, found, copied = (
        _segmentation(volume, array, sample["values"], made)
        for array, made in ((drawing, {}), (answer.labels, tags), (nearest, {}))
    )
    files = [f"{sample['name']}_{kind}" for kind in ("drawn.seg.nrrd", "few_shot.seg.nrrd", "few_shot.png")]
    picture, panels = _picture(volume, truth, axis, drawn, drawing, found, copied)
    write_segmentation(drawing, folder / files[0])
    write_segmentation(found, folder / files[1])
    write_png(picture, folder / files[2])
    open_slices = np.setdiff1d(np.arange(len(slices_first(truth, axis))), drawn)
    wanted, ours, theirs = (slices_first(array, axis)[open_slices] for array in (truth, answer.labels, nearest))
    segments = [
        FewShotSegment(
            target, dice(ours == value, wanted == value), dice(theirs == value, wanted == value),
            round(answer.expected_dice[value], 4),
        )
        for target, value in sample["values"].items()
    ]  # fmt: skip
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


def _segmentation(volume: Volume, labels: np.ndarray, values: dict[str, int], tags) -> Segmentation:
    colors = label_colors(len(values))
    segments = [Segment(n, c, v, tags=tags) for (n, v), c in zip(values.items(), colors, strict=True)]
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
