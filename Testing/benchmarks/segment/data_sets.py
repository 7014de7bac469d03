"""The labelled pictures and slices of the 2D benchmark, and which of them may be looked at when choosing settings.

Every set is split by a fixed rule into *development* cases (settings, weights and the ranker's prior may be chosen on
them) and *confirm* cases (only reported). Cases of one patient never lie on both sides, except for CT (two scans, of
which the development slices come from one), the spinal cord and the MNI template (one volume each).

Needs the labelled data folder beside the repository, see ``Testing/support/paths.py``; each of its sets names its source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from paths import SHARED_DATA
from scipy import ndimage

from S3NetSegmentLib.engine.images import Volume

GREY_SETS = ("ct", "acdc", "brats", "cord", "mni", "hippocampus", "ms")
SETS = ("dermoscopy", *GREY_SETS)
SPLITS = ("development", "confirm")
SMALLEST_OBJECT = 40  # voxels

# CT: organs with a border that one can see in a slice. Spleen, kidneys, gall bladder, liver, stomach, bladder, aorta.
CT_ORGANS = (1, 2, 3, 4, 5, 6, 21, 52)
CT_SLICES = {
    "confirm": {"ctA": (74, 80, 86, 92, 98, 106), "ctB": (2, 7, 12, 17)},
    "development": {"ctA": (20, 71, 77, 83, 89, 95, 102)},
}
CT_CORONAL = (30, 42, 50, 58, 66)  # of ctA, for development
ACDC_DEVELOPMENT = ("003", "023", "043", "063", "083")  # every third patient; both frames. Confirm: the others, ED only
BRATS = {"confirm": ("0004", "0005"), "development": ("0006",)}
CORD_SLICES = {"confirm": (0.25, 0.5, 0.75), "development": (0.1, 0.4, 0.6, 0.9)}  # share of the cord's extent
MNI_SLICES = {"confirm": (75, 90, 105), "development": (67, 83, 97)}
MNI_CORONAL = (75, 110, 145)
HIPPOCAMPUS_CONFIRM = 14  # the first so many files; the others are for development


@dataclass(frozen=True, eq=False)
class Case:
    """One slice with its objects.

    :param volume: the whole volume (a picture has one slice); intensities are scaled from all of it.
    :param slice_index: index along K of the slice.
    :param objects: true objects in the slice, bool ``[J, I]`` each.
    """

    set_name: str
    name: str
    volume: Volume
    slice_index: int
    objects: tuple[np.ndarray, ...]


def cases(set_name: str, split: str) -> Iterator[Case]:
    """The cases of one set (of :data:`SETS`) and split (of :data:`SPLITS`), in a fixed order, read as they are needed."""
    if SHARED_DATA is None:
        raise SystemExit("the labelled data folder is not there: put it at ../shared/data beside the repository")
    if set_name not in SETS or split not in SPLITS:
        raise SystemExit(
            f"unknown set or split: {set_name}, {split}; sets {', '.join(SETS)}; splits {', '.join(SPLITS)}"
        )
    reader = {
        "dermoscopy": _dermoscopy, "ct": _ct, "acdc": _acdc, "brats": _brats, "cord": _cord, "mni": _mni,
        "hippocampus": _hippocampus, "ms": _ms,
    }[set_name]  # fmt: skip
    yield from reader(split)


def _dermoscopy(split: str) -> Iterator[Case]:
    """ISIC 2017. Development: the first 60 training pictures, then the even positions of the other training and of the
    validation pictures, alternately. Confirm: the odd positions of both, alternately, the first 75."""
    train = _pictures(SHARED_DATA / "derm_isic2017_train")
    rest, validation = train[60:], _pictures(SHARED_DATA / "derm_isic2017")
    if split == "development":
        chosen = train[:60] + _alternate(rest[0::2], validation[0::2])
    else:
        chosen = _alternate(rest[1::2], validation[1::2])[:75]
    for path in chosen:
        mask = _array(path.with_name(path.stem + "_mask.png")) > 127
        volume = Volume(_array(path)[None], np.eye(4), path.stem)
        yield Case("dermoscopy", path.stem, volume, 0, (mask,))


def _ct(split: str) -> Iterator[Case]:
    for scan, indices in CT_SLICES[split].items():
        volume, labels = _read("ct_abdomen_totalseg", scan)
        for k in indices:
            objects = tuple(labels[k] == v for v in CT_ORGANS if np.count_nonzero(labels[k] == v) >= SMALLEST_OBJECT)
            yield Case("ct", f"{scan} slice {k}", volume, k, objects)
    if split == "development":
        volume, labels = (_turned(v) for v in _read("ct_abdomen_totalseg", "ctA"))
        for k in CT_CORONAL:
            objects = tuple(m for m in (labels[k] == v for v in CT_ORGANS) if m.sum() >= SMALLEST_OBJECT)
            yield Case("ct", f"ctA coronal {k}", volume, k, objects)


def _acdc(split: str) -> Iterator[Case]:
    """Right ventricle, myocardium, left ventricle in the middle slice (development: three slices)."""
    for path in sorted((SHARED_DATA / "mr_cardiac_acdc").glob("*_E?_image.nii.gz")):
        name = path.name.removesuffix("_image.nii.gz")
        development = name[7:10] in ACDC_DEVELOPMENT
        if development != (split == "development") or (split == "confirm" and not name.endswith("ED")):
            continue
        volume, labels = _read("mr_cardiac_acdc", name)
        middle = labels.shape[0] // 2
        for k in (middle - 2, middle, middle + 2) if development else (middle,):
            objects = tuple(m for m in (labels[k] == v for v in (1, 2, 3)) if m.sum() >= SMALLEST_OBJECT)
            if objects:
                yield Case("acdc", f"{name} slice {k}", volume, k, objects)


def _brats(split: str) -> Iterator[Case]:
    """The whole tumour on FLAIR, at three places along its extent. Development: at five places, the tumour's core on
    contrast-enhanced T1 there, and the tumour of the brain1 case."""
    for patient in BRATS[split]:
        volume, labels = _read("mr_braintumor_brats2013", f"brats13_{patient}")
        filled = np.flatnonzero((labels > 0).any((1, 2)))
        shares = (0.25, 0.5, 0.75) if split == "confirm" else (0.2, 0.35, 0.5, 0.65, 0.8)
        for share in shares:
            k = int(filled[0] + round(share * (filled[-1] - filled[0])))
            yield Case("brats", f"{patient} slice {k}", volume, k, (labels[k] > 0,))
            core = np.isin(labels[k], (1, 3, 4))
            if split == "development" and core.sum() >= SMALLEST_OBJECT:
                enhanced, _ = _read("mr_braintumor_brats2013", f"brats13_{patient}", "t1c")
                yield Case("brats", f"{patient} core, slice {k}", enhanced, k, (core,))
    if split == "development":
        volume, labels = _read("mr_braintumor_pyradiomics", "brain1")
        for k in (12, 14, 16):
            if (labels[k] > 0).sum() >= SMALLEST_OBJECT:
                yield Case("brats", f"brain1 slice {k}", volume, k, (labels[k] > 0,))


def _cord(split: str) -> Iterator[Case]:
    """Spinal cord on T2, slices across the cord."""
    volume, labels = _read("mr_spinalcord_sct", "t2")
    filled = np.flatnonzero((labels > 0).any((1, 2)))
    for share in CORD_SLICES[split]:
        k = int(filled[0] + round(share * (filled[-1] - filled[0])))
        yield Case("cord", f"slice {k}", volume, k, (labels[k] > 0,))


def _mni(split: str) -> Iterator[Case]:
    """Grey and white matter of the MNI152 template: tissue, not organs. Development: coronal slices as well."""
    volume, labels = _read("mr_tissue_mni152", "mni152")
    for k in MNI_SLICES[split]:
        yield Case("mni", f"slice {k}", volume, k, (labels[k] == 1, labels[k] == 2))
    if split == "development":
        volume, labels = _turned(volume), _turned(labels)
        for k in MNI_CORONAL:
            yield Case("mni", f"coronal {k}", volume, k, (labels[k] == 1, labels[k] == 2))


def _hippocampus(split: str) -> Iterator[Case]:
    """The slice with the largest hippocampus (anterior and posterior together)."""
    paths = sorted((SHARED_DATA / "mr_hippocampus_msd").glob("*_image.nii.gz"))
    for path in paths[:HIPPOCAMPUS_CONFIRM] if split == "confirm" else paths[HIPPOCAMPUS_CONFIRM:]:
        name = path.name.removesuffix("_image.nii.gz")
        volume, labels = _read("mr_hippocampus_msd", name)
        k = int(np.argmax((labels > 0).sum((1, 2))))
        yield Case("hippocampus", name, volume, k, (labels[k] > 0,))


def _ms(split: str) -> Iterator[Case]:
    """MS lesions on FLAIR: up to three largest lesions in every third of the twelve slices with most lesion."""
    if split == "development":
        return
    for name in ("ms_07", "ms_19"):
        volume, labels = _read("mr_ms_lesion_lesjak", name)
        fullest = np.argsort((labels > 0).sum((1, 2)), kind="stable")
        for k in sorted(int(k) for k in fullest[-12::3]):
            parts, _ = ndimage.label(labels[k] > 0)
            areas = np.bincount(parts.ravel())
            largest = [v for v in np.argsort(areas)[::-1] if v > 0 and areas[v] >= SMALLEST_OBJECT][:3]
            if largest:
                yield Case("ms", f"{name} slice {k}", volume, k, tuple(parts == v for v in largest))


def _pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


def _alternate(first: list, second: list) -> list:
    """One of ``first``, one of ``second``, and so on; the rest of the longer list at the end."""
    shorter = min(len(first), len(second))
    pairs = [x for pair in zip(first[:shorter], second[:shorter], strict=True) for x in pair]
    return pairs + first[shorter:] + second[shorter:]


def _array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@lru_cache(maxsize=3)
def _read(folder: str, name: str, kind: str = "image") -> tuple[Volume, np.ndarray]:
    """Image and labels of one case; of the geometry only the voxel sizes matter here, and the axes are in the usual order."""
    image = sitk.ReadImage(str(_file(folder, f"{name}_{kind}")))
    x, y, z = image.GetSpacing()
    matrix = np.diag((-x, -y, z, 1.0))
    return Volume(sitk.GetArrayFromImage(image), matrix, name), _array(_file(folder, f"{name}_label"))


def _file(folder: str, stem: str) -> Path:
    return next((SHARED_DATA / folder).glob(f"{stem}.n*"))


def _turned(image: Volume | np.ndarray):
    """With the second array axis across the slices instead of the first, as it is in coronal slices."""
    if isinstance(image, np.ndarray):
        return np.ascontiguousarray(image.swapaxes(0, 1)[:, ::-1])
    x, y, z = image.spacing
    return Volume(_turned(image.array), np.diag((-x, -z, y, 1.0)), image.name)
