"""How far further prompts lead: each is a point where the answer before it is most wrong, as a user would place it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import SimpleITK as sitk
from simulated_clicks import Point, corrective_point

from S3NetSegmentLib.engine.common.arrays import dice
from S3NetSegmentLib.engine.segment.objects.box_part import BoxPart
from S3NetSegmentLib.engine.segment.objects.colour_split import colour_split

PROMPTS = 5  # the first one, a click or a box, and further points
ENOUGH = 0.85  # Dice with which one is content
FALL = 0.02  # a further prompt that lowers Dice by more has made it worse
_SPOT = 3.0  # pixels around a point that a simple method takes from it

Answer = Callable[[list[Point], list[Point]], np.ndarray]  # points in and out of the object -> bool [h, w]


def effort(
    answer: Answer, truth: np.ndarray, first: Point | None, rng: np.random.Generator | None = None
) -> dict[str, list]:
    """Dice after 1 to :data:`PROMPTS` prompts, and of each further point whether it lowered Dice, and whether all points are
    obeyed after it.

    :param first: the click that the answer starts with; None: it starts with what ``answer`` knows, e.g. a box.
    :param rng: of a hand that misses the middle of what it corrects, see ``corrective_point``.
    """
    inside, outside = [] if first is None else [first], []
    mask = answer(inside, outside)
    found: dict[str, list] = {"dice": [dice(mask, truth)], "worse": [], "disobeyed": []}
    while len(found["dice"]) < PROMPTS:
        correction = corrective_point(mask, truth, rng)
        if correction is not None:
            (inside if correction[1] else outside).append(correction[0])
            mask = answer(inside, outside)
            found["worse"].append(dice(mask, truth) < found["dice"][-1] - FALL)
            found["disobeyed"].append(not all(mask[p] for p in inside) or any(mask[p] for p in outside))
        found["dice"].append(dice(mask, truth))
    return found


def confidence_connected(features: np.ndarray, inside: list[Point], outside: Sequence[Point] = ()) -> np.ndarray:
    """ConfidenceConnected from all points inside, with narrower limits until it holds no point outside."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(features[..., 0]))
    for deviations in (2.5, 2.0, 1.5, 1.0, 0.5):
        grown = sitk.ConfidenceConnected(image, [(int(x), int(y)) for y, x in inside], 2, deviations, 2)
        mask = sitk.GetArrayFromImage(grown) > 0
        if not any(mask[p] for p in outside):
            break
    return mask


def colour_model(features: np.ndarray, edges: tuple[int, ...], inside: list[Point], outside: list[Point]) -> np.ndarray:
    """The split of a box by colours, where spots around the points are certain."""
    shape = features.shape[:2]
    added, removed = (spots(points, shape) for points in (inside, outside))
    part = BoxPart.around(shape, edges, removed)
    radius = np.where(part.of(added), 0, part.radius)
    _, split = colour_split(part.of(features), part.box | part.of(added & ~removed), radius)
    return (part.whole(split, shape) | added) & ~removed


def spots(points: list[Point], shape: tuple[int, int]) -> np.ndarray:
    out = np.zeros(shape, bool)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for row, column in points:
        out |= (rows - row) ** 2 + (columns - column) ** 2 <= _SPOT**2
    return out


def effort_table(values: dict[str, dict[str, list[dict]]], grey_sets: Sequence[str]) -> None:
    """Prints mean Dice after each prompt (grey: the mean of the sets), of how many objects it is enough after how many prompts
    (median), and how often a further prompt made it worse or was not obeyed."""
    columns = [*(f"{n}" for n in range(1, PROMPTS + 1)), f"reach {ENOUGH}", "prompts", "worse", "not obeyed"]
    print(f"| prompts | objects | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}")
    for name, of in values.items():
        groups = {"grey sets": [of[s] for s in grey_sets if of[s]], **{s: [of[s]] for s in of if of[s]}}
        for group, sets in groups.items():
            if sets:
                print(f"| {name}, {group} | {sum(map(len, sets))} | {' | '.join(_cells(sets))} |")


def _cells(sets: list[list[dict]]) -> list[str]:
    curves = [np.array([found["dice"] for found in of_set]) for of_set in sets]
    enough = np.concatenate(curves) >= ENOUGH
    needed = np.median(np.where(enough.any(1), enough.argmax(1) + 1, PROMPTS + 1))
    share = [np.mean([x for of_set in sets for f in of_set for x in f[key]] or [0]) for key in ("worse", "disobeyed")]
    return [
        *(f"{x:.3f}" for x in np.mean([c.mean(0) for c in curves], 0)), f"{100 * enough.any(1).mean():.0f} %",
        f"{needed:.0f}" if needed <= PROMPTS else f"over {PROMPTS}", *(f"{100 * x:.0f} %" for x in share),
    ]  # fmt: skip
