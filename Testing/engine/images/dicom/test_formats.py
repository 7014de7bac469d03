"""Every pixel format of DICOM: the values are those that were written, or the file is refused; never others.

Two independent decoders are at hand (GDCM in SimpleITK, and pydicom with its plugins); the test says where each is right.
"""

import dicom_files as dicom
import numpy as np
import pytest
from dicom_files import encoded, image_elements, run_length, write_compressed, write_dicom
from image_files import read_warned

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.dicom.decoding import decoded

imagecodecs = pytest.importorskip("imagecodecs", reason="makes the compressed pictures (Testing/requirements.txt)")
PLAIN = (dicom.IMPLICIT, dicom.EXPLICIT, dicom.BIG_ENDIAN, dicom.DEFLATED, dicom.RUN_LENGTH)
DEPTHS = [("u1", 8), ("i1", 8), ("u2", 16), ("i2", 16), ("u2", 12), ("i2", 12), ("u2", 8)]
WIDE = [("u4", 32), ("i4", 32), ("u4", 24), ("i4", 20), ("u4", 16)]
LAYOUTS = [
    (False, 0, 1),
    (False, 0, 3),
    (True, 0, 1),
    (True, 0, 3),
    (True, 1, 1),
    (True, 1, 3),
]  # colour, planar, frames
RED, WHITE = (200, 60, 60), (250, 240, 220)


def random_pixels(kind, stored, color, frames):
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if kind[0] == "i" else (0, 2**stored - 1)
    shape = (frames, 8, 10) + (3,) * color
    return np.random.default_rng(0).integers(low, high, shape, np.int64, endpoint=True).astype(kind)


def compressed(frame, stored, syntax):
    """One frame as the encoder of ``syntax`` makes it."""
    plain = frame.view(frame.dtype.str.replace("i", "u")) & np.array(2**stored - 1, frame.dtype.str.replace("i", "u"))
    if syntax == dicom.RUN_LENGTH:
        return run_length(frame)
    if syntax == dicom.JPEG_LS:
        return imagecodecs.jpegls_encode(plain)
    if syntax == dicom.JPEG_LOSSLESS:
        rgb = {"colorspace": "rgb", "outcolorspace": "rgb"} if frame.ndim == 3 else {}
        return imagecodecs.jpeg8_encode(plain, lossless=True, predictor=1, bitspersample=stored, **rgb)
    return imagecodecs.jpeg2k_encode(
        frame, codecformat="j2k", bitspersample=stored, reversible=True, mct=False, level=0
    )


def write_pixels(path, pixels, stored, planar, syntax, **more):
    """``pixels`` [frames, H, W(, 3)] in ``syntax``, ``stored`` bits of each in use."""
    elements = image_elements(pixels if len(pixels) > 1 else pixels[0], dicom.SECONDARY_CAPTURE)
    elements |= {0x00280101: ("US", stored), 0x00280102: ("US", stored - 1), 0x00280030: ("DS", "1\\1")}
    if planar:
        elements[0x00280006] = ("US", 1)
    elements |= {int(tag[1:], 16): value for tag, value in more.items()}
    if syntax not in PLAIN or syntax == dicom.RUN_LENGTH:
        return write_compressed(path, elements, [compressed(frame, stored, syntax) for frame in pixels], syntax)
    laid = np.moveaxis(pixels, -1, 1) if planar else pixels
    swapped = laid.astype(laid.dtype.newbyteorder(">" if syntax == dicom.BIG_ENDIAN else "<"))
    elements[0x7FE00010] = ("OB" if pixels.itemsize == 1 else "OW", swapped.tobytes())
    return write_dicom(path, elements, syntax)


def by_pydicom(path):
    pydicom = pytest.importorskip("pydicom")
    return pydicom.dcmread(path).pixel_array


@pytest.mark.parametrize("kind, stored", DEPTHS + WIDE)
@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize("color, planar, frames", LAYOUTS)
def test_pixels_that_are_not_compressed_or_run_length_encoded_keep_their_values(
    tmp_path, color, planar, frames, syntax, kind, stored
):
    pixels = random_pixels(kind, stored, color, frames)
    path = write_pixels(tmp_path / "a", pixels, stored, planar, syntax)
    np.testing.assert_array_equal(decoded(path), pixels)
    np.testing.assert_array_equal(by_pydicom(path).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("kind, stored", DEPTHS)
@pytest.mark.parametrize("syntax", [dicom.JPEG_LOSSLESS, dicom.JPEG_LS, dicom.JPEG_2000])
@pytest.mark.parametrize("color, planar, frames", LAYOUTS)
def test_pixels_compressed_without_loss_keep_their_values_or_are_refused(
    tmp_path, color, planar, frames, syntax, kind, stored
):
    if syntax == dicom.JPEG_LOSSLESS and kind == "u2" and stored == 8:
        pytest.skip("the encoder makes 8 bits of 8-bit numbers only")
    pixels = random_pixels(kind, stored, color, frames)
    path = write_pixels(tmp_path / "a", pixels, stored, planar, syntax)
    try:
        found = decoded(path)
    except InputError as error:
        assert (syntax, kind, stored) == (dicom.JPEG_LS, "u2", 8) and "cannot be decoded" in str(error)
        return
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("kind, stored", WIDE)
def test_numbers_of_32_bits_in_jpeg_2000_which_no_decoder_reads_rightly_are_refused(tmp_path, kind, stored):
    path = write_pixels(tmp_path / "a", random_pixels(kind, stored, False, 1), stored, 0, dicom.JPEG_2000)
    with pytest.raises(InputError, match=r"pixels of 32 bits .* no decoder here reads rightly.*export it uncompressed"):
        decoded(path)


@pytest.mark.parametrize(
    "kind, stored, high", [("u2", 12, 15), ("u2", 12, 13), ("u2", 8, 15), ("i2", 12, 15), ("u1", 4, 7)]
)
@pytest.mark.parametrize("syntax", [dicom.IMPLICIT, dicom.EXPLICIT, dicom.BIG_ENDIAN])
def test_pixels_that_begin_above_the_lowest_bit_keep_their_values(tmp_path, kind, stored, high, syntax):
    pixels = random_pixels(kind, stored, False, 1)
    moved = pixels << (high + 1 - stored)
    array = decoded(write_pixels(tmp_path / "a.dcm", moved, stored, 0, syntax, x00280102=("US", high)))
    np.testing.assert_array_equal(array, pixels)


def test_pixels_that_only_their_header_moves_up_keep_their_values_or_are_refused(tmp_path):
    pixels = random_pixels("u2", 12, False, 1)
    high = {"x00280102": ("US", 15)}
    array = decoded(write_pixels(tmp_path / "a.dcm", pixels, 12, 0, dicom.EXPLICIT, **high))
    np.testing.assert_array_equal(array, pixels)
    with pytest.raises(InputError, match="its pixels begin at bit 4, and there are others below; export it again"):
        decoded(write_pixels(tmp_path / "b.dcm", pixels | 0x4000, 12, 0, dicom.EXPLICIT, **high))


@pytest.mark.parametrize("shape", [(1, 8, 16), (1, 5, 7), (3, 5, 7)])
def test_single_bits_are_unpacked_also_where_rows_do_not_fill_bytes(tmp_path, shape):
    pixels = np.random.default_rng(1).integers(0, 2, shape).astype(np.uint8)
    bits = {"t00280100": ("US", 1), "t7FE00010": ("OB", np.packbits(pixels.ravel(), bitorder="little").tobytes())}
    elements = image_elements(pixels if len(pixels) > 1 else pixels[0], dicom.SECONDARY_CAPTURE)
    elements |= {int(tag[1:], 16): value for tag, value in bits.items()}
    elements |= {0x00280101: ("US", 1), 0x00280102: ("US", 0)}
    np.testing.assert_array_equal(decoded(write_dicom(tmp_path / "a", elements)), pixels)


@pytest.mark.parametrize("tag, kind, code", [(0x7FE00008, "OF", "<f4"), (0x7FE00009, "OD", "<f8")])
def test_numbers_with_a_fraction_are_read(tmp_path, tag, kind, code):
    values = np.random.default_rng(2).normal(size=(6, 8)).astype(code)
    elements = image_elements(np.zeros((6, 8), f"u{values.itemsize}"))
    for gone in (0x00280101, 0x00280102, 0x00280103, 0x7FE00010):
        del elements[gone]
    path = write_dicom(tmp_path / "a", elements | {tag: (kind, values.tobytes())})
    np.testing.assert_allclose(read_warned(path)[0].array[0], values, rtol=1e-6)


@pytest.mark.parametrize("syntax", [dicom.EXPLICIT, dicom.BIG_ENDIAN])
def test_a_dose_is_scaled_in_either_byte_order(tmp_path, syntax):
    pixels = random_pixels("u4", 32, False, 3)
    dose = {"t00080016": ("UI", "1.2.840.10008.5.1.4.1.1.481.2"), "t3004000E": ("DS", "1.5e-7")}
    found = decoded(write_pixels(tmp_path / "a", pixels, 32, 0, syntax, **dose))
    np.testing.assert_allclose(found, pixels * 1.5e-7, rtol=1e-5)


@pytest.mark.parametrize("kind, stored", [("u1", 8), ("u2", 12), ("i2", 16), ("i2", 12), ("u4", 32), ("i4", 20)])
def test_bright_is_high_in_inverted_pictures_of_every_depth(tmp_path, kind, stored):
    pixels = random_pixels(kind, stored, False, 1)
    path = write_pixels(tmp_path / "a", pixels, stored, 0, dicom.EXPLICIT, t00280004=("CS", "MONOCHROME1"))
    top = -1 if kind[0] == "i" else 2**stored - 1
    np.testing.assert_array_equal(decoded(path), top - pixels.astype(np.int64))


@pytest.mark.parametrize("kind, stored", [("u2", 12), ("i2", 12), ("i2", 16), ("u4", 32)])
@pytest.mark.parametrize("modality", ["CT", "PT", "MR", "CR"])
def test_what_was_measured_is_not_turned_round_to_be_shown(tmp_path, kind, stored, modality):
    pixels = random_pixels(kind, stored, False, 1)
    more = {
        "t00280004": ("CS", "MONOCHROME1"),
        "t00080060": ("CS", modality),
        "t00281052": ("DS", -1024),
        "t00281053": ("DS", 1),
    }
    volume, said = read_warned(write_pixels(tmp_path / "a", pixels, stored, 0, dicom.EXPLICIT, **more))
    wanted = pixels[0].astype(np.int64)
    if modality == "CR":  # a picture: bright is high
        wanted = (-1 if kind[0] == "i" else 2**stored - 1) - wanted
    np.testing.assert_array_equal(volume.array[0], wanted - 1024)
    assert any(f"this {modality} are taken as they were measured" in text for text in said) == (modality != "CR")


def picture():
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[:], rgb[10:20, 10:20] = RED, WHITE
    return rgb


def without_marker(jpeg, kind):
    """``jpeg`` without its segments of this ``kind``."""
    at, kept = 2, jpeg[:2]
    while jpeg[at + 1] != 0xDA:
        length = 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        kept += b"" if jpeg[at + 1] == kind else jpeg[at : at + length]
        at += length
    return kept + jpeg[at:]


def jpeg_of(rgb, colors, subsampling="444"):
    more = {} if colors == "rgb" else {"subsampling": subsampling}
    return imagecodecs.jpeg8_encode(rgb, level=98, colorspace="rgb", outcolorspace=colors, **more)


def ybr_of(rgb):
    matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return np.rint(rgb @ matrix.T + (0, 128, 128)).clip(0, 255).astype(np.uint8)


def read_colors(path, frame, syntax, stated):
    elements = image_elements(picture(), dicom.SECONDARY_CAPTURE) | {0x00280004: ("CS", stated)}
    volume, texts = read_warned(write_compressed(path, elements | {0x00280030: ("DS", "1\\1")}, [frame], syntax))
    assert volume.array.shape == (1, 32, 32, 3) and volume.array.dtype == np.uint8
    return volume.array[0], texts


def assert_true_colors(found):
    np.testing.assert_allclose(found[2, 2], RED, atol=2)
    np.testing.assert_allclose(found[15, 15], WHITE, atol=2)


@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420"])
def test_a_jpeg_file_in_dicom_has_its_own_colors_whatever_the_header_says(tmp_path, stated, subsampling):
    jpeg = jpeg_of(picture(), "ycbcr", subsampling)
    assert b"JFIF" in jpeg[:20]
    found, texts = read_colors(tmp_path / "a", jpeg, dicom.JPEG, stated)
    assert_true_colors(found)
    assert texts == []


@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("marked", ["by Adobe", "by names"])
@pytest.mark.parametrize("lossless", [False, True])
def test_red_green_and_blue_in_a_jpeg_are_not_turned_once_more(tmp_path, stated, marked, lossless):
    if lossless:
        jpeg, syntax = compressed(picture(), 8, dicom.JPEG_LOSSLESS), dicom.JPEG_LOSSLESS
    else:
        jpeg, syntax = jpeg_of(picture(), "rgb"), dicom.JPEG
    assert b"Adobe" in jpeg[:40]
    found, _ = read_colors(tmp_path / "a", without_marker(jpeg, 0xEE) if marked == "by names" else jpeg, syntax, stated)
    assert_true_colors(found)


def test_a_jpeg_without_marks_has_the_colors_of_the_header(tmp_path):
    jpeg = without_marker(jpeg_of(picture(), "ycbcr"), 0xE0)
    assert_true_colors(read_colors(tmp_path / "one" / "a", jpeg, dicom.JPEG, "YBR_FULL_422")[0])
    as_stored, _ = read_colors(tmp_path / "two" / "a", jpeg, dicom.JPEG, "RGB")
    np.testing.assert_allclose(as_stored[2, 2], ybr_of(picture())[2, 2], atol=2)


def test_a_lossless_jpeg_of_rgb_that_calls_itself_jfif_is_taken_as_the_header_says_and_said(tmp_path):
    jpeg = without_marker(compressed(picture(), 8, dicom.JPEG_LOSSLESS), 0xEE)
    jfif = jpeg[:2] + b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + jpeg[2:]
    found, texts = read_colors(tmp_path / "a", jfif, dicom.JPEG_LOSSLESS, "RGB")
    np.testing.assert_array_equal(found, picture())
    assert len(texts) == 1 and "YCbCr" in texts[0] and "check" in texts[0]


@pytest.mark.parametrize("reversible", [True, False])
@pytest.mark.parametrize("stated", ["RGB", "YBR_RCT", "YBR_ICT", "YBR_FULL", "YBR_FULL_422"])
def test_transformed_colors_of_jpeg_2000_are_turned_back_once(tmp_path, stated, reversible):
    level = 0 if reversible else 90
    coded = imagecodecs.jpeg2k_encode(picture(), codecformat="j2k", reversible=reversible, mct=True, level=level)
    found, texts = read_colors(tmp_path / "a", coded, "1.2.840.10008.1.2.4.91", stated)
    assert_true_colors(found)
    assert texts == []


def test_jpeg_2000_without_the_transformation_that_its_header_claims_is_said(tmp_path):
    coded = imagecodecs.jpeg2k_encode(picture(), codecformat="j2k", reversible=True, mct=False, level=0)
    found, texts = read_colors(tmp_path / "a", coded, dicom.JPEG_2000, "YBR_RCT")
    np.testing.assert_array_equal(found, picture())
    assert len(texts) == 1 and "YBR_RCT" in texts[0] and "taken as RGB" in texts[0]


@pytest.mark.parametrize("syntax", [dicom.RUN_LENGTH, dicom.JPEG_LS, dicom.JPEG_2000])
@pytest.mark.parametrize("stated", ["YBR_FULL", "YBR_FULL_422"])
def test_luminance_and_color_differences_become_rgb_in_every_compression(tmp_path, stated, syntax):
    found, _ = read_colors(tmp_path / "a", compressed(ybr_of(picture()), 8, syntax), syntax, stated)
    assert_true_colors(found)


def test_colors_as_planes_in_several_frames_of_jpeg_ls_are_right_or_refused(tmp_path):
    """What pydicom's own encoder makes of such a file, and GDCM scrambles."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("jpeg_ls", reason="pydicom's encoder of JPEG-LS (pyjpegls)")
    ramp = np.add.outer(np.arange(32), np.arange(32)).astype(np.uint8)
    pixels = np.stack([np.stack([ramp + frame, ramp * 2, ramp * 3], -1) for frame in range(3)])
    dataset = pydicom.dcmread(write_pixels(tmp_path / "plain", pixels, 8, 1, dicom.EXPLICIT))
    dataset.compress(dicom.JPEG_LS, generate_instance_uid=False)
    dataset.save_as(tmp_path / "a.dcm")
    try:
        found = decoded(tmp_path / "a.dcm")
    except InputError as error:
        assert "pylibjpeg" in str(error)
    else:
        np.testing.assert_array_equal(found, pixels)


def test_a_header_alone_does_not_decode(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\0" * 128 + b"DICM" + encoded({0x00080060: ("CS", "MR")}))
    with pytest.raises(InputError, match="cannot be decoded"):
        decoded(path)
