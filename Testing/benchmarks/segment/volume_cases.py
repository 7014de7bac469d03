"""The labelled volumes of the 3D benchmark, their objects, and which of them may be looked at when choosing settings.

``twelve``: the twelve organs on which earlier recipes were compared; ``confirm``: others that are only reported;
``development``: those on which settings were chosen. No patient lies in two groups, but for CT (two scans: ctA
development, ctB the others).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from paths import SHARED_DATA
from scipy import ndimage

from S3NetSegmentLib.engine.images import Volume
from S3NetSegmentLib.engine.images.reading import read_image

GROUPS = ("twelve", "confirm", "development")
SMALLEST_OBJECT = 200  # voxels
_CT, _ACDC, _BRATS = "ct_abdomen_totalseg", "mr_cardiac_acdc", "mr_braintumor_brats2013"
_HIPPOCAMPUS, _MS = "mr_hippocampus_msd", "mr_ms_lesion_lesjak"
_CT_A = (
    "liver", "spleen", "kidney_right", "kidney_left", "gallbladder", "stomach", "aorta", "urinary_bladder",
    "vertebrae_L3", "vertebrae_T12", "hip_left", "autochthon_left", "gluteus_maximus_right", "iliopsoas_left",
    "inferior_vena_cava",
)  # fmt: skip
_CT_B = ("stomach", "aorta", "inferior_vena_cava", "vertebrae_T12", "humerus_left", "autochthon_right", "spinal_cord")
_CASES = {
    "twelve": [(_CT, "ctB", ("liver", "spleen"))]
    + [(_ACDC, f"patient{p}_ED", ("LV", "RV")) for p in ("001", "041", "002", "061")]
    + [(_BRATS, f"brats13_{p}", ("tumour",)) for p in ("0004", "0005")],
    "confirm": [(_CT, "ctB", _CT_B)]
    + [(_ACDC, f"patient{p}_ED", ("LV", "RV")) for p in ("022", "023", "043", "063", "082", "083")]
    + [(_HIPPOCAMPUS, f"hippocampus_{p}", ("hippocampus",)) for p in ("011", "014", "015", "017", "019", "020", "023", "024")]
    + [(_MS, "ms_19", ("lesions",))],
    "development": [(_CT, "ctA", _CT_A)]
    + [(_ACDC, f"patient{p}_ED", ("LV", "RV")) for p in ("003", "021", "042", "062", "081")]
    + [(_HIPPOCAMPUS, f"hippocampus_{p}", ("hippocampus",)) for p in ("001", "003", "004", "006", "007", "008")]
    + [("mr_braintumor_pyradiomics", "brain1", ("tumour",)), ("mr_spinalcord_sct", "t2", ("cord",))]
    + [(_BRATS, "brats13_0006", ("tumour",)), (_MS, "ms_07", ("lesions",))],
}  # fmt: skip
_ACDC_VALUES = {"RV": 1, "LV": 3}


@dataclass(frozen=True, eq=False)
class VolumeCase:
    """A volume with its true objects by name, bool ``[K, J, I]`` each; ``kind``: what they are averaged with."""

    name: str
    kind: str
    volume: Volume
    objects: dict[str, np.ndarray]


def volume_cases(group: str) -> Iterator[VolumeCase]:
    """The cases of one of :data:`GROUPS`, in a fixed order, read as they are needed."""
    if SHARED_DATA is None:
        raise SystemExit("the labelled data folder is not there: put it at ../shared/data beside the repository")
    for folder, name, wanted in _CASES[group]:
        volume = read_image(SHARED_DATA / folder / f"{name}_image.nii.gz")
        labels = read_image(SHARED_DATA / folder / f"{name}_label.nii.gz").array
        objects = {o: mask for n in wanted for o, mask in _objects(folder, n, labels).items()}
        objects = {o: mask for o, mask in objects.items() if np.count_nonzero(mask) >= SMALLEST_OBJECT}
        yield VolumeCase(name, _kind(folder, name), volume, objects)


def _objects(folder: str, name: str, labels: np.ndarray) -> dict[str, np.ndarray]:
    if folder == _CT:
        values = json.loads((SHARED_DATA / folder / "labels.json").read_text())
        return {name: labels == int(next(v for v, n in values.items() if n == name))}
    if folder == _ACDC:
        return {name: labels == _ACDC_VALUES[name]}
    if name == "lesions":  # the three largest, each one object
        parts, _ = ndimage.label(labels > 0)
        sizes = np.bincount(parts.ravel())
        largest = [v for v in np.argsort(sizes)[::-1] if v > 0][:3]
        return {f"lesion {n}": parts == v for n, v in enumerate(largest, 1)}
    return {name: labels > 0}


def _kind(folder: str, name: str) -> str:
    return {_CT: "CT", _ACDC: "heart", _BRATS: "tumour", _HIPPOCAMPUS: "hippocampus", _MS: "lesion"}.get(folder, name)
