"""A TIFF is read by its own tags: pages, bits, samples, planes, palettes and sizes; what cannot be trusted is refused."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from image_files import read_warned
from paths import MODULE
from PIL import Image

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.common.errors import MissingPackageError
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (40, 50), dtype=np.uint8)
DEEP = RNG.integers(0, 65535, (3, 40, 50), dtype=np.uint16)
RGB = RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8)


@pytest.fixture
def written(tmp_path):
    def write(array, **how):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            tifffile.imwrite(tmp_path / "a.tif", array, **how)
        return tmp_path / "a.tif"

    return write


def pixels(path, frame=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*does not tell the size of its voxels")
        return read_image(path, frame).array


@pytest.mark.parametrize(
    "how",
    [
        {"tile": (16, 16)}, {"rowsperstrip": 7}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"},
        {"compression": "zlib", "predictor": True, "tile": (32, 16)}, {"compression": "packbits"}, {"truncate": True},
        {"ome": True, "metadata": {"axes": "ZYX"}}, {"imagej": True, "metadata": {"axes": "ZYX"}}, {"metadata": None},
    ],
    ids=str,
)  # fmt: skip
def test_pages_of_16_bits_are_slices_however_they_are_stored(written, how):
    found = pixels(written(DEEP, **({} if "imagej" in how else {"photometric": "minisblack"}) | how))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, DEEP)


def test_planes_marked_as_colours_are_colours_of_16_bits_and_tifffiles_guess_is_told(written):
    for how in ({}, {"tile": (16, 16)}):
        path = written(DEEP, photometric="rgb", planarconfig="separate", **how)
        volume, said = read_warned(path)
        assert volume.array.dtype == np.uint16
        np.testing.assert_array_equal(volume.array[0], np.moveaxis(DEEP, 0, -1))
        assert len(said) == 1 and "if they are slices, save them with photometric='minisblack'" in said[0]
    np.testing.assert_array_equal(
        pixels(written(np.moveaxis(DEEP, 0, -1), photometric="rgb"))[0], np.moveaxis(DEEP, 0, -1)
    )


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_every_voxel_type_is_kept(written, dtype):
    array = GREY.astype(dtype)
    array[0, :2] = (np.iinfo if array.dtype.kind in "iu" else np.finfo)(dtype).max, 1
    found = pixels(written(array))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found[0], array)


def test_half_floats_become_floats_and_complex_numbers_are_refused(written):
    found = pixels(written(GREY.astype(np.float16)))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], GREY)
    with pytest.raises(InputError, match="complex numbers"):
        read_image(written(GREY.astype(np.complex64)))


def test_lightness_counts_from_black_and_bits_are_0_and_1(written, tmp_path):
    np.testing.assert_array_equal(pixels(written(GREY, photometric="miniswhite"))[0], 255 - GREY)
    np.testing.assert_array_equal(pixels(written(DEEP, photometric="miniswhite")), 65535 - DEEP)
    for how in ({}, {"compression": "packbits"}):
        Image.fromarray(GREY > 100).save(tmp_path / "bits.tif", **how)
        np.testing.assert_array_equal(pixels(tmp_path / "bits.tif")[0], GREY > 100)
    np.testing.assert_array_equal(pixels(written(GREY > 100, photometric="miniswhite"))[0], GREY <= 100)


def test_a_palette_gives_the_colours_that_pillow_shows_and_its_places_as_labels(written):
    places = GREY % 4
    path = written(places, photometric="palette", colormap=RNG.integers(0, 65535, (3, 256), dtype=np.uint16))
    np.testing.assert_array_equal(pixels(path)[0], np.asarray(Image.open(path).convert("RGB")))
    with pytest.warns(UserWarning, match="places in its palette are taken as labels"):
        np.testing.assert_array_equal(read_segmentation(path).layers[0][0], places)


def test_transparency_is_left_out_and_told_where_it_matters(written):
    for colours, photometric in ((RGB, "rgb"), (GREY[..., None], "minisblack")):
        for alpha in (np.full((40, 50), 255, np.uint8), GREY):
            path = written(
                np.dstack([colours, alpha]), photometric=photometric, planarconfig="contig", extrasamples=["unassalpha"]
            )
            volume, said = read_warned(path)
            np.testing.assert_array_equal(volume.array[0], np.squeeze(colours))
            assert ["transparent in places" in text for text in said] == [True] * (alpha is GREY)
    volume, said = read_warned(written(np.dstack([RGB, GREY]), photometric="rgb", extrasamples=["unspecified"]))
    np.testing.assert_array_equal(volume.array[0], RGB)
    assert "beside red, green and blue" in said[0]


def test_samples_that_are_no_colours_are_frames_and_pairs_are_refused(written):
    path = written(np.dstack([GREY, GREY // 2, GREY // 3]), photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(pixels(path, 2)[0], GREY // 3)
    with pytest.raises(InputError, match=r"3 frames.*1: sample 1"):
        read_image(path)
    with pytest.raises(InputError, match="vectors of 2"):
        read_image(written(np.dstack([GREY, GREY]), photometric="minisblack", planarconfig="contig"))


@pytest.mark.parametrize(
    ("mode", "text"), [("CMYK", r"print colours \(CMYK\); save it as grey or RGB"), ("LAB", "CIELab")]
)
def test_colours_of_print_and_laboratory_are_refused(tmp_path, mode, text):
    image = Image.new("LAB", (50, 40)) if mode == "LAB" else Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=text):
        read_image(tmp_path / "a.tif")


def test_luma_and_chroma_become_the_colours_that_pillow_shows(tmp_path):
    for name, image, how in (
        ("plain", Image.fromarray(RGB).convert("YCbCr"), {}),
        ("jpeg", Image.fromarray(RGB), {"compression": "jpeg"}),
    ):
        image.save(tmp_path / f"{name}.tif", **how)
        shown = np.asarray(Image.open(tmp_path / f"{name}.tif").convert("RGB"), int)
        assert np.abs(pixels(tmp_path / f"{name}.tif")[0] - shown).max() <= 2


def test_frames_are_what_imagej_ome_and_tifffile_call_times_and_channels(written):
    array = RNG.integers(0, 999, (2, 3, 4, 40, 50), dtype=np.uint16)  # T, Z, C
    for how in ({"imagej": True}, {"ome": True, "photometric": "minisblack"}, {"photometric": "minisblack"}):
        path = written(array, metadata={"axes": "TZCYX"}, **how)
        np.testing.assert_array_equal(pixels(path, 5), array[1, :, 1])
        with pytest.raises(InputError, match=r"8 frames.*5: time 1, channel 1"):
            read_image(path)


def test_voxel_sizes_come_from_the_resolution_or_are_told_by_imagej_and_ome(written):
    assert read_image(written(GREY, resolution=(100, 50), resolutionunit="CENTIMETER")).spacing == (0.1, 0.2, 1)
    for sizes, how in (
        ((0.5e-3, 0.5e-3, 3e-3), {"imagej": True, "resolution": (2, 2), "metadata": {"spacing": 3.0, "unit": "um", "axes": "ZYX"}}),
        (
            (0.5, 0.25, 2.0),
            {
                "ome": True, "photometric": "minisblack", "metadata": {
                    "axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "mm", "PhysicalSizeY": 250, "PhysicalSizeZ": 2,
                    "PhysicalSizeZUnit": "mm",
                },
            },
        ),
    ):  # fmt: skip
        volume, said = read_warned(written(DEEP, **how))
        np.testing.assert_allclose(volume.spacing, sizes, rtol=1e-6)
        assert len(said) == 1 and "Slicer shows it with 1 x 1 x 1 mm" in said[0]
    itk = sitk.ReadImage(str(written(GREY, resolution=(300, 300), resolutionunit="INCH")))
    np.testing.assert_allclose(
        read_image(written(GREY, resolution=(300, 300), resolutionunit="INCH")).spacing[:2], itk.GetSpacing()
    )


def test_calibrated_values_of_imagej_are_those_that_imagej_shows(written):
    path = written(
        DEEP, imagej=True, metadata={"axes": "ZYX", "cf": 0, "c0": -32768.0, "c1": 1.0, "vunit": "Gray Value"}
    )
    np.testing.assert_array_equal(pixels(path), DEEP.astype(np.int32) - 32768)


def test_a_picture_lies_as_slicer_shows_it_whatever_its_tag_tells(written):
    for orientation in range(1, 9):
        path = written(GREY, extratags=[(274, 3, 1, orientation, True)])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = read_image(path).array[0]
        by_itk = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))  # which mirrors, and makes colours of grey then
        np.testing.assert_array_equal(found, by_itk if by_itk.ndim == 2 else by_itk[..., 0])
        told = ["to be turned" in str(each.message) for each in said]
        assert any(told) == (orientation > 4)


def test_of_a_pyramid_and_beside_thumbnails_the_full_picture_is_read(tmp_path):
    large = GREY.repeat(4, 0).repeat(4, 1)
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(large, subifds=1, tile=(32, 32))
        file.write(GREY, subfiletype=1, tile=(32, 32))
    np.testing.assert_array_equal(pixels(tmp_path / "pyramid.tif")[0], large)
    with tifffile.TiffWriter(tmp_path / "flat.tif") as file:
        for page in (large, GREY):
            file.write(page, subfiletype=int(page is GREY), metadata=None)
    np.testing.assert_array_equal(pixels(tmp_path / "flat.tif")[0], large)
    with tifffile.TiffWriter(tmp_path / "others.tif") as file:
        for page in (GREY[:9, :8], large):
            file.write(page)
    volume, said = read_warned(tmp_path / "others.tif")
    np.testing.assert_array_equal(volume.array[0], large)
    assert "200 x 160 pixels, and 8 x 9 left out" in said[0]


def test_pages_of_one_size_that_differ_in_kind_are_refused_and_not_left_out(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in (GREY, GREY.astype(np.uint16)):
            file.write(page, metadata=None)
    with pytest.raises(InputError, match="2 images of 50 x 40 pixels that differ in kind"):
        read_image(tmp_path / "a.tif")


def test_parts_that_hold_nothing_are_read_as_0_and_told(written):
    path = written(np.zeros((64, 64), np.uint8), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = list(file.pages[0].databytecounts)
        file.pages[0].tags["TileByteCounts"].overwrite([0, *counts[1:]])
    assert "1 of its 16 parts hold nothing and are read as 0" in read_warned(path)[1][0]


@pytest.mark.parametrize(
    "how", [{}, {"tile": (16, 16)}, {"compression": "zlib", "tile": (16, 16)}, {"rowsperstrip": 5}], ids=str
)
def test_a_file_that_lacks_pixels_is_refused(written, how):
    path = written(DEEP, photometric="minisblack", **how)
    content = path.read_bytes()
    for part in (0.9, 0.6, 0.3, 0.02):
        path.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(InputError, match=r"cut off|damaged"):
            read_image(path)


def test_a_description_that_promises_more_than_the_pages_hold_is_not_believed(written, tmp_path):
    for shape in ("[7, 40, 50]", "[2, 40, 50]", "[3, 40, 51]"):
        for how in ({}, {"compression": "zlib"}):
            path = written(DEEP, photometric="minisblack", metadata=None, description=f'{{"shape": {shape}}}', **how)
            with pytest.raises(InputError, match="save it again"):
                read_image(path)
    tifffile.imwrite(tmp_path / "c.tif", DEEP, imagej=True, metadata={"axes": "ZYX"}, compression="zlib")
    content = (tmp_path / "c.tif").read_bytes()
    assert b"images=3\nslices=3" in content
    (tmp_path / "c.tif").write_bytes(content.replace(b"images=3\nslices=3", b"images=7\nslices=7"))
    with pytest.raises(InputError, match=r"c\.tif"):
        read_image(tmp_path / "c.tif")
    with tifffile.TiffWriter(tmp_path / "b.tif", ome=True) as file:
        file.write(DEEP, photometric="minisblack", metadata={"axes": "ZYX"})
    text = tifffile.TiffFile(tmp_path / "b.tif").ome_metadata.replace('SizeZ="3"', 'SizeZ="9"')
    tifffile.tiffcomment(tmp_path / "b.tif", text.encode())
    with pytest.raises(InputError, match=r"b\.tif"):
        read_image(tmp_path / "b.tif")


def test_a_tiled_mask_is_a_label_map_and_stored_numbers_are_labels(written):
    for how in ({"tile": (16, 16)}, {"tile": (16, 16), "compression": "zlib"}):
        found = read_segmentation(written((GREY > 100).astype(np.uint8), **how))
        np.testing.assert_array_equal(found.layers[0][0], GREY > 100)
        assert [s.value for s in found.segments] == [1]
    for mask, how in ((GREY > 100, {}), (GREY % 3, {"photometric": "miniswhite"})):
        with pytest.warns(UserWarning, match="shows 0 as white; its numbers are taken as labels"):
            found = read_segmentation(written(mask, **how))
        np.testing.assert_array_equal(found.layers[0][0], mask)


def test_without_tifffile_a_tiff_is_refused_with_the_way_out(written, monkeypatch):
    path = written(GREY)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingPackageError, match="needs tifffile; install it with 'pip install tifffile'") as error:
        read_image(path)
    assert error.value.package == "tifffile"


def test_without_imagecodecs_itk_decodes_what_it_decodes_rightly_and_the_rest_is_refused_by_name(tmp_path):
    script = (
        "import sys; sys.modules['imagecodecs'] = None; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from S3NetSegmentLib.engine import InputError\n"
        "from S3NetSegmentLib.engine.images.reading import read_image\n"
        "for name in ('grey', 'stack', 'rgb'):\n"
        "    np.testing.assert_array_equal(np.squeeze(read_image(f'{name}.tif').array), np.load(f'{name}.npy'))\n"
        "for name in ('tiles', 'bomb'):\n"
        "    try:\n        read_image(f'{name}.tif')\n    except InputError as error:\n        print(error)\n"
    )
    for name, array, how in (
        ("grey", GREY, {"compression": "lzw"}), ("stack", DEEP, {"compression": "lzw", "photometric": "minisblack"}),
        ("rgb", RGB, {"compression": "lzw", "photometric": "rgb"}), ("tiles", GREY, {"compression": "lzw", "tile": (16, 16)}),
    ):  # fmt: skip
        tifffile.imwrite(tmp_path / f"{name}.tif", array, **how)
        np.save(tmp_path / f"{name}.npy", array)
        np.testing.assert_array_equal(np.squeeze(pixels(tmp_path / f"{name}.tif")), array)
    tifffile.imwrite(tmp_path / "bomb.tif", np.zeros((8, 8), np.uint8), compression="zlib")
    many = zlib.compress(bytes(1 << 20), 9)
    content = (tmp_path / "bomb.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "bomb.tif", mode="r+") as file:
        file.pages[0].tags["StripOffsets"].overwrite(len(content))
        file.pages[0].tags["StripByteCounts"].overwrite(len(many))
    (tmp_path / "bomb.tif").write_bytes((tmp_path / "bomb.tif").read_bytes() + many)
    done = subprocess.run(
        [sys.executable, "-c", script, str(MODULE)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (
        "packed by LZW with 8 bits, which needs imagecodecs; install it with 'pip install imagecodecs'" in done.stdout
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_packed_bits_are_unpacked(tmp_path, bits):
    values = DEEP[0] % 2**bits
    rows = b"".join(
        int("".join(f"{v:0{bits}b}" for v in row).ljust(-(-50 * bits // 8) * 8, "0"), 2).to_bytes(
            -(-50 * bits // 8), "big"
        )
        for row in values
    )
    tags = [(256, 50), (257, 40), (258, bits), (259, 1), (262, 1), (273, 200), (277, 1), (278, 40), (279, len(rows))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    content = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0)
    (tmp_path / "a.tif").write_bytes(content.ljust(200, b"\0") + rows)
    found = pixels(tmp_path / "a.tif")
    assert found.dtype == (np.uint16 if bits > 8 else np.uint8)
    np.testing.assert_array_equal(found[0], values)
