"""Whether a graphics card answers as the CPU does: S3-Net, ALPNet and IDEAL on both, in each precision that the card has.

    python3 Testing/benchmarks/training/device_agreement.py                    cuda, beside the CPU
    python3 Testing/benchmarks/training/device_agreement.py --device cpu       tries the script: two runs on the CPU, which are equal

``s3net`` is fitted to a picture, with the settings of the presets ``default`` and ``paper`` (six iterations); ``alpnet`` answers a
volume of which one slice is drawn, with the preset ``published`` and the encoder of a U-Net with its first weights; ``ideal`` is
trained by the preset ``tiny`` on phantoms and answers one that it has not seen, and ``the same weights`` are those of the CPU's training,
which answer on the device. Printed are the mean Dice of the segments with those of the CPU (aim .995; trainings in other
precisions, and self-training from random weights, may end elsewhere, so that the Dice with the truth stands beside it), the
largest relative difference of the gradients of a step with those of a group of one process (NCCL on a card, else Gloo), and the seconds and
peak memory of a step of the preset ``plus`` at 256 pixels. How long a step takes beside its network: ``train_speed.py --device cuda``.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from functools import cache
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from few_shot_phantoms import dice, organs  # noqa: E402
from phantoms import CLASSES, phantom, write_phantom_cohort  # noqa: E402

from S3NetSegmentLib.engine.apply import ModelSegmenter  # noqa: E402
from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotEncoder  # noqa: E402
from S3NetSegmentLib.engine.few_shot.settings import few_shot_preset  # noqa: E402
from S3NetSegmentLib.engine.images import Volume  # noqa: E402
from S3NetSegmentLib.engine.nets.unet import CHANNELS, UNetEncoder, seeded  # noqa: E402
from S3NetSegmentLib.engine.segment.s3net.fit import fit_s3net  # noqa: E402
from S3NetSegmentLib.engine.segment.settings import preset  # noqa: E402
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort  # noqa: E402
from S3NetSegmentLib.engine.training.cohort.label_classes import LabelClass  # noqa: E402
from S3NetSegmentLib.engine.training.configuration import FinetuningConfiguration, finetuning_configuration  # noqa: E402
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning  # noqa: E402
from S3NetSegmentLib.engine.training.model.model_file import (  # noqa: E402
    Model,
    OneLevel,
    describe_network,
    network_tensors,
)
from S3NetSegmentLib.engine.training.slices.bank import SliceBank, build_bank  # noqa: E402
from S3NetSegmentLib.engine.training.slices.batches import TwoStreamBatches  # noqa: E402
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout  # noqa: E402
from S3NetSegmentLib.engine.training.trainer import optimisation  # noqa: E402
from S3NetSegmentLib.engine.training.trainer.trainer import Trainer  # noqa: E402

CPU, SIDE, SPACING = torch.device("cpu"), 64, (1.5, 1.5, 8.0)
FIT_COUNT, FIT_STEPS = 4, 6  # regions that are compared, and iterations of S3-Net's preset ``paper``
TIMED_STEPS, FIRST_STEPS = 20, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, mps or cpu (default cuda)")
    parser.add_argument("--steps", type=int, default=300, help="of each training (default 300)")
    parser.add_argument(
        "--plus-side", type=int, default=256, help="pixels of the slices of the timed step (default 256)"
    )
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no CUDA device here; --device cpu tries the script without one")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(
        f"{name}, torch {torch.__version__}\n\n| what | precision | Dice with the CPU's | with the truth |\n|---|---|---|---|"
    )
    for what, precision, of_cpu, true in agreements(device, options.steps):
        print(f"| {what} | {precision} | {of_cpu:.4f} | {'–' if true is None else f'{true:.3f}'} |", flush=True)
    backend = "nccl" if device.type == "cuda" else "gloo"
    print(f"\ngradients of a step in a group of one process ({backend}): differ by {in_a_group(device, backend):.1e}")
    for precision in precisions(device):
        seconds, peak = step_of_plus(device, precision, options.plus_side)
        memory = f", peak {peak / 2**20:.0f} MB" if peak else ""
        print(f"a step of plus, {options.plus_side} pixels, {precision}: {1000 * seconds:.0f} ms{memory}", flush=True)


def precisions(device: torch.device) -> tuple[str, ...]:
    """What networks of slices are trained in."""
    return ("fp32", "bf16", "fp16") if device.type == "cuda" else ("fp32", "bf16")


def agreements(device: torch.device, steps: int):
    """What is compared, its precision, its mean Dice with the CPU's answer, and with the truth (None: there is none)."""
    for name in ("default", "paper"):
        yield f"s3net, {name}", "fp32", mean_dice(s3net(name, device), s3net(name, CPU)), None
    volume, truth = organs()
    found = alpnet(volume, truth, device)
    yield "alpnet, published", "fp32", mean_dice(found, alpnet(volume, truth, CPU)), mean_dice(found, truth)
    image, truth = phantom(99, (8, SIDE, SIDE))
    volume = Volume(np.round(1000 * image).astype(np.int16), np.diag((*SPACING, 1.0)))
    of_cpu = trained(CPU, "fp32", steps)
    expected = answer(of_cpu, volume, CPU)
    found = answer(of_cpu, volume, device)
    yield "ideal, the same weights", "fp32", mean_dice(found, expected), mean_dice(found, truth)
    for precision in precisions(device):
        found = answer(trained(device, precision, steps), volume, device)
        yield f"ideal, {steps} steps", precision, mean_dice(found, expected), mean_dice(found, truth)


def mean_dice(found: np.ndarray, expected: np.ndarray) -> float:
    """Over all labels above 0 that either has."""
    return float(np.mean([dice(found, expected, v) for v in np.union1d(found, expected) if v]))


def s3net(name: str, device: torch.device) -> np.ndarray:
    """Regions of a picture in colour, from 1 on."""
    settings = preset(name)
    if settings.self_training_steps:
        settings = dataclasses.replace(settings, self_training_steps=FIT_STEPS)
    levels, _ = phantom(1, (1, 96, 96))
    stack = np.clip(levels, 0, 1)[..., None] * np.array([1.0, 0.2, -0.2], np.float32)
    return run_to_end(fit_s3net(stack, (1.0, 1.0, 1.0), settings, device)).label_maps()[FIT_COUNT] + 1


def alpnet(volume: Volume, labels: np.ndarray, device: torch.device) -> np.ndarray:
    network = OneLevel(seeded(lambda: UNetEncoder(1, CHANNELS["unet"], dropout=False), 0), 2)
    encoder = FewShotEncoder("random", f"{device}", network.requires_grad_(False).eval().to(device))
    tool = FewShot(volume, few_shot_preset("published"), "z", encoder, str(device))
    middle = len(labels) // 2
    tool.set_support([DrawnSlice("z", middle, labels[middle])])
    return run_to_end(tool.propagate()).labels


def trained(device: torch.device, precision: str, steps: int) -> IdealFinetuning:
    configuration = finetuning_configuration("tiny").replaced(steps=steps, precision=precision)
    task, batches = task_and_batches(configuration, SIDE, device)
    run_to_end(Trainer(task, batches, configuration.trainer, device=device).run())
    return task


def task_and_batches(
    configuration: FinetuningConfiguration, side: int, device: torch.device
) -> tuple[IdealFinetuning, TwoStreamBatches]:
    sizes = configuration.batches
    task = IdealFinetuning(len(CLASSES) + 1, configuration.task).to(device)
    return task, TwoStreamBatches(phantoms(side, device), sizes.batch, sizes.unlabelled_batch, 0)


@cache
def phantoms(side: int, device: torch.device) -> SliceBank:
    with tempfile.TemporaryDirectory() as folder:
        write_phantom_cohort(Path(folder), 4, 6, shape=(8, side, side))
        cohort = run_to_end(read_cohort(folder))
        return run_to_end(
            build_bank(cohort.cases, cohort.classes, SliceLayout("axial", SPACING[0], side), device=device)
        )


def answer(task: IdealFinetuning, volume: Volume, device: torch.device) -> np.ndarray:
    network, layout = task.predictor(), SliceLayout("axial", SPACING[0], SIDE)
    classes = tuple(LabelClass(name, value, (1.0, 0.0, 0.0)) for value, name in CLASSES.items())
    model = Model("segmenter", describe_network(network), network_tensors(network), layout, classes)
    return run_to_end(ModelSegmenter(model, device).segment(volume)).labels


def in_a_group(device: torch.device, backend: str) -> float:
    """The largest difference between the gradients of a step in a group of one process and those without one, as a part of
    the largest gradient."""
    found = []
    import_module("torch.distributed.nn.functional")  # or it would keep the group as a default value for ever
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        for grouped in (False, True):
            task, batches = task_and_batches(finetuning_configuration("tiny"), SIDE, device)
            network = optimisation._distributed(task.train(), device_with_index(device)) if grouped else task.train()
            sum(value for name, value in network(batches(0), 0.0).items() if name[0] != "_").backward()
            found.append(torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None]))
            del network
    finally:
        dist.destroy_process_group()
    return float((found[1] - found[0]).abs().max() / found[0].abs().max())


def device_with_index(device: torch.device) -> torch.device:
    return (
        device
        if device.index is not None or device.type != "cuda"
        else torch.device("cuda", torch.cuda.current_device())
    )


def step_of_plus(device: torch.device, precision: str, side: int) -> tuple[float, int]:
    """Seconds of a step with labelled and unlabelled slices, and the bytes of the device at most (0 where it does not count them)."""
    configuration = finetuning_configuration("plus").replaced(precision=precision)
    task, batches = task_and_batches(configuration, side, device)
    task.trust.weights = lambda: torch.ones(len(CLASSES) + 1, device=device)  # as late in a run
    is_cuda, began = device.type == "cuda", 0.0
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    for steps in (FIRST_STEPS, TIMED_STEPS):  # the first prepare torch's kernels
        settings = dataclasses.replace(configuration.trainer, steps=steps)
        began = time.perf_counter()
        run_to_end(Trainer(task, batches, settings, device=device).run())
        if is_cuda:
            torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / TIMED_STEPS, torch.cuda.max_memory_allocated(device) if is_cuda else 0


if __name__ == "__main__":
    main()
