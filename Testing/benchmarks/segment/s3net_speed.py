"""How long S3-Net takes: the default fit beside a network of the published size, in the same run, on one CPU thread.

    python Testing/benchmarks/segment/s3net_speed.py [--images N] [--iterations 6] [--threads 1] [--large N]
    python Testing/benchmarks/segment/s3net_speed.py --presets published,paper    whole fits by presets of Segment on one picture

Prints, per image and as medians, the seconds of
  default      the default recipe: fit and labels for every number of regions;
  large        the network of the preset ``paper`` (256 x 256 pixels, 64 channels, deformable convolution) for a few
               iterations (``--iterations``) and the final labels, one forward and backward pass per iteration as in the
               released code, whose affine loss never transforms its input;
  two views    the same with the affine transformation acting on the input (as the preset has it): a second,
               transformed view goes through the network in each iteration;
and the ratio large / default. Whole fits, which take up to 50 iterations, are timed with ``--presets``. Only the time is compared here; for accuracy see the accuracy benchmark. On a busy
machine the seconds are upper bounds; the ratio is fairer, since all are measured in turn.

Pictures: dermoscopy of the labelled data folder if it is there, otherwise the shipped samples.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import statistics
import sys
import time
from pathlib import Path

_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
import torch  # noqa: E402
from paths import SAMPLE_DATA, SHARED_DATA  # noqa: E402

from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.images.colors import lab_from_rgb  # noqa: E402
from S3NetSegmentLib.engine.segment.s3net.fit import fit_s3net  # noqa: E402
from S3NetSegmentLib.engine.segment.settings import SegmentSettings, preset  # noqa: E402


def pictures(count: int) -> list[tuple[str, np.ndarray]]:
    """Names and Lab / 100 stacks ``[1, H, W, 3]``, longest side at most 256."""
    folder = SAMPLE_DATA if SHARED_DATA is None else SHARED_DATA / "derm_isic2017_train"
    paths = sorted(p for p in folder.glob("*.jpg") if not p.stem.endswith("_mask"))[:count]
    if not paths:
        raise SystemExit(f"no pictures in {folder}")
    found = []
    for path in paths:
        rgb = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.float32) / 255
        found.append((path.stem, (lab_from_rgb(shrunk(rgb, 256)) / np.float32(100))[None]))
    return found


def shrunk(rgb: np.ndarray, longest: int, square: bool = False) -> np.ndarray:
    """``rgb`` ``[H, W, C]`` brought down to ``longest`` by area; with ``square`` to longest x longest (aspect lost, as in
    the published code)."""
    height, width = rgb.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = (longest, longest) if square else (round(height * scale), round(width * scale))
    image = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None]
    image = torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)
    return np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())


def seconds(stack: np.ndarray, settings: SegmentSettings) -> tuple[float, float]:
    """Seconds of fit and labels, and of the longest single step."""
    start = last = time.perf_counter()
    longest = 0.0

    def on_step(_):
        nonlocal last, longest
        now = time.perf_counter()
        last, longest = now, max(longest, now - last)

    run_to_end(fit_s3net(stack, (1.0, 1.0, 1.0), settings, torch.device("cpu")), on_step)
    return time.perf_counter() - start, longest


def print_presets(names: list[str], name: str, stack: np.ndarray) -> None:
    """Iterations and seconds of the whole fit of one picture by each preset, and the processor's seconds, which a busy machine
    changes less."""
    print(f"{name}, {stack.shape[1]}x{stack.shape[2]}, {torch.get_num_threads()} CPU thread(s)")
    for chosen in names:
        iterations, start, busy = 0, time.perf_counter(), time.process_time()

        def on_step(step):
            nonlocal iterations
            iterations += step.message.startswith("Fitting")

        run_to_end(fit_s3net(stack, (1.0, 1.0, 1.0), preset(chosen), torch.device("cpu")), on_step)
        wall, busy = time.perf_counter() - start, time.process_time() - busy
        print(f"{chosen:<10} {iterations} iterations, {wall:.0f} s, of the processor {busy:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, help="pictures for the default recipe (default 8)")
    parser.add_argument("--large", type=int, default=2, help="pictures for the large network (default 2)")
    parser.add_argument("--iterations", type=int, default=6, help="iterations of the large network (default 6)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument(
        "--presets", type=lambda t: t.split(","), help="time whole fits by these presets, and nothing else"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.presets:
        print_presets(arguments.presets, *pictures(1)[0])
        return
    two_views = dataclasses.replace(preset("paper"), self_training_steps=arguments.iterations)
    large = dataclasses.replace(two_views, affine_weight=0.0)
    images = pictures(max(arguments.images, arguments.large))
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} CPU thread(s)")
    print(f"{'image':<18} {'size':>9} {'default':>8} {'longest step':>13} {'large':>10} {'two views':>9} {'ratio':>6}")
    seconds(images[0][1], SegmentSettings())  # warm-up: torch prepares its kernels on first use
    times: dict[str, list[float]] = {"default": [], "large": [], "two views": []}
    for i, (name, stack) in enumerate(images):
        fast, longest = seconds(stack, SegmentSettings())
        times["default"].append(fast)
        row = f"{name[:18]:<18} {stack.shape[1]:>4}x{stack.shape[2]:<4} {fast:>6.2f} s {longest:>11.3f} s"
        if i < arguments.large:
            square = shrunk(stack[0], 256, square=True)[None]
            slow, full = seconds(square, large)[0], seconds(square, two_views)[0]
            times["large"].append(slow)
            times["two views"].append(full)
            row += f" {slow:>8.1f} s {full:>7.1f} s {slow / fast:>5.0f}x"
        print(row, flush=True)
    medians = {name: statistics.median(values) for name, values in times.items() if values}
    print("median: " + ", ".join(f"{name} {value:.2f} s" for name, value in medians.items()))
    if "large" in medians:
        print(f"large / default: {medians['large'] / medians['default']:.0f}x (aim: at least 15x)")


if __name__ == "__main__":
    main()
