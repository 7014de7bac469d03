#!/usr/bin/env python3
"""Random user actions over all tabs of the panel on the stand-in, thousands of them, in walks of a few hundred.

    python3 Testing/reliability/panel_walks.py [--actions 2000] [--each 250] [--seed 0]

Clicks, boxes, strokes, dragged sides, undo, painting, renaming, removal of nodes, scene closing, reloading, changed voxels, tabs, a
second volume and segmentation, effects of the editor. After each: no slot raised, nothing stuck, nothing left behind.
"""

import argparse
import os
import sys
import time
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING / "support"), str(TESTING.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actions", type=int, default=2000)
    parser.add_argument("--each", type=int, default=250, help="actions of one walk")
    parser.add_argument("--seed", type=int, default=0, help="of the first walk")
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("S3NETSEGMENT_TEST_PATIENCE", "60")
    import headless_slicer
    import qt_stand_in
    from paths import MODULE

    headless = headless_slicer.start()
    application = qt_stand_in.install(headless)
    from panel_driver import PanelDriver
    from panel_walk import make_walk

    def open_panel(*engines):
        module, widget = qt_stand_in.open_module(MODULE / "S3NetSegment.py", *engines)
        return PanelDriver(module, widget, application, headless)

    done, failed, begun = 0, 0, time.monotonic()
    for number in range(-(-options.actions // options.each)):
        headless.new_scene()
        walk = make_walk(open_panel, application, headless, options.seed + number)
        try:
            walk.go(options.each)
        except AssertionError as error:
            failed += 1
            print(f"walk {options.seed + number}: {error}", flush=True)
        walk.panel.close()
        walk.failures.clear()
        done += len(walk.done)
    print(f"{done} actions in {time.monotonic() - begun:.0f} s, {failed} walks broken")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
