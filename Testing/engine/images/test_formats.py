"""Pictures, NRRD and MetaImage with unusual headers: what independent readers find, or a refusal, or a word about it."""

from __future__ import annotations

import gzip
import re
import struct
import warnings
import zlib

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from image_files import read_warned, write_raw_nifti
from PIL import Image

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.formats.itk_file import plain_reason
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (40, 50), dtype=np.uint8)
DEEP = RNG.integers(0, 65535, (40, 50), dtype=np.uint16)
RGB = RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8)
VOXELS = RNG.integers(-1000, 3000, (4, 5, 6)).astype("<i2")
PLACE = np.array([[-1.0, 0, 0, -7], [0, -2, 0, -8], [0, 0, 3, 9], [0, 0, 0, 1]])
NRRD = (
    "type: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nspace: left-posterior-superior\n"
    "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (7,8,9)\n"
)
META = (
    "ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementSpacing = 1 2 3\nOffset = 7 8 9\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementType = MET_SHORT\n"
)


# -- pictures


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(path, rows, bits, color, *, extra=b"", interlaced=0):
    header = struct.pack(">IIBBBBB", 50, 40, bits, color, 0, 0, interlaced)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


def passes(pixels):
    """The rows of the seven passes of an interlaced PNG."""
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        yield from (np.ascontiguousarray(row).tobytes() for row in pixels[y::dy, x::dx])


def packed(values, bits):
    for row in values:
        text = "".join(f"{v:0{bits}b}" for v in row)
        text += "0" * (-len(text) % 8)
        yield int(text, 2).to_bytes(len(text) // 8, "big")


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_pictures_are_those_that_pillow_shows(tmp_path, mode, suffix):
    if suffix == ".bmp" and mode == "I;16":
        return
    image = (
        Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(RGB).convert("RGBA" if mode == "RGBA" else "RGB")
    )
    image = image.quantize(16) if mode == "P" else image if mode == "I;16" else image.convert(mode)
    path = tmp_path / f"a{suffix}"
    image.save(path)
    volume, said = read_warned(path)
    wanted = np.asarray(Image.open(path).convert("RGB") if volume.is_rgb else Image.open(path))
    np.testing.assert_array_equal(volume.array[0], wanted)
    assert not said


def test_unusual_pngs_are_read_as_the_format_says(tmp_path):
    path = tmp_path / "a.png"
    for bits in (2, 4):
        values = GREY % 2**bits
        np.testing.assert_array_equal(
            read_image(png(path, packed(values, bits), bits, 0)).array[0], np.asarray(Image.open(path))
        )
    big = np.ascontiguousarray(np.dstack([DEEP, DEEP // 2, DEEP // 3])).astype(">u2")
    np.testing.assert_array_equal(read_image(png(path, big.view(np.uint8).reshape(40, -1), 16, 2)).array[0], big)
    np.testing.assert_array_equal(read_image(png(path, passes(RGB), 8, 2, interlaced=1)).array[0], RGB)
    np.testing.assert_array_equal(read_image(png(path, passes(DEEP.astype(">u2")), 16, 0, interlaced=1)).array[0], DEEP)
    gamma = chunk(b"gAMA", struct.pack(">I", 100000))
    np.testing.assert_array_equal(read_image(png(path, GREY, 8, 0, extra=gamma)).array[0], GREY)


def test_a_png_that_counts_only_some_of_its_bits_loses_none(tmp_path):
    path = tmp_path / "a.png"
    twelve = (DEEP >> 4).astype(">u2")
    found = read_image(png(path, twelve.view(np.uint8).reshape(40, -1), 16, 0, extra=chunk(b"sBIT", b"\x0c"))).array[0]
    np.testing.assert_array_equal(found, twelve)
    np.testing.assert_array_equal(found, np.asarray(Image.open(path)))
    big = np.dstack([twelve] * 3).reshape(40, -1).view(np.uint8)
    with pytest.raises(InputError, match="sBIT"):
        read_image(png(path, big, 16, 2, extra=chunk(b"sBIT", b"\x0c\x0c\x0c")))


def test_transparent_places_are_told(tmp_path):
    for alpha, told in ((GREY, True), (np.full_like(GREY, 255), False)):
        Image.fromarray(np.dstack([RGB, alpha])).save(tmp_path / "a.png")
        volume, said = read_warned(tmp_path / "a.png")
        np.testing.assert_array_equal(volume.array[0], RGB)
        assert ["transparent in places" in text for text in said] == [True] * told


def test_a_jpeg_that_is_to_be_turned_lies_as_slicer_shows_it_and_that_is_told(tmp_path):
    smooth = Image.fromarray(np.repeat(np.linspace(0, 255, 50, dtype=np.uint8)[None], 40, 0))
    for orientation, told in ((1, False), (6, True), (3, True)):
        exif = Image.Exif()
        exif[274] = orientation
        smooth.save(tmp_path / "a.jpg", exif=exif)
        volume, said = read_warned(tmp_path / "a.jpg")
        assert volume.size == (50, 40, 1) and ["to be turned" in text for text in said] == [True] * told


def test_print_colours_of_a_jpeg_are_those_that_pillow_shows(tmp_path):
    smooth = Image.fromarray(np.repeat(np.linspace(0, 255, 50, dtype=np.uint8)[None], 40, 0)).convert("RGB")
    smooth.convert("CMYK").save(tmp_path / "a.jpg")
    wanted = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB")).astype(int)
    assert np.abs(read_image(tmp_path / "a.jpg").array[0] - wanted).max() <= 3


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_label_map_of_a_few_bits_has_the_labels_that_it_stores(tmp_path, bits):
    labels = GREY & (2**bits - 1)
    rows = np.unpackbits(labels[..., None], axis=-1)[..., 8 - bits :].reshape(len(labels), -1)
    path = png(tmp_path / "a.png", np.packbits(rows, axis=1), bits, 0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = read_segmentation(path)
    np.testing.assert_array_equal(found.layers[0][0], labels)
    assert not any("palette" in str(each.message) for each in said)


def test_a_palette_gives_its_places_as_labels(tmp_path):
    labels = GREY % 3
    for name in ("a.png", "a.bmp"):
        image = Image.fromarray(labels).convert("P")
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        image.save(tmp_path / name)
        assert read_image(tmp_path / name).is_rgb
        with pytest.warns(UserWarning, match="places in its palette are taken as labels"):
            found = read_segmentation(tmp_path / name)
        np.testing.assert_array_equal(found.layers[0][0], labels)


def test_a_picture_that_is_damaged_in_the_middle_is_refused_and_nothing_is_printed(tmp_path, capfd):
    for name in ("a.jpg", "a.png"):
        Image.fromarray(RGB).save(tmp_path / name, quality=90)
        content = bytearray((tmp_path / name).read_bytes())
        content[len(content) // 2] ^= 0x55
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            read_image(tmp_path / name)
    assert capfd.readouterr() == ("", "")


# -- NRRD


def nrrd_file(path, fields=NRRD, data=None, encoding="raw"):
    path.write_bytes(
        f"NRRD0004\n{fields}encoding: {encoding}\n\n".encode() + (VOXELS.tobytes() if data is None else data)
    )
    return path


@pytest.mark.parametrize(
    ("fields", "data", "encoding"),
    [
        (NRRD, None, "raw"),
        (NRRD.replace("little", "big"), VOXELS.astype(">i2").tobytes(), "raw"),
        (NRRD, gzip.compress(VOXELS.tobytes()), "gzip"),
        (NRRD, gzip.compress(VOXELS.tobytes()), "gz"),
        (NRRD, " ".join(map(str, VOXELS.ravel())).encode(), "ascii"),
        (NRRD + "byte skip: -1\n", b"0123456789" + VOXELS.tobytes(), "raw"),
        (NRRD + "line skip: 1\n", b"a line\n" + VOXELS.tobytes(), "raw"),
        (NRRD.replace("left-posterior-superior", "LPS"), None, "raw"),
        (NRRD + "measurement frame: (0,1,0) (1,0,0) (0,0,1)\n", None, "raw"),
        (NRRD + "old min: 0\nold max: 100\n", None, "raw"),
    ],
    ids=["raw", "big", "gzip", "gz", "text", "bytes", "lines", "LPS", "frame", "old"],
)
def test_nrrd_files_are_read_as_pynrrd_reads_them(tmp_path, fields, data, encoding):
    path = nrrd_file(tmp_path / "a.nrrd", fields, data, encoding)
    volume, said = read_warned(path)
    array, _ = nrrd.read(str(path), index_order="C")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(volume.array, VOXELS)
    np.testing.assert_allclose(volume.ijk_to_ras, PLACE)
    assert not said


def test_detached_voxels_are_found_in_one_file_in_a_list_and_by_a_pattern(tmp_path):
    (tmp_path / "all.raw").write_bytes(VOXELS.tobytes())
    for k in range(4):
        (tmp_path / f"part{k}.raw").write_bytes(VOXELS[k].tobytes())
    parts = "\n".join(f"part{k}.raw" for k in range(4))
    for data in ("all.raw", f"LIST\n{parts}", "part%d.raw 0 3 1"):
        header = f"NRRD0004\n{NRRD}encoding: raw\ndata file: {data}\n"
        (tmp_path / "a.nhdr").write_text(header if "LIST" in data else header + "\n")
        np.testing.assert_array_equal(read_image(tmp_path / "a.nhdr").array, VOXELS)
        (tmp_path / "a.mhd").write_text(f"{META}ElementDataFile = {data}\n")
        np.testing.assert_array_equal(read_image(tmp_path / "a.mhd").array, VOXELS)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed"])
def test_a_space_that_is_none_of_a_patient_is_taken_as_slicer_does_and_told(tmp_path, space):
    path = nrrd_file(tmp_path / "a.nrrd", NRRD.replace("left-posterior-superior", space))
    volume, said = read_warned(path)
    np.testing.assert_allclose(volume.ijk_to_ras, PLACE)
    assert len(said) == 1 and f"{space!r} is none of a patient" in said[0]


def test_sizes_in_other_units_than_mm_are_told(tmp_path):
    for unit, told in (("cm", True), ("um", True), ("mm", False)):
        said = read_warned(nrrd_file(tmp_path / "a.nrrd", NRRD + f'space units: "{unit}" "{unit}" "{unit}"\n'))[1]
        assert [f"in {unit} and taken as mm" in text for text in said] == [True] * told


def test_colours_that_are_not_rgb_are_refused(tmp_path):
    fields = (
        "type: short\ndimension: 4\nsizes: 3 6 5 4\nendian: little\nkinds: {} domain domain domain\n"
        "space: left-posterior-superior\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\nspace origin: (7,8,9)\n"
    )
    data = np.stack([VOXELS] * 3, -1).tobytes()
    for kind in ("HSV-color", "XYZ-color"):
        with pytest.raises(InputError, match=rf"colours of kind {kind[:3]}; save it as RGB"):
            read_image(nrrd_file(tmp_path / "a.nrrd", fields.format(kind), data))
    assert read_image(nrrd_file(tmp_path / "a.nrrd", fields.format("RGB-color"), data)).is_rgb


# -- MetaImage


def meta_file(path, more="", data=None, fields=META):
    path.write_bytes(f"{fields}{more}ElementDataFile = LOCAL\n".encode() + (VOXELS.tobytes() if data is None else data))
    return path


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


@pytest.mark.parametrize("suffix", [".vtk", ".gipl", ".gipl.gz", ".mrc", ".img", ".img.gz"])
def test_other_formats_that_itk_fills_up_where_they_are_cut_off_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if ".img" in suffix:  # ANALYZE: 348 bytes, of which these count
        header = bytearray(348)
        struct.pack_into("<i", header, 0, 348)
        struct.pack_into("<8h", header, 40, 3, 6, 5, 4, 1, 1, 1, 1)
        struct.pack_into("<2h8f", header, 70, 4, 16, 0, 1, 2, 3, 1, 1, 1, 1)
        pack = gzip.compress if suffix.endswith("gz") else bytes
        path.with_name("a.hdr" + suffix[4:]).write_bytes(pack(bytes(header)))
        path.write_bytes(pack(VOXELS.tobytes()))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path))
    volume, said = read_warned(path)
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert ["nobody knows which side is left" in text for text in said] == [True] * (".img" in suffix)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="voxels are missing or wrong"):
        read_image(path)


def test_what_a_header_does_not_tell_of_size_and_place_is_said(tmp_path):
    nrrd = "type: short\ndimension: 3\nsizes: 6 5 4\nendian: little\n"
    meta, size, turn = META.replace("ElementSpacing = 1 2 3\n", ""), "how large its voxels are", "which side is left"
    meta = meta.replace("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "")
    axes = "space directions: (1,0,0) (0,2,0) (0,0,3)\n"
    for path, told in (
        (nrrd_file(tmp_path / "a.nrrd", nrrd, VOXELS.tobytes()), (size, turn)),
        (nrrd_file(tmp_path / "b.nrrd", f"{nrrd}spacings: 1 2 3\n", VOXELS.tobytes()), (turn,)),
        (nrrd_file(tmp_path / "c.nrrd", f"{nrrd}space: RAS\n{axes}", VOXELS.tobytes()), ()),
        (meta_file(tmp_path / "a.mha", fields=meta), (size, turn)),
        (meta_file(tmp_path / "b.mha", fields=META), ()),
        (write_raw_nifti(tmp_path / "a.nii", VOXELS), (turn,)),
        (write_raw_nifti(tmp_path / "b.nii", VOXELS, sform=np.eye(4), sform_code=1), ()),
    ):
        _, said = read_warned(path)
        assert len(said) == len(told) and all(word in text for word, text in zip(told, said, strict=True)), path


@pytest.mark.parametrize("suffix, spacing", [(".jpg", 25.4 / 72), (".tif", 25.4 / 72), (".png", 1)])
def test_a_size_of_pixels_in_print_is_told_as_such(tmp_path, suffix, spacing):
    Image.new("RGB", (9, 8), "red").save(tmp_path / f"a{suffix}", dpi=(72, 72))
    volume, said = read_warned(tmp_path / f"a{suffix}")
    assert volume.spacing == pytest.approx((spacing, spacing, 1))
    assert ["resolution in print (72 dpi)" in text for text in said] == [True] * (suffix != ".png")


def test_voxels_of_a_type_that_is_not_read_are_not_called_complex(tmp_path):
    for code, told in ((1536, "NIfTI type 1536, which is not read; save it as float32"), (32, "complex numbers")):
        with pytest.raises(InputError, match=told):
            read_image(write_raw_nifti(tmp_path / "a.nii", VOXELS, datatype=code))


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


# -- texts


def test_no_class_or_address_of_itk_stands_in_a_text(tmp_path):
    image = sitk.GetImageFromArray(VOXELS)
    bad = [
        nrrd_file(tmp_path / "a.nrrd", "type: short\ndimension: 2\nsizes: 6 5\nspace dimension: 3\nspace directions: (1,0,0) (0,2,0)\n"),
        nrrd_file(tmp_path / "b.nrrd", NRRD, b"", "bzip2"),
        nrrd_file(tmp_path / "c.nrrd", NRRD.replace("short", "shirt")),
        nrrd_file(tmp_path / "d.nrrd", NRRD, VOXELS.tobytes()[:9]),
        meta_file(tmp_path / "e.mha", "BinaryData = False\n"),
        meta_file(tmp_path / "f.mha", "", b""),
    ]  # fmt: skip
    Image.fromarray(GREY > 99).save(tmp_path / "g.bmp")
    Image.fromarray(GREY).save(tmp_path / "h.png")
    for name in ("i.nii", "j.nii.gz", "k.nrrd", "l.mha"):
        sitk.WriteImage(image, str(tmp_path / name))
    for path in [tmp_path / name for name in ("h.png", "i.nii", "j.nii.gz", "k.nrrd", "l.mha")]:
        path.write_bytes(path.read_bytes()[:-30])
        bad.append(path)
    for path in (*bad, tmp_path / "g.bmp"):
        with pytest.raises(InputError) as error:
            read_image(path)
        assert not re.search(r"itk|0x[0-9a-f]|ImageIO|\.cxx|ERROR|::|_nrrd", str(error.value), re.I), str(error.value)
    text = "Exception thrown in SimpleITK X: /a/b.cxx:470:\nITK ERROR: NrrdImageIO(0x55f): ReadImageInformation: no axes (2)."
    assert plain_reason(text) == "no axes (2)"
    assert plain_reason("[nrrd] nrrdEncodingBzip2_read: sorry, bzip2 encoding is not available in NrrdIO") == ""
    assert plain_reason("itk::ERROR: PNGImageIO(0x1): Error while reading file: a.png\nReason: Success") == ""
