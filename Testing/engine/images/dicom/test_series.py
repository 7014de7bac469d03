"""DICOM series made on the spot: place, order, several series, tilt, gaps, copies and time points."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import image_elements, write_dicom
from image_files import random_matrix, read_warned, relative_error, write_dicom_series, write_raw_dicom

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.images.reading import read_image


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 2000, (7, 9, 8)).astype(np.uint16)


def right_handed(seed: int) -> np.ndarray:
    """A random grid whose slices follow each other along the normal, as in every DICOM series."""
    matrix = random_matrix(np.random.default_rng(seed))
    axes = matrix[:3, :3]
    if np.linalg.det(np.diag([-1, -1, 1]) @ axes) < 0:
        axes[:, 2] *= -1
    return matrix


@pytest.mark.parametrize("seed", range(5))
def test_an_oblique_series_in_shuffled_files_is_put_in_order(tmp_path, array, seed):
    matrix = right_handed(seed)
    write_dicom_series(tmp_path / "s", array, matrix)
    volume, texts = read_warned(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, array)
    assert relative_error(volume.ijk_to_ras, matrix) < 1e-5
    assert volume.name == "T2 axial"
    assert texts == []


@pytest.mark.parametrize("modality, kind", [("CT", "ct"), ("MR", "grey"), ("PT", "grey")])
def test_the_modality_of_the_series_decides_whether_values_are_hounsfield_units(tmp_path, array, modality, kind):
    soft = (array % 200 - 100).astype(np.int16)  # no air, no bone: its distribution alone would not tell
    write_dicom_series(tmp_path / "s", soft, right_handed(1), modality=modality)
    volume = read_image(tmp_path / "s")
    assert volume.modality == volume.cropped(volume.extent).modality == modality
    assert intensity_scale(volume).kind == kind


def test_one_file_stands_for_its_own_series(tmp_path, array):
    matrix = right_handed(1)
    wanted = write_dicom_series(tmp_path, array, matrix, uid="1.2.3.4")
    write_dicom_series(tmp_path, array + 7, matrix, uid="1.2.3.5", description="T1")
    volume, _ = read_warned(wanted[3])
    np.testing.assert_array_equal(volume.array, array)


def test_several_series_are_listed_with_the_way_to_choose(tmp_path, array):
    write_dicom_series(tmp_path, array, right_handed(1), uid="1.2.3.4", description="T2 ax")
    write_dicom_series(tmp_path, array[:3], right_handed(1), uid="1.2.3.5", description="scout", modality="CT")
    with pytest.raises(
        InputError, match=r"2 DICOM series.*'T2 ax' \(MR, 7 slices.*'scout' \(CT, 3 slices.*--series.*one file"
    ) as error:
        read_image(tmp_path)
    assert ".dcm" in str(error.value)


def test_a_folder_without_dicom_is_refused_and_one_with_folders_stands_for_all_in_them(tmp_path, array):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "series 1").mkdir()
    with pytest.raises(InputError, match=r"holds no DICOM images \(looked in its folders too: series 1"):
        read_image(tmp_path)
    paths = write_dicom_series(tmp_path / "series 1", array, right_handed(0))
    (tmp_path / "disc 2").mkdir()
    for path in paths[::2]:  # discs hold a series in several folders
        path.rename(tmp_path / "disc 2" / path.name)
    volume, texts = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, array)
    assert texts == []


def test_other_files_beside_a_series_do_not_matter(tmp_path, array):
    write_dicom_series(tmp_path, array, right_handed(2))
    (tmp_path / "DICOMDIR.txt").write_text("x" * 500)
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 50)
    volume, _ = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, array)


def test_a_missing_slice_is_reported_and_filled_so_that_all_others_keep_their_place(tmp_path, array):
    matrix = right_handed(3)
    write_dicom_series(tmp_path, array, matrix, skip=(4,))
    volume, texts = read_warned(tmp_path)
    assert len(texts) == 1 and "1 of 7 slices seem to be missing" in texts[0] and "after slice 3" in texts[0]
    assert relative_error(volume.ijk_to_ras, matrix) < 1e-5
    there = [0, 1, 2, 3, 5, 6]
    np.testing.assert_array_equal(volume.array[there], array[there])
    np.testing.assert_array_equal(volume.array[4], np.rint((array[3].astype(float) + array[5]) / 2))


def test_slices_that_lie_unevenly_by_rounding_are_not_called_missing(tmp_path, array):
    places = [(0, 0, z) for z in (0, 2.1, 4, 5.9, 8, 10, 12)]
    write_dicom_series(tmp_path / "s", array, np.diag([-1.0, -1, 2, 1]), positions=places)
    volume, texts = read_warned(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, array)
    assert len(texts) == 1 and "spread evenly, so places are approximate (up to 0.10 mm off)" in texts[0]


def test_uneven_slices_are_reported(tmp_path, array):
    matrix = np.diag([1.0, 1, 2, 1])
    positions = [(0, 0, 2 * k + (0.4 if k == 3 else 0)) for k in range(7)]
    write_dicom_series(tmp_path, array, np.diag([-1.0, -1, 1, 1]) @ matrix, positions=positions)
    _, texts = read_warned(tmp_path)
    assert len(texts) == 1 and "1.60 to 2.40 mm apart" in texts[0] and "0.40 mm off" in texts[0]


def test_a_slice_in_the_place_of_another_is_reported_and_left_out(tmp_path, array):
    matrix = right_handed(4)
    write_dicom_series(tmp_path, array, matrix)
    again = np.zeros_like(array)
    write_dicom_series(tmp_path, again, matrix, first_number=50, skip=(0, 1, 2, 4, 5, 6))
    volume, texts = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, array)
    assert len(texts) == 1 and "1 slices lie in the place of another" in texts[0]


def test_copied_files_are_reported_and_left_out(tmp_path, array):
    paths = write_dicom_series(tmp_path, array, right_handed(4))
    shutil.copy(paths[2], tmp_path / "zz copy.dcm")
    volume, texts = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, array)
    assert len(texts) == 1 and "1 of 8 files are copies" in texts[0]


def test_of_files_that_call_themselves_one_instance_the_one_that_was_named_is_read(tmp_path):
    for n in (3, 5):
        elements = image_elements(np.full((8, 9), n, np.uint16))
        write_dicom(tmp_path / f"{n}.dcm", elements)
    for n in (3, 5):
        volume, texts = read_warned(tmp_path / f"{n}.dcm")
        assert (volume.array == n).all() and "1 of 2 files are copies" in " ".join(texts)


def test_time_points_of_one_series_are_frames(tmp_path, array):
    matrix = right_handed(0)
    for t in range(3):
        write_dicom_series(tmp_path, array + t, matrix, first_number=1 + 30 * t, trigger_time=40 * (3 - t))
    with pytest.raises(InputError, match=r"3 frames.*0: trigger time 40 ms; 1: trigger time 80 ms"):
        read_image(tmp_path)
    volume, texts = read_warned(tmp_path, 0)
    np.testing.assert_array_equal(volume.array, array + 2)  # the earliest trigger time
    assert texts == []


def test_gantry_tilt_is_kept_as_a_sheared_grid_and_reported(tmp_path, array):
    matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    positions = [np.array([0.0, 0.5 * k, 3 * k]) for k in range(7)]
    write_dicom_series(tmp_path, array, matrix, positions=positions)
    volume, texts = read_warned(tmp_path)
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 2], (0, -0.5, 3), atol=1e-6)
    assert len(texts) == 1 and "tilt 9.5 degrees" in texts[0]


def test_slices_of_different_orientation_are_refused_with_the_way_out(tmp_path, array):
    write_dicom_series(tmp_path, array[:2], right_handed(0))
    other = write_dicom_series(tmp_path, array[:3] + 1, right_handed(1), first_number=20)
    with pytest.raises(InputError, match="2 different sizes or orientations"):
        read_image(tmp_path)
    np.testing.assert_array_equal(read_warned(other[0])[0].array, array[:3] + 1)


def raw_slice(folder, k, pixels, **more):
    elements = {
        (0x0008, 0x0018): ("UI", f"1.2.9.{k}"), (0x0008, 0x0060): ("CS", "OT"), (0x0020, 0x000E): ("UI", "1.2.9"),
        (0x0020, 0x0013): ("IS", str(k)),
    }  # fmt: skip
    elements |= {(int(tag[1:5], 16), int(tag[5:], 16)): value for tag, value in more.items()}
    return write_raw_dicom(folder / f"{9 - k}.dcm", pixels, elements)


def test_rescaled_slices_of_different_slope_keep_their_values(tmp_path, array):
    slopes = (1, 0.5, 0.25)
    for k, slope in enumerate(slopes):
        raw_slice(
            tmp_path, k, array[k], t00280030=("DS", "2\\2"), t00281052=("DS", "-100"), t00281053=("DS", str(slope)),
            t00200032=("DS", f"0\\0\\{3 * k}"), t00200037=("DS", "1\\0\\0\\0\\1\\0"),
        )  # fmt: skip
    volume, _ = read_warned(tmp_path)
    wanted = array[:3] * np.array(slopes)[:, None, None] - 100
    np.testing.assert_allclose(volume.array, wanted)


def test_files_that_do_not_state_their_place_are_stacked_by_number_and_reported(tmp_path, array):
    for k in range(3):
        raw_slice(tmp_path, k, array[k])
    volume, texts = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, array[:3])
    assert any("order of their numbers" in t for t in texts)


def test_a_file_cut_off_in_its_header_is_left_out_and_named(tmp_path, array):
    paths = write_dicom_series(tmp_path, array, right_handed(1))
    paths[2].write_bytes(paths[2].read_bytes()[:300])
    _, texts = read_warned(tmp_path)
    assert any(paths[2].name in t and "cut off" in t for t in texts)
    assert any("seem to be missing" in t for t in texts)
    with pytest.raises(InputError, match="holds no image or is cut off"):
        read_image(paths[2])


def test_a_file_cut_off_in_its_voxels_is_not_filled_up_in_silence(tmp_path, array):
    paths = write_dicom_series(tmp_path, array, right_handed(1))
    content = paths[2].read_bytes()
    paths[2].write_bytes(content[: len(content) - 60])
    try:
        _, texts = read_warned(tmp_path)
        assert any(paths[2].name in t for t in texts)
    except InputError as error:
        assert paths[2].name in str(error)


def test_a_file_of_several_frames_is_a_volume_of_its_own(tmp_path, array):
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing((0.5, 0.6, 2.0))
    sitk.WriteImage(image, str(tmp_path / "multi.dcm"))
    for path in (tmp_path, tmp_path / "multi.dcm"):
        volume, _ = read_warned(path)
        np.testing.assert_array_equal(volume.array, array.astype(np.uint8))
        np.testing.assert_allclose(volume.spacing[:2], (0.5, 0.6))


def test_a_series_is_chosen_by_number_uid_or_description(tmp_path, array):
    matrix = right_handed(1)
    for number, text, add in ((4, "T2 ax", 0), (5, "T1 ax", 7), (6, "T1 sag", 9)):
        write_dicom_series(
            tmp_path, array + add, matrix, uid=f"1.2.3.{number}", description=text, extra={"0020|0011": str(number)}
        )
    for series, add in (("4", 0), ("1.2.3.5", 7), ("t1 SAG", 9), ("sag", 9)):
        np.testing.assert_array_equal(read_image(tmp_path, series=series).array, array + add)
    with pytest.raises(InputError, match=r"series is 'T1', which 2 series.*number 5.*1\.2\.3\.5.*number 6"):
        read_image(tmp_path, series="T1")
    with pytest.raises(InputError, match=r"series is '7', but .* holds number 4 'T2 ax'.*number 5"):
        read_image(tmp_path, series="7")
    with pytest.raises(InputError, match="stands for its own series"):
        read_image(next(tmp_path.iterdir()), series="4")
