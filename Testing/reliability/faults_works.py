"""The works that the faults suite disturbs: commands, and the inputs that they need."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from batch_cases import write_cohort as write_pictures
from batch_cases import write_disk, write_drawn_ball
from cohort_files import write_cohort
from model_files import write_model

_TINY = (
    "--preset", "tiny", "--steps", "6", "--set", "slice_side=32", "--set", "batch=2", "--set", "validate_every=3", "--set",
    "checkpoint_minutes=0", "--set", "log_every=1", "--device", "cpu",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """A command whose results lie in the folder ``out``.

    :param resume: what is added to its arguments the second time.
    :param compared: names of results that must be the same bytes; for training the weights are compared instead.
    """

    arguments: tuple[str, ...]
    resume: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()


WORKS = {
    "segment": Work(
        ("segment", "../a.png", "-o", "a.seg.nrrd", "--confidence", "sure.nii.gz", "--overlay", "a.png", "--set", "work_size=64"),
        compared=("a.seg.nrrd", "sure.nii.gz", "a.png"),
    ),
    "few-shot": Work(
        ("few-shot", "../ball.nii.gz", "--support", "../drawn.seg.nrrd", "-o", "b.seg.nrrd", "--overlay", "b.png", "--set",
         "work_voxels=20000", "--set", "appearance_steps=20"),
        compared=("b.seg.nrrd", "b.png"),
    ),
    "apply": Work(
        ("apply", "../model.pt", "../ball.nii.gz", "-o", "c.seg.nrrd", "--confidence", "c.nrrd", "--device", "cpu"),
        compared=("c.seg.nrrd", "c.nrrd"),
    ),
    "batch": Work(
        ("batch", "../cohort.csv", "-o", ".", "--keep-going", "--device", "cpu"),
        ("--resume",),
        tuple(f"d{n}{end}" for n in range(5) for end in (".seg.nrrd", "_overlay.png")),
    ),
    "finetune": Work(("finetune", "../cohort", "-o", ".", *_TINY), ("--resume",)),
    "pretrain": Work(("pretrain", "../cohort", "-o", ".", *_TINY), ("--resume",)),
    "weights": Work(("weights", "add", "../tiny.pth"), compared=("dinov2_tiny14_pretrain.pth",)),
}  # fmt: skip


def prepare(folder: Path) -> None:
    """Inputs of all works; everything imported, so that a forked process begins at once."""
    import torch

    import S3NetSegmentLib.cli.main
    import S3NetSegmentLib.engine.batch.one_case
    import S3NetSegmentLib.engine.training.finetune
    import S3NetSegmentLib.engine.training.run  # noqa: F401
    from S3NetSegmentLib.engine.nets import dinov2
    from S3NetSegmentLib.engine.nets.weights import CATALOGUE, WeightsFile

    torch.set_num_threads(1)
    write_pictures(folder, 5)
    write_disk(folder / "a.png")
    write_drawn_ball(folder)
    write_cohort(folder / "cohort", 2, 1)
    write_model(folder / "model.pt")
    tiny = dinov2.Architecture(12, 1, 2, 24)
    torch.save(dict(tiny.build().initialize(torch.Generator().manual_seed(0)).state_dict()), folder / "tiny.pth")
    dinov2.ARCHITECTURES["dinov2-tiny14"] = tiny
    size = os.path.getsize(folder / "tiny.pth")
    CATALOGUE["dinov2-tiny14"] = WeightsFile("dinov2-tiny14", 17_000, digest(folder / "tiny.pth"), size)
    (folder / "out").mkdir()


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
