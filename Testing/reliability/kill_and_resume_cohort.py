"""Cohorts for a batch that is killed: rows of one manifest for all three methods, drawings and points made from the labels, and what to train.

One is made of the shipped samples, in seconds; one of the larger labelled set beside the repository.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from paths import REPOSITORY, SAMPLE_DATA, SHARED_DATA
from volume_clicks import innermost_voxel

from S3NetSegmentLib.cli.demo.few_shot import slices_to_draw
from S3NetSegmentLib.engine import Volume
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_image

ACDC = {"Right ventricle": 1, "Myocardium": 2, "Left ventricle": 3}
HIPPOCAMPUS = {"Anterior": 1, "Posterior": 2}
TESTED = 7  # hippocampi, the last ones; the model is trained on the other 33
ORGANS = {"Spleen": 1, "Right kidney": 2, "Left kidney": 3, "Liver": 5}


@dataclass(frozen=True)
class Planned:
    """One row of the manifest, and the truth about it.

    :param columns: column -> text; ``output`` among them, without an ending.
    :param truth: a label map.
    :param values: segment of the result -> its values in the label map.
    :param left_out: drawn slices along z, which do not count.
    """

    columns: dict[str, str]
    truth: Path | None = None
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)
    left_out: tuple[int, ...] = ()


@dataclass
class Cohort:
    """Rows, and the folder of a training cohort with what ``s3net finetune`` is told about it."""

    rows: list[Planned]
    training: Path
    training_options: tuple[str, ...]

    def write(self, path: Path) -> None:
        """The manifest."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.columns))
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(row.columns for row in self.rows)


def sample_cohort(folder: Path) -> Cohort:
    """Nine small cases of the shipped samples, with settings that make them quick, and one that cannot be read."""
    quick = {"settings": "work_size=64"}
    rows = [
        _segment(SAMPLE_DATA / f"skin_lesion_{n}.jpg", SAMPLE_DATA / f"skin_lesion_{n}_mask.png", 255, f"skin/lésion {n}", quick)
        for n in (1, 2, 3)
    ]  # fmt: skip
    brain = {**quick, "radius": "10"}
    rows.append(_segment(SAMPLE_DATA / "brain_slice.png", SAMPLE_DATA / "brain_slice_mask.png", 255, "tumour", brain))
    cord = {"Cord": 1}
    image, labels = (SAMPLE_DATA / f"mr_spinal_cord{part}.nii.gz" for part in ("", "_labels"))
    fast = {"settings": "appearance_steps=20; work_voxels=20000", "axis": "z"}
    training = folder / "training"
    maker = [sys.executable, str(REPOSITORY / "Testing" / "make_training_sample.py"), str(training)]
    subprocess.run(maker, check=True, capture_output=True)
    for block in ("block0", "block4", "block8"):
        label = training / "labels" / f"{block}.seg.nrrd"
        known = {"Spinal cord": (1,)} if label.exists() else {}
        apply = _row("apply", training / "images" / f"{block}.nii.gz", f"model/{block}", {})
        rows.append(Planned(apply, label if known else None, known))
    rows.append(_damaged(image, folder))
    # The slowest come last: the moments of the kills are before the end.
    rows.append(_few_shot(image, labels, cord, "cord/three slices", folder, fast))
    rows.append(_few_shot(image, labels, cord, "cord/one slice", folder, fast, (0.5,)))
    return Cohort(rows, training, ("--preset", "tiny", "--steps", "6"))


def shared_cohort(folder: Path, minutes: float) -> Cohort:
    """Thirty-odd cases of CT, MR and dermoscopy. The model has seen none of the patients that it is applied to."""
    if SHARED_DATA is None:
        raise SystemExit(
            "the labelled data folder is not there: put it at ../shared/data beside the repository, or leave --data out"
        )
    rows = [*_points(), *_drawings(folder)]
    for image in _hippocampi()[-TESTED:]:
        name = image.name.removesuffix("_image.nii.gz")
        row = _row("apply", image, f"by model/{name}", {})
        labels = image.with_name(f"{name}_label.nii.gz")
        rows.append(Planned(row, labels, {part: (value,) for part, value in HIPPOCAMPUS.items()}))
    rows.append(_damaged(_pair("mr_cardiac_acdc", "patient001_ED")[0], folder))
    return Cohort(rows, _training(folder), ("--preset", "tiny", "--minutes", str(minutes)))


def _points() -> list[Planned]:
    """Segment, one innermost point each."""
    rows = []
    pictures = sorted((SHARED_DATA / "derm_isic2017").glob("*_mask.png"))[::16]
    for mask in pictures:
        name = mask.name.removesuffix("_mask.png")
        rows.append(_segment(mask.with_name(f"{name}.jpg"), mask, 255, f"skin/{name}"))
    for scan, organs in (("ctA", ORGANS), ("ctB", {"Liver": 5})):
        for organ, value in organs.items():
            rows.append(_segment(*_pair("ct_abdomen_totalseg", scan), value, f"organs by point/{scan} {organ}"))
    for folder, name, value, told in (
        ("mr_braintumor_pyradiomics", "brain1", 1, {"radius": "16"}),
        ("mr_braintumor_brats2013", "brats13_0004", 2, {}),
        ("mr_spinalcord_sct", "t2", 1, {}),
        ("mr_cardiac_acdc", "patient021_ED", 3, {}),
        ("mr_cardiac_acdc", "patient061_ES", 3, {}),
        ("mr_hippocampus_msd", "hippocampus_001", 1, {}),
    ):
        rows.append(_segment(*_pair(folder, name), value, f"by point/{name}", told))
    return rows


def _drawings(folder: Path) -> list[Planned]:
    """Few-shot: three drawn slices, or all of another patient."""
    rows = []
    for sets, names, values in (
        ("mr_hippocampus_msd", ("hippocampus_003", "hippocampus_004", "hippocampus_011", "hippocampus_014"), HIPPOCAMPUS),
        ("mr_cardiac_acdc", ("patient001_ED", "patient022_ES", "patient041_ED"), ACDC),
        ("ct_abdomen_totalseg", ("ctA",), ORGANS),
        ("mr_spinalcord_sct", ("t2",), {"Cord": 1}),
        ("mr_braintumor_pyradiomics", ("brain1",), {"Tumour": 1}),
    ):  # fmt: skip
        for name in names:
            rows.append(_few_shot(*_pair(sets, name), values, f"from drawings/{name}", folder, {"axis": "z"}))
    (image, labels), (other, drawn) = (_pair("mr_hippocampus_msd", f"hippocampus_{n}") for n in ("015", "017"))
    row = _row("few-shot", image, "from another patient/hippocampus_015", {})
    row |= {"support": str(drawn), "support_image": str(other), "drawn": "all"}
    rows.append(Planned(row, labels, {f"Segment {v}": (v,) for v in HIPPOCAMPUS.values()}))
    return rows


def _training(folder: Path) -> Path:
    """All hippocampi, those to be tested named as what must not be trained on."""
    training = folder / "training"
    if training.exists():
        return training
    for part in ("images", "labels"):
        (training / part).mkdir(parents=True)
    cases = [image.name.removesuffix("_image.nii.gz") for image in _hippocampi()]
    for case, image in zip(cases, _hippocampi(), strict=True):
        os.symlink(image, training / "images" / f"{case}.nii.gz")
        os.symlink(image.with_name(f"{case}_label.nii.gz"), training / "labels" / f"{case}.nii.gz")
    description = {
        "patients": {case: case for case in cases},
        "splits": {"test": cases[-TESTED:]},
        "classes": [{"name": name, "value": value} for name, value in HIPPOCAMPUS.items()],
    }
    (training / "cohort.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
    return training


def _hippocampi() -> list[Path]:
    return sorted((SHARED_DATA / "mr_hippocampus_msd").glob("*_image.nii.gz"))


def _pair(folder: str, name: str) -> tuple[Path, Path]:
    return tuple(SHARED_DATA / folder / f"{name}_{part}.nii.gz" for part in ("image", "label"))


def _row(method: str, image: Path, output: str, more: dict) -> dict[str, str]:
    return {"image": str(image), "method": method, "output": output, **more}


def _segment(image: Path, labels: Path, value: int, output: str, more: dict | None = None) -> Planned:
    truth = read_image(labels)
    mask = truth.array.max(-1) if truth.is_rgb else truth.array
    k, j, i = innermost_voxel(mask == value, truth.spacing[::-1])
    return Planned(
        _row("segment", image, output, {"pixels": f"{i},{j},{k}", **(more or {})}), labels, {"Object": (value,)}
    )


def _few_shot(
    image: Path, labels: Path, values: dict[str, int], output: str, folder: Path, more: dict, places=()
) -> Planned:
    """The labels on the drawn slices alone, as a file."""
    truth = read_image(labels)
    wanted = np.where(np.isin(truth.array, list(values.values())), truth.array, 0).astype(np.uint8)
    if places:
        filled = np.flatnonzero(wanted.any((1, 2)))
        drawn = [round(float(filled[0] + part * (filled[-1] - filled[0]))) for part in places]
    else:
        drawn = slices_to_draw(wanted, "z")
    only = np.zeros_like(wanted)
    only[drawn] = wanted[drawn]
    path = folder / "drawings" / f"{output.replace('/', '_')}.nii.gz"
    write_image(Volume(only, truth.ijk_to_ras, "drawing"), path)
    row = _row("few-shot", image, output, {"support": str(path), "drawn": ",".join(map(str, drawn)), **more})
    return Planned(row, labels, {f"Segment {v}": (v,) for v in values.values()}, tuple(drawn))


def _damaged(image: Path, folder: Path) -> Planned:
    """An image that is cut off: which every batch has one of."""
    path = folder / "cut off.nii.gz"
    shutil.copyfile(image, path)
    os.truncate(path, path.stat().st_size // 2)
    return Planned(_row("segment", path, "cut off", {}))
