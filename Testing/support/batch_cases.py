"""Small cohorts for the tests of batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from S3NetSegmentLib.engine import Segment, Segmentation, Volume
from S3NetSegmentLib.engine.batch.resume import make_plan
from S3NetSegmentLib.engine.images.writing import write_image, write_png, write_segmentation

QUICK = "work_size=64"  # setting of Segment
QUICK_FEW_SHOT = "appearance_steps=20; work_voxels=20000"


def write_disk(path: Path, seed: int = 0) -> np.ndarray:
    """A grey image of 56 x 48 pixels with a bright disk around (28, 24), PNG or NRRD; returns the disk's mask."""
    y, x = np.mgrid[:48, :56]
    mask = (y - 24) ** 2 + (x - 28) ** 2 < 10**2
    grey = np.where(mask, 180, 70) + np.random.default_rng(seed).normal(0, 6, mask.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(grey, 0, 255).astype(np.uint8)
    if path.suffix == ".png":
        write_png(pixels, path)
    else:
        write_image(Volume(pixels[None], np.diag([-1.0, -1.0, 1.0, 1.0]), path.stem), path)
    return mask


def write_manifest(path: Path, images: list[str], extra: str = "") -> Path:
    """A manifest that segments the disk in each of ``images``; ``extra`` is added as further lines."""
    rows = [f'{image},segment,"28,24",{QUICK}' for image in images]
    path.write_text("\n".join(["image,method,pixels,settings", *rows, extra]).rstrip() + "\n", encoding="utf-8")
    return path


def write_cohort(folder: Path, count: int, ending: str = ".png") -> Path:
    """``count`` pictures in ``folder``/in and their manifest; returns the manifest."""
    for number in range(count):
        write_disk(folder / "in" / f"d{number}{ending}", number)
    return write_manifest(folder / "cohort.csv", [f"in/d{n}{ending}" for n in range(count)])


def write_drawn_ball(folder: Path) -> None:
    """``ball.nii.gz``, 12 slices with a bright ball, and ``drawn.seg.nrrd`` with the ball on slices 4 and 8."""
    k, j, i = np.mgrid[:12, :30, :32]
    ball = ((k - 6) * 2.5) ** 2 + (j - 15) ** 2 + (i - 16) ** 2 < 10**2
    array = np.where(ball, 300, 100) + np.random.default_rng(3).normal(0, 12, ball.shape)
    matrix = np.diag([-1.0, -1.0, 2.5, 1.0])
    write_image(Volume(array.astype(np.int16), matrix, "ball"), folder / "ball.nii.gz")
    drawn = np.zeros(ball.shape, np.uint8)
    drawn[[4, 8]] = ball[[4, 8]]
    write_segmentation(Segmentation([drawn], [Segment("Ball", (1, 0, 0), 1)], matrix), folder / "drawn.seg.nrrd")


def names_in(folder):
    """The files in a folder and those below it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def reason(case, folder):
    """Why a batch that goes on makes the case again; "finished" where it does not."""
    return make_plan([case], folder, resume=True).reasons.get(case.name, "finished")
