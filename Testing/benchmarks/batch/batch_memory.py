#!/usr/bin/env python3
"""Peak memory and seconds of one case of a batch against the size of its image, for each method.

    python3 Testing/benchmarks/batch/batch_memory.py                     128 x 128 x 64 and 256 x 256 x 100
    python3 Testing/benchmarks/batch/batch_memory.py --large             also 512 x 512 x 300 and 512 x 512 x 1000, many minutes
    python3 Testing/benchmarks/batch/batch_memory.py --sizes 512x512x1000 --methods apply --keep DIR

The volumes are the shipped CT resampled to the size, with noise, int16; Few-shot has three drawn slices with its organs, apply a
network of the preset tiny with random weights, on the CPU with one thread. Peak memory is that of the worker process, by
the record of the case and by the system (the largest of all processes); beside it what ``--dry-run`` foretells.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
from model_files import CLASSES, PROVENANCE  # noqa: E402
from paths import MODULE, SAMPLE_DATA  # noqa: E402

from S3NetSegmentLib.cli.demo.few_shot import slices_to_draw  # noqa: E402
from S3NetSegmentLib.engine import Volume  # noqa: E402
from S3NetSegmentLib.engine.images.reading import read_image  # noqa: E402
from S3NetSegmentLib.engine.images.resample import resized  # noqa: E402
from S3NetSegmentLib.engine.images.writing import write_image  # noqa: E402
from S3NetSegmentLib.engine.nets.unet import CHANNELS, TwoStreamUNet, seeded  # noqa: E402
from S3NetSegmentLib.engine.training.model.model_file import Model, describe_network, network_tensors, save_model  # noqa: E402
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout  # noqa: E402

SMALL, LARGE = ("128x128x64", "256x256x100"), ("512x512x300", "512x512x1000")
METHODS = ("segment", "few-shot", "apply")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", help="e.g. 256x256x100,512x512x300")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--ending", default=".nii.gz", choices=(".nii.gz", ".nii", ".nrrd"))
    parser.add_argument("--keep", metavar="DIR", help="a folder for the volumes; what is there already is used again")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(Path(options.one))))
        return
    sizes = options.sizes.split(",") if options.sizes else [*SMALL, *(LARGE if options.large else ())]
    print(
        "| volume | raw, MB | method | peak, MB | by the system, MB | foretold, MB | method, s | in all, s |\n|---|---|---|---|---|---|---|---|"
    )
    with contextlib.ExitStack() as stack:
        folder = Path(options.keep or stack.enter_context(tempfile.TemporaryDirectory())).absolute()
        for size in sizes:
            shape = tuple(int(n) for n in size.split("x"))[::-1]
            row(folder / size, shape, options.methods.split(","), options.ending)


def row(folder: Path, shape: tuple[int, int, int], methods: list[str], ending: str) -> None:
    """Measures one size; a process for each method, so that its peak is its own."""
    if not (folder / f"image{ending}").exists():
        subprocess.run([sys.executable, "-c", _MAKER, str(_testing), str(folder), *map(str, shape), ending], check=True)
    for method in methods:
        manifest = write_manifest(folder, method, ending)
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(manifest)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"| {folder.name} | | {method} | FAILED: {done.stderr[-400:]}", flush=True)
            continue
        facts = json.loads(done.stdout)
        print(
            f"| {folder.name} | {2 * np.prod(shape) / 1e6:,.0f} | {method} | {facts['peak']:,} | {facts['system']:,} | "
            f"{facts['foretold']} | {facts['method']:.1f} | {facts['total']:.1f} |", flush=True,
        )  # fmt: skip


def make_volume(folder: Path, shape: tuple[int, int, int], ending: str) -> None:
    """The shipped CT at ``shape`` with noise, and a drawing of its organs on three slices."""
    folder.mkdir(parents=True, exist_ok=True)
    sample, labels = (read_image(SAMPLE_DATA / f"ct_abdomen{part}.nii.gz") for part in ("", "_labels"))
    rng, matrix = np.random.default_rng(0), sample.ijk_to_ras.copy()
    matrix[:3, :3] *= [n / m for n, m in zip(sample.size, shape[::-1], strict=True)]
    image = np.empty(shape, np.int16)
    drawn = np.zeros(shape, np.uint8)
    places = [
        np.minimum((np.arange(n) * m / n).astype(int), m - 1) for n, m in zip(shape, labels.array.shape, strict=True)
    ]
    for k in range(shape[0]):
        plane = sample.array[places[0][k]].astype(np.float32)
        image[k] = np.rint(resized(plane, shape[1:]) + rng.normal(0, 8, shape[1:]))
        drawn[k] = labels.array[places[0][k]][np.ix_(places[1], places[2])]
    only = np.zeros_like(drawn)
    chosen = slices_to_draw(drawn, "z")
    only[chosen] = drawn[chosen]
    write_image(Volume(only, matrix, "drawn"), folder / f"drawn{ending}")
    write_image(Volume(image, matrix, "image"), folder / f"image{ending}")
    network = seeded(lambda: TwoStreamUNet(len(CLASSES) + 1, 1, CHANNELS["tiny"]), 0)
    layout = SliceLayout(
        "axial", round(float(np.linalg.norm(matrix[:3, 0])), 4), min(256, -(-max(shape[1:]) // 16) * 16)
    )
    model = Model(
        "segmenter", describe_network(network), network_tensors(network), layout, CLASSES, provenance=PROVENANCE
    )
    save_model(model, folder / "model.pt")


def write_manifest(folder: Path, method: str, ending: str) -> Path:
    """One case."""
    image = read_header_size(folder / f"image{ending}")
    middle = [round(0.3 * n) for n in image]
    columns = {
        "segment": {"pixels": [middle]},
        "few-shot": {"support": f"drawn{ending}", "axis": "z"},
        "apply": {"model": "model.pt"},
    }[method]
    path = folder / f"{method}.json"
    path.write_text(json.dumps([{"image": f"image{ending}", "method": method, **columns, "confidence": True}]))
    return path


def read_header_size(path: Path) -> tuple[int, ...]:
    return tuple(int(n) for n in path.parent.name.split("x"))


def measured(manifest: Path) -> dict:
    """Runs a batch of one case; peaks in MB, seconds."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            str(MODULE / "s3net"),
            "batch",
            str(manifest),
            "-o",
            out,
            "--json",
            "--quiet",
            "--device",
            "cpu",
        ]
        plan = json.loads(subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True).stdout)
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr + done.stdout[-600:])
        wall = time.perf_counter() - began
        (case,) = json.loads(done.stdout)["cases"]
    system = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    return {
        "peak": case["memory_mb"], "system": system, "foretold": plan["cases"][0].get("memory_mb"),
        "method": case["seconds"]["method"], "total": wall,
    }  # fmt: skip


_MAKER = """
import sys
sys.path[:0] = [sys.argv[1] + "/benchmarks/batch"]
from pathlib import Path
import batch_memory
batch_memory.make_volume(Path(sys.argv[2]), tuple(map(int, sys.argv[3:6])), sys.argv[6])
"""


if __name__ == "__main__":
    main()
