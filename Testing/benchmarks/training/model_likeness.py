"""Which images a model's record of its training images calls unlike them, over all pairs of the shared sets.

Of each set half of the patients (at least one) make the record; the others, and all images of the other sets, are judged by
it. Right is: no image of the own set is called unlike, and every one of another kind of set is, and of the own one inverted,
with a band of one value on 5 % of its rows in the middle, with a tenth of its rows cut off (their darkest value), or in the same place
with its slices in the opposite order, turned by 180 degrees in each slice, or with rows and columns exchanged.

    python Testing/benchmarks/training/model_likeness.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from pathlib import Path

_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
from paths import SHARED_DATA  # noqa: E402

from S3NetSegmentLib.engine.images.intensity import intensity_scale  # noqa: E402
from S3NetSegmentLib.engine.images.reading import read_image  # noqa: E402
from S3NetSegmentLib.engine.training.preparation import choose_layout  # noqa: E402
from S3NetSegmentLib.engine.training.slices.likeness import TrainingLook, look_of  # noqa: E402

SETS = {
    "acdc": ("mr_cardiac_acdc", "*_image.nii.gz"), "hippocampus": ("mr_hippocampus_msd", "*_image.nii.gz"),
    "cord t2": ("mr_spinalcord_sct", "*_image.nii.gz"), "ct abdomen": ("ct_abdomen_totalseg", "*_image.nii.gz"),
    "brats flair": ("mr_braintumor_brats2013", "*_image.nii.gz"), "brats t1c": ("mr_braintumor_brats2013", "*_t1c.nii.gz"),
    "ms flair": ("mr_ms_lesion_lesjak", "*_image.nii.gz"), "ms t1": ("mr_ms_lesion_lesjak", "*_t1.nii.gz"),
    "mni152": ("mr_tissue_mni152", "*_image.nii.gz"), "brain1": ("mr_braintumor_pyradiomics", "*_image.nii.gz"),
    "skin": ("derm_isic2017", "*.jpg"),
}  # fmt: skip
_PICTURES = 20  # of the skin set


def _with_rows(array: np.ndarray, first: float, last: float, value) -> np.ndarray:
    """``array`` with one value on its rows from one share of them to another."""
    changed, rows = array.copy(), array.shape[1]
    changed[:, round(first * rows) : round(last * rows)] = value
    return changed


_DISTURBED = {
    "inverted": lambda array: array.max() - array,
    "band": lambda array: _with_rows(array, 0.475, 0.525, np.median(array).astype(array.dtype)),
    "cut": lambda array: _with_rows(array, 0.9, 1.0, array.min()),
    "upside down": lambda array: array[::-1],
    "turned": lambda array: array[:, ::-1, ::-1],
    "exchanged": lambda array: array.swapaxes(1, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="random halves of each set")
    arguments = parser.parse_args()
    volumes = {}
    for name, (folder, pattern) in SETS.items():
        paths = sorted((SHARED_DATA / folder).glob(pattern))[: _PICTURES if name == "skin" else None]
        volumes[name] = [(path.name[:10], read_image(path)) for path in paths]
    scales = {id(v): intensity_scale(v) for found in volumes.values() for _, v in found}
    rng = np.random.default_rng(0)
    columns = [*SETS, *_DISTURBED]
    print(
        f"{'trained on':<12} "
        + " ".join(f"{name[:11]:>11}" for name in columns)
        + "   (images called unlike / images judged)"
    )
    for name, own in volumes.items():
        unlike, judged, reasons = Counter(), Counter(), Counter()
        for _ in range(arguments.repeats):
            patients = rng.permutation(sorted({patient for patient, _ in own}))
            chosen = set(patients[: max(1, len(patients) // 2)].tolist())
            train = [v for patient, v in own if patient in chosen]
            layout, _ = choose_layout(train)
            looks = {key: look_of(layout.of(v, [scales[key]])) for v in _all(volumes) if (key := id(v))}
            record = TrainingLook.of([looks[id(v)] for v in train])
            for patient, v in own:
                if patient not in chosen or len(patients) == 1:
                    for what, disturbed in _DISTURBED.items():
                        changed = dataclasses.replace(v, array=disturbed(v.array))
                        unlike[what] += bool(record.differences(look_of(layout.of(changed))))
                        judged[what] += 1
            for other, found in volumes.items():
                for patient, v in found:
                    if other != name or patient not in chosen or len(patients) == 1:
                        differences = record.differences(looks[id(v)])
                        unlike[other] += bool(differences)
                        judged[other] += 1
                        if other == name:
                            reasons.update(differences)
        print(f"{name:<12} " + " ".join(f"{f'{unlike[o]}/{judged[o]}':>11}" for o in columns))
        for reason, count in reasons.most_common(3):
            print(f"{'':12} own image, {count} times: {reason}")


def _all(volumes):
    return [v for found in volumes.values() for _, v in found]


if __name__ == "__main__":
    main()
