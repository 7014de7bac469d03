"""How long the panel makes the user wait: ``python3 Testing/benchmarks/panel/panel_timings.py [WHAT ...]``.

    load, create, write         loading the module, making its panel, writing a small segment into a large scene
    slice, box, click, regions  Segment: a slice, a box and a click in a volume, the regions of a volume
    colour                      Segment on a picture of the skin, with S3-Net, which needs torch
    few-shot, another           Few-shot: three drawn slices to the volume, and to another volume
    model, cohort, advanced     a model on a volume, the next patient of a folder, opening Advanced (it names the device)

Each is measured in a process of its own, so that what is loaded late is counted. "Longest pause" is the longest time that the
window does not answer while it works, on this machine; in brackets the same in time of the processor, of the window's thread and
of all threads of the program, for which the window may have to wait. Other programs change these less: a machine that has nothing
else to do takes no more than the latter. With --on-a-busy-machine the limits hold for the time of the window's thread, and are three
times as wide, since caches are shared, too. The panel is the real one over the test stand-in for Slicer's Qt; MRML is Slicer's own. Exit code 1: above a limit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTING = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTING), str(TESTING / "support"), str(TESTING.parent / "S3NetSegment")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OMP_NUM_THREADS", "1")

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

LIMITS = {"load": 50, "create": 200, "write": 20}  # ms; of everything else the longest pause
LONGEST_PAUSE = 100
_BUSY_MARGIN = 3
REPEATS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"of {', '.join(CASES)}; none: all")
    parser.add_argument(
        "--on-a-busy-machine", action="store_true", help="wider limits, for the window thread's processor time"
    )
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(CASES[options.one]()))
        return 0
    if unknown := set(options.what) - set(CASES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(CASES)}")
    print("| what | ms | (processor) | (all threads) | limit | |\n| --- | --- | --- | --- | --- | --- |")
    failed = False
    for what in options.what or CASES:
        done = subprocess.run(
            [sys.executable, __file__, "--one", what], capture_output=True, text=True, errors="replace"
        )
        if done.returncode:
            raise SystemExit(f"{what} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        (wall, own, all_threads), about = json.loads(done.stdout.splitlines()[-1])
        limit = LIMITS.get(what, LONGEST_PAUSE)
        failed |= own > _BUSY_MARGIN * limit if options.on_a_busy_machine else wall > limit
        print(f"| {what} | {wall:.0f} | ({own:.0f}) | ({all_threads:.0f}) | {limit} | {about} |", flush=True)
    return int(failed)


_CLOCKS = (time.perf_counter, time.thread_time, time.process_time)
Times = tuple[float, ...]  # milliseconds on the wall, of this thread's processor, and of all threads'


class Clock:
    def __init__(self):
        self._start = self._now()

    def read(self) -> Times:
        return tuple(1000 * (now - start) for now, start in zip(self._now(), self._start, strict=True))

    @staticmethod
    def _now() -> Times:
        return tuple(clock() for clock in _CLOCKS)


def timed(action) -> Times:
    clock = Clock()
    action()
    return clock.read()


def longest(times: list[Times]) -> Times:
    return tuple(map(max, zip(*times, strict=True)))


# -- what is measured


def load():
    """The module's file, as Slicer loads it at its start."""
    start()
    from paths import MODULE

    import_module = _importer(MODULE / "S3NetSegment.py")
    times = timed(import_module)
    late = [name for name in ("torch", "scipy", "numpy") if name in sys.modules and name not in _BEFORE]
    return times, f"loads {', '.join(late)}" if late else "loads no torch"


def create():
    """The panel: made, shown and entered; the median, and the first one, which loads the engine's plain types."""
    panel = open_panel(small_volume())
    panel.close()
    times = []
    for _ in range(REPEATS):
        import qt_stand_in
        from paths import MODULE

        times.append(timed(lambda: qt_stand_in.open_module(MODULE / "S3NetSegment.py")))
    return sorted(times)[
        REPEATS // 2
    ], f"the first one {1000 * _FIRST[0]:.0f}; {'torch' if 'torch' in sys.modules else 'no torch'}"


def write():
    """A cube of 20 voxels as a further segment of a scene with a volume of 512 x 512 x 300, one undo step."""
    start()
    import numpy as np
    import slicer

    from S3NetSegmentLib.engine import Extent
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    node = slicer.util.addVolumeFromArray(np.zeros((300, 512, 512), np.int16), name="large")
    segmentation, volume = create_segmentation(node), volume_from_node(node)
    box = Extent((200, 200, 100), (220, 220, 120))
    cube, grid = np.ones((20, 20, 20), bool), volume.cropped(box)
    segment_id, times = segmentation.GetSegmentation().AddEmptySegment("", "cube"), []

    def add():
        with segment_edit(segmentation, node) as edit:
            edit.replace(segment_id, cube, grid)

    for _ in range(REPEATS):
        times.append(timed(add))
    return sorted(times)[REPEATS // 2], f"the first time {max(times)[0]:.0f}"


def slice_of_volume():
    panel, _organs = open_ct()
    panel.parameters.scope = type(panel.parameters.scope)("slice")
    panel.settle(0.3)
    return pause_of(panel, lambda: panel.ui.segmentButton.click(), panel.panel.controller)


def regions():
    panel, _organs = open_ct()
    panel.settle(0.3)
    return pause_of(panel, lambda: panel.ui.segmentButton.click(), panel.panel.controller)


def click():
    panel, organs = open_ct()
    place = organs["liver"]["middle"]
    return pause_of(panel, lambda: panel.view(panel.views[0]).click(place), panel.panel.controller)


def box():
    panel, organs = open_ct()
    low, high = (organs["liver"][end] for end in ("low", "high"))
    middle = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
    return pause_of(panel, lambda: panel.drag(panel.views[0], low, middle, high), panel.panel.controller)


def colour():
    from paths import SAMPLE_DATA

    start()
    from S3NetSegmentLib.engine.images.reading import read_image
    from S3NetSegmentLib.scene.volumes import node_of

    panel = open_panel(node_of(read_image(SAMPLE_DATA / "skin_lesion_1.jpg")))
    return pause_of(panel, lambda: panel.ui.segmentButton.click(), panel.panel.controller)


def few_shot(another: bool = False):
    panel, _organs = open_ct()
    draw_three_slices(panel)
    if another:
        import slicer

        volumes = slicer.modules.volumes.logic()
        copy = volumes.CloneVolume(slicer.mrmlScene, panel.parameters.volume, "another")
        panel.parameters.otherVolume = copy
        panel.parameters.propagateTo = type(panel.parameters.propagateTo)("other")
        panel.settle(0.3)
    return pause_of(panel, lambda: panel.ui.propagateButton.click(), panel.panel.few_shot.controller)


def another():
    return few_shot(another=True)


def model():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        in_another_process(
            f"from model_files import write_model; write_model(__import__('pathlib').Path({str(path)!r}))"
        )
        panel, _organs = open_ct()
        panel.open_models()
        chosen = pause_of(panel, lambda: type_into(panel.panel.models.ui.modelFileEdit, path), settle=1.0)
        done = pause_of(panel, lambda: panel.panel.models.ui.applyModelButton.click(), panel.panel.models)
        return longest([chosen[0], done[0]]), f"choosing it {chosen[0][0]:.0f}; {done[1]}"


def cohort():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder) / "scans"
        names = [f"patient{n}" for n in range(3)]
        in_another_process(
            f"from pathlib import Path; from loop_folders import *; from S3NetSegmentLib.engine.cohort_loop.accepting import accept; "
            f"from S3NetSegmentLib.engine.cohort_loop.store import CohortStore; write_patients(Path({str(folder)!r}), *{names!r}); "
            f"accept(CohortStore({str(folder)!r}), 'patient0', drawn(*patient(0)))"
        )
        panel = open_panel(small_volume())
        opened = pause_of(panel, lambda: panel.open_cohort(folder), settle=1.0)
        done = pause_of(panel, lambda: panel.panel.cohort.ui.nextCaseButton.click(), panel.panel.cohort)
        return longest([opened[0], done[0]]), f"opening the folder {opened[0][0]:.0f}; {done[1]}"


def advanced():
    panel = open_panel(small_volume())

    def fold():
        panel.ui.advancedCollapsibleButton.collapsed = False

    return pause_of(panel, fold, settle=8.0)


CASES = {
    "load": load, "create": create, "write": write, "slice": slice_of_volume, "regions": regions, "click": click, "box": box,
    "colour": colour, "few-shot": few_shot, "another": another, "model": model, "cohort": cohort, "advanced": advanced,
}  # fmt: skip

# -- the panel

_BEFORE: set[str] = set()
_FIRST = [0.0]


def start():
    """Slicer's core and the stand-in for its Qt; ``(headless, application)``."""
    import headless_slicer
    import qt_stand_in

    headless = headless_slicer.start()
    application = qt_stand_in.install(headless)
    headless.new_scene()
    _BEFORE.update(sys.modules)
    return headless, application


def _importer(path: Path):
    import importlib.util

    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    return lambda: spec.loader.exec_module(module)


def open_panel(volume_node):
    """A PanelDriver on ``volume_node`` with one view, ``views``."""
    import headless_slicer
    import qt_stand_in
    import slicer
    from panel_driver import PanelDriver
    from paths import MODULE

    headless = headless_slicer.start()  # the one that runs already
    view = headless.add_slice_view("View", "Axial", volume_node)
    slicer.app.layoutManager().show(view)
    begin = time.perf_counter()
    module, widget = qt_stand_in.open_module(MODULE / "S3NetSegment.py")
    _FIRST[0] = time.perf_counter() - begin
    panel = PanelDriver(module, widget, slicer.app, headless)
    panel.views = [view]
    return panel


def small_volume():
    start()
    import numpy as np
    import slicer

    noise = np.random.default_rng(0).normal(100, 20, (12, 36, 40))
    return slicer.util.addVolumeFromArray(noise.astype(np.int16), name="small")


def open_ct():
    """The panel on the shipped CT, and where its organs are in their largest slice, which the view shows."""
    start()
    import numpy as np
    from panel_picture import ORGANS, add_volume, read_sample

    image, labels = read_sample("ct_abdomen")
    panel = open_panel(add_volume(image, "CT"))
    panel.labels, organs = labels, {}
    for name, (value, _) in ORGANS.items():
        mask = labels == value
        number = int(mask.sum(axis=(1, 2)).argmax())
        rows, columns = np.nonzero(mask[number])
        middle = len(rows) // 2
        organs[name.lower()] = {
            "low": image.ras_of((columns.min(), rows.min(), number)),
            "high": image.ras_of((columns.max(), rows.max(), number)),
            "middle": image.ras_of((columns[middle], rows[middle], number)),
        }
    panel.views[0].JumpSliceByOffsetting(*organs["liver"]["middle"])
    return panel, organs


def draw_three_slices(panel):
    from panel_picture import DRAWN, ORGANS

    panel.open_few_shot()
    for number in DRAWN:
        for name, (value, _) in ORGANS.items():
            if (panel.labels[number] == value).any():
                panel.draw(name, panel.labels[number] == value, "z", number)


def type_into(edit, path):
    edit.text = str(path)
    edit.editingFinished.emit()


def in_another_process(code: str) -> None:
    """Prepares files; this process shall not load torch for them."""
    paths = f"import sys; sys.path[:0] = {sys.path[:3]!r}; "
    subprocess.run([sys.executable, "-c", paths + code], check=True, cwd=TESTING)


def pause_of(panel, begin, works=None, settle: float = 0.5):
    """The longest turn of the event loop from ``begin()`` until ``works`` is not running any more, and ``settle`` seconds.

    :returns: the longest of each of its times, and a text.
    """
    from PyQt5.QtWidgets import QApplication

    before, whole = set(sys.modules), Clock()
    turns = [timed(begin)]
    until = time.perf_counter() + settle
    while (works is not None and works.running) or time.perf_counter() < until:
        busy = works is not None and works.running
        turns.append(timed(QApplication.processEvents))
        if busy:
            until = time.perf_counter() + settle
        time.sleep(0.0005)
    torch = "loads torch" if "torch" in sys.modules and "torch" not in before else "no torch loaded"
    return longest(turns), f"{torch}; {whole.read()[0] / 1000 - settle:.1f} s in all"


if __name__ == "__main__":
    sys.exit(main())
