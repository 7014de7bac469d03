"""The slices of the benchmark of encoders: five labelled sets, three that only train encoders of the others, and synthetic scenes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from few_shot_cases import DRAWN_AT, FOLDERS, case_names
from paths import SHARED_DATA
from scenes import scene

from S3NetSegmentLib.engine.images import Volume
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.resample import resized
from S3NetSegmentLib.engine.training.slices.bank import SliceBank
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout

SIDE, MOST_SLICES, MOST_VOLUMES = 64, 24, 5
# Label values of each structure, and mm of a pixel.
STRUCTURES = {
    "acdc": ((1,), (2,), (3,)), "hippocampus": ((1,), (2,)), "brats": ((1, 2, 3, 4),), "ct": ((1,), (5,), (6,), (52,)), "ms": ((1,),),
}  # fmt: skip
PIXEL_MM = {
    "acdc": 3.0, "hippocampus": 1.0, "brats": 2.5, "ct": 6.0, "ms": 2.5, "cord": 1.0, "brain1": 3.25, "mni": 3.75
}  # fmt: skip
SCENES = 480  # about as many as the sets have slices
_SHARE_BESIDE = 0.2  # of the labelled extent, shown below and above it


@dataclass(frozen=True, eq=False)
class Scan:
    """Slices of a volume: images uint8 and labels (0, then the structures), ``[n, SIDE, SIDE]``."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    box: tuple[int, int, int, int]
    volume: Volume

    def drawn(self, count: int) -> list[int]:
        filled = np.flatnonzero(self.labels.any((1, 2)))
        wanted = (filled[0] + share * (filled[-1] - filled[0]) for share in DRAWN_AT[count])
        return sorted({int(filled[np.abs(filled - place).argmin()]) for place in wanted})


@cache
def scans(set_name: str) -> list[Scan]:
    names = sorted({name for group in ("confirm", "development") for name in case_names(group, set_name)})
    if set_name == "acdc":
        names = [name for name in names if name.endswith("ED")]
    return [scan_of(set_name, SHARED_DATA / FOLDERS[set_name] / name) for name in names[:MOST_VOLUMES]]


def scan_of(set_name: str, stem: Path) -> Scan:
    volume, drawn = (read_image(f"{stem}_{part}.nii.gz") for part in ("image", "label"))
    number = np.zeros(256, np.uint8)
    for n, values in enumerate(STRUCTURES.get(set_name, (range(1, 256),)), 1):
        number[list(values)] = n
    labels = number[drawn.array.astype(np.uint8)]
    slices = SliceLayout("axial", PIXEL_MM[set_name], SIDE).of(volume)
    filled = np.flatnonzero(slices.oriented(labels).any((1, 2)))
    beside = round(_SHARE_BESIDE * (filled[-1] - filled[0]))
    first, last = max(0, filled[0] - beside), min(slices.count - 1, filled[-1] + beside)
    chosen = np.unique(np.linspace(0, last - first, min(MOST_SLICES, last - first + 1)).round().astype(int))
    images = np.rint(255 * slices.prepared(first, last + 1)[chosen, 0]).astype(np.uint8)
    distance = slices.thickness * (last - first) / max(1, len(chosen) - 1)
    matrix = np.diag((-PIXEL_MM[set_name], -PIXEL_MM[set_name], distance, 1.0))
    labels = slices.prepared_labels(labels, first, last + 1)[chosen]
    return Scan(stem.name, images, labels, slices.box, Volume(images, matrix, stem.name))


@cache
def synthetic() -> Scan:
    """Grey scenes of the generator that the rankers have seen, without their objects."""
    pictures = (scene(np.random.default_rng([n]), colour=False).picture[..., 0] for n in range(SCENES))
    images = np.stack([np.rint(255 * np.clip(resized(p, (SIDE, SIDE)), 0, 1)).astype(np.uint8) for p in pictures])
    return Scan("scenes", images, np.zeros_like(images), (0, 0, SIDE, SIDE), Volume(images, np.eye(4), "scenes"))


def bank_of(chosen: list[Scan]) -> SliceBank:
    """All slices of ``chosen`` with their labels; all in one layout, since only pixels count here."""
    counts = [len(scan.images) for scan in chosen]
    images, labels = (
        torch.from_numpy(np.concatenate([getattr(s, part) for s in chosen])) for part in ("images", "labels")
    )
    return SliceBank(
        torch.device("cpu"), SliceLayout("axial", 1.0, SIDE), tuple(s.name for s in chosen), images[:, None], labels,
        np.arange(sum(counts)), np.repeat(np.arange(len(chosen)), counts),
        np.concatenate([np.linspace(0, 1, n) for n in counts]).astype(np.float32),
        np.concatenate([np.tile(s.box, (len(s.images), 1)) for s in chosen]), {},
    )  # fmt: skip
