"""Drawing effort through a cohort: slices that a simulated user draws or corrects until each patient is good enough.

    python3 Testing/benchmarks/few_shot/cohort_loop.py --sets hippocampus --patients 10
    python3 Testing/benchmarks/few_shot/cohort_loop.py --sets acdc hippocampus --ways nearest scratch loop model

A patient is done when the mean Dice of its labels over the whole volume (drawn slices included, as they are right) reaches
.90 (hippocampus .85). Until then the user draws the true labels on the slice that the product names first (``scratch``,
``loop``, ``model``), or halves the widest gap between drawn slices (``nearest``); the first slice of a patient without any
proposal is the middle of the labelled extent. At most every slice is drawn. Ways:

  nearest   Slicer alone: "Grow from seeds" from the drawn slices, or the nearest drawn slice, whichever is better (judged by
            the truth, so rather too good)
  scratch   Few-shot in each patient alone
  loop      Few-shot from the accepted patients (at most 5) and the slices drawn here
  model     the same, and a model trained whenever 6, 9, 12, ... patients are accepted; its time is --minutes

Patients come in the order of their names. Seconds are of one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from few_shot_other_volume import FOLDERS, dice, read  # noqa: E402
from paths import SHARED_DATA  # noqa: E402

from S3NetSegmentLib.engine import Segment, Segmentation, Volume, run_to_end  # noqa: E402
from S3NetSegmentLib.engine.cohort_loop.accepting import accept  # noqa: E402
from S3NetSegmentLib.engine.cohort_loop.model import LEAST_CASES, train  # noqa: E402
from S3NetSegmentLib.engine.cohort_loop.proposing import DrawnHere, ReadCases, propose  # noqa: E402
from S3NetSegmentLib.engine.cohort_loop.store import CohortStore  # noqa: E402
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot  # noqa: E402
from S3NetSegmentLib.engine.few_shot.voters.grown import grow_labels  # noqa: E402
from S3NetSegmentLib.engine.images.colors import label_colors  # noqa: E402
from S3NetSegmentLib.engine.images.writing import write_image  # noqa: E402

WAYS = ("nearest", "scratch", "loop", "model")
ENOUGH = {"acdc": 0.90, "hippocampus": 0.85}
_RETRAINED = 3  # accepted patients between two trainings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=ENOUGH, default=list(ENOUGH))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--patients", type=int, default=1000, metavar="N", help="only the first N of a set")
    parser.add_argument("--minutes", type=float, default=5.0, metavar="M", help="of each training (way model)")
    options = parser.parse_args()
    if SHARED_DATA is None:
        raise SystemExit("the labelled data folder is not there: put it at ../shared/data beside the repository")
    torch.set_num_threads(1)
    for set_name in options.sets:
        cases = {name: read(set_name, name) for name in names_of(set_name)[: options.patients]}
        for way in options.ways:
            with tempfile.TemporaryDirectory() as folder:
                print_way(set_name, way, cases, Path(folder), options.minutes)


def names_of(set_name: str) -> list[str]:
    """Patients of a set; of each heart the end of diastole."""
    folder, _, start = FOLDERS[set_name].partition("/")
    found = sorted((SHARED_DATA / folder).glob(f"{start}*_image.nii.gz"))
    names = [path.name[len(start) : -len("_image.nii.gz")] for path in found]
    return [name for name in names if set_name != "acdc" or name.endswith("ED")]


def print_way(set_name: str, way: str, cases, folder: Path, minutes: float) -> None:
    print(f"\n{set_name}, {way}: slices drawn until mean Dice {ENOUGH[set_name]:.2f}", flush=True)
    loop = Loop(folder, cases, minutes if way == "model" else 0.0) if way in ("loop", "model") else None
    counts, started = [], time.perf_counter()
    for name, (volume, true) in cases.items():
        solve = {"nearest": by_slicer, "scratch": by_few_shot}.get(way) or loop.solver(name)
        count, first, reached = worked_through(volume, true, solve, ENOUGH[set_name], loop is not None and loop.knows)
        counts.append(count)
        if loop is not None:
            loop.accept(name)
        print(
            f"  {name:10s}{count:4d} of {len(true)} slices; first {100 * first:5.1f}, last {100 * reached:5.1f}",
            flush=True,
        )
    late = f"; from the tenth on {np.mean(counts[9:]):.2f}" if len(counts) > 9 else ""
    print(
        f"  {way}: {np.mean(counts):.2f} slices per patient ({sum(counts)} in all){late}; {time.perf_counter() - started:.0f} s"
    )


def worked_through(volume: Volume, true: np.ndarray, solve: Callable, enough: float, has_proposal: bool):
    """Slices drawn, and the mean Dice of the first and the last answer."""
    filled = np.flatnonzero(true.any((1, 2)))
    drawn: list[int] = [] if has_proposal else [int(filled[len(filled) // 2])]
    first = None
    while True:
        labels, wanted = solve(volume, true, drawn)
        labels = labels.copy()
        labels[drawn] = true[drawn]
        reached = float(np.mean([dice(labels, true, v) for v in np.unique(true) if v]))
        first = reached if first is None else first
        if reached >= enough or len(drawn) == len(true):
            return len(drawn), first, reached
        left = [z for z in wanted if z not in drawn] or widest_gap(drawn, filled, len(true))
        drawn = sorted({*drawn, left[0]})


def widest_gap(drawn: list[int], filled: np.ndarray, depth: int) -> list[int]:
    """Slices that are not drawn, the one farthest from any drawn slice first, those that show something before others."""
    left = [z for z in range(depth) if z not in drawn]
    return sorted(left, key=lambda z: (z not in filled, -min((abs(z - d) for d in drawn), default=depth)))


def by_slicer(volume: Volume, true: np.ndarray, drawn: list[int]):
    seeds = np.zeros(true.shape, np.uint8)
    seeds[drawn] = true[drawn] + 1
    image = volume.array.astype(np.int32)
    grown = np.maximum(run_to_end(grow_labels(image, seeds))[0], 1) - 1
    nearest = true[[min(drawn, key=lambda d: abs(d - z)) for z in range(len(true))]]
    scores = [np.mean([dice(found, true, v) for v in np.unique(true) if v]) for found in (grown, nearest)]
    return (grown, nearest)[int(np.argmax(scores))], []


def by_few_shot(volume: Volume, true: np.ndarray, drawn: list[int]):
    few_shot = FewShot(volume, axis="z")
    few_shot.set_support([DrawnSlice("z", z, true[z]) for z in drawn])
    answer = run_to_end(few_shot.propagate())
    return answer.labels, [z for z, _ in answer.next_slices]


class Loop:
    """The loop in a folder of images, as the product runs it.

    Attribute ``knows``: whether anything is accepted yet.
    """

    def __init__(self, folder: Path, cases, minutes: float):
        for name, (volume, _) in cases.items():
            write_image(volume, folder / f"{name}.nii.gz")
        self.store, self._cases, self._minutes, self._read = CohortStore(folder), cases, minutes, ReadCases()
        self.knows = False

    def solver(self, name: str) -> Callable:
        def solve(volume: Volume, true: np.ndarray, drawn: list[int]):
            if not self.knows:
                return by_few_shot(volume, true, drawn)
            here = None
            if drawn:
                shown = np.zeros_like(true)
                shown[drawn] = true[drawn]
                here = DrawnHere(segmented(volume, shown), "z", tuple(drawn))
            proposal = run_to_end(propose(self.store, name, here, read=self._read, encoder="default"))
            return np.maximum.reduce(proposal.segmentation.layers), proposal.next_slices

        return solve

    def accept(self, name: str) -> None:
        """The user corrects what is left, outside of this count, and accepts; a model is trained when it is time."""
        volume, true = self._cases[name]
        accept(self.store, name, segmented(volume, true), new_segments=True)
        self.knows = True
        count = len(self.store.accepted())
        if self._minutes and count >= LEAST_CASES and (count - LEAST_CASES) % _RETRAINED == 0:
            trained = run_to_end(train(self.store, self._minutes, device="cpu"))
            scores = {
                name: f"{dice:.2f} ({trained.few_shot.get(name, float('nan')):.2f})"
                for name, dice in trained.model.items()
            }
            print(
                f"  trained on {trained.cases}: {scores}; used for {', '.join(trained.used) or 'nothing'}", flush=True
            )


def segmented(volume: Volume, labels: np.ndarray) -> Segmentation:
    values = [int(v) for v in range(1, int(labels.max()) + 1)]
    colors = label_colors(len(values))
    segments = [Segment(f"Label {v}", c, v) for v, c in zip(values, colors, strict=True)]
    return Segmentation([labels], segments, volume.ijk_to_ras)


if __name__ == "__main__":
    main()
