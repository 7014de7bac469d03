"""Files of several frames without a place for each: how far they lie apart is read, or said to be assumed."""

import dicom_files as dicom
import numpy as np
import pytest
from dicom_files import enhanced_elements, functional_groups, image_elements, placed, write_dicom
from image_files import read_warned

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.reading import read_image

VOXELS = np.random.default_rng(0).integers(0, 2000, (6, 4, 5)).astype(np.uint16)
DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
NUCLEAR = "1.2.840.10008.5.1.4.1.1.20"
SQUARE = {0x00280030: ("DS", "2\\3")}


def write_frames(folder, more, voxels=VOXELS, sop_class=dicom.SECONDARY_CAPTURE, syntax=dicom.EXPLICIT):
    return write_dicom(folder / "a", image_elements(voxels, sop_class) | SQUARE | more, syntax)


@pytest.mark.parametrize(
    "stated, step, said",
    [
        ({0x00180088: ("DS", 2.5), 0x00180050: ("DS", 4)}, 2.5, ""),
        ({0x00180050: ("DS", 3)}, 3, "their thickness, 3 mm, is taken"),
        ({0x00180088: ("DS", 0), 0x00180050: ("DS", 3)}, 3, "their thickness, 3 mm, is taken"),
        ({}, 1, "taken as 1 mm; lengths and volumes are not real"),
    ],
    ids=["spacing", "thickness", "spacing of 0", "nothing"],
)
@pytest.mark.parametrize("with_place", [True, False])
def test_frames_lie_as_far_apart_as_the_header_says_or_it_is_told(tmp_path, with_place, stated, step, said):
    place = {0x00200032: ("DS", [5, 6, 50]), 0x00200037: ("DS", [1, 0, 0, 0, 1, 0])} if with_place else {}
    volume, texts = read_warned(write_frames(tmp_path, stated | place))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.spacing == pytest.approx((3, 2, step))
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], (-5, -6, 50) if with_place else (0, 0, 0))
    assert len(texts) == bool(said) and said in "".join(texts)


def test_frames_of_an_enhanced_file_that_all_lie_in_one_place_are_told_apart_by_their_times(tmp_path):
    times = [{0x00209111: ("SQ", [{0x00209128: ("UL", n + 1)}])} for n in range(6)]
    groups = [functional_groups((0, 0, 5), marks) for marks in times]
    path = write_dicom(tmp_path / "a", enhanced_elements(VOXELS, groups))
    for frame in (0, 5):
        np.testing.assert_array_equal(read_image(path, frame).array[0], VOXELS[frame])


def test_a_table_of_values_that_is_not_followed_is_told(tmp_path):
    table = {0x00283002: ("US", [2000, 0, 16]), 0x00283004: ("LO", "HU"), 0x00283006: ("OW", b"\0" * 4000)}
    volume, texts = read_warned(write_frames(tmp_path, {0x00180088: ("DS", 2), 0x00283000: ("SQ", [table])}))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert len(texts) == 1 and "looked up in a table (Modality LUT), which is not done" in texts[0]


def test_a_rescale_slope_of_0_is_taken_as_1_and_told(tmp_path):
    rescale = {0x00281052: ("DS", -5), 0x00281053: ("DS", 0)}
    volume, texts = read_warned(write_frames(tmp_path, {0x00180088: ("DS", 2)} | rescale))
    np.testing.assert_array_equal(volume.array, VOXELS.astype(int) - 5)
    assert len(texts) == 1 and "Rescale Slope is 0" in texts[0]
    groups = [
        functional_groups((0, 0, n), {0x00289145: ("SQ", [{0x00281052: ("DS", 0), 0x00281053: ("DS", n and 1)}])})
        for n in range(6)
    ]
    texts = read_warned(write_dicom(tmp_path / "b" / "a", enhanced_elements(VOXELS, groups)))[1]
    assert any("Rescale Slope is 0" in text for text in texts)


def test_frames_of_color_and_other_encodings_are_a_stack_too(tmp_path):
    color = np.random.default_rng(1).integers(0, 255, (3, 4, 5, 3)).astype(np.uint8)
    volume, texts = read_warned(write_frames(tmp_path, {0x00180088: ("DS", 2)}, color, syntax=dicom.IMPLICIT))
    np.testing.assert_array_equal(volume.array, color)
    assert volume.spacing[2] == pytest.approx(2) and texts == []


@pytest.mark.parametrize("tag", [0x3004000C, 0x00182005], ids=["grid frame offsets", "slice locations"])
@pytest.mark.parametrize("begin", [0, 50], ids=["relative", "absolute"])
@pytest.mark.parametrize("direction", [1, -1])
def test_even_offsets_of_a_dose_place_its_frames(tmp_path, direction, begin, tag):
    offsets = [begin + direction * 2.5 * k for k in range(6)]
    more = {0x00200032: ("DS", [5, 6, 50]), 0x00200037: ("DS", [1, 0, 0, 0, 1, 0]), tag: ("DS", offsets)}
    volume, texts = read_warned(write_frames(tmp_path, more | {0x00280009: ("AT", tag)}, sop_class=DOSE))
    assert volume.spacing == pytest.approx((3, 2, 2.5)) and texts == []
    for k in range(6):
        at = volume.voxel_at((-5, -6, 50 + direction * 2.5 * k))
        np.testing.assert_array_equal(volume.array[at[2]], VOXELS[k])


def test_uneven_offsets_are_resampled_in_place_and_said(tmp_path):
    offsets = [0, 2, 4, 7, 10.5, 14]
    ramp = np.broadcast_to((np.array(offsets) * 100).astype(np.uint16)[:, None, None], (6, 4, 5))
    more = {0x3004000C: ("DS", offsets), 0x00280009: ("AT", 0x3004000C), 0x00200032: ("DS", [0, 0, 10])}
    volume, texts = read_warned(write_frames(tmp_path, more, ramp, DOSE))
    assert any("2.00 to 3.50 mm apart" in t for t in texts)
    heights = volume.ijk_to_ras[2, 3] + volume.ijk_to_ras[2, 2] * np.arange(volume.size[2])
    np.testing.assert_allclose(volume.array[:, 0, 0], (heights - 10) * 100, atol=101 * np.ptp(offsets) / 40)


def test_a_part_of_a_dose_with_closer_planes_is_read_on_the_finer_grid(tmp_path):
    more = {0x3004000C: ("DS", [0, 2, 4, 8, 12, 16]), 0x00200032: ("DS", [0, 0, 0])}
    volume, texts = read_warned(write_frames(tmp_path, more, sop_class=DOSE))
    assert volume.spacing[2] == pytest.approx(2) and volume.size[2] == 9 and any("mixed distances" in t for t in texts)
    np.testing.assert_array_equal(volume.array[[0, 1, 2, 4, 6, 8]], VOXELS)


def test_the_slices_of_nuclear_medicine_are_ordered_by_their_numbers_and_gates_are_frames(tmp_path):
    more = {
        0x00280009: ("AT", [0x00540060, 0x00540070, 0x00540080]), 0x00540060: ("US", [1] * 6),
        0x00540070: ("US", [1, 1, 1, 2, 2, 2]), 0x00540080: ("US", [3, 2, 1, 3, 2, 1]), 0x00180088: ("DS", 4),
    }  # fmt: skip
    path = write_frames(tmp_path, more, sop_class=NUCLEAR)
    with pytest.raises(InputError, match=r"2 frames.*0: time slot 1; 1: time slot 2"):
        read_image(path)
    volume, texts = read_warned(path, 1)
    np.testing.assert_array_equal(volume.array, VOXELS[[5, 4, 3]])
    assert volume.spacing[2] == pytest.approx(4) and texts == []


def test_views_of_two_detectors_are_no_stack(tmp_path):
    more = {0x00280009: ("AT", [0x00540010, 0x00540020]), 0x00540010: ("US", [1, 1]), 0x00540020: ("US", [1, 2])}
    path = write_frames(tmp_path, more, VOXELS[:2], NUCLEAR)
    with pytest.raises(InputError, match=r"2 frames.*0: detector 1; 1: detector 2"):
        read_image(path)
    np.testing.assert_array_equal(read_warned(path, 1)[0].array, VOXELS[1:2])


@pytest.mark.parametrize(
    "times, named",
    [
        ({0x00280009: ("AT", 0x00181063), 0x00181063: ("DS", 40)}, "0: frame time 0 ms; 1: frame time 40 ms; 2: frame time 80"),
        ({0x00280009: ("AT", 0x00181065), 0x00181065: ("DS", [0, 30, 50, 30, 30, 30])}, "1: frame time 30 ms; 2: frame time 80"),
        ({0x00280009: ("AT", 0x00181063)}, "0: frame 0; 1: frame 1"),
    ],
)  # fmt: skip
def test_the_pictures_of_a_film_are_named_by_their_times(tmp_path, times, named):
    path = write_frames(tmp_path, times, sop_class=dicom.ULTRASOUND_FRAMES)
    with pytest.raises(InputError, match=f"has 6 frames; choose one.*{named}"):
        read_image(path)
    for frame in (0, 5):
        volume, texts = read_warned(path, frame)
        np.testing.assert_array_equal(volume.array, VOXELS[frame : frame + 1])
        assert volume.spacing[:2] == pytest.approx((3, 2)) and texts == []


def test_several_files_of_frames_in_one_series_are_refused(tmp_path):
    for name in "ab":
        elements = image_elements(VOXELS, dicom.SECONDARY_CAPTURE, f"1.2.9.{ord(name)}") | SQUARE
        write_dicom(tmp_path / name, elements | {0x00180088: ("DS", 2)})
    with pytest.raises(InputError, match="2 files of several frames each; give one of them"):
        read_image(tmp_path)
    single = image_elements(VOXELS[0], dicom.SECONDARY_CAPTURE, "1.2.9.7") | SQUARE
    (tmp_path / "b").unlink()
    write_dicom(tmp_path / "c", single)
    with pytest.raises(
        InputError, match=r"mixes files of several frames \(1\) with single slices \(1\); give one of its files"
    ):
        read_image(tmp_path)
    assert read_warned(tmp_path / "a")[0].size[2] == 6


def test_an_enhanced_file_that_does_not_describe_all_its_frames_says_which_were_left_out(tmp_path):
    frames = [functional_groups((0, 0, 2 * k)) for k in range(6)]
    without_place = [*frames[:4], {}, frames[5]]
    volume, texts = read_warned(write_dicom(tmp_path / "one" / "a", enhanced_elements(VOXELS, without_place)))
    assert volume.size[2] == 6 and any(
        "1 of 6 slices do not state where they lie" in t and "frame 4 of a" in t for t in texts
    )
    np.testing.assert_array_equal(volume.array[[0, 1, 2, 3, 5]], VOXELS[[0, 1, 2, 3, 5]])
    volume, texts = read_warned(write_dicom(tmp_path / "two" / "a", enhanced_elements(VOXELS, frames[:4])))
    assert volume.size[2] == 4 and any("2 of 6 slices do not state where they lie" in t for t in texts)


def test_an_enhanced_file_with_shared_groups_only_is_stacked_and_said(tmp_path):
    elements = enhanced_elements(VOXELS, [], thickness=3)
    del elements[0x52009230]
    volume, texts = read_warned(write_dicom(tmp_path / "a", elements))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.spacing[2] == pytest.approx(3) and "3 mm apart" in texts[0]


def test_an_enhanced_file_without_pixel_sizes_says_so(tmp_path):
    elements = enhanced_elements(VOXELS, [functional_groups((0, 0, 2 * k)) for k in range(6)])
    elements[0x52009229] = ("SQ", [{0x00209116: ("SQ", [{0x00200037: ("DS", [1, 0, 0, 0, 1, 0])}])}])
    _, texts = read_warned(write_dicom(tmp_path / "a", elements))
    assert len(texts) == 1 and "taken as 1 mm" in texts[0]


@pytest.mark.parametrize("count", ["3A", "many", "999999999"])
def test_an_impossible_number_of_frames_is_refused(tmp_path, count):
    elements = image_elements(VOXELS) | placed((0, 0, 0)) | {0x00280008: ("IS", count)}
    with pytest.raises(InputError, match="cut off"):
        read_image(write_dicom(tmp_path / "a", elements))
