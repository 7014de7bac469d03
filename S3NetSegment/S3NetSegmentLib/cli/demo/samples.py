"""The demo's work: each sample segmented in every way that suits it, compared with its drawing and with k-means.

Figures of seven images show that the software works; they are no measure of how well. Points are put at the innermost
voxel of the drawing, where a careful user would click.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

from ...engine import ResourceError, Segment, Segmentation, Step, Steps, Volume
from ...engine.common.arrays import dice
from ...engine.common.progress import as_part_of
from ...engine.common.provenance import SEGMENT, OutcomeFacts, TaskFacts, provenance
from ...engine.images.colors import label_colors
from ...engine.images.intensity import intensity_scale
from ...engine.images.overlay import best_slice, draw_overlay, montage
from ...engine.images.reading import read_image
from ...engine.images.writing import write_png, write_segmentation
from ...engine.results import embedded
from ...engine.segment.find_regions import find_regions
from ...engine.segment.regions.clustering import kmeans, nearest_centre

REGIONS = 4
PANEL = 300  # pixels of one picture in a row of the report
ONE_POINT, WITH_RADIUS = "one point", "point and rough radius"
DRAWN_COLOR = (0.2, 1.0, 0.2)


@dataclass
class Answer:
    """One object asked for. ``dice`` against the drawing (None: none found), ``seconds`` without the search."""

    task: str
    dice: float | None
    baseline_dice: float | None
    seconds: float
    point: tuple[int, int, int] | None = None


@dataclass
class SampleResult:
    """One sample: what was asked, the seconds of the search that all answers share, and the files written."""

    name: str
    title: str
    modality: str
    image: str
    size: tuple[int, int, int]
    device: str
    search_seconds: float
    segmentation: str
    picture: str
    panels: list[str]
    answers: list[Answer] = field(default_factory=list)

    @property
    def mean_dice(self) -> float | None:
        """Mean over the answers; nothing found counts 0."""
        return float(np.mean([answer.dice or 0.0 for answer in self.answers])) if self.answers else None


def run_samples(samples: Path, folder: Path, device: str) -> Steps[list[SampleResult]]:
    """Runs every sample listed in ``samples``/samples.json; writes pictures and segmentations into ``folder``.

    Raises ResourceError if the samples are not there.
    """
    try:
        listed = json.loads((samples / "samples.json").read_text(encoding="utf-8"))
    except OSError:
        raise ResourceError(
            f"the samples are not in {samples}; they come with the source of S3NetSegment: run the demo from a clone of it"
        ) from None
    results = []
    for number, sample in enumerate(listed):
        run = _run_sample(sample, samples, folder, device)
        result = yield from as_part_of(run, number / len(listed), (number + 1) / len(listed))
        results.append(result)
    return results


def _run_sample(sample: dict, samples: Path, folder: Path, device: str) -> Steps[SampleResult]:
    title = sample["title"]
    yield Step(0.0, title)
    volume = read_image(samples / sample["image"])
    labels = read_image(samples / sample["labels"]).array
    drawn = {name: labels == value for name, value in sample["values"].items()}
    started = time.perf_counter()
    regions = yield from as_part_of(find_regions(volume, device=device), 0.0, 0.8, f"{title}: ")
    seconds = time.perf_counter() - started

    flat = volume.size[2] == 1
    answers, objects = [], []
    if flat and volume.is_rgb:
        (target, mask), *_ = drawn.items()
        answer, found = _automatic(regions, target, mask)
        answers.append(answer)
        objects.append((answer.task, found))
    for number, (target, mask) in enumerate(drawn.items()):
        yield Step(0.8 + 0.15 * number / len(drawn), f"{title}: {target}")
        for radius in (None, sample["radius_mm"]) if "radius_mm" in sample else (None,):
            answer, found = _at_point(regions, target, mask, radius)
            answers.append(answer)
            objects.append((answer.task, found))

    yield Step(0.95, f"{title}: pictures")
    segmentation = _segmentation(regions, objects, answers)
    picture, panels = _picture(regions, drawn, objects, answers)
    files = f"{sample['name']}.seg.nrrd", f"{sample['name']}.png"
    write_segmentation(segmentation, folder / files[0])
    write_png(picture, folder / files[1])
    return SampleResult(
        sample["name"], title, sample["modality"], sample["image"], volume.size, regions.device, round(seconds, 2),
        *files, panels, answers,
    )  # fmt: skip


def _automatic(regions, target: str, mask: np.ndarray) -> tuple[Answer, np.ndarray]:
    started = time.perf_counter()
    choice = regions.main_object()
    found = np.zeros(mask.shape, bool) if choice is None else choice.mask
    seconds = time.perf_counter() - started
    baseline = kmeans_object(regions.volume, None)
    score = None if choice is None else dice(found, mask)
    return Answer(f"{target}, automatic", score, dice(baseline, mask), round(seconds, 3)), found


def _at_point(regions, target: str, mask: np.ndarray, radius: float | None) -> tuple[Answer, np.ndarray]:
    point = innermost_voxel(mask, regions.volume.spacing)
    started = time.perf_counter()
    found = regions.object_at([point], radius_mm=radius).mask
    seconds = time.perf_counter() - started
    baseline = kmeans_object(regions.volume, point)
    task = f"{target}, {ONE_POINT if radius is None else WITH_RADIUS}"
    return Answer(task, dice(found, mask), dice(baseline, mask), round(seconds, 3), point), found


def innermost_voxel(mask: np.ndarray, spacing) -> tuple[int, int, int]:
    """The voxel (i, j, k) of ``mask`` [K, J, I] farthest from its border in mm; the first of several in array order."""
    # The border of the image counts as a border, except across a single slice.
    padding = [(0, 0) if n == 1 else (1, 1) for n in mask.shape]
    depth = ndimage.distance_transform_edt(np.pad(mask, padding), sampling=spacing[::-1])
    depth = depth[tuple(slice(a, a + n) for (a, _), n in zip(padding, mask.shape, strict=True))]
    return tuple(int(v) for v in np.unravel_index(np.argmax(depth), mask.shape)[::-1])


def kmeans_object(volume: Volume, point: tuple[int, int, int] | None) -> np.ndarray:
    """What plain k-means on the intensities gives, as the simple method to compare with: 2 clusters in colour, 3 in grey.

    With a point the connected part of its cluster; without, the connected part with the largest area weighted towards
    the centre among those with at most 3 % of the frame.
    """
    features = intensity_scale(volume).apply(volume.array)
    rng = np.random.default_rng(0)
    centres = kmeans(features.reshape(-1, features.shape[-1]), 2 if volume.is_rgb else 3, rng)
    clusters = nearest_centre(features, centres)
    if point is not None:
        parts, _ = ndimage.label(clusters == clusters[point[::-1]])
        return parts == parts[point[::-1]]
    rows, columns = (np.linspace(-1, 1, n) ** 2 for n in clusters.shape[1:])
    weight = np.exp(-2 * (rows[:, None] + columns))[None]
    frame = np.ones(clusters.shape, bool)
    frame[:, 1:-1, 1:-1] = False
    best, best_weight = np.zeros(clusters.shape, bool), 0.0
    for cluster in range(len(centres)):
        parts, _ = ndimage.label(clusters == cluster)
        weights = np.bincount(parts.ravel(), np.broadcast_to(weight, parts.shape).ravel())
        on_frame = np.bincount(parts[frame], minlength=len(weights)) / frame.sum()
        weights[on_frame > 0.03] = 0
        weights[0] = 0
        if weights.max() > best_weight:
            best, best_weight = parts == weights.argmax(), weights.max()
    return best


def _segmentation(regions, objects, answers) -> Segmentation:
    """The regions, and every object in a layer of its own."""
    segmentation = regions.region_segmentation(REGIONS)
    colors = label_colors(REGIONS + len(objects))[REGIONS:]
    for (task, mask), answer, color in zip(objects, answers, colors, strict=True):
        points = [tuple(regions.volume.ras_of(answer.point))] if answer.point else []
        tags = provenance(
            TaskFacts(SEGMENT, regions.volume.name, regions.settings, points), OutcomeFacts(regions.device)
        )
        segmentation.segments.append(Segment(task, color, 1, len(segmentation.layers), tags=tags))
        segmentation.layers.append(embedded(mask.astype(np.uint8), regions.volume, regions.extent))
    return segmentation


def _picture(regions, drawn, objects, answers) -> tuple[np.ndarray, list[str]]:
    """A row of pictures and their captions: the drawing, each kind of answer, the regions."""
    volume, axis = regions.volume, regions.axis
    drawing = _layered(volume, list(drawn.items()), same_color=len(drawn) == 1)
    index = best_slice(volume, drawing, axis)
    rows = [("drawn", drawing, [])]
    kinds = {"automatic": "automatic", ONE_POINT: f"{ONE_POINT} each" if len(drawn) > 1 else ONE_POINT}
    kinds[WITH_RADIUS] = WITH_RADIUS
    for kind, caption in kinds.items():
        chosen = [(o, a) for o, a in zip(objects, answers, strict=True) if o[0].endswith(kind)]
        if chosen:
            points = [tuple(volume.ras_of(a.point)) for _, a in chosen if a.point]
            rows.append((caption, _layered(volume, [o for o, _ in chosen]), points))
    rows.append((f"{REGIONS} regions", regions.region_segmentation(REGIONS), []))
    pictures = [draw_overlay(volume, None, axis=axis, index=index, size=PANEL)]
    pictures += [draw_overlay(volume, s, axis=axis, index=index, size=PANEL, points=p) for _, s, p in rows]
    slice_text = "" if volume.size[2] == 1 else f" (slice {index} of {volume.size['xyz'.index(axis)]})"
    return montage(pictures, len(pictures)), [f"image{slice_text}", *(caption for caption, _, _ in rows)]


def _layered(volume: Volume, masks: list[tuple[str, np.ndarray]], same_color: bool = False) -> Segmentation:
    colors = [DRAWN_COLOR] * len(masks) if same_color else label_colors(len(masks))
    segments = [Segment(name, color, 1, n) for n, ((name, _), color) in enumerate(zip(masks, colors, strict=True))]
    return Segmentation([mask.astype(np.uint8) for _, mask in masks], segments, volume.ijk_to_ras)
