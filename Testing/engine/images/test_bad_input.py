"""Files that cannot be used are refused with what is wrong and what to do, and nothing is printed by the libraries."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from image_files import write_raw_nifti, write_raw_nrrd, write_raw_png

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.formats.itk_file import quiet
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.image_warnings import collected_image_warnings
from S3NetSegmentLib.engine.images.reading import read_image

HEAD = "type: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 5 6\nspace origin: (0,0,0)\n"
VOXELS = np.zeros(120, "<i2")


def written(path, cut=None, compressed=True):
    """A noisy image file of the kind that the name of ``path`` says, cut to a part (or number) of its bytes."""
    rng = np.random.default_rng(0)
    if path.suffix in (".png", ".jpg", ".bmp", ".tif"):
        image = sitk.GetImageFromArray(rng.integers(0, 255, (40, 50, 3)).astype(np.uint8), isVector=True)
    else:
        image = sitk.GetImageFromArray(rng.integers(0, 3000, (4, 30, 40)).astype(np.int16))
    sitk.WriteImage(image, str(path), compressed)
    if cut is not None:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * cut) if cut < 1 else cut])
    return path


@pytest.mark.parametrize("part", [0.97, 0.6, 0.1])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.png", "a.jpg", "a.bmp", "a.tif"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, name, part, capfd):
    if name == "a.tif" and part == 0.97:
        part = 0.9  # the last bytes of a TIFF are no pixels
    with pytest.raises(InputError, match=rf"{name}.*(cut off|damaged)"):
        read_image(written(tmp_path / name, part))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a.mha"])
def test_a_file_of_raw_voxels_that_is_cut_off_is_refused(tmp_path, name, capfd):
    with pytest.raises(InputError, match=r"cut off|damaged"):
        read_image(written(tmp_path / name, 0.99, compressed=False))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "a.png", "a.jpg", "a.bmp", "a.tif", "a.dcm", "a"])
@pytest.mark.parametrize(
    "content", [b"", b"hello, this is text" * 100, b"\0" * 2000, b"\x1f\x8b\x08junk" * 9, b"<html>"]
)
def test_what_is_no_image_is_refused_whatever_its_name(tmp_path, name, content, capfd):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (read_image, read_segmentation):
        with pytest.raises(InputError, match=r"is empty|not an image|not a NIfTI|cut off") as error:
            read(path)
        assert name in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cut", [20, 100, 347])
@pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a.mha", "a.png", "a.jpg", "a.bmp", "a.tif"])
def test_a_file_that_ends_in_its_header_is_refused(tmp_path, name, cut, capfd):
    with pytest.raises(InputError):
        read_image(written(tmp_path / name, cut))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("there, asked", [("A\u0308rztin.nii", "\u00c4rztin.nii"), ("brain.nii", "Brain.NII")])
def test_a_name_that_only_looks_like_one_that_is_there_is_told(tmp_path, there, asked):
    (tmp_path / there).touch()
    if (tmp_path / asked).exists():
        pytest.skip("this disk takes both names for one")
    with pytest.raises(InputError) as refused:
        read_image(tmp_path / asked)
    assert f"{there!r} there differs in capitals or in how its accents are stored, copy its name" in str(refused.value)


def test_a_link_to_nothing_is_told(tmp_path):
    (tmp_path / "a.nii").symlink_to("gone.nii")
    with pytest.raises(InputError, match=r"a\.nii' is a link to 'gone\.nii', which is not there"):
        read_image(tmp_path / "a.nii")


def test_nothing_at_the_path_is_said_plainly(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "no.nii", tmp_path / "no" / "folder", tmp_path / "file" / "deeper.nii"):
        with pytest.raises(InputError, match=r"there is no file or folder .*; check the path"):
            read_image(path)
    with pytest.raises(InputError, match="give the path"):
        read_image("")
    with pytest.raises(InputError, match="give the path"):
        read_image("a\0b.nii")
    with pytest.raises(InputError, match="cannot be opened"):
        read_image("x" * 5000)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    written(tmp_path / "a.nrrd").chmod(0)
    with pytest.raises(InputError, match="permissions"):
        read_image(tmp_path / "a.nrrd")


def test_damaged_voxels_in_the_middle_of_a_compressed_file_are_noticed(tmp_path):
    path = written(tmp_path / "a.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_image(path)


BEHIND = {"zeros": bytes(100), "text": b"appended by a proxy", "an image": None, "nothing packed": gzip.compress(b"")}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd"])
def test_what_follows_behind_the_voxels_is_no_part_of_the_image_and_told(tmp_path, name, behind):
    path = written(tmp_path / name)
    expected, content = read_image(path).array, path.read_bytes()
    path.write_bytes(content + (content if BEHIND[behind] is None else BEHIND[behind]))
    with collected_image_warnings() as notes:
        np.testing.assert_array_equal(read_image(path).array, expected)
    told = behind in ("text", "an image") or (behind == "nothing packed" and name == "a.nii")
    assert name == "a.nrrd" or [("more follows behind" in note) for note in notes] == [True] * told


def test_a_gzip_stream_in_parts_is_read_whole(tmp_path):
    for name, head in (("a.nii.gz", 0), ("a.nrrd", None)):
        path = written(tmp_path / name)
        expected, content = read_image(path).array, path.read_bytes()
        head = content.index(b"\n\n") + 2 if head is None else 0
        voxels = gzip.decompress(content[head:])
        path.write_bytes(content[:head] + gzip.compress(voxels[:500]) + gzip.compress(voxels[500:]))
        np.testing.assert_array_equal(read_image(path).array, expected)


def test_voxels_of_a_packed_nrrd_are_not_taken_from_what_follows_its_stream(tmp_path):
    path = written(tmp_path / "a.nrrd")
    content = path.read_bytes()
    head = content.index(b"\n\n") + 2
    voxels = gzip.decompress(content[head:])
    path.write_bytes(content[:head] + gzip.compress(voxels[:100]) + b"x" * len(voxels))
    with pytest.raises(InputError, match="cut off or damaged"):
        read_image(path)


def test_complex_voxels_are_refused(tmp_path):
    array = np.zeros((2, 3, 4), np.complex64)
    for name in ("a.nii", "a.nii.gz", "a.nrrd"):
        if name == "a.nrrd":
            fields = (
                "type: float\ndimension: 4\nspace: left-posterior-superior\nsizes: 2 4 3 2\n"
                "kinds: complex domain domain domain\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\n"
                "space origin: (0,0,0)"
            )
            write_raw_nrrd(tmp_path / name, fields, array)
        elif name == "a.nii":
            write_raw_nifti(tmp_path / name, array)
        else:
            (tmp_path / name).write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
        with pytest.raises(InputError, match=r"complex numbers.*magnitude"):
            read_image(tmp_path / name)


def test_vectors_of_two_are_refused(tmp_path):
    array = np.zeros((2, 3, 4, 2), np.float32)
    for name in ("a.nrrd", "a.mha", "a.nii.gz"):
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(tmp_path / name))
        with pytest.raises(InputError, match="vectors of 2"):
            read_image(tmp_path / name)


def test_grey_pngs_with_transparency_are_refused_with_the_way_out(tmp_path):
    path = write_raw_png(tmp_path / "a.png", np.zeros((5, 6, 2), np.uint8), 4)
    with pytest.raises(InputError, match="transparency"):
        read_image(path)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ("space directions: (1,0,0) (0,0,0) (0,0,3)\n", "voxel size|do not span"),
        ("space directions: (1,0,0) (2,0,0) (0,0,3)\n", "do not span space"),
        ("space directions: (1,0,0) (0,nan,0) (0,0,3)\n", "cannot be read|voxel size|do not span"),
    ],
)
def test_a_nrrd_whose_axes_cannot_be_inverted_is_refused(tmp_path, fields, text, capfd):
    with pytest.raises(InputError, match=text):
        read_image(write_raw_nrrd(tmp_path / "a.nrrd", HEAD + fields, VOXELS))
    assert capfd.readouterr() == ("", "")


def test_a_voxel_size_of_zero_is_refused(tmp_path):
    path = write_raw_nrrd(tmp_path / "a.nrrd", "type: short\ndimension: 3\nsizes: 4 5 6\nspacings: 1 0 2", VOXELS)
    with pytest.raises(InputError, match="voxel size"):
        read_image(path)
    for codes in ({}, {"qform_code": 1, "qform": [0] * 6}):
        with pytest.raises(InputError, match="voxel sizes of 1 x 0 x 1 mm; correct pixdim"):
            read_image(write_raw_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), "i2"), pixdim=(1, 0, 1), **codes))
    meta = written(tmp_path / "a.mha", compressed=False)
    meta.write_bytes(meta.read_bytes().replace(b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1"))
    with pytest.raises(InputError, match="voxel size"):
        read_image(meta)


def test_a_nifti_with_nonsense_in_its_header_is_refused(tmp_path):
    for dims, text in (([4, 3, 2, 1, 1, 2, 2], "dimensions"), ([4, 3, 2, 2, 3], "dimensions")):
        array = np.zeros(int(np.prod(dims)), "i2")
        with pytest.raises(InputError, match=text):
            read_image(write_raw_nifti(tmp_path / "a.nii", array, dims=dims))
    path = write_raw_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), "i2"))
    content = bytearray(path.read_bytes())
    content[40:42] = struct.pack("<h", 99)
    path.write_bytes(content)
    with pytest.raises(InputError, match="99 dimensions"):
        read_image(path)
    with pytest.raises(InputError, match="NIfTI type 1536"):
        read_image(write_raw_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), "i2"), datatype=1536))
    for at, form, value, text in (
        (46, "<h", -4, r"sizes \[2, 3, -4\]"),
        (44, "<h", 0, r"sizes \[2, 0, 4\]"),
        (108, "<f", np.nan, "byte nan"),
        (108, "<f", np.inf, "byte inf"),
    ):
        content = bytearray(write_raw_nifti(tmp_path / "a.nii", np.zeros((4, 3, 2), "i2")).read_bytes())
        struct.pack_into(form, content, at, value)
        path.write_bytes(content)
        with pytest.raises(InputError, match=text):
            read_image(path)
    nothing = write_raw_nifti(
        tmp_path / "b.nii", np.zeros((2, 3, 4), "i2"), sform=np.zeros((4, 4)), sform_code=1, pixdim=(0, 0, 0)
    )
    with pytest.raises(InputError, match="voxel sizes"):
        read_image(nothing)


def test_a_huge_size_in_a_damaged_header_is_refused_and_not_allocated(tmp_path):
    path = write_raw_nifti(tmp_path / "a.nii", np.zeros(10, "i2"), dims=[32000, 32000, 32000])
    with pytest.raises(InputError, match="cut off or damaged"):
        read_image(path)


def test_too_few_dimensions_and_other_nrrd_oddities_are_refused(tmp_path, capfd):
    for fields in (
        "type: short\ndimension: 1\nsizes: 120",
        "type: block\nblock size: 2\ndimension: 3\nsizes: 4 5 6",
        "type: short\ndimension: 2\nspace dimension: 3\nspace directions: (0,1,0) (0,0,2)\nsizes: 20 6",
    ):
        with pytest.raises(InputError):
            read_image(write_raw_nrrd(tmp_path / "a.nrrd", fields, VOXELS))
    (tmp_path / "b.nhdr").write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nencoding: raw\nendian: little\ndata file: gone.raw\n"
    )
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / "b.nhdr")
    assert capfd.readouterr() == ("", "")


def test_quiet_gives_stderr_back_also_after_an_error(capfd):
    with pytest.raises(ValueError), quiet():
        os.write(2, b"hidden")
        raise ValueError
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"
