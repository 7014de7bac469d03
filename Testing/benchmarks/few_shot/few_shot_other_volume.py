"""Accuracy of Few-shot where the drawing is in another patient's volume.

    python3 Testing/benchmarks/few_shot/few_shot_other_volume.py                                   both groups of pairs
    python3 Testing/benchmarks/few_shot/few_shot_other_volume.py --groups development --sets hippocampus --drawn 3
    python3 Testing/benchmarks/few_shot/few_shot_other_volume.py --groups confirm --sets ct --drawn all --each    one organ at a time

Task: patient A is drawn fully, or one or three slices of A (shares 1/6, 1/2, 5/6 of the labelled extent); the labels of all of
patient B are wanted, at B's own resolution; nothing is drawn in B. Dice over the volume, mean over the labels.
Failed: labels with a Dice under .5. Today's tools offer nothing here; beside Few-shot stand its own steps:
  copy      the labels of A (between drawn slices the nearest one), the middles of both volumes laid on each other;
  affine    A filled in by Few-shot, laid over B by an affine map;
  fitted    the same after the deformation;
  Few-shot  the answer: the fitted drawing votes with GrowCut in B.
Likeness is the correlation of the aligned images around the drawing; below .5 the user is asked for one slice in B.
With --patients N the drawings are in N other patients of the group, fully drawn, in the order of their names, and nothing or
(--here 1) the middle slice is drawn in the one whose labels are wanted, which does not count then.
With --shown 0.4 the drawn volume is cut to the middle 40 % of the labelled slices first: another field of view.
With --each every label is drawn alone, in a run of its own, as somebody does who wants a single organ.
Seconds are of one thread, from both images in memory to the answer. ``development``: choices were made on these pairs.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
import torch  # noqa: E402
from paths import SHARED_DATA  # noqa: E402
from scipy import ndimage  # noqa: E402

from S3NetSegmentLib.engine.common.errors import InputError  # noqa: E402
from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, SupportVolume  # noqa: E402
from S3NetSegmentLib.engine.few_shot.registration.fitting import Fitted, fit  # noqa: E402
from S3NetSegmentLib.engine.few_shot.registration.picture import Scaled  # noqa: E402
from S3NetSegmentLib.engine.few_shot.settings import FewShotSettings  # noqa: E402
from S3NetSegmentLib.engine.images import Extent, Volume  # noqa: E402
from S3NetSegmentLib.engine.images.intensity import intensity_scale  # noqa: E402

FAILED = 0.5
WAYS = ("copy", "affine", "fitted", "Few-shot")
FOLDERS = {
    "hippocampus": "mr_hippocampus_msd/hippocampus_",
    "acdc": "mr_cardiac_acdc/patient",
    "ct": "ct_abdomen_totalseg/ct",
}
PAIRS = {
    "development": {
        "hippocampus": (
            ("001", "003"), ("003", "004"), ("004", "006"), ("006", "007"), ("007", "008"), ("008", "011"),
            ("011", "014"), ("014", "017"), ("017", "024"), ("024", "001"), ("001", "006"), ("003", "007"),
        ),
        "acdc": (
            ("001_ED", "002_ED"), ("001_ED", "021_ED"), ("001_ES", "003_ES"), ("001_ES", "022_ES"), ("002_ED", "003_ED"),
            ("002_ED", "021_ED"), ("002_ES", "003_ES"), ("002_ES", "022_ES"), ("003_ED", "021_ED"), ("003_ED", "023_ED"),
            ("003_ES", "022_ES"), ("021_ED", "023_ED"), ("021_ES", "001_ES"), ("021_ES", "022_ES"), ("022_ED", "002_ED"),
            ("022_ED", "023_ED"), ("022_ES", "001_ES"), ("023_ED", "002_ED"), ("023_ES", "001_ES"), ("023_ES", "003_ES"),
        ),
        "ct": (),
    },
    "confirm": {
        "hippocampus": (
            ("019", "020"), ("023", "025"), ("026", "033"), ("034", "035"), ("015", "036"), ("037", "038"),
        ),
        "acdc": (
            ("041_ED", "042_ED"), ("061_ED", "062_ED"), ("081_ED", "082_ED"), ("043_ED", "063_ED"), ("062_ES", "061_ES"),
            ("083_ES", "043_ES"),
        ),
        "ct": (("A", "B"), ("B", "A")),
    },
}  # fmt: skip
PATIENTS = {  # no patient of one group is in the other
    "development": {
        "hippocampus": ("001", "003", "004", "006", "007", "008", "011", "014"),
        "acdc": ("001_ED", "002_ED", "003_ED", "021_ED", "022_ED", "023_ED"),
        "ct": (),
    },
    "confirm": {
        "hippocampus": ("019", "020", "023", "025", "026", "033", "034", "035"),
        "acdc": ("041_ED", "042_ED", "043_ED", "061_ED", "062_ED", "063_ED", "081_ED", "082_ED", "083_ED"),
        "ct": (),
    },
}
CT_ORGANS = (1, 5, 6, 52, 79, 63)  # in both scans: spleen, liver, stomach, aorta, spinal cord, vena cava
DRAWN = {"1": (1 / 2,), "3": (1 / 6, 1 / 2, 5 / 6), "all": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--sets", nargs="+", choices=FOLDERS, default=list(FOLDERS))
    parser.add_argument("--drawn", nargs="+", choices=DRAWN, default=list(DRAWN), help="slices drawn in A")
    parser.add_argument("--each", action="store_true", help="draw each label alone")
    parser.add_argument("--shown", type=float, default=1.0, metavar="SHARE", help="of the labelled slices of A")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of Few-shot")
    parser.add_argument("--patients", type=int, metavar="N", help="drawings in N other patients, instead of the pairs")
    parser.add_argument("--here", type=int, default=0, choices=(0, 1), help="slices drawn in the patient itself")
    options = parser.parse_args()
    if SHARED_DATA is None:
        raise SystemExit("the labelled data folder is not there: put it at ../shared/data beside the repository")
    torch.set_num_threads(1)
    settings = FewShotSettings().with_texts(options.set)
    for group in options.groups:
        for set_name in options.sets:
            if options.patients:
                print_several(group, set_name, options.patients, options.here, settings)
                continue
            for drawn in options.drawn:
                print_set(group, set_name, drawn, settings, options.each, options.shown)


def print_set(group: str, set_name: str, drawn: str, settings: FewShotSettings, each: bool, shown: float) -> None:
    rows = list(measured(PAIRS[group][set_name], set_name, drawn, settings, each, shown))
    if not rows:
        return
    print(f"\n{set_name}, {group}, drawn in A: {drawn}")
    print(
        f"{'pair':18s}" + "".join(f"{way:>10s}" for way in WAYS) + f"{'likeness':>10s}{'expected':>10s}{'seconds':>9s}"
    )
    for name, scores, likeness, expected, seconds in rows:
        means = "".join(f"{100 * np.mean(scores[way]):10.1f}" for way in WAYS)
        print(f"{name:18s}{means}{likeness:10.2f}{100 * expected:10.1f}{seconds:9.1f}")
    overall = "".join(f"{100 * np.mean([np.mean(r[1][way]) for r in rows]):10.1f}" for way in WAYS)
    failed = "".join(f"{sum(d < FAILED for r in rows for d in r[1][way]):10d}" for way in WAYS)
    print(f"{f'mean of {len(rows)}':18s}{overall}")
    print(f"{'failed labels':18s}{failed}   of {sum(len(r[1][WAYS[0]]) for r in rows)}", flush=True)


def print_several(group: str, set_name: str, count: int, here: int, settings: FewShotSettings) -> None:
    """Each patient of the group from ``count`` others."""
    names = PATIENTS[group][set_name]
    if len(names) <= count:
        return
    print(f"\n{set_name}, {group}, from {count} patients, drawn slices here: {here}")
    print(f"{'patient':12s}{'Few-shot':>10s}{'expected':>10s}{'seconds':>9s}  likeness and reliability of each")
    scores, cases = [], {}
    for n, name in enumerate(names):
        others = [names[(n + 1 + k) % len(names)] for k in range(count)]
        for other in (name, *others):
            cases.setdefault(other, read(set_name, other))
        query, true = cases[name]
        started = time.perf_counter()
        few_shot = FewShot(query, settings, "z")
        items = [SupportVolume(*cases[other]) for other in others]
        filled = np.flatnonzero(true.any((1, 2)))
        middle = [int(filled[len(filled) // 2])] if here else []
        few_shot.set_support(items + [DrawnSlice("z", z, true[z]) for z in middle])
        answer = run_to_end(few_shot.propagate())
        seconds = time.perf_counter() - started
        kept = np.setdiff1d(np.arange(len(true)), middle)
        found = [dice(answer.labels[kept], true[kept], v) for v in np.unique(true) if v]
        scores.append(found)
        expected = float(np.mean(list(answer.expected_dice.values())))
        part = run_to_end(
            few_shot._maker.transferred(few_shot._support.layers[0].drawing, few_shot._support.layers[0].others)
        )
        told = " ".join(f"{f.alignment.correlation:.2f}/{f.reliability:.2f}" for f in part._fitted)
        print(f"{name:12s}{100 * np.mean(found):10.1f}{100 * expected:10.1f}{seconds:9.1f}  {told}", flush=True)
    failed = sum(d < FAILED for case in scores for d in case)
    print(
        f"{f'mean of {len(scores)}':12s}{100 * np.mean([np.mean(s) for s in scores]):10.1f}   failed labels {failed}",
        flush=True,
    )


def measured(pairs, set_name: str, drawn: str, settings: FewShotSettings, each: bool, shown: float) -> Iterator[tuple]:
    """Name, Dice of each label by each way, likeness, expected Dice and seconds of each pair, or of each label of each pair."""
    for a, b in pairs:
        (support, labels), (query, true) = read(set_name, a), read(set_name, b)
        if shown < 1:
            support, labels = middle_part(support, labels, shown)
        shared = [v for v in np.unique(true) if v and (labels == v).any()]
        for wanted in [[v] for v in shared] if each else [shared]:
            name = f"{a} to {b}" + (f", {wanted[0]}" if each else "")
            some_labels, some_true = (np.where(np.isin(x, wanted), x, 0) for x in (labels, true))
            yield name, *measured_pair(support, some_labels, query, some_true, drawn, settings)


def measured_pair(
    support: Volume, labels: np.ndarray, query: Volume, true: np.ndarray, drawn: str, settings: FewShotSettings
) -> tuple[dict[str, list[float]], float, float, float]:
    given, numbers = sketch(labels, drawn)
    started = time.perf_counter()
    few_shot = FewShot(query, settings, "z")
    few_shot.set_support([SupportVolume(support, given, "z", numbers)])
    try:
        answer = run_to_end(few_shot.propagate())
        answered, expected_dice = answer.labels, answer.expected_dice
    except InputError:  # what is drawn comes to lie beside the image, which is said, and is no answer
        answered, expected_dice = np.zeros_like(true), {}
    seconds = time.perf_counter() - started
    filled = given if numbers is None else filled_in(support, given, numbers, settings)
    here, there = (Scaled(v, intensity_scale(v)) for v in (query, support))
    fitted = run_to_end(fit(here, there, filled, "z"))
    found = {
        "copy": copied(support, given, numbers, query),
        "affine": laid_over(dataclasses.replace(fitted, field=None), query),
        "fitted": laid_over(fitted, query),
        "Few-shot": answered,
    }
    values = [v for v in np.unique(true) if v]
    scores = {way: [dice(labels, true, v) for v in values] for way, labels in found.items()}
    expected = float(np.mean([expected_dice.get(v, 0.0) for v in values]))
    return scores, fitted.alignment.correlation, expected, seconds


def read(set_name: str, name: str) -> tuple[Volume, np.ndarray]:
    image, labels = (
        sitk.ReadImage(str(SHARED_DATA / f"{FOLDERS[set_name]}{name}_{part}.nii.gz")) for part in ("image", "label")
    )
    values = sitk.GetArrayFromImage(labels).astype(np.uint8)
    if set_name == "ct":
        values[~np.isin(values, CT_ORGANS)] = 0
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image), np.diag((-1.0, -1.0, 1.0, 1.0)) @ matrix, name), values


def middle_part(volume: Volume, labels: np.ndarray, share: float) -> tuple[Volume, np.ndarray]:
    filled = np.flatnonzero(labels.any((1, 2)))
    off = round((1 - share) / 2 * len(filled))
    part = Extent((0, 0, int(filled[0]) + off), (*volume.size[:2], int(filled[-1]) + 1 - off))
    return volume.cropped(part), labels[part.slices]


def sketch(labels: np.ndarray, drawn: str) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """The labels on the drawn slices only, and their numbers (None: all)."""
    if DRAWN[drawn] is None:
        return labels, None
    filled = np.flatnonzero(labels.any((1, 2)))
    numbers = tuple(sorted({round(filled[0] + share * (filled[-1] - filled[0])) for share in DRAWN[drawn]}))
    given = np.zeros_like(labels)
    given[list(numbers)] = labels[list(numbers)]
    return given, numbers


def filled_in(volume: Volume, given: np.ndarray, numbers: tuple[int, ...], settings: FewShotSettings) -> np.ndarray:
    few_shot = FewShot(volume, settings, "z")
    few_shot.set_support([DrawnSlice("z", z, given[z]) for z in numbers])
    return run_to_end(few_shot.propagate()).labels


def copied(support: Volume, given: np.ndarray, numbers: tuple[int, ...] | None, query: Volume) -> np.ndarray:
    """``given`` with the nearest drawn slice on each of the slices from the first to the last drawn one, on the grid of
    ``query``."""
    labels = given.copy()
    if numbers is not None:
        for z in range(numbers[0], numbers[-1] + 1):
            labels[z] = given[min(numbers, key=lambda n: abs(n - z))]
    shift = np.eye(4)
    middles = [v.ras_of((np.array(v.size) - 1) / 2) for v in (support, query)]
    shift[:3, 3] = middles[0] - middles[1]
    matrix = np.linalg.inv(support.ijk_to_ras) @ shift @ query.ijk_to_ras
    index = np.indices(query.size).reshape(3, -1)
    place = matrix[:3, :3] @ index + matrix[:3, 3:]
    return ndimage.map_coordinates(labels, place[::-1], order=0).reshape(query.size).transpose(2, 1, 0)


def laid_over(fitted: Fitted, query: Volume) -> np.ndarray:
    """The label with the largest share at each voxel of ``query``."""
    values = [0, *(v for v in np.unique(fitted.labels) if v)]
    out = np.zeros(query.size[::-1], np.uint8)
    for k in range(query.size[2]):
        index = np.indices((*query.size[:2], 1)).reshape(3, -1)
        index[2] = k
        shares = fitted.sampled(query, index.astype(float), values[1:])
        shares = np.concatenate(((1 - shares.sum(0))[None], shares))
        out[k] = np.array(values, np.uint8)[shares.argmax(0)].reshape(query.size[:2]).T
    return out


def dice(found: np.ndarray, true: np.ndarray, label: int) -> float:
    a, b = found == label, true == label
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


if __name__ == "__main__":
    main()
