"""Cuts the shipped samples (Resources/SampleData) out of the larger labelled set beside the repository.

    python3 Testing/make_sample_data.py

Kept so that everybody can see what was done to each image; the results are in git, nothing calls this. Voxel values are
never changed except for the one 8-bit picture, and the places in the patient stay right.
"""

import shutil
import sys
from pathlib import Path

_testing = Path(__file__).resolve().parent
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from paths import SAMPLE_DATA, SHARED_DATA  # noqa: E402

DERMOSCOPY = {"skin_lesion_1": 181, "skin_lesion_2": 131, "skin_lesion_3": 86}  # easy; hairs; faint, with a pen mark
CT_ORGANS = {
    5: 1,
    1: 2,
    2: 3,
    3: 4,
    52: 5,
}  # liver, spleen, right kidney, left kidney, aorta: value there -> value here


def main():
    """Writes all samples."""
    for name, number in DERMOSCOPY.items():
        source = SHARED_DATA / "derm_isic2017_train" / f"isic2017train_{number:03d}"
        shutil.copyfile(f"{source}.jpg", SAMPLE_DATA / f"{name}.jpg")
        shutil.copyfile(f"{source}_mask.png", SAMPLE_DATA / f"{name}_mask.png")

    cut("ct_abdomen_totalseg/ctA", "ct_abdomen", (4, 10, 58), (118, 92, 112), CT_ORGANS)
    cut("mr_spinalcord_sct/t2", "mr_spinal_cord", (0, 0, 0), (60, 55, 52))
    head = cut("mr_braintumor_pyradiomics/brain1", "mr_brain_tumour", (0, 0, 10), (256, 256, 19))
    save_slice(*head, index=4, name="brain_slice")


def cut(source: str, name: str, start: tuple, stop: tuple, values: dict | None = None):
    """Saves the box ``start`` to ``stop`` (voxels i, j, k; stop excluded) of an image and its labels; returns both."""
    region = [b - a for a, b in zip(start, stop, strict=True)], start
    image = sitk.RegionOfInterest(sitk.ReadImage(str(SHARED_DATA / f"{source}_image.nii.gz")), *region)
    labels = sitk.RegionOfInterest(sitk.ReadImage(str(SHARED_DATA / f"{source}_label.nii.gz")), *region)
    if values:
        old = sitk.GetArrayFromImage(labels)
        new = np.zeros_like(old)
        for there, here in values.items():
            new[old == there] = here
        kept = sitk.GetImageFromArray(new)
        kept.CopyInformation(labels)
        labels = kept
    sitk.WriteImage(image, str(SAMPLE_DATA / f"{name}.nii.gz"), useCompression=True)
    sitk.WriteImage(labels, str(SAMPLE_DATA / f"{name}_labels.nii.gz"), useCompression=True)
    return image, labels


def save_slice(image: sitk.Image, labels: sitk.Image, index: int, name: str):
    """Saves one slice as an 8-bit grey picture (0 to the 99.5th percentile) and its label as a 0/255 mask."""
    values = sitk.GetArrayFromImage(image[:, :, index]).astype(float)
    grey = np.clip(values / np.percentile(values, 99.5) * 255, 0, 255).round().astype(np.uint8)
    mask = (sitk.GetArrayFromImage(labels[:, :, index]) > 0).astype(np.uint8) * 255
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(SAMPLE_DATA / f"{name}.png"), useCompression=True)
    sitk.WriteImage(sitk.GetImageFromArray(mask), str(SAMPLE_DATA / f"{name}_mask.png"), useCompression=True)


if __name__ == "__main__":
    main()
