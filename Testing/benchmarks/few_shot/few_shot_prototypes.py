"""What an encoder's prototypes add to Few-shot, or take from it where its features are worth nothing.

    python3 Testing/benchmarks/few_shot/few_shot_prototypes.py [--sets acdc hippocampus] [--k 1 3] [--limit 2] [--steps 150]
    python3 Testing/benchmarks/few_shot/few_shot_prototypes.py --encoder dinov2-vits14-reg4 --sets all --limit 100 --steps 0

Task and Dice as in few_shot.py, on its development cases. The ways:
  none           Few-shot without an encoder;
  random         with a vision transformer of random weights: from two drawn slices on the vote must leave it out;
  random alone   its prototypes alone (--method alpnet): how much its features are worth;
  own            with a small convolutional encoder that ALPNet's episodes trained on the unlabelled slices of the volume
                 itself (--steps steps), and its share of the vote;
  own alone      its prototypes alone;
  own trained    the same after training on each slice and its first answer (--test-time steps; TTT).
Published weights of DINOv2 and DINOv3 are not part of this software; with them on this computer, the second command prints what they
add to the vote, what their prototypes find alone, and what the published program's settings find (--preset published), on all sets.
A table of the means of the sets stands at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from few_shot_cases import DRAWN_AT, FOLDERS, FewShotCase, few_shot_cases  # noqa: E402
from torch import nn  # noqa: E402

from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotEncoder, load_encoder  # noqa: E402
from S3NetSegmentLib.engine.few_shot.settings import FewShotSettings, few_shot_preset  # noqa: E402
from S3NetSegmentLib.engine.images.intensity import intensity_scale  # noqa: E402
from S3NetSegmentLib.engine.images.volume import slices_first  # noqa: E402
from S3NetSegmentLib.engine.nets.dinov2 import Architecture, Dinov2Encoder  # noqa: E402
from S3NetSegmentLib.engine.training.alpnet import (  # noqa: E402
    AlpnetSettings,
    AlpnetTask,
    SuperpixelSlices,
    ViewRanges,
    random_episodes,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=[*FOLDERS, "all"], default=["acdc", "hippocampus", "cord"])
    parser.add_argument("--k", nargs="+", type=int, choices=DRAWN_AT, default=[1, 3])
    parser.add_argument("--limit", type=int, default=2, help="cases of each set")
    parser.add_argument("--steps", type=int, default=150, help="training steps of the own encoder; 0: leave it out")
    parser.add_argument(
        "--test-time", type=int, default=0, help="steps of training on each slice; 0 (default): leave it out"
    )
    parser.add_argument("--encoder", help="a further encoder, as s3net few-shot --encoder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    further = load_encoder(options.encoder, "cpu") if options.encoder else None
    print("Dice in %; in brackets the share of the prototypes in the vote")
    rows: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for set_name in FOLDERS if "all" in options.sets else options.sets:
        for case in few_shot_cases("development", set_name, options.limit):
            encoders = {"random": random_encoder()}
            if options.steps:
                started = time.perf_counter()
                encoders["own"] = own_encoder(case, options.steps)
                print(f"{case.name}: own encoder trained in {time.perf_counter() - started:.0f} s", file=sys.stderr)
            if further is not None:
                encoders[further.name] = further
            for k in options.k:
                found = dict(ways(case, k, encoders, further, options.test_time))
                for way, (dice, _share) in found.items():
                    rows[set_name, k, way].append(dice)
                told = (
                    f"{w} {d:.1f}" + (f" ({share:.2f})" if share is not None else "") for w, (d, share) in found.items()
                )
                print(f"{set_name} {case.name} k={k}: " + ", ".join(told), flush=True)
    print_table(rows)


def ways(
    case: FewShotCase, k: int, encoders: dict[str, FewShotEncoder], published: FewShotEncoder | None, test_time: int = 0
):
    """(way, (Dice, share of the prototypes or None)) for each."""
    yield "none", (score(case, k, None)[0], None)
    for name, encoder in encoders.items():
        yield name, score(case, k, encoder)
        yield f"{name} alone", (score(case, k, encoder, FewShotSettings(method="alpnet"))[0], None)
        if test_time and name != "random":
            trained = FewShotSettings(method="alpnet", test_time_steps=test_time)
            yield f"{name} trained", (score(case, k, encoder, trained)[0], None)
    if published is not None:
        settings = few_shot_preset("published")
        yield f"{published.name} published", (score(case, k, published, settings)[0], None)
        if test_time:
            settings = dataclasses.replace(settings, test_time_steps=test_time)
            yield f"{published.name} published, trained", (score(case, k, published, settings)[0], None)


def print_table(rows: dict[tuple[str, int, str], list[float]]) -> None:
    names = list(dict.fromkeys(way for _, _, way in rows))
    print(f"\n| set (volumes) | drawn | {' | '.join(names)} |\n|---{'|---' * (len(names) + 1)}|")
    for set_name, k in dict.fromkeys((s, k) for s, k, _ in rows):
        cells = [f"{np.mean(rows[set_name, k, way]):.1f}" for way in names]
        print(f"| {set_name} ({len(rows[set_name, k, names[0]])}) | {k} | {' | '.join(cells)} |")


def score(
    case: FewShotCase, k: int, encoder: FewShotEncoder | None, settings: FewShotSettings | None = None
) -> tuple[float, float]:
    """Mean Dice in % of the drawn labels on the slices that are not drawn, and the share of the prototypes."""
    drawn, truth = case.drawn(k), slices_first(case.labels, case.axis)
    few_shot = FewShot(case.volume, settings or FewShotSettings(), case.axis, encoder, "cpu")
    few_shot.set_support([DrawnSlice(case.axis, z, truth[z]) for z in drawn])
    answer = run_to_end(few_shot.propagate())
    rest = np.setdiff1d(np.arange(len(truth)), drawn)
    found, true = slices_first(answer.labels, case.axis)[rest], truth[rest]
    values = [v for v in np.unique(truth[drawn]) if v and (true == v).any()]
    dice = [2 * ((found == v) & (true == v)).sum() / ((found == v).sum() + (true == v).sum()) for v in values]
    return 100 * float(np.mean(dice)), answer.mix.get("prototypes", 0.0)


def random_encoder() -> FewShotEncoder:
    transformer = Architecture(192, 6, 3, 768, registers=4).build()
    transformer.initialize(torch.Generator().manual_seed(0)).requires_grad_(False).eval()
    return FewShotEncoder("random", "0" * 64, Dinov2Encoder(transformer, precision="auto"))


class Convolutions(nn.Module):
    """Features of stride 4 by four layers."""

    in_channels, channels, strides = 1, (32,), (4,)

    def __init__(self):
        super().__init__()
        layers = []
        for before, after, stride in ((1, 16, 2), (16, 32, 2), (32, 32, 1), (32, 32, 1)):
            layers += [nn.Conv2d(before, after, 5, stride, 2), nn.GELU()]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.net(image)]


def own_encoder(case: FewShotCase, steps: int) -> FewShotEncoder:
    """Trained on superpixels of the slices of ``case``; its labels are not used."""
    scale = intensity_scale(case.volume)
    slices = [scale.apply(plane)[..., 0] for plane in slices_first(case.volume.array, case.axis)]
    settings = AlpnetSettings(side=126, grid=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Convolutions()
    task = AlpnetTask(network, settings)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    pseudo = SuperpixelSlices(slices, smallest=settings.smallest_superpixel)
    for step in range(steps):
        batch = random_episodes(pseudo, 1, ViewRanges(), settings.side, torch.Generator().manual_seed(step))
        loss = sum(task(batch, step / steps).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.requires_grad_(False).eval()
    return FewShotEncoder("own", f"{case.name} {steps}", network, settings.temperature)


if __name__ == "__main__":
    main()
