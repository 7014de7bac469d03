"""Random geometries: a known object in volumes of every shape, orientation and kind must be found where it is, and survive
files to the voxel."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from image_files import random_matrix

from S3NetSegmentLib.engine import Segment, Segmentation, Volume
from S3NetSegmentLib.engine.batch.case import Case
from S3NetSegmentLib.engine.batch.one_case import run_case
from S3NetSegmentLib.engine.images.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation

KINDS = ("volume", "anisotropic", "slice", "colour", "far away", "few-shot")
ENDINGS = (".nii.gz", ".nrrd")
FORMATS = (".seg.nrrd", ".nii.gz", ".nrrd", ".mha")


def run(count: int, seed: int) -> list[str]:
    """Tries ``count`` cases; prints how many of which kind; returns what went wrong."""
    failures: list[str] = []
    tried: Counter = Counter()
    began, worst = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory() as name:
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            tried[kind] += 1
            try:
                error = _one(kind, np.random.default_rng([seed, number]), Path(name), f"c{number}")
                worst = max(worst, error)
                if error > 0.5:
                    failures.append(
                        f"geometry --seed {seed}, case {number} ({kind}): {error:.2f} voxels beside the object"
                    )
            except Exception as problem:
                failures.append(
                    f"geometry --seed {seed}, case {number} ({kind}): {type(problem).__name__}: {problem}"[:400]
                )
    print("geometry  " + ", ".join(f"{tried[kind]} {kind}" for kind in KINDS))
    print(
        f"geometry  {count:,} cases in {time.monotonic() - began:.0f} s, the largest shift of an object {worst:.2f} voxels, "
        f"{len(failures)} failures"
    )
    return failures


def _one(kind: str, rng: np.random.Generator, folder: Path, name: str) -> float:
    """Makes, writes, segments and reads one image; the distance of the found centre from the true one, in voxels."""
    volume, ball, center = _image(kind, rng)
    path = folder / f"{name}{rng.choice(ENDINGS)}"
    write_image(volume, path) if not volume.is_rgb else _write_colour(volume, path)
    output = f"{name}_out{rng.choice(FORMATS)}"
    options = {"settings": ("work_size=64",)}
    if kind == "few-shot":
        drawn = np.zeros(ball.shape, np.uint8)
        middle = center[2]
        slices = [middle - 3, middle + 3]
        drawn[slices] = ball[slices]
        labels = folder / f"{name}_drawn.seg.nrrd"
        write_segmentation(Segmentation([drawn], [Segment("Ball", (1, 0, 0), 1)], volume.ijk_to_ras), labels)
        options = {
            "method": "few-shot", "support": (str(labels),), "support_image": (None,), "drawn": (None,), "axis": "z",
            "settings": ("appearance_steps=20", "work_voxels=20000"), "encoder": "default",
        }  # fmt: skip
    elif rng.random() < 0.5:
        options["points"] = (tuple(volume.ras_of(center)),)
    else:
        options["pixels"] = (center,)
    record = run_case(Case(f"case {name}", str(path), output, **options), folder / "out", "cpu")
    if record["status"] != "done":
        raise AssertionError(record["error"])
    found = read_segmentation(folder / "out" / output)
    if found.layers[0].shape != ball.shape:
        raise AssertionError(f"the result has {found.layers[0].shape} voxels, the image {ball.shape}")
    scale = np.abs(volume.ijk_to_ras[:3, :3]).max()
    if np.abs(found.ijk_to_ras - volume.ijk_to_ras).max() > 1e-4 * scale + 1e-6 * np.abs(volume.ijk_to_ras).max():
        raise AssertionError("the result lies elsewhere in the patient than the image")
    mask = found.layers[0] > 0
    if not mask.any():
        raise AssertionError("the result is empty")
    return float(np.abs(np.argwhere(mask).mean(0) - np.argwhere(ball).mean(0)).max())


def _image(kind: str, rng: np.random.Generator) -> tuple[Volume, np.ndarray, tuple[int, int, int]]:
    """An image with a bright ball, the ball's mask, and its centre (i, j, k)."""
    matrix = random_matrix(rng, oblique=bool(rng.random() < 0.5))
    if kind in ("few-shot", "volume", "far away"):
        matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
    if kind == "far away":
        matrix[:3, 3] *= 1000
    depth = 1 if kind in ("slice", "colour") else int(rng.integers(18, 24))
    shape = (depth, int(rng.integers(28, 44)), int(rng.integers(28, 44)))
    k = 0 if depth == 1 else depth // 2
    center = (int(rng.integers(12, shape[2] - 12)), int(rng.integers(12, shape[1] - 12)), k)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    grid = np.ogrid[: shape[0], : shape[1], : shape[2]]
    # A ball in voxels, not in mm: with any voxel size some of it lies in every direction.
    ball = sum(((g - c) ** 2) for g, c in zip(grid, center[::-1], strict=True)) < 7.5**2
    assert spacing.min() > 0
    noise = rng.normal(0, 5, shape)
    array = np.clip(60 + 140 * ball + noise, 0, 255)
    if kind == "colour":
        array = np.stack([array, array * 0.8, array * 0.6], -1).astype(np.uint8)
    else:
        array = array.astype(rng.choice(["uint8", "int16", "float32"]))
    return Volume(array, matrix, "made"), ball, center


def _write_colour(volume: Volume, path: Path) -> None:
    import SimpleITK as sitk
    from image_files import itk_image

    sitk.WriteImage(itk_image(volume.array, volume.ijk_to_ras), str(path))
