"""Results are written on the image's grid, whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from image_files import itk_image, random_matrix, relative_error

from S3NetSegmentLib.engine import Extent, InputError, ResourceError, Segment, Segmentation, Volume
from S3NetSegmentLib.engine.images import files, writing
from S3NetSegmentLib.engine.images.files import IMAGE_FORMATS, SEGMENTATION_FORMATS, check_output_path
from S3NetSegmentLib.engine.images.formats import nifti_places
from S3NetSegmentLib.engine.images.formats.seg_nrrd import on_grid_of, read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_image, write_png, write_segmentation

NEEDS_PERMISSIONS = pytest.mark.skipif(
    sys.platform == "win32" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="this user may write everywhere"
)


def segmentation_of(layers, matrix, names=("a", "b", "c")):
    layers = [np.asarray(layer) for layer in layers]
    segments = [
        Segment(f"{names[v % 3]}{n}{v}", (0.1 * (v % 10), 0.5, 1.0), int(v), n)
        for n, layer in enumerate(layers)
        for v in np.unique(layer)
        if v
    ]
    return Segmentation(layers, segments, matrix)


def random_segmentation(seed, *, shear=0.0, count=3):
    rng = np.random.default_rng(seed)
    layer = rng.integers(0, count + 1, rng.integers(2, 11, 3)).astype(np.int32)
    return segmentation_of([layer], random_matrix(rng, oblique=seed % 2 == 0, shear=shear))


def without_names(segmentation):
    return np.stack([segmentation.mask(s) for s in segmentation.segments])


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("seed", range(6))
def test_a_segmentation_comes_back_from_every_format_on_its_grid(tmp_path, suffix, seed):
    wanted = random_segmentation(seed, shear=0.15 if seed == 5 else 0.0)
    path = write_segmentation(wanted, tmp_path / f"result{suffix}")
    if seed == 5 and suffix in (".nii", ".nii.gz"):
        with pytest.warns(UserWarning, match="right angles"):
            found = read_segmentation(path)
    else:
        found = read_segmentation(path)
    np.testing.assert_array_equal(without_names(found), without_names(wanted))
    assert relative_error(found.ijk_to_ras, wanted.ijk_to_ras) < 1e-5


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("seed", range(4))
def test_simpleitk_reads_our_files_in_the_same_place(tmp_path, suffix, seed):
    wanted = random_segmentation(seed)
    write_segmentation(wanted, tmp_path / f"result{suffix}")
    image = sitk.ReadImage(str(tmp_path / f"result{suffix}"))
    reference = itk_image(wanted.flattened(), wanted.ijk_to_ras)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), wanted.flattened())
    np.testing.assert_allclose(image.GetSpacing(), reference.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(image.GetDirection(), reference.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(image.GetOrigin(), reference.GetOrigin(), rtol=1e-5, atol=1e-4)
    assert image.GetPixelID() == sitk.sitkUInt8


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    "dtype", ["b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">i2", ">f4"]
)
def test_images_of_every_voxel_type_come_back(tmp_path, suffix, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    matrix = random_matrix(np.random.default_rng(1))
    write_image(Volume(array, matrix), tmp_path / f"a{suffix}")
    found = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(found.array, array)
    assert relative_error(found.ijk_to_ras, matrix) < 1e-5
    if dtype not in ("b1", "f2"):
        assert found.array.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize("seed", range(20))
def test_the_nifti_quaternion_of_any_rotation_gives_that_rotation(seed):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] if seed > 7 else np.diag([(-1.0) ** (seed >> d) for d in range(3)])
    quaternion, handed, square = nifti_places.quaternion_of(axes)
    assert square
    np.testing.assert_allclose(nifti_places.rotation_of(quaternion, handed), axes, atol=1e-7)


def test_a_picture_gets_its_labels_as_a_png_of_8_or_16_bits(tmp_path):
    layer = np.zeros((1, 20, 30), np.int32)
    layer[0, 3:6, 4:9], layer[0, 10:12, 2:4] = 7, 3
    few = segmentation_of([layer], np.eye(4))
    write_segmentation(few, tmp_path / "few.png")
    image = read_image(tmp_path / "few.png")
    assert image.array.dtype == np.uint8
    np.testing.assert_array_equal(image.array, few.flattened(own_values=True))
    many = segmentation_of([np.arange(600).reshape(1, 20, 30)], np.eye(4))
    write_segmentation(many, tmp_path / "many.png")
    image = read_image(tmp_path / "many.png")
    assert image.array.dtype == np.uint16
    np.testing.assert_array_equal(image.array, many.flattened())


def test_a_label_map_keeps_the_values_of_the_segments_unless_two_share_one(tmp_path):
    layers = [np.zeros((2, 3, 4), np.uint16) for _ in range(2)]
    layers[0][0], layers[1][1] = 500, 7
    segments = [Segment("a", (1, 0, 0), 500), Segment("b", (0, 1, 0), 7, layer=1)]
    write_segmentation(Segmentation(layers, segments, np.eye(4)), tmp_path / "own.nii.gz")
    assert np.unique(read_image(tmp_path / "own.nii.gz").array).tolist() == [7, 500]
    layers[1][1] = 500
    segments[1] = Segment("b", (0, 1, 0), 500, layer=1)
    write_segmentation(Segmentation(layers, segments, np.eye(4)), tmp_path / "shared.nii.gz")
    assert np.unique(read_image(tmp_path / "shared.nii.gz").array).tolist() == [1, 2]


def test_a_png_of_a_volume_is_refused_with_the_other_formats_named(tmp_path):
    volume = random_segmentation(0)
    with pytest.raises(InputError, match=r"flat picture.*\.nii\.gz"):
        write_segmentation(volume, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"flat picture.*\.nii\.gz"):
        check_output_path(tmp_path / "a.png", volume=Volume(volume.layers[0], np.eye(4)))
    assert not list(tmp_path.iterdir())


def test_a_confidence_map_as_png_runs_from_black_to_white(tmp_path):
    array = np.array([[[0.0, 0.5, 1.0, 1.7, -1.0, np.nan]]], np.float32)
    write_image(Volume(array, np.eye(4)), tmp_path / "c.png")
    np.testing.assert_array_equal(read_image(tmp_path / "c.png").array[0, 0], [0, 128, 255, 255, 0, 0])


def test_pictures_come_back_pixel_for_pixel(tmp_path):
    rng = np.random.default_rng(0)
    for shape in ((11, 7), (11, 7, 3), (1, 1)):
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        write_png(pixels, tmp_path / "p.png")
        np.testing.assert_array_equal(read_image(tmp_path / "p.png").array[0], pixels)
    write_png(pixels.repeat(20, 0)[::2, ::-1], tmp_path / "strided.png")
    for wrong in (np.zeros((3, 3)), np.zeros((3, 3, 4), np.uint8), np.zeros((0, 3), np.uint8), np.zeros(3, np.uint8)):
        with pytest.raises(InputError, match="uint8"):
            write_png(wrong, tmp_path / "p.png")


def test_a_segmented_box_is_written_on_the_whole_grid_of_its_image(tmp_path):
    rng = np.random.default_rng(2)
    image = Volume(rng.normal(size=(8, 9, 10)), random_matrix(rng))
    extent = Extent((2, 3, 1), (7, 8, 5))
    part = image.cropped(extent)
    layer = rng.integers(0, 3, part.array.shape).astype(np.uint8)
    box = segmentation_of([layer], part.ijk_to_ras)
    for suffix in (".seg.nrrd", ".nii.gz"):
        found = read_segmentation(write_segmentation(on_grid_of(box, image), tmp_path / f"a{suffix}"))
        assert found.layers[0].shape == (8, 9, 10)
        assert relative_error(found.ijk_to_ras, image.ijk_to_ras) < 1e-5
        np.testing.assert_array_equal(without_names(found)[:, 1:5, 3:8, 2:7], without_names(box))
        assert without_names(found).sum() == without_names(box).sum()
    elsewhere = Volume(image.array, random_matrix(rng))
    with pytest.raises(InputError, match="does not lie on the grid"):
        on_grid_of(box, elsewhere)
    with pytest.raises(InputError, match="does not lie on the grid"):
        on_grid_of(box, image.cropped(Extent((4, 0, 0), (10, 9, 8))))


def test_accented_blank_and_long_names_and_missing_folders_are_written(tmp_path):
    wanted = random_segmentation(1)
    for suffix in SEGMENTATION_FORMATS[:-1]:
        path = tmp_path / "neuer Ordner é" / "画像" / (("ü x " * 40) + suffix)
        assert 200 < len(os.fsencode(path.name)) < 255
        write_segmentation(wanted, path)
        np.testing.assert_array_equal(without_names(read_segmentation(path)), without_names(wanted))
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        path.unlink()


@pytest.mark.parametrize("suffix", SEGMENTATION_FORMATS)
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch, suffix):
    layer = np.zeros((1, 64, 64), np.uint8)
    layer[0, 5:9] = 1
    wanted = segmentation_of([layer], np.eye(4))
    path = tmp_path / f"result{suffix}"
    path.write_bytes(b"old")

    class FullDisk:
        def __init__(self, file):
            self.file, self.left = file, 60

        def write(self, content):
            self.left -= len(bytes(content))
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(content)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

    monkeypatch.setattr(writing, "open", lambda *a: FullDisk(open(*a)), raising=False)
    with pytest.raises(ResourceError, match=r"full.*free some space"):
        write_segmentation(wanted, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_really_full_device_is_noticed_in_every_format(monkeypatch, tmp_path):
    monkeypatch.setattr(writing, "open", lambda path, mode: open("/dev/full", mode), raising=False)
    wanted = segmentation_of([np.ones((1, 64, 64), np.uint8)], np.eye(4))
    for suffix in SEGMENTATION_FORMATS:
        with pytest.raises((ResourceError, InputError)):
            write_segmentation(wanted, tmp_path / f"a{suffix}")
        assert not list(tmp_path.iterdir())


def test_an_interrupted_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.nrrd"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_replaced_and_gets_ordinary_permissions(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"old")
    (tmp_path / "plain").touch()
    write_segmentation(random_segmentation(0), path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert len(read_segmentation(path).segments) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "real.nrrd").write_bytes(b"old")
    (tmp_path / "link.nrrd").symlink_to(tmp_path / "store" / "real.nrrd")
    write_segmentation(random_segmentation(0), tmp_path / "link.nrrd")
    assert (tmp_path / "link.nrrd").is_symlink()
    assert (tmp_path / "store" / "real.nrrd").read_bytes().startswith(b"NRRD")


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.seg", "a.mhd", "a.nhdr", "a.txt", ".nrrd.bak"])
def test_an_unknown_output_format_is_refused_before_the_work(tmp_path, name):
    with pytest.raises(InputError, match=r"end it with one of \.seg\.nrrd"):
        check_output_path(tmp_path / name)


def test_output_paths_are_checked_before_the_work(tmp_path):
    for name in ("a.seg.nrrd", "A.NII.GZ", "new folder/deeper/a.mha", "a.png"):
        assert check_output_path(tmp_path / name) == tmp_path / name
    assert not (tmp_path / "new folder").exists()
    with pytest.raises(InputError, match="end it with one of"):
        check_output_path(tmp_path / "a.nrrd", (".png",))
    check_output_path(tmp_path / "a.nii", IMAGE_FORMATS)
    (tmp_path / "folder.nrrd").mkdir()
    for folder in (tmp_path / "folder.nrrd", tmp_path, "."):
        with pytest.raises(InputError, match="is a folder"):
            check_output_path(folder)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        check_output_path(tmp_path / "file" / "a.nrrd")
    with pytest.raises(InputError, match="too long"):
        check_output_path(tmp_path / ("x" * 300 + ".nrrd"))


@NEEDS_PERMISSIONS
def test_a_write_protected_place_is_refused_before_the_work(tmp_path):
    (tmp_path / "a.nrrd").touch(0o444)
    with pytest.raises(InputError, match="write-protected"):
        check_output_path(tmp_path / "a.nrrd")
    (tmp_path / "locked").mkdir(0o555)
    for name in ("a.nrrd", "deeper/a.nrrd"):
        with pytest.raises(InputError, match="nothing can be written"):
            check_output_path(tmp_path / "locked" / name)


def test_a_file_system_that_refuses_is_explained(tmp_path, monkeypatch):
    for code, kind, text in (
        (errno.EACCES, InputError, "another folder"),
        (errno.EROFS, InputError, "another folder"),
        (errno.EIO, ResourceError, "could not be written"),
    ):
        monkeypatch.setattr(
            os, "replace", lambda *a, code=code: (_ for _ in ()).throw(OSError(code, os.strerror(code)))
        )
        with pytest.raises(kind, match=text):
            write_segmentation(random_segmentation(0), tmp_path / "a.nrrd")
        assert not list(tmp_path.iterdir())


def test_images_that_no_format_holds_are_refused(tmp_path):
    with pytest.raises(InputError, match="in colour"):
        write_image(Volume(np.zeros((1, 2, 3, 3), np.uint8), np.eye(4)), tmp_path / "a.nrrd")
    long = Volume(np.zeros((1, 1, 40000), np.uint8), np.eye(4))
    with pytest.raises(InputError, match="too large for NIfTI"):
        write_image(long, tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())
    write_image(long, tmp_path / "a.mha")
