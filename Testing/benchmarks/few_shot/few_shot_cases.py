"""The labelled volumes of the few-shot benchmark, their drawn slices, and which of them may be looked at when choosing.

``development``: settings were chosen on them; ``confirm``: all others, which are only reported. No patient lies in both
groups, but for CT, of which there are two scans: their other organs confirm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from paths import SHARED_DATA

from S3NetSegmentLib.engine.images import AXES, Volume
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.volume import slices_first

GROUPS = ("development", "confirm")
DRAWN_AT = {1: (1 / 2,), 3: (1 / 6, 1 / 2, 5 / 6), 5: (0.1, 0.3, 0.5, 0.7, 0.9)}  # shares of the labelled extent
MIDDLE_AT = {1: (0.3,), 3: (0.4, 0.5, 0.6), 5: (0.4, 0.45, 0.5, 0.55, 0.6)}  # nothing near the ends
FIRST_AT = {1: (0.05,), 3: (0.02, 0.05, 0.08), 5: (0.01, 0.03, 0.05, 0.07, 0.09)}  # a tip of what is labelled
LAST_AT = {count: tuple(1 - share for share in reversed(shares)) for count, shares in FIRST_AT.items()}
PLACINGS = {"spread": DRAWN_AT, "middle": MIDDLE_AT, "first-tenth": FIRST_AT, "last-tenth": LAST_AT}
FOLDERS = {
    "ct": "ct_abdomen_totalseg",
    "acdc": "mr_cardiac_acdc",
    "hippocampus": "mr_hippocampus_msd",
    "brats": "mr_braintumor_brats2013",
    "cord": "mr_spinalcord_sct",
    "brain1": "mr_braintumor_pyradiomics",
    "mni": "mr_tissue_mni152",
    "ms": "mr_ms_lesion_lesjak",
}
_DEVELOPMENT = {
    "ct": ("ctA", "ctB"),
    "acdc": ("patient001_ED", "patient021_ES", "patient043_ED", "patient062_ES"),
    "hippocampus": ("hippocampus_001", "hippocampus_011", "hippocampus_024", "hippocampus_040"),
    "brats": ("brats13_0004", "brats13_0005"),
    "cord": ("t2",),
    "brain1": ("brain1",),
    "mni": ("mni152",),
    "ms": ("ms_07", "ms_19"),
}
# Spleen, kidneys, liver, stomach, aorta; to confirm: vena cava, back and hip muscles, vertebra, humerus, spinal cord.
_CT_VALUES = {
    ("development", "ctA"): (1, 2, 3, 5, 6, 52), ("development", "ctB"): (1, 5, 6, 52),
    ("confirm", "ctA"): (63, 86, 87, 88, 89), ("confirm", "ctB"): (32, 63, 70, 79, 86),
}  # fmt: skip
_EXTENSION = "_label.nii.gz"


@dataclass(frozen=True, eq=False)
class FewShotCase:
    """A labelled volume of set ``set_name``; ``labels`` like the volume's array; slices are drawn across ``axis``."""

    set_name: str
    name: str
    volume: Volume
    labels: np.ndarray
    axis: str

    def drawn(self, count: int, placing: str = "spread") -> list[int]:
        """Numbers of at most ``count`` drawn slices, spread over the labelled extent, in its middle, or in its first or last
        tenth."""
        filled = np.flatnonzero(slices_first(self.labels, self.axis).any((1, 2)))
        first, last = int(filled[0]), int(filled[-1])
        return sorted({round(first + share * (last - first)) for share in PLACINGS[placing][count]})


def case_names(group: str, set_name: str) -> list[str]:
    if SHARED_DATA is None:
        raise SystemExit("the labelled data folder is not there: put it at ../shared/data beside the repository")
    chosen = _DEVELOPMENT[set_name]
    if group == "development":
        return list(chosen)
    if set_name == "ct":
        return list(chosen)
    patients = {name.split("_E")[0] for name in chosen}  # both frames of a heart belong to one patient
    names = sorted(p.name[: -len(_EXTENSION)] for p in (SHARED_DATA / FOLDERS[set_name]).glob(f"*{_EXTENSION}"))
    return [name for name in names if name.split("_E")[0] not in patients]


def few_shot_cases(group: str, set_name: str, limit: int | None = None) -> Iterator[FewShotCase]:
    """The cases of one group and set in a fixed order, read as they are needed."""
    for name in case_names(group, set_name)[:limit]:
        stem = SHARED_DATA / FOLDERS[set_name] / name
        volume, labels = (read_image(f"{stem}_{part}.nii.gz") for part in ("image", "label"))
        values = labels.array.astype(np.uint8)
        if set_name == "ct":
            values[~np.isin(values, _CT_VALUES[group, name])] = 0
        yield FewShotCase(set_name, name, volume, values, _axis(volume))


def _axis(volume: Volume) -> str:
    """Across the thick slices; z where the voxels are about as long as wide."""
    spacing = volume.spacing[::-1]
    return AXES[2 - int(np.argmax(spacing))] if max(spacing) > 1.2 * min(spacing) else "z"
