"""Accuracy of boxes in a volume: answered in their slices, then carried, beside a click and Grow from seeds.

    python3 Testing/benchmarks/segment/volume_prompts.py                                 the twelve organs and the confirm cases
    python3 Testing/benchmarks/segment/volume_prompts.py --groups development            the cases on which settings may be chosen
    python3 Testing/benchmarks/segment/volume_prompts.py --slices true                   as if the slice answers were perfect
    python3 Testing/benchmarks/segment/volume_prompts.py --cases hippocampus --limit 3   some of the cases
    python3 Testing/benchmarks/segment/volume_prompts.py --turned 10 20 40               boxes in oblique planes, too

Prompts: a click at the innermost voxel; a box in the largest slice; that and a box in the largest slice of another view; boxes in
three slices at 1/6, 1/2 and 5/6 of the object. Each side of a box is moved by a normal error of 7 % of its length. Dice with the true
object on the image's own voxels, share of objects under .5, seconds of one thread after the regions of the volume are known. Beside the
answer: the carried object alone, the best candidate by the box alone, the one of both that is chosen, before the network is shown its
sections, and Slicer's Grow from seeds from the same slice answers, where the package slicer-core is installed. ``--turned``: beside
the box in the largest slice one in the plane through the middle of the object there, turned by so many degrees about a random line of
the slice; and both together, where the second one is the box in the largest slice of another view.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(_testing / "benchmarks" / "few_shot"),
    str(_testing / "support"),
    str(_testing.parent / "S3NetSegment"),
]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

import numpy as np  # noqa: E402
from few_shot_cases import FewShotCase  # noqa: E402
from few_shot_contestants import GROW, grow, missing_package  # noqa: E402
from segment_3d import dice  # noqa: E402
from simulated_boxes import flat_box  # noqa: E402
from volume_cases import GROUPS, VolumeCase, volume_cases  # noqa: E402
from volume_clicks import innermost_voxel  # noqa: E402

from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.few_shot.settings import FewShotSettings  # noqa: E402
from S3NetSegmentLib.engine.images import AXES, Volume  # noqa: E402
from S3NetSegmentLib.engine.images.volume import slices_back, slices_first  # noqa: E402
from S3NetSegmentLib.engine.segment.carry import draw_prompts  # noqa: E402
from S3NetSegmentLib.engine.segment.find_regions import find_regions  # noqa: E402
from S3NetSegmentLib.engine.segment.planes import closed_pixels, cut_of, grid_of  # noqa: E402
from S3NetSegmentLib.engine.segment.prompts import Box, PromptedPlane, Prompts  # noqa: E402

PROMPTS = ("click", "one box", "two views", "three boxes")
SLICES = ("product", "true", "ellipse")
BOX_SEED = 3


def main() -> None:
    options = parsed()
    for group in options.groups:
        rows = []
        for number, case in enumerate(c for c in volume_cases(group) if any(n in c.name for n in options.cases)):
            if options.limit is None or number < options.limit:
                rows += scored(case, options)
        print(
            f"\n== {group}: {len({(r['case'], r['object']) for r in rows})} objects, slice answers: {options.slices}\n"
        )
        print_table(rows)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=["twelve", "confirm"])
    parser.add_argument("--cases", nargs="+", default=[""], metavar="TEXT", help="cases with this in their name")
    parser.add_argument("--limit", type=int, help="cases of each group")
    parser.add_argument("--prompts", nargs="+", choices=PROMPTS, default=list(PROMPTS))
    parser.add_argument("--slices", choices=SLICES, default="product", help="who answers in the slices")
    parser.add_argument(
        "--turned", nargs="+", type=float, default=[], metavar="DEGREES", help="boxes in oblique planes"
    )
    parser.add_argument("--seed", type=int, default=BOX_SEED, help="of the errors of the boxes (default %(default)s)")
    return parser.parse_args()


def scored(case: VolumeCase, options) -> list[dict]:
    regions, rows = run_to_end(find_regions(case.volume)), []
    with_grow = missing_package(GROW) is None
    for number, (name, truth) in enumerate(case.objects.items()):
        rng = np.random.default_rng([options.seed, number])
        for prompt in PROMPTS:  # always all, so that the errors of the boxes do not depend on what is asked for
            boxes = [flat_box(truth, *key, rng) for key in box_slices(truth, case.volume, prompt)]
            if prompt in options.prompts:
                found = answered(case, regions, truth, boxes, options.slices, with_grow)
                rows += [
                    {"case": case.name, "kind": case.kind, "object": name, "prompt": prompt, **row} for row in found
                ]
                told(case, name, prompt, found)
        for degrees in options.turned:
            plane = turned_plane(
                case.volume, truth, degrees, np.random.default_rng([options.seed, number, int(degrees)])
            )
            second = [flat_box(truth, *key, rng) for key in box_slices(truth, case.volume, "two views")[1:]]
            for prompt, more in ((f"turned {degrees:g}", []), (f"turned {degrees:g}, two views", second)):
                found = answered(case, regions, truth, more, options.slices, False, [plane])
                rows += [
                    {"case": case.name, "kind": case.kind, "object": name, "prompt": prompt, **row} for row in found
                ]
                told(case, name, prompt, found)
    return rows


def told(case: VolumeCase, name: str, prompt: str, found: list[dict]) -> None:
    shown = ", ".join(f"{row['method']} {row['dice']:.2f}" for row in found)
    print(f"{case.name} {name}, {prompt}: {shown}", file=sys.stderr, flush=True)


def turned_plane(volume: Volume, truth: np.ndarray, degrees: float, rng: np.random.Generator) -> PromptedPlane:
    """A box around the object in its largest slice, turned about a random line of the slice through the middle of the object."""
    axis = volume.slice_axis()
    across = AXES.index(axis)
    index = int(slices_first(truth, axis).sum((1, 2)).argmax())
    middle = list(np.argwhere(slices_first(truth, axis)[index]).mean(0)[::-1])
    middle.insert(across, index)
    columns = volume.ijk_to_ras[:3, :3] / volume.spacing
    first, second = (columns[:, a] for a in range(3) if a != across)
    angle, turn = rng.uniform(0, 2 * np.pi), np.radians(degrees)
    hinge, other = np.cos(angle) * first + np.sin(angle) * second, np.cos(angle) * second - np.sin(angle) * first
    view = np.eye(4)
    up = np.cos(turn) * other + np.sin(turn) * columns[:, across]
    view[:3] = np.stack((hinge, up, np.cross(hinge, up), volume.ras_of(middle)), 1)
    plane = PromptedPlane(tuple(view.ravel()), Prompts())
    box = flat_box(true_cut(plane, volume, truth)[None], "z", 0, rng)
    return replace(plane, prompts=Prompts(boxes=(box,)))


def true_cut(plane: PromptedPlane, volume: Volume, truth: np.ndarray) -> np.ndarray:
    """The object in the plane, bool ``[rows, columns]``."""
    cut = cut_of(plane, Volume(truth.astype(np.float32), volume.ijk_to_ras)).array[0]
    return (cut > 0.5) & ~closed_pixels(plane, volume, volume.extent, None)


def answered(
    case: VolumeCase, regions, truth: np.ndarray, boxes: list[Box], slices: str, with_grow: bool, planes=()
) -> list[dict]:
    """A row for each method; without boxes and planes for one click."""
    start = time.perf_counter()

    def row(method: str, mask: np.ndarray) -> dict:
        return {"method": method, "dice": dice(mask, truth), "seconds": time.perf_counter() - start}

    if not boxes and not planes:
        point = innermost_voxel(truth, case.volume.spacing[::-1])
        return [row("answer", regions.object_at([point[::-1]]).mask)]
    drawn = slice_answers(case, truth, boxes, slices, planes)
    right = [dice(mask, shown_truth(key, case.volume, truth)) for key, mask in drawn.items()]
    found = [{"method": "slices", "dice": float(np.mean(right)), "seconds": time.perf_counter() - start}]
    choice = regions.object_at(boxes=boxes, planes=planes, slices_so_far=drawn)
    found.append(row("answer", choice.mask))
    found.append(row("before the second look", choice.at(choice.first_step).mask))
    found.append(row("carried", choice.carried.mask))
    found.append(row("candidate", choice.at(choice.candidate_step).mask))
    if with_grow and len({axis for axis, _ in drawn}) == 1:
        found.append(row(GROW, grown(case, drawn)))
    return found


def box_slices(truth: np.ndarray, volume, prompt: str) -> list[tuple[str, int]]:
    axis = volume.slice_axis()
    if prompt == "click":
        return []
    if prompt == "three boxes":
        filled = np.flatnonzero(slices_first(truth, axis).any((1, 2)))
        return sorted({(axis, int(filled[round(share * (len(filled) - 1))])) for share in (1 / 6, 1 / 2, 5 / 6)})
    other = "y" if axis != "y" else "x"
    largest = [(a, int(slices_first(truth, a).sum((1, 2)).argmax())) for a in (axis, other)]
    return largest[:1] if prompt == "one box" else largest


def slice_answers(case: VolumeCase, truth: np.ndarray, boxes: list[Box], slices: str, planes) -> dict:
    if slices == "product":
        return run_to_end(draw_prompts(case.volume, Prompts(boxes=tuple(boxes), planes=tuple(planes))))
    drawn = {}
    for key, box, shape in [
        *(((box.flat_axis, box.slice_index()), box, truth.shape) for box in boxes),
        *((plane, plane.prompts.boxes[0], grid_of(plane, case.volume).array.shape) for plane in planes),
    ]:
        drawn[key] = shown_truth(key, case.volume, truth) if slices == "true" else ellipse(box, shape)
    return drawn


def shown_truth(key, volume: Volume, truth: np.ndarray) -> np.ndarray:
    """The object in a slice, or in an oblique plane."""
    if isinstance(key, PromptedPlane):
        return true_cut(key, volume, truth)
    return slices_first(truth, key[0])[key[1]]


def ellipse(box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """The ellipse that fills a box, in its slice."""
    across = 2 - AXES.index(box.flat_axis)
    axes = [a for a in range(3) if a != across]
    total = 0
    for place, a in zip(np.ogrid[tuple(slice(0, shape[a]) for a in axes)], axes, strict=True):
        low, high = box.low[2 - a], box.high[2 - a]
        total = total + ((place - (low + high) / 2) / ((high - low + 1) / 2)) ** 2
    return total <= 1


def grown(case: VolumeCase, drawn: dict) -> np.ndarray:
    axis = next(iter(drawn))[0]
    labels = np.zeros(case.volume.array.shape[:3], np.uint8)
    for (_, index), plane in drawn.items():
        slices_first(labels, axis)[index] = plane
    seeds = FewShotCase(case.kind, case.name, case.volume, labels, axis)
    return slices_back(grow(seeds, [index for _, index in drawn], FewShotSettings()).labels, axis) > 0


def print_table(rows: list[dict]) -> None:
    by_method = defaultdict(list)
    for row in rows:
        by_method[row["prompt"], row["method"]].append(row)
    print("| prompts | method | Dice | under .5 | seconds, median / longest | by kind |\n|---|---|---|---|---|---|")
    for (prompt, method), own in by_method.items():
        values, seconds = (np.array([r[key] for r in own]) for key in ("dice", "seconds"))
        kinds = ", ".join(
            f"{kind} {np.mean([r['dice'] for r in own if r['kind'] == kind]):.2f}"
            for kind in dict.fromkeys(r["kind"] for r in own)
        )
        print(
            f"| {prompt} | {method} | {values.mean():.3f} | {100 * np.mean(values < 0.5):.0f} % | "
            f"{np.median(seconds):.1f} / {seconds.max():.1f} | {kinds} |"
        )


if __name__ == "__main__":
    main()
