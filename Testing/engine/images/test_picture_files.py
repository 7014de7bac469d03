"""Pictures with unusual headers: what independent readers find, or a refusal, or a word about it."""

from __future__ import annotations

import struct
import warnings
import zlib

import numpy as np
import pytest
from format_files import DEEP, GREY, RGB
from image_files import read_warned
from PIL import Image

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image, read_label_map


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


@pytest.mark.parametrize("suffix, spacing", [(".jpg", 25.4 / 72), (".tif", 25.4 / 72), (".png", 1)])
def test_a_size_of_pixels_in_print_is_told_as_such(tmp_path, suffix, spacing):
    Image.new("RGB", (9, 8), "red").save(tmp_path / f"a{suffix}", dpi=(72, 72))
    volume, said = read_warned(tmp_path / f"a{suffix}")
    assert volume.spacing == pytest.approx((spacing, spacing, 1))
    assert ["resolution in print (72 dpi)" in text for text in said] == [True] * (suffix != ".png")


@pytest.mark.parametrize(("mode", "bits"), [("1", "1 bit"), ("4", "4 bits")])
@pytest.mark.parametrize("read", [read_image, read_label_map])
def test_a_bmp_of_few_bits_is_refused_for_that_and_not_as_damaged(tmp_path, mode, bits, read):
    path = tmp_path / "mask.bmp"
    Image.fromarray((GREY > 100).astype(np.uint8) * 255).convert("1").save(path)
    if mode == "4":
        content = bytearray(path.read_bytes())
        content[28] = 4
        path.write_bytes(content + bytes(4000))
    with pytest.raises(InputError, match=rf"BMP picture of {bits} for each pixel, .*; save it as PNG"):
        read(path)
