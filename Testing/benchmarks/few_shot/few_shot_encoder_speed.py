"""How long the encoder and the prototype head of few-shot segmentation take, beside the published way, in one run.

    python Testing/benchmarks/few_shot/few_shot_encoder_speed.py [--slices 100] [--side 252] [--threads 1] [--published 2]

Prints seconds and CPU seconds (which other programs disturb less; the ratios are of CPU seconds) of
  encode       DINOv2 ViT-S/14 with registers on all slices, in float32 and, where the CPU computes in it, bfloat16;
  drawn slice  the prototypes of one drawn slice: what an edit costs;
  head         the scores of one slice on a grid of 32 x 32 for background and 5 segments, by 1, 3 and 5 drawn slices;
  published    one slice in the published way: support and query are encoded anew for each of the 5 segments, each
               segment is a binary problem by itself; and the ratio to encoding once.
Aims on two free cores: 100 slices at 252 pixels within 15 s, the head within 20 ms per slice on one thread.

The weights are random, so only the time says something. Slices and segments: the shipped CT padded to squares, again from
the start when it ends. On a busy machine the seconds are upper bounds.
"""

from __future__ import annotations

import argparse
import platform
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
from paths import SAMPLE_DATA  # noqa: E402

from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.common.tensors import area_average  # noqa: E402
from S3NetSegmentLib.engine.few_shot.voters.alpnet import PUBLISHED, HeadSettings, PrototypeHead, SupportSlice  # noqa: E402
from S3NetSegmentLib.engine.nets.dinov2 import ARCHITECTURES, Dinov2Encoder, encode_slices  # noqa: E402
from S3NetSegmentLib.engine.nets.vit import is_native_bfloat16  # noqa: E402

GRID = 32
SEGMENTS = (1, 2, 3, 4, 5)


def slices_and_labels(count: int) -> tuple[torch.Tensor, np.ndarray]:
    """Square slices ``[count, 1, S, S]``, 0 to 1, and their labels ``[count, S, S]``, those with most segments first."""
    image, labels = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(SAMPLE_DATA / name)))
        for name in ("ct_abdomen.nii.gz", "ct_abdomen_labels.nii.gz")
    )
    order = np.argsort([-len(np.unique(plane)) for plane in labels], kind="stable")
    chosen = np.resize(order, count)
    missing = [max(image.shape[1:]) - n for n in image.shape[1:]]
    pads = ((0, 0), *((n // 2, n - n // 2) for n in missing))
    image, labels = np.pad(image, pads, constant_values=-1000), np.pad(labels, pads)
    grey = np.clip((image[chosen].astype(np.float32) + 160) / 400, 0, 1)
    return torch.from_numpy(grey)[:, None], labels[chosen]


def encoder(precision: str) -> Dinov2Encoder:
    transformer = ARCHITECTURES["dinov2-vits14-reg4"].build().initialize(torch.Generator().manual_seed(0))
    return Dinov2Encoder(transformer.requires_grad_(False).eval(), precision=precision)


def coverage_of(labels: np.ndarray, segments: tuple[int, ...], shape: tuple[int, int]) -> torch.Tensor:
    """How much of each cell the background and each segment cover, ``[1 + segments, h, w]``."""
    drawn = torch.stack([torch.as_tensor(labels == value) for value in segments])
    return area_average(torch.cat((~drawn.any(0, keepdim=True), drawn)), shape)


def timed(work, repeats: int = 1):
    """The least seconds and CPU seconds of ``work``, and its result."""
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        result = work()
        best = [min(best[0], time.perf_counter() - start), min(best[1], time.process_time() - start_cpu)]
    return *best, result


def peak_memory() -> str:
    """The most memory that this process has held."""
    try:
        import resource
    except ImportError:  # Windows
        return "unknown"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak / (2**30 if sys.platform == 'darwin' else 2**20):.2f} GB"


def published_way(model: Dinov2Encoder, slices: torch.Tensor, labels: np.ndarray, side: int, count: int) -> None:
    """Answers ``count`` slices from the first one, encoding both for every segment."""
    for query in range(1, 1 + count):
        for segment in SEGMENTS:
            pair = run_to_end(encode_slices(model, slices[[0, query]], side=side, grid=GRID)).float()
            coverage = coverage_of(labels[0], (segment,), tuple(pair.shape[2:]))
            PrototypeHead([SupportSlice(pair[0], coverage)], PUBLISHED).scores(pair[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=100, help="slices to encode (default 100)")
    parser.add_argument("--side", type=int, default=252, help="longer side of the encoded slices, pixels (default 252)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--published", type=int, default=2, help="slices answered in the published way (default 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    slices, labels = slices_and_labels(max(arguments.slices, 6, arguments.published + 1))
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} CPU thread(s)")
    print(f"memory before the encoder: {peak_memory()}")

    precisions = ["float32"] + ["bfloat16"] * is_native_bfloat16(torch.device("cpu"))
    features, encoding, model = None, None, None
    for precision in precisions:
        model = encoder(precision)
        run_to_end(encode_slices(model, slices[:1], side=arguments.side, grid=GRID))  # torch prepares its kernels
        seconds, cpu, features = timed(
            lambda m=model: run_to_end(encode_slices(m, slices[: arguments.slices], side=arguments.side, grid=GRID))
        )
        encoding = cpu / arguments.slices
        print(
            f"encode {arguments.slices} slices at {arguments.side} px, {precision}: {seconds:.1f} s "
            f"(CPU {cpu:.1f} s; per slice {1000 * encoding:.0f} ms)",
            flush=True,
        )
    print(f"features kept: {features.numel() * 2 / 1e6:.0f} MB; peak memory of the process: {peak_memory()}")

    shape = tuple(features.shape[2:])
    drawn = [SupportSlice(features[i].float(), coverage_of(labels[i], SEGMENTS, shape)) for i in range(5)]
    query, scoring = features[5:6].float(), 0.0
    with torch.inference_mode():
        seconds, cpu, _ = timed(lambda: PrototypeHead(drawn[:1], HeadSettings()), 5)
        print(f"drawn slice: {1000 * seconds:.1f} ms (CPU {1000 * cpu:.1f} ms)")
        for count in (1, 3, 5):
            head = PrototypeHead(drawn[:count], HeadSettings())
            head.scores(query)
            seconds, cpu, _ = timed(lambda h=head: h.scores(query), 20)
            scoring = scoring or cpu
            print(
                f"head, {len(SEGMENTS)} segments, grid {shape[0]} x {shape[1]} x {features.shape[1]}, {count} drawn: "
                f"{1000 * seconds:.1f} ms per slice (CPU {1000 * cpu:.1f} ms)"
            )
        if arguments.published:
            seconds, cpu, _ = timed(lambda: published_way(model, slices, labels, arguments.side, arguments.published))
            each = cpu / arguments.published
            print(
                f"published way, {precisions[-1]}: {seconds / arguments.published:.2f} s per slice (CPU {each:.2f} s)"
            )
            print(f"published / ours, first answer (encode once + head): {each / (encoding + scoring):.0f}x")
            print(f"published / ours, after an edit (head alone): {each / scoring:.0f}x")


if __name__ == "__main__":
    main()
