"""DICOM files of every kind of pixels and encoding: what SimpleITK's reader makes of them, or a refusal that says why."""

import zlib

import dicom_files as dicom
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import encoded, image_elements, placed, write_dicom
from image_files import read_warned

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.reading import read_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 2000, (6, 8)).astype(np.uint16)
RGB = RNG.integers(0, 255, (6, 8, 3)).astype(np.uint8)
PLACE = placed((1, 2, 3), axes=(0.8, 0.6, 0, -0.6, 0.8, 0), spacing=(2, 3))


def by_simpleitk(path):
    """Voxels and the in-plane part of the voxel-to-RAS matrix."""
    image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), (np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix)[:, [0, 1, 3]]


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("syntax", [dicom.IMPLICIT, dicom.EXPLICIT, dicom.BIG_ENDIAN, dicom.DEFLATED])
def test_every_uncompressed_encoding_is_read_with_its_geometry(tmp_path, syntax, preamble):
    if not preamble and syntax not in (dicom.IMPLICIT, dicom.EXPLICIT):
        pytest.skip("only a file with a preamble can state this encoding")
    pixels = GREY.astype(">u2") if syntax == dicom.BIG_ENDIAN else GREY
    path = write_dicom(tmp_path / "IM0001", image_elements(pixels) | PLACE, syntax, preamble=preamble)
    wanted, matrix = by_simpleitk(path)
    volume, texts = read_warned(path)
    np.testing.assert_array_equal(volume.array, GREY[None])
    np.testing.assert_array_equal(volume.array, wanted)
    np.testing.assert_allclose(volume.ijk_to_ras[:, [0, 1, 3]], matrix, atol=1e-6)
    assert volume.spacing[2] == pytest.approx(2) and texts == []


@pytest.mark.parametrize(
    "pixels, more",
    [
        (GREY.view(np.int16) - np.int16(1000), {}),
        (GREY & 0xFF, {0x00280101: ("US", 8), 0x00280102: ("US", 7)}),
        (GREY | 0x8000, {0x00280101: ("US", 12), 0x00280102: ("US", 11)}),  # an overlay in the upper bits
        (GREY, {0x00281052: ("DS", -1024), 0x00281053: ("DS", 1)}),
        (GREY, {0x00281052: ("DS", -10), 0x00281053: ("DS", "0.25")}),
        (GREY, {0x00280120: ("US", 0)}),  # padding is kept as it is stored
        ((GREY & 0xFF).astype(np.uint8), {0x00280004: ("CS", "MONOCHROME1")}),
        (RGB, {}),
        (RGB, {0x00280006: ("US", 1), 0x7FE00010: ("OW", np.moveaxis(RGB, 2, 0).tobytes())}),
        (RGB, {0x00280004: ("CS", "YBR_FULL")}),
    ],
    ids=["signed", "8 of 16 bit", "overlay", "ct", "slope", "padding", "inverted", "rgb", "planar", "ybr"],
)
def test_values_are_those_of_simpleitk(tmp_path, pixels, more):
    path = write_dicom(tmp_path / "a", image_elements(pixels) | PLACE | more)
    wanted, _ = by_simpleitk(path)
    np.testing.assert_array_equal(read_warned(path)[0].array, wanted)
    if more.get(0x00280004) == ("CS", "MONOCHROME1"):
        np.testing.assert_array_equal(wanted[0], 255 - pixels)  # bright is high, as everywhere else


def test_a_palette_becomes_its_colors(tmp_path):
    red = np.arange(256, dtype=np.uint16) * 257
    table = {0x00280004: ("CS", "PALETTE COLOR")}
    for channel, share in enumerate((1, 0, 1), 1):
        table |= {0x00281100 + channel: ("US", [256, 0, 16]), 0x00281200 + channel: ("OW", (red * share).tobytes())}
    pixels = (GREY & 0xFF).astype(np.uint8)
    path = write_dicom(tmp_path / "a", image_elements(pixels, dicom.ULTRASOUND) | table)
    np.testing.assert_array_equal(read_warned(path)[0].array[0], np.stack([pixels, pixels * 0, pixels], -1))


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_lossless_compressed_slices_are_read(tmp_path, compressor):
    pixels = np.tile(GREY, (8, 8))
    image = sitk.GetImageFromArray(pixels[None])
    writer = sitk.ImageFileWriter()
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    writer.SetFileName(str(tmp_path / "a.dcm"))
    writer.Execute(image)
    np.testing.assert_array_equal(read_warned(tmp_path / "a.dcm")[0].array[0], pixels)


def test_run_length_compressed_slices_are_read(tmp_path):
    pixels = np.tile(GREY & 0xFF, (4, 4)).astype(np.uint8)
    runs = b"".join(bytes([len(row) - 1]) + row.tobytes() for row in pixels)  # literal runs of each row
    frame = np.array([1, 64, *[0] * 14], "<u4").tobytes() + runs + b"\0" * (len(runs) % 2)
    fragments = b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0" + np.uint32(len(frame)).tobytes() + frame
    elements = image_elements(pixels) | PLACE
    del elements[0x7FE00010]
    path = write_dicom(tmp_path / "a", elements, "1.2.840.10008.1.2.5")
    with open(path, "ab") as file:
        file.write(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + fragments + b"\xfe\xff\xdd\xe0\0\0\0\0")
    np.testing.assert_array_equal(read_warned(path)[0].array[0], pixels)


@pytest.mark.parametrize(
    "syntax, name", [("1.2.840.10008.1.2.4.102", "MPEG-4"), ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000")]
)
def test_an_encoding_that_cannot_be_decoded_is_named_with_the_way_out(tmp_path, syntax, name):
    path = write_dicom(tmp_path / "a", image_elements(GREY) | PLACE, syntax)
    with pytest.raises(InputError, match=f"{name}.*{syntax}.*export it uncompressed"):
        read_image(path)


def test_the_calibrated_pixel_size_counts_and_that_of_the_detector_is_said(tmp_path):
    elements = image_elements(GREY, dicom.X_RAY)
    both = {0x00181164: ("DS", "0.1\\0.2"), 0x00280030: ("DS", "0.3\\0.4")}
    volume, texts = read_warned(write_dicom(tmp_path / "both" / "a", elements | both))
    assert volume.spacing[:2] == pytest.approx((0.4, 0.3)) and texts == []
    del both[0x00280030]
    volume, texts = read_warned(write_dicom(tmp_path / "one" / "a", elements | both))
    assert volume.spacing[:2] == pytest.approx((0.2, 0.1)) and "at the detector" in texts[0]
    volume, texts = read_warned(write_dicom(tmp_path / "none" / "a", elements))
    assert volume.spacing == (1, 1, 1) and "taken as 1 mm" in texts[0]


def test_ultrasound_has_the_pixel_size_of_its_region_and_its_film_has_frames(tmp_path):
    region = {0x00186024: ("US", 3), 0x0018602C: ("FD", 0.02), 0x0018602E: ("FD", 0.03)}  # cm
    film = RNG.integers(0, 255, (5, 6, 8)).astype(np.uint8)
    time = {0x00280009: ("AT", 0x00181063), 0x00181063: ("DS", 33)}
    elements = image_elements(film, dicom.ULTRASOUND_FRAMES) | time | {0x00186011: ("SQ", [region])}
    path = write_dicom(tmp_path / "a", elements)
    with pytest.raises(InputError, match="5 frames; choose one with --frame"):
        read_image(path)
    volume, texts = read_warned(path, 3)
    np.testing.assert_array_equal(volume.array, film[3:4])
    assert volume.spacing[:2] == pytest.approx((0.2, 0.3)) and texts == []
    still = write_dicom(tmp_path / "b", image_elements(film[0], dicom.ULTRASOUND) | {0x00186011: ("SQ", [region])})
    assert read_warned(still)[0].spacing[:2] == pytest.approx((0.2, 0.3))


def test_objects_without_an_image_are_named(tmp_path):
    report = {0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.88.11"), 0x00080018: ("UI", "1.2"), 0x00080060: ("CS", "SR")}
    path = write_dicom(tmp_path / "SR01", report)
    with pytest.raises(InputError, match=r"structured report \(SR\)"):
        read_image(path)
    with pytest.raises(InputError, match=r"no DICOM images, only other DICOM objects \(1 x structured report"):
        read_image(tmp_path)
    write_dicom(tmp_path / "IM01", image_elements(GREY) | PLACE)
    assert read_warned(tmp_path)[1] == []  # beside an image they do not matter


def test_tiled_pictures_are_refused_with_the_way_out(tmp_path):
    mosaic = image_elements(GREY, dicom.MR) | PLACE | {0x00080008: ("CS", "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC")}
    with pytest.raises(InputError, match=r"Siemens mosaic.*dcm2niix"):
        read_image(write_dicom(tmp_path / "m" / "a", mosaic))
    slide = image_elements(GREY, "1.2.840.10008.5.1.4.1.1.77.1.6")
    with pytest.raises(InputError, match="whole slide"):
        read_image(write_dicom(tmp_path / "s" / "a", slide))


def test_more_pixels_than_the_file_has_are_refused_before_they_are_decoded(tmp_path):
    elements = image_elements(GREY) | PLACE
    content = encoded(elements).replace(b"OW\0\0\x60\0\0\0", b"OW\0\0\0\0\0\x70")  # 96 bytes, called 1.9 GB
    path = write_dicom(tmp_path / "a", {0x00080016: ("UI", dicom.CT)}, dicom.DEFLATED)
    packer = zlib.compressobj(wbits=-15)
    head = path.read_bytes()[: path.read_bytes().index(dicom.DEFLATED.encode()) + 22]
    path.write_bytes(head + packer.compress(content) + packer.flush())
    with pytest.raises(InputError, match="cut off"):
        read_image(path)


@pytest.mark.parametrize(
    "name, codec, text",
    [
        ("ISO_IR 192", "utf-8", "Schädel"),
        ("ISO_IR 100", "latin-1", "crâne"),
        ("ISO_IR 144", "iso8859-5", "Голова"),
        ("GB18030", "gb18030", "头部"),
        ("\\ISO 2022 IR 87", "iso2022_jp", "頭"),
        ("\\ISO 2022 IR 149", "euc_kr", "\x1b$)C머리"),
        ("\\ISO 2022 IR 58", "gb2312", "\x1b$)A头部"),
    ],
)
def test_texts_in_the_character_set_of_the_file(tmp_path, name, codec, text):
    path = write_dicom(
        tmp_path / "a",
        image_elements(GREY) | PLACE | {0x00080005: ("CS", name), 0x0008103E: ("LO", text.encode(codec))},
    )
    assert read_warned(path)[0].name == text.removeprefix("\x1b$)C").removeprefix("\x1b$)A")
