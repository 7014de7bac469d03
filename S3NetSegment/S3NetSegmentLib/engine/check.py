"""Check this installation: versions, torch and its device, and a short trial of each method on a made-up image.

A generator of progress steps, so that the command line and the panel run it alike. Needs no torch; what does is told as left out.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import __version__
from .common.arrays import dice
from .common.device import describe_device, torch_loaded
from .common.progress import Step, Steps, as_part_of
from .images import Volume

_PACKAGES = ("numpy", "scipy", "SimpleITK", "torch")
_GOOD = 0.8  # Dice of a trial with the truth, at least


@dataclass(frozen=True)
class CheckLine:
    """One line of the report.

    :param name: what was looked at. ``text``: what was found.
    :param works: whether it does; None: it was not tried, or nothing can be wrong with it.
    """

    name: str
    text: str
    works: bool | None = None


def check_installation(device: str = "auto") -> Steps[list[CheckLine]]:
    """Looks at the installation and tries each method for about a second; errors are lines of the report, not raised.

    :param device: where networks compute.
    """
    yield Step(0.0, "Looking at the versions")
    lines = [
        CheckLine("S3NetSegment", __version__),
        CheckLine("System", f"{platform.platform()}, Python {platform.python_version()}"),
        CheckLine("Packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)),
    ]
    yield Step(0.1, "Looking at torch and its device")
    there, told = yield from _told_device()
    lines.append(CheckLine("torch", told, there))
    for number, (name, needs_torch, trial) in enumerate(_TRIALS):
        start, stop = (0.3 + 0.7 * n / len(_TRIALS) for n in (number, number + 1))
        yield Step(start, f"Trying {name}")
        if needs_torch and not there:
            lines.append(CheckLine(name, "left out: needs torch"))
        else:
            lines.append((yield from as_part_of(_tried(name, trial, device), start, stop)))
    return lines


def report_text(lines: list[CheckLine]) -> str:
    """The report as plain text, to be copied into a message."""
    marks = {True: "ok", False: "FAILS", None: "-"}
    return "\n".join(f"{marks[line.works]:>5}  {line.name}: {line.text}" for line in lines)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _told_device() -> Steps[tuple[bool | None, str]]:
    """Whether torch works, None where it is not installed; and what there is to say."""
    try:
        yield from torch_loaded("few_shot.method", "segment.s3net.fit")
        import torch  # noqa: F401
    except Exception as error:  # also a library of it that does not load
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            return None, "not installed; Segment works on grey images without it"
        return False, f"torch does not load: {type(error).__name__}: {error}"
    return True, describe_device()


def _tried(name: str, trial: Callable[[str], Steps[float]], device: str) -> Steps[CheckLine]:
    start = time.perf_counter()
    try:
        score = yield from trial(device)
    except Exception as error:  # whatever is wrong belongs into the report
        return CheckLine(name, f"{type(error).__name__}: {error}", False)
    seconds = time.perf_counter() - start
    return CheckLine(name, f"Dice {score:.2f} on a made-up image, {seconds:.1f} s", bool(score >= _GOOD))


def _ball() -> tuple[Volume, np.ndarray]:
    """A noisy image [20, 28, 32] with a bright ball, and the ball."""
    k, j, i = np.mgrid[:20, :28, :32]
    ball = (i - 16) ** 2 + (j - 14) ** 2 + (k - 10) ** 2 < 64
    array = (100 + 200 * ball + np.random.default_rng(1).normal(0, 12, ball.shape)).astype(np.int16)
    return Volume(array, np.eye(4), "ball"), ball


def _try_segment(device: str) -> Steps[float]:
    from .segment.find_regions import find_regions

    volume, ball = _ball()
    regions = yield from find_regions(volume, extent=volume.extent.slice_at("z", 10), axis="z")
    return dice(regions.object_at([(16, 14, 10)]).mask[0], ball[10])


def _try_network(device: str) -> Steps[float]:
    from .segment.find_regions import find_regions
    from .segment.settings import SegmentSettings

    volume, ball = _ball()
    settings = SegmentSettings(sources="s3net", region_counts=(2,), restarts=1)
    part = volume.extent.slice_at("z", 10)
    regions = yield from find_regions(volume, extent=part, axis="z", settings=settings, device=device)
    return dice(regions.labels(2)[0] == 2, ball[10])


def _try_few_shot(device: str) -> Steps[float]:
    from .few_shot.method import DrawnSlice, FewShot

    volume, ball = _ball()
    few_shot = FewShot(volume, axis="z", device=device)
    few_shot.set_support([DrawnSlice("z", z, ball[z].astype(np.uint8)) for z in (7, 13)])
    answer = yield from few_shot.propagate()
    return dice(answer.labels > 0, ball)


def _try_model(device: str) -> Steps[float]:
    """A network of a few weights learns the ball from one slice and answers another."""
    import torch

    from .common.device import choose_device

    volume, ball = _ball()
    place = choose_device(device)
    image = torch.from_numpy((volume.array[[10, 12]] - 200.0).astype(np.float32) / 100)[:, None].to(place)
    truth = torch.from_numpy(ball[[10, 12]].astype(np.float32))[:, None].to(place)
    generator = torch.Generator().manual_seed(0)
    weights = [(0.3 * torch.randn(shape, generator=generator)).to(place).requires_grad_() for shape in ((8, 1, 3, 3), (1, 8, 3, 3))]  # fmt: skip
    for step in range(60):
        yield Step(step / 60, "Training")
        logits = torch.conv2d(torch.relu(torch.conv2d(image[:1], weights[0], padding=1)), weights[1], padding=1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth[:1])
        gradients = torch.autograd.grad(loss, weights)
        weights = [(w - 0.5 * g).detach().requires_grad_() for w, g in zip(weights, gradients, strict=True)]
    answer = torch.conv2d(torch.relu(torch.conv2d(image[1:], weights[0], padding=1)), weights[1], padding=1) > 0
    return dice(answer.cpu().numpy()[0, 0], ball[12])


_TRIALS = (
    ("Segment", False, _try_segment),
    ("Segment with S3-Net", True, _try_network),
    ("Few-shot", True, _try_few_shot),
    ("A small network learns", True, _try_model),
)
