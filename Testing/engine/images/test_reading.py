"""Every kind of image file comes in with its voxels, its type and its place in the patient."""

from __future__ import annotations

import gzip
import os
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from image_files import (
    itk_image,
    random_matrix,
    read_warned,
    relative_error,
    write_raw_nifti,
    write_raw_nrrd,
    write_raw_png,
)
from paths import SHARED_DATA

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.common.errors import ImageWarning
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image

SPACE = "space: left-posterior-superior\n"
CUBE = "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (0,0,0)\n"


@pytest.fixture(autouse=True)
def unexpected_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("seed", range(6))
def test_random_grids_written_by_simpleitk_are_read_exactly(tmp_path, suffix, seed):
    rng = np.random.default_rng(seed)
    array = rng.integers(-1000, 3000, rng.integers(1, 12, 3)).astype(np.int16)
    matrix = random_matrix(rng, oblique=seed % 2 == 0)
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(itk_image(array, matrix), str(path))
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.int16
    assert relative_error(volume.ijk_to_ras, matrix) < 1e-5
    assert volume.name == "image"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", "u1 i1 u2 i2 u4 i4 u8 i8 f4 f8".split())
def test_every_voxel_type_is_kept(tmp_path, suffix, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    array[0, 0, :2] = (np.iinfo if array.dtype.kind in "iu" else np.finfo)(dtype).max, 1
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"a{suffix}"))
    volume = read_image(tmp_path / f"a{suffix}")
    assert volume.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.array, array)


def test_nan_and_infinity_are_kept(tmp_path):
    array = np.array([[[1.0, np.nan], [np.inf, -np.inf]]], np.float32)
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"a{suffix}"))
        np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").array, array)


@pytest.mark.parametrize("qform_code", [0, 1, 2])
@pytest.mark.parametrize("sform_code", [0, 1, 2])
def test_the_nifti_matrix_is_the_one_that_itk_and_so_slicer_takes(tmp_path, qform_code, sform_code):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    sform = turn @ np.diag([2.0, 3.0, 4.0, 1.0])
    sform[:3, 3] = 7, 8, 9
    path = write_raw_nifti(
        tmp_path / "a.nii", array, qform=(0.1, 0.2, 0.3, 1, 2, 3), sform=sform, qform_code=qform_code,
        sform_code=sform_code, pixdim=(2, 3, 4),
    )  # fmt: skip
    wanted = sitk.ReadImage(str(path))
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.eye(4)
    matrix[:3, :3] = np.diag([-1, -1, 1]) @ np.reshape(wanted.GetDirection(), (3, 3)) * wanted.GetSpacing()
    matrix[:3, 3] = np.array([-1, -1, 1]) * wanted.GetOrigin()
    volume, said = read_warned(path)
    np.testing.assert_allclose(volume.ijk_to_ras, matrix, atol=1e-5)
    assert ["gives two places" in text for text in said] == [True] * (qform_code > 0 and sform_code > 0) + [False] * (
        qform_code == sform_code == 0
    )


def test_nifti_half_turns_and_mirrored_quaternions_agree_with_itk(tmp_path):
    for quaternion, handed in (((1, 0, 0), 1), ((0, 1, 0), -1), ((0.6, 0.8, 0), 1), ((0.5, 0.5, 0.5), -1)):
        path = write_raw_nifti(
            tmp_path / "a.nii", np.zeros((2, 3, 4), "i2"), qform=(*quaternion, 5, 6, 7), qform_code=1
        )
        content = bytearray(path.read_bytes())
        content[76:80] = np.float32(handed).tobytes()
        path.write_bytes(content)
        direction = np.diag([-1, -1, 1]) @ np.reshape(sitk.ReadImage(str(path)).GetDirection(), (3, 3))
        np.testing.assert_allclose(read_image(path).ijk_to_ras[:3, :3], direction, atol=1e-6)


def test_a_sheared_nifti_that_itk_refuses_keeps_its_matrix_and_warns(tmp_path):
    matrix = random_matrix(np.random.default_rng(0), shear=0.2)
    path = write_raw_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), "i2"), sform=matrix, sform_code=1)
    with pytest.raises(RuntimeError):
        sitk.ReadImage(str(path))
    with pytest.warns(ImageWarning, match="right angles"):
        volume = read_image(path)
    assert relative_error(volume.ijk_to_ras, matrix) < 1e-5


def test_contradicting_nifti_voxel_sizes_are_settled_as_slicer_does_and_named(tmp_path):
    path = write_raw_nifti(
        tmp_path / "a.nii", np.zeros((2, 3, 4), "i2"), sform=np.diag([2.0, 2, 2, 1]), sform_code=1, pixdim=(1, 1, 3)
    )
    with pytest.warns(ImageWarning, match="1 x 1 x 3 and of 2 x 2 x 2"):
        assert read_image(path).spacing == (1, 1, 3)
    assert sitk.ReadImage(str(path)).GetSpacing() == (1, 1, 3)


def test_a_flat_nifti_keeps_a_sagittal_position_that_itk_refuses(tmp_path):
    sagittal = np.array([[0, 0, 1.0, 5], [2, 0, 0, 6], [0, 3, 0, 7], [0, 0, 0, 1]])
    path = write_raw_nifti(tmp_path / "a.nii", np.zeros((3, 4), "i2"), sform=sagittal, sform_code=1, pixdim=(2, 3))
    volume = read_image(path)
    assert volume.size == (4, 3, 1)
    np.testing.assert_allclose(volume.ijk_to_ras, sagittal)


def test_nifti_rescaling_byte_order_and_units_are_honoured_as_by_itk(tmp_path):
    array = np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4)
    path = write_raw_nifti(tmp_path / "a.nii", array, order=">", slope=0.5, intercept=-3, qform_code=1, qform=[0] * 6)
    volume = read_image(path)
    wanted = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert volume.array.dtype == wanted.dtype == np.float32
    np.testing.assert_array_equal(volume.array, wanted)
    for slope in (0.0, np.nan):
        path = write_raw_nifti(tmp_path / "b.nii", array, slope=slope, sform_code=1)
        np.testing.assert_array_equal(read_image(path).array, array)
    path = write_raw_nifti(tmp_path / "c.nii", array, unit=1, pixdim=(0.001, 0.002, 0.003), qform=[0] * 6, qform_code=1)
    np.testing.assert_allclose(read_image(path).spacing, (1, 2, 3), rtol=1e-6)


def test_a_nifti_pair_and_nifti_2_are_read(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    sitk.WriteImage(itk_image(array, np.diag([2.0, 2, 3, 1])), str(tmp_path / "pair.hdr"))
    for name in ("pair.hdr", "pair.img"):
        volume = read_image(tmp_path / name)
        np.testing.assert_array_equal(volume.array, array)
        assert volume.name == "pair"
        np.testing.assert_allclose(volume.spacing, (2, 2, 3))
    header = bytearray(544)
    np.frombuffer(header, "<i4", 1, 0)[:] = 540
    header[4:12] = b"n+2\0\r\n\x1a\n"
    np.frombuffer(header, "<i2", 1, 12)[:] = 4
    np.frombuffer(header, "<i8", 8, 16)[:] = (3, 4, 3, 2, 1, 1, 1, 1)
    np.frombuffer(header, "<f8", 4, 104)[:] = (1, 2, 2, 3)
    np.frombuffer(header, "<i8", 1, 168)[:] = 544
    np.frombuffer(header, "<i4", 1, 348)[:] = 1
    np.frombuffer(header, "<f8", 12, 400)[:] = np.diag([2.0, 2, 3, 1])[:3].ravel()
    (tmp_path / "two.nii.gz").write_bytes(gzip.compress(bytes(header) + array.tobytes()))
    volume = read_image(tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.ijk_to_ras, np.diag([2.0, 2, 3, 1]))


def test_colour_nifti_is_rgb(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 3)).astype(np.uint8)
    sitk.WriteImage(itk_image(array, np.eye(4)), str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz").array, array)
    path = write_raw_nifti(tmp_path / "rgb24.nii", array, datatype=128, dims=[4, 3, 2], sform_code=1)
    np.testing.assert_array_equal(read_image(path).array, array)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_chosen_frame_of_a_time_series_is_read_and_none_is_taken_unasked(tmp_path, suffix):
    array = np.arange(5 * 24, dtype=np.int16).reshape(5, 2, 3, 4)
    image = sitk.GetImageFromArray(array, isVector=False)
    image.SetSpacing([1, 2, 3, 0.5])
    path = tmp_path / f"t{suffix}"
    sitk.WriteImage(image, str(path))
    for frame in (0, 3):
        volume = read_image(path, frame)
        np.testing.assert_array_equal(volume.array, array[frame])
        assert volume.spacing == (1, 2, 3)
    with pytest.raises(InputError, match=r"5 frames.*--frame T \(0 to 4"):
        read_image(path)
    with pytest.raises(InputError, match="frame is 5"):
        read_image(path, 5)


def test_a_time_series_of_one_frame_needs_no_choice(tmp_path):
    path = write_raw_nifti(tmp_path / "a.nii", np.ones((1, 2, 3, 4), "i2"), qform_code=1, qform=[0] * 6)
    assert read_image(path).size == (4, 3, 2)
    with pytest.raises(InputError, match="one frame"):
        read_image(path, 1)


@pytest.mark.parametrize("frame", [-1, 1.5, "2", True])
def test_a_frame_that_is_no_number_of_a_frame_is_refused(tmp_path, frame):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.uint8)), str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="whole number"):
        read_image(tmp_path / "a.nrrd", frame)


def test_nrrd_list_axes_are_frames_wherever_they_stand(tmp_path):
    frames = np.arange(3 * 120, dtype="<i2").reshape(3, 6, 5, 4)  # 3: must not be taken for colours
    last = write_raw_nrrd(
        tmp_path / "last.nrrd",
        f"type: short\ndimension: 4\n{SPACE}sizes: 4 5 6 3\nkinds: domain domain domain list\n"
        "space directions: (1,0,0) (0,2,0) (0,0,3) none\nspace origin: (0,0,0)",
        frames,
    )
    first = write_raw_nrrd(
        tmp_path / "first.nrrd",
        f"type: short\ndimension: 4\n{SPACE}sizes: 3 4 5 6\nkinds: list domain domain domain\n"
        "space directions: none (1,0,0) (0,2,0) (0,0,3)\nspace origin: (0,0,0)",
        np.ascontiguousarray(np.moveaxis(frames, 0, -1)),
    )
    for path in (last, first):
        volume = read_image(path, 2)
        np.testing.assert_array_equal(volume.array, frames[2])
        assert volume.spacing == (1, 2, 3)
        with pytest.raises(InputError, match="3 frames"):
            read_image(path)


def test_labels_of_several_frames_are_refused_without_an_option_that_only_images_have(tmp_path):
    path = write_raw_nifti(tmp_path / "a.nii", np.ones((2, 2, 3, 4), "u1"))
    with pytest.raises(InputError, match=r"is 4D \(2 frames\); save the frame that you mean") as told:
        read_segmentation(path)
    assert "--frame" not in str(told.value)


@pytest.mark.parametrize(
    "pixdim, unit, told",
    [((1, 1, 1.5), 1, "1000 x 1000 x 1500"), ((1, 1, 120), 2, "1 x 1 x 120"), ((1, 1, 99), 2, ""), ((4, 4, 50), 2, "")],
)
def test_voxels_larger_than_any_organ_are_told(tmp_path, pixdim, unit, told):
    path = write_raw_nifti(
        tmp_path / "a.nii", np.ones((2, 3, 4), "i2"), pixdim=pixdim, unit=unit, qform=[0] * 6, qform_code=1
    )
    _, texts = read_warned(path)
    assert texts == (
        [
            f"{str(path)!r}: its voxels are {told} mm large, and volumes are reported accordingly; correct its header if they are not"
        ]
        if told
        else []
    )


@pytest.mark.parametrize("size, told", [(0.001, True), (1e-6, True), (0.1, False)])
def test_an_image_that_is_smaller_than_a_millimetre_is_told(tmp_path, size, told):
    long = sitk.GetImageFromArray(np.arange(2 * 2 * 90, dtype=np.int16).reshape(2, 2, 90))
    long.SetSpacing([40.0] * 3)  # micrometres
    sitk.WriteImage(long, str(tmp_path / "b.mha"))
    assert any("40 x 40 x 40 mm large" in text for text in read_warned(tmp_path / "b.mha")[1])
    image = sitk.GetImageFromArray(np.arange(8 * 9 * 20, dtype=np.int16).reshape(8, 9, 20))
    image.SetSpacing([size] * 3)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    _, texts = read_warned(tmp_path / "a.mha")
    assert ["correct its header if its numbers are metres" in text for text in texts] == [True] * told


def test_nrrd_colours_and_vectors_of_three_are_rgb_and_alpha_is_dropped(tmp_path):
    for kind, count, dtype in (("RGB-color", 3, "u1"), ("vector", 3, "f4"), ("RGBA-color", 4, "u1")):
        array = np.random.default_rng(1).integers(0, 255, (2, 3, 4, count)).astype(dtype)
        array[..., 3:] = 255
        path = write_raw_nrrd(
            tmp_path / "a.nrrd",
            f"type: {'uchar' if dtype == 'u1' else 'float'}\ndimension: 4\n{SPACE}sizes: {count} 4 3 2\n"
            f"kinds: {kind} domain domain domain\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\nspace origin: (0,0,0)",
            array,
        )
        np.testing.assert_array_equal(read_image(path).array, array[..., :3])


def test_nrrd_spaces_other_than_lps_are_converted(tmp_path):
    array = np.zeros((6, 5, 4), "<i2")
    head = (
        f"type: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 4 5 6\n{CUBE.replace('(0,0,0)', '(7,8,9)')}"
    )
    volume = read_image(write_raw_nrrd(tmp_path / "a.nrrd", head, array))
    np.testing.assert_allclose(volume.ijk_to_ras, [[1, 0, 0, 7], [0, 2, 0, 8], [0, 0, 3, 9], [0, 0, 0, 1]])


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".PNG"])
def test_rgb_pictures_are_read_pixel_for_pixel_and_lie_upright_as_in_slicer(tmp_path, suffix):
    array = np.random.default_rng(2).integers(0, 255, (1, 5, 7, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(array[0], isVector=True), str(tmp_path / f"a{suffix.lower()}"))
    os.rename(tmp_path / f"a{suffix.lower()}", tmp_path / f"a{suffix}")
    volume = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.array, array)
    # first index to the left of the patient, second to posterior: the picture is upright in an axial view
    np.testing.assert_allclose(volume.ijk_to_ras, np.diag([-1, -1, 1, 1]), atol=1e-6)


def test_grey_palette_alpha_and_16_bit_pngs_are_read(tmp_path):
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 65535, (5, 6)).astype(np.uint16)
    np.testing.assert_array_equal(read_image(write_raw_png(tmp_path / "g.png", grey, 0)).array[0], grey)
    rgba = rng.integers(0, 255, (5, 6, 4)).astype(np.uint8)
    rgba[..., 3] = 255
    np.testing.assert_array_equal(read_image(write_raw_png(tmp_path / "a.png", rgba, 6)).array[0], rgba[..., :3])
    index = rng.integers(0, 3, (5, 6)).astype(np.uint8)
    table = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8)
    picture = read_image(write_raw_png(tmp_path / "p.png", index, 3, table.tobytes()))
    np.testing.assert_array_equal(picture.array[0], table[index])


def test_a_jpeg_is_known_by_its_content_and_not_by_its_name(tmp_path):
    smooth = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    sitk.WriteImage(sitk.GetImageFromArray(smooth, isVector=True), str(tmp_path / "a.jpg"))
    for name in ("b.JPG", "misnamed.png", "without_suffix"):
        (tmp_path / name).write_bytes((tmp_path / "a.jpg").read_bytes())
        volume = read_image(tmp_path / name)
        assert volume.is_rgb and volume.size == (64, 48, 1)
        assert np.abs(volume.array[0].astype(int) - smooth).max() < 8


def test_a_tiff_of_several_pages_is_a_volume(tmp_path):
    array = np.random.default_rng(4).integers(0, 65535, (3, 8, 9)).astype(np.uint16)
    sitk.WriteImage(itk_image(array, np.diag([0.5, 0.5, 3, 1])), str(tmp_path / "a.tif"))
    with pytest.warns(ImageWarning, match="does not tell the distance of its slices, which is taken as 1 mm"):
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, array)


def test_accented_blank_and_long_paths_are_read(tmp_path):
    folder = tmp_path / "Jürgen Ñandú 画像" / ("long " * 12)
    folder.mkdir(parents=True)
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        path = folder / (("é" * 90) + suffix)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
        volume = read_image(str(path))
        np.testing.assert_array_equal(volume.array, array)
        assert volume.name == "é" * 90


@pytest.mark.skipif(SHARED_DATA is None, reason="the larger labelled set is not beside the repository")
def test_real_images_read_as_simpleitk_reads_them():
    paths = [p for p in sorted(SHARED_DATA.rglob("*.nii.gz")) if p.stat().st_size < 3e6][::12][:8]
    assert paths
    for path in paths:
        image = sitk.ReadImage(str(path))
        wanted = np.eye(4)
        wanted[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        wanted[:3, 3] = image.GetOrigin()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImageWarning)
            volume = read_image(path)
        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
        assert relative_error(volume.ijk_to_ras, np.diag([-1.0, -1, 1, 1]) @ wanted) < 1e-5
