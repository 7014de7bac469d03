#!/usr/bin/env python3
"""Works through a cohort in the panel as a user does, with a picture of each proposal: next case, correct, propose again, accept.

    python3 Testing/panel_cohort.py [--patients 15] [--set hippocampus | acdc] [--folder pictures]

The user is simulated: in the first patient the true labels are drawn on all slices; in each later one the slice that the panel names
first is corrected to the true one, and the others proposed again, until the mean Dice of the labels reaches .85 (hearts .90); then
what is left is corrected, too, and accepted. Printed: slices corrected for each patient, Dice of the first proposal, what the panel
expected, and the seconds of each step as the panel took them. Needs the labelled data of ``benchmarks/few_shot/few_shot_other_volume.py``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
TESTING = Path(__file__).resolve().parent
sys.path[:0] = [
    str(TESTING / "support"),
    str(TESTING / "benchmarks" / "few_shot"),
    str(TESTING.parent / "S3NetSegment"),
]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

import headless_slicer  # noqa: E402
import numpy as np  # noqa: E402
import qt_stand_in  # noqa: E402
from paths import MODULE, SHARED_DATA  # noqa: E402

ENOUGH = {"hippocampus": 0.85, "acdc": 0.90}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=15)
    parser.add_argument("--set", choices=ENOUGH, default="hippocampus")
    parser.add_argument("--folder", type=Path, default=Path("cohort_pictures"), help="for the pictures (%(default)s)")
    options = parser.parse_args()
    problem = None if qt_stand_in.AVAILABLE else qt_stand_in.WHY_NOT
    problem = problem or (None if SHARED_DATA else "the labelled data folder is not there")
    if problem:
        print(f"the cohort cannot be shown: {problem}", file=sys.stderr)
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work_through(Path(folder), options)
    return 0


def work_through(folder: Path, options) -> None:
    from cohort_loop import names_of
    from few_shot_other_volume import read

    from S3NetSegmentLib.engine.images.writing import write_image

    truths = {}
    for name in names_of(options.set)[: options.patients]:
        volume, truths[name] = read(options.set, name)
        write_image(volume, folder / f"{name}.nii.gz")
    headless = headless_slicer.start()
    application = qt_stand_in.install(headless)
    headless.new_scene()

    from panel_driver import PanelDriver

    module, widget = qt_stand_in.open_module(MODULE / "S3NetSegment.py")
    panel = PanelDriver(module, widget, application, headless)
    widget.parent.resize(400, 1080)
    panel.open_cohort(folder)
    counts = []
    for number in range(1, len(truths) + 1):
        seconds = pressed(panel, "nextCaseButton")
        case = panel.panel.cohort.controller.case
        panel.settle(0.2)
        if case is None or panel.message:
            raise SystemExit(f"no case is open: {panel.message}")
        truth = truths[case.name]
        if number == 1:
            for z in range(len(truth)):
                put(panel, truth, z)
            count, first = np.count_nonzero(truth.any((1, 2))), float("nan")
        else:
            take_picture(panel, case.name, options.folder / f"{number:02d}_{case.name}.png")
            count, first, more = corrected(panel, truth, ENOUGH[options.set])
            seconds += more
        counts.append(count)
        text = panel.panel.cohort.ui.loopText.text.splitlines()[0]
        for z in range(len(truth)):
            put(panel, truth, z)
        seconds += pressed(panel, "acceptCaseButton")
        print(f"{case.name}: {count} slices, first proposal {first:.2f}, {seconds:.0f} s; {text}", flush=True)
        assert "accepted" in panel.message, panel.message
    panel.settle(0.3)
    widget.parent.grab().save(str(options.folder / "end.png"))
    print(
        f"{panel.panel.cohort.ui.loopText.text.splitlines()[-1]} Slices after the first patient: {np.mean(counts[1:]):.2f}"
    )
    panel.close()


def pressed(panel, name: str) -> float:
    """Seconds from the click to the end of the run."""
    started = time.perf_counter()
    panel.click(getattr(panel.panel.cohort.ui, name))
    panel.wait(lambda: not panel.panel.cohort.running)
    return time.perf_counter() - started


def corrected(panel, truth: np.ndarray, enough: float) -> tuple[int, float, float]:
    """Corrects slices until the proposal is good; (how many, Dice of the first proposal, seconds)."""
    drawn: list[int] = []
    seconds, first = 0.0, None
    while True:
        dice = mean_dice(panel, truth)
        first = dice if first is None else first
        if dice >= enough or len(drawn) == len(truth):
            return len(drawn), first, seconds
        case = panel.panel.cohort.controller
        named = case.store.record("proposed", case.case.name).get("next_slices", ())
        z = next((z for z in named if z not in drawn), None)
        if z is None:
            z = max((z for z in range(len(truth)) if z not in drawn), key=lambda z: truth[z].astype(bool).sum())
        drawn.append(z)
        put(panel, truth, z)
        seconds += pressed(panel, "proposeAgainButton")


def put(panel, truth: np.ndarray, z: int) -> None:
    """The true labels on slice ``z``, as one stroke."""
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    node = panel.parameters
    volume = volume_from_node(node.volume)
    grid = volume.cropped(volume.extent.slice_at("z", z))
    ids = {}
    for value in np.unique(truth[truth > 0]):
        name = f"Label {value}"
        ids[int(value)] = node.segmentation.GetSegmentation().GetSegmentIdBySegmentName(name) or panel.add_segment(name)
    with segment_edit(node.segmentation, node.volume) as edit:
        for value, segment_id in ids.items():
            edit.replace(segment_id, truth[z : z + 1] == value, grid)


def mean_dice(panel, truth: np.ndarray) -> float:
    values = [int(v) for v in np.unique(truth[truth > 0])]
    scores = []
    for value in values:
        name, right = f"Label {value}", truth == value
        known = panel.parameters.segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
        found = panel.mask(name, panel.parameters.segmentation) if known else np.zeros_like(right)
        scores.append(2 * (found & right).sum() / max(1, found.sum() + right.sum()))
    return float(np.mean(scores))


def take_picture(panel, name: str, path: Path) -> None:
    """The panel with the case chosen in its list, which shows the picture of the proposal."""
    table = panel.panel.cohort.ui.loopTable
    row = next(n for n in range(table.rowCount) if table.item(n, 0).text() == name)
    table.setCurrentCell(row, 0)
    panel.settle(0.3)
    panel.widget.parent.grab().save(str(path))


if __name__ == "__main__":
    sys.exit(main())
