"""Which files of a folder are cases."""

import numpy as np
import pytest
from image_files import write_dicom_series
from loop_folders import drawn, patient, write_patients

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.cohort_loop.finding import WORK, find_cases
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation


def test_volumes_dicom_folders_and_folders_of_one_image_are_cases(tmp_path):
    write_patients(tmp_path, "anna")
    write_patients(tmp_path, "bert", suffix=".nrrd")
    volume, _ = patient(2)
    write_dicom_series(tmp_path / "carl" / "series", volume.array, volume.ijk_to_ras)
    write_patients(tmp_path / "dora", "t1")
    (tmp_path / "notes.txt").write_text("...")
    (tmp_path / WORK).mkdir()
    found = find_cases(tmp_path)
    assert {n: p.relative_to(tmp_path).as_posix() for n, p in found.images.items()} == {
        "anna": "anna.nii.gz", "bert": "bert.nrrd", "carl": "carl", "dora": "dora/t1.nii.gz",
    }  # fmt: skip
    assert "notes.txt" in found.notes[0]


def test_segmentations_beside_the_images_are_no_cases(tmp_path):
    write_patients(tmp_path, "anna", "bert_image", "skin_mask")
    volume, labels = patient(0)
    write_segmentation(drawn(volume, labels), tmp_path / "anna_seg.nii.gz")
    write_segmentation(drawn(volume, labels), tmp_path / "bert_label.nii.gz")
    write_segmentation(drawn(volume, labels), tmp_path / "somebody.seg.nrrd")
    found = find_cases(tmp_path)
    assert list(found.images) == ["anna", "bert_image", "skin_mask"]  # nothing tells whose mask the last would be
    assert {n: p.name for n, p in found.beside.items()} == {
        "anna": "anna_seg.nii.gz",
        "bert_image": "bert_label.nii.gz",
    }


@pytest.mark.parametrize("name", ["t1_seg.nii.gz", "mask.nii.gz", "drawn.seg.nrrd"])
def test_a_segmentation_beside_the_image_in_a_sub_folder_is_known_as_such(tmp_path, name):
    write_patients(tmp_path / "dora", "t1")
    write_segmentation(drawn(*patient(0)), tmp_path / "dora" / name)
    found = find_cases(tmp_path)
    assert {n: p.name for n, p in found.images.items()} == {"dora": "t1.nii.gz"}
    assert {n: p.name for n, p in found.beside.items()} == {"dora": name}


def test_the_voxels_of_a_header_are_not_told_as_no_case(tmp_path):
    for name in ("anna.mhd", "anna.raw", "bert.hdr", "bert.img", "carl.raw"):
        (tmp_path / name).write_bytes(b"x")
    found = find_cases(tmp_path)
    assert list(found.images) == ["anna", "bert"]
    assert len(found.notes) == 1 and found.notes[0].endswith(": carl.raw")


def test_two_files_of_the_same_stem_are_two_cases(tmp_path):
    write_patients(tmp_path, "anna")
    volume, _ = patient(1)
    write_image(volume, tmp_path / "anna.nrrd")
    assert list(find_cases(tmp_path).images) == ["anna", "anna.nrrd"]


def test_no_folder_and_a_folder_of_several_images_are_told(tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        find_cases(tmp_path / "nowhere")
    write_patients(tmp_path, "anna")
    with pytest.raises(InputError, match="is a file"):
        find_cases(tmp_path / "anna.nii.gz")
    write_patients(tmp_path / "bert", "t1", "t2")
    found = find_cases(tmp_path)
    assert list(found.images) == ["anna"] and "bert" in found.notes[0]
    assert np.all([WORK not in p.parts for p in found.images.values()])
