"""MetaImage with unusual headers: what ITK reads, or a refusal, or a word about it."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from format_files import META, PLACE, VOXELS, meta_file
from image_files import read_warned

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.reading import read_image


@pytest.mark.parametrize(
    ("more", "dtype"),
    [
        ("", "<i2"),
        ("ElementByteOrderMSB = True\n", ">i2"),
        ("BinaryData = True\nBinaryDataByteOrderMSB = True\n", ">i2"),
    ],
    ids=["little", "big", "binary big"],
)
def test_meta_images_are_read_in_their_byte_order(tmp_path, more, dtype):
    volume, said = read_warned(meta_file(tmp_path / "a.mha", more, VOXELS.astype(dtype).tobytes()))
    np.testing.assert_array_equal(volume.array, VOXELS)
    np.testing.assert_allclose(volume.ijk_to_ras, PLACE)
    assert not said


def test_compressed_voxels_that_do_not_unpack_are_refused(tmp_path, capfd):
    data = zlib.compress(VOXELS.tobytes())
    sized = f"CompressedData = True\nCompressedDataSize = {len(data)}\n"
    np.testing.assert_array_equal(read_image(meta_file(tmp_path / "a.mha", sized, data)).array, VOXELS)
    damaged = bytearray(data)
    damaged[len(damaged) // 2] ^= 0x55
    for more, voxels in (
        (sized, bytes(damaged)),
        ("CompressedData = True\n", data),
    ):  # ITK gives rubbish and says nothing
        with pytest.raises(InputError, match="voxels are missing or wrong"):
            read_image(meta_file(tmp_path / "b.mha", more, voxels))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("end", ["LOCAL", "a.zraw"], ids=["within", "beside"])
@pytest.mark.parametrize("size", ["", "CompressedDataSize = {}\n"], ids=["", "sized"])
def test_a_compressed_meta_image_that_unpacks_to_too_little_is_refused(tmp_path, end, size):
    for voxels, whole in ((VOXELS, True), (VOXELS[:2], False)):
        data = zlib.compress(voxels.tobytes())
        header = f"{META}CompressedData = True\n{size.format(len(data))}ElementDataFile = {end}\n".encode()
        (tmp_path / "a.mhd").write_bytes(header + data * (end == "LOCAL"))
        (tmp_path / "a.zraw").write_bytes(data)
        if whole and (size or end == "a.zraw"):  # else ITK cannot read it at all
            np.testing.assert_array_equal(read_image(tmp_path / "a.mhd").array, VOXELS)
        elif not whole:
            with pytest.raises(InputError, match="voxels are missing or wrong"):
                read_image(tmp_path / "a.mhd")


@pytest.mark.parametrize("end", ["LIST\n{0[0]}\n{0[1]}\n{0[2]}", "s%d.raw 0 2 1"], ids=["list", "pattern"])
def test_a_meta_image_that_names_too_few_files_is_refused(tmp_path, end):
    names = [f"s{n}.raw" for n in range(4)]
    for name, plane in zip(names, VOXELS, strict=True):
        (tmp_path / name).write_bytes(plane.tobytes())
    header = f"{META}ElementDataFile = {end.format(names)}\n"
    (tmp_path / "a.mhd").write_text(header.replace("0 2 1", "0 3 1") + f"{names[3]}\n" * ("LIST" in end))
    np.testing.assert_array_equal(read_image(tmp_path / "a.mhd").array, VOXELS)
    for text in (header, header + names[3] * ("LIST" in end)):  # MetaIO passes over a line without an end
        (tmp_path / "a.mhd").write_text(text)
        with pytest.raises(InputError, match="names 3 files of voxels in whole lines, and has 4 slices"):
            read_image(tmp_path / "a.mhd")


def test_channels_of_a_meta_image_are_colours_or_frames(tmp_path):
    three = np.stack([VOXELS, VOXELS + 1, VOXELS + 2], -1)
    path = meta_file(tmp_path / "a.mha", "ElementNumberOfChannels = 3\n", three.tobytes())
    np.testing.assert_array_equal(read_image(path).array, three)
    four = np.stack([VOXELS + n for n in range(4)], -1)
    path = meta_file(tmp_path / "b.mha", "ElementNumberOfChannels = 4\n", four.tobytes())
    np.testing.assert_array_equal(read_image(path, 2).array, VOXELS + 2)


def test_a_meta_image_with_a_scale_is_told_and_one_with_twice_the_voxels_is_refused(tmp_path):
    path = meta_file(tmp_path / "a.mha", "ElementToIntensityFunctionSlope = 2\nElementToIntensityFunctionOffset = 5\n")
    volume, said = read_warned(path)
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert "values times 2 plus 5" in said[0]
    long = meta_file(tmp_path / "b.mha", "", VOXELS.astype("<i8").tobytes(), META.replace("SHORT", "LONG"))
    with pytest.raises(InputError, match="holds 960 bytes of voxels, and its header claims 480"):
        read_image(long)
