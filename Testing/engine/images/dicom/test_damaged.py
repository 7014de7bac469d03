"""DICOM files that are cut off, contradict themselves or break rules: refused with the reason, or read without a word of pydicom's."""

import struct
import tracemalloc

import dicom_files as dicom
import numpy as np
import pytest
from dicom_files import enhanced_elements, functional_groups, image_elements, placed, write_dicom
from image_files import read_warned

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.dicom import elements as reading
from S3NetSegmentLib.engine.images.dicom.series import find_series
from S3NetSegmentLib.engine.images.reading import read_image

GREY = np.random.default_rng(0).integers(0, 2000, (6, 8)).astype(np.uint16)
IMAGE = image_elements(GREY) | placed((1, 2, 3), axes=(0.8, 0.6, 0, -0.6, 0.8, 0), spacing=(2, 3))
FRAMES = enhanced_elements(np.stack([GREY] * 2), [functional_groups((0, 0, 2 * k)) for k in range(2)])


@pytest.mark.parametrize("undefined_lengths", [False, True])
@pytest.mark.parametrize("syntax", [dicom.IMPLICIT, dicom.EXPLICIT, dicom.BIG_ENDIAN, dicom.DEFLATED])
def test_a_file_cut_off_anywhere_is_refused_or_named_as_damaged(tmp_path, syntax, undefined_lengths):
    path = write_dicom(tmp_path / "a", FRAMES, syntax, undefined_lengths=undefined_lengths)
    content = path.read_bytes()
    for end in range(132, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match="cut off"):
            read_image(path)
        assert find_series(tmp_path).damaged == ("a",)


def nested(depth: int, undefined: bool) -> bytes:
    """A sequence in a sequence and so on, explicit little endian."""
    if undefined:
        start, end = (0xFFFE, 0xE000, 0xFFFFFFFF), struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
        return struct.pack("<HH2sHIHHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF, *start) * depth + end * depth
    content = b""
    for _ in range(depth):
        content = struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
        content = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, len(content)) + content
    return content


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("depth", [30, 20_000])
def test_sequences_nested_without_end_are_refused_before_a_decoder_follows_them(tmp_path, depth, undefined):
    before = {tag: value for tag, value in IMAGE.items() if tag < 0x00081140}
    path = write_dicom(tmp_path / "a", before)
    after = dicom.encoded({tag: value for tag, value in IMAGE.items() if tag > 0x00081140})
    path.write_bytes(path.read_bytes() + nested(depth, undefined) + after)
    with pytest.raises(InputError, match="nested too deeply"):
        read_image(path)


@pytest.mark.parametrize(
    "limit, syntax, reason",
    [("_MOST_ELEMENTS", dicom.EXPLICIT, "more than 20 elements"), ("_MOST_INFLATED", dicom.DEFLATED, "larger than")],
)
def test_more_than_any_header_has_is_refused(tmp_path, monkeypatch, limit, syntax, reason):
    monkeypatch.setattr(reading, limit, 20)
    with pytest.raises(InputError, match=reason):
        read_image(write_dicom(tmp_path / "a", FRAMES, syntax))


@pytest.mark.parametrize(
    "sound, damaged, reason",
    [
        (b"DS\x04\0", b"QQ\x04\0", "no valid kind"),
        (b"\xfe\xff\x00\xe0", b"\xfe\xff\x07\xe0", "something that is no item"),
        (b"SQ\0\0", b"SQ\0\0\xff\xff\xff\x7f", "lengths that it does not have"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_with_the_reason(tmp_path, sound, damaged, reason):
    path = write_dicom(tmp_path / "a", FRAMES)
    before, _, after = path.read_bytes().partition(sound)
    path.write_bytes(before + damaged + after[max(len(damaged) - len(sound), 0) :])
    with pytest.raises(InputError, match=reason):
        read_image(path)


@pytest.mark.parametrize("syntax", [dicom.IMPLICIT, dicom.EXPLICIT])
def test_values_that_break_rules_are_read_without_a_word_of_pydicom(tmp_path, caplog, syntax):
    odd = {
        0x00080060: ("CS", "mr lower!"), 0x0008103E: ("LO", "long " * 40), 0x00200013: ("IS", "1.5"),
        0x0020000E: ("UI", "1.2.003.x"), 0x00180081: ("DS", "8.12345678901234567890"), 0x00280030: ("DS", b"2\0\\3\0"),
        0x00100030: ("DA", "yesterday"), 0x00080005: ("CS", "ISO_IR 999"), 0x00100010: ("PN", "A=B=C=D=E"),
    }  # fmt: skip
    volume, texts = read_warned(write_dicom(tmp_path / "a", IMAGE | odd, syntax))
    assert texts == [] and not caplog.records
    assert volume.spacing[:2] == pytest.approx((3, 2)) and volume.modality == "mr lower!"
    assert volume.name == " ".join(["long"] * 40)


@pytest.mark.parametrize("value", ["abc\\2", "nan\\2", "inf\\2", "2", "0,5\\0,5", b"2\xff\\3"])
def test_a_pixel_size_that_is_none_counts_as_not_stated(tmp_path, value):
    volume, texts = read_warned(write_dicom(tmp_path / "a", IMAGE | {0x00280030: ("DS", value)}))
    assert volume.spacing[:2] == (1, 1) and len(texts) == 1 and "taken as 1 mm" in texts[0]


def test_listing_a_folder_takes_no_memory_for_pixels_and_other_long_values(tmp_path):
    pixels = np.zeros((3000, 3000), np.uint16)
    long_value = {0x00090010: ("LO", "ACME"), 0x00091001: ("OB", bytes(10 << 20))}
    write_dicom(tmp_path / "a", image_elements(pixels) | placed((0, 0, 0)) | long_value)
    find_series(tmp_path)
    tracemalloc.start()
    try:
        (series,) = find_series(tmp_path).series
        assert series.count == 1 and tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_what_is_nested_too_deeply_is_called_so_wherever_pydicom_notices():
    """Which of its calls meets the limit depends on how deep the caller is; at an item it raises an OSError in its place."""
    with pytest.raises(reading.DamagedDicom, match="nested too deeply"), reading._reading():
        try:
            raise RecursionError
        except RecursionError:
            raise OSError("No tag to read") from None
