#!/usr/bin/env python3
"""Memory that the way between Slicer's scene and the engine takes, step by step, beyond the volume itself.

    python3 Testing/benchmarks/panel/scene_memory.py                     256 x 256 x 100
    python3 Testing/benchmarks/panel/scene_memory.py --size 512x512x1000
    python3 Testing/benchmarks/panel/scene_memory.py --size 512x512x1000 --methods     also Segment and a model as a whole, minutes

On the real MRML of slicer-core; the voxels are int16, the labels fill a third of the volume. For each step: the most that is held
at once beyond what was held before it, and what stays, both in MB and in volumes; and seconds. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

import headless_slicer  # noqa: E402
import numpy as np  # noqa: E402

from S3NetSegmentLib.engine import Segment, Segmentation, Volume  # noqa: E402
from S3NetSegmentLib.engine.batch.machine import forget_peak_memory, peak_memory_mb  # noqa: E402
from S3NetSegmentLib.engine.images.writing import write_image  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="256x256x100", help="I x J x K, e.g. 512x512x1000")
    parser.add_argument("--methods", action="store_true", help="also Segment and a model as a whole")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = tuple(int(n) for n in options.size.split("x"))[::-1]
    if options.write:  # in a process of its own, whose memory does not count
        _write_volume(shape, options.write)
        return
    app = headless_slicer.start()
    import slicer_files

    meter = _Meter(2 * np.prod(shape) / 1e6)
    print(f"{options.size}, {meter.volume:,.0f} MB of int16")
    print("| step | most at once, MB | in volumes | what stays, MB | in volumes | s |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, slicer_files.as_in_slicer():
        command = [sys.executable, __file__, "--size", options.size, "--write", f"{name}/image.nii"]
        subprocess.run(command, check=True)
        _bridge(meter, app, shape, Path(name))
        if options.methods:
            _methods(meter, app, shape, Path(name))


class _Meter:
    """Prints a row for each step."""

    def __init__(self, volume: float):
        self.volume = volume

    def __call__(self, what: str, step):
        gc.collect()
        before, began = _held_mb(), time.perf_counter()
        forget_peak_memory()
        result = step()
        seconds, most = time.perf_counter() - began, peak_memory_mb() - before
        stays = _held_mb() - before
        print(
            f"| {what} | {most:,.0f} | {most / self.volume:.2f} | {stays:,.0f} | {stays / self.volume:.2f} | {seconds:.1f} |",
            flush=True,
        )
        return result


def _bridge(meter: _Meter, app, shape: tuple[int, int, int], folder: Path) -> None:
    import slicer

    from S3NetSegmentLib.scene.answers.confidence import ConfidenceOverlay
    from S3NetSegmentLib.scene.batch import SceneFiles
    from S3NetSegmentLib.scene.drawings.drawn_slices import read_drawn, segment_content
    from S3NetSegmentLib.scene.drawings.support_set import SupportSlice
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation, segment_mask, write_segmentation
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    app.new_scene()
    files = SceneFiles()
    meter("batch: file to node", lambda: files.read_image(str(folder / "image.nii")))
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    volume = meter("node to engine", lambda: volume_from_node(node))
    labels = meter("(the answer of a method: uint8 labels)", lambda: _labels(shape))
    segments = [Segment(f"Organ {n}", (0.1 * n, 0.5, 0.5), n) for n in (1, 2, 3)]
    answer = Segmentation([labels], segments, volume.ijk_to_ras)
    written, ids = meter("three segments to a new node", lambda: write_segmentation(answer, node))
    mask = labels == 1

    def edit():
        with segment_edit(written, node) as changes:
            changes.replace(ids[0], mask, volume)

    meter("one segment again", edit)
    meter("one segment read", lambda: segment_mask(written, ids[0], volume))
    drawing = create_segmentation(node)
    drawn = np.zeros_like(labels)
    drawn[[shape[0] // 3, shape[0] // 2]] = labels[[shape[0] // 3, shape[0] // 2]]
    write_segmentation(Segmentation([drawn], segments, volume.ijk_to_ras), node, drawing)
    del drawn
    meter("drawn slices found", lambda: segment_content(drawing, None, node, "z"))
    chosen = [SupportSlice("z", shape[0] // 3), SupportSlice("z", shape[0] // 2)]
    meter("drawn slices read", lambda: read_drawn(drawing, None, node, chosen))
    meter("saved by Slicer", lambda: slicer.util.saveNode(written, str(folder / "out.seg.nrrd")))
    sure = meter("(confidence of a method: float16)", lambda: np.full(shape, 0.5, np.float16))
    meter("confidence shown", lambda: ConfidenceOverlay(node).show(sure, volume))
    files.clear()


def _methods(meter: _Meter, app, shape: tuple[int, int, int], folder: Path) -> None:
    import qt_stand_in
    import slicer
    from model_files import write_model

    qt_stand_in.install(app)
    import S3NetSegment
    from S3NetSegmentLib.scene.batch import SceneFiles

    logic, files = S3NetSegment.S3NetSegmentLogic(), SceneFiles()
    volume = files.read_image(str(folder / "image.nii"))
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    point = volume.ras_of([n // 2 for n in volume.size])
    meter("Segment at a point", lambda: logic.segment(node, points=[point], device="cpu"))
    model = write_model(folder / "model.pt")
    meter("model", lambda: logic.applyModel(node, model, device="cpu"))
    files.clear()


def _write_volume(shape: tuple[int, int, int], path: Path) -> None:
    image = np.random.default_rng(0).integers(-20, 20, shape, np.int16)
    image += (300 * _labels(shape).astype(np.int16)).astype(np.int16)
    write_image(Volume(image, np.diag((-0.7, -0.7, 1.0, 1.0)), "image"), path)


def _labels(shape: tuple[int, int, int]) -> np.ndarray:
    """Three bars through the volume, a third of it."""
    labels = np.zeros(shape, np.uint8)
    depth, rows, columns = shape
    for value in (1, 2, 3):
        left = columns * value // 4 - columns // 10
        labels[depth // 10 : -(depth // 10), rows // 4 : -(rows // 4), left : left + columns // 4 - columns // 20] = (
            value
        )
    return labels


def _held_mb() -> float:
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))[1]) / 1024


if __name__ == "__main__":
    main()
