"""DICOM series of several volumes, uneven slices, enhanced files, discs, and headers that say too little."""

import shutil

import dicom_files as dicom
import numpy as np
import pytest
from dicom_files import enhanced_elements, functional_groups, image_elements, placed, write_dicom
from image_files import read_warned

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.reading import read_image

VOXELS = np.random.default_rng(0).integers(0, 2000, (8, 6, 5)).astype(np.uint16)


def write_slices(folder, heights, more=lambda n: {}, voxels=VOXELS, name="IM{:04d}", **place):
    """One file for each of ``heights`` (mm along z) with the voxels of its number; ``more``: number -> elements."""
    for n, z in enumerate(heights):
        elements = image_elements(voxels[n], dicom.MR, f"1.2.9.{n + 1}") | placed((0, 0, z), **place)
        write_dicom(folder / name.format(n), elements | {0x00200013: ("IS", n + 1)} | more(n))
    return folder


def test_reversed_and_shuffled_files_without_ending_are_put_in_order(tmp_path):
    write_slices(tmp_path, [14, 0, 6, 2, 12, 4, 10, 8])
    volume, texts = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, VOXELS[[1, 3, 5, 2, 7, 6, 4, 0]])
    np.testing.assert_allclose(volume.ijk_to_ras, np.diag([-1.0, -1, 2, 1]))
    assert texts == []


@pytest.mark.parametrize(
    "mark, values, named",
    [
        (0x00200100, ("IS", (1, 2)), "0: temporal position 1; 1: temporal position 2"),
        (0x00180081, ("DS", (2.3, 4.6)), "0: echo time 2.3 ms; 1: echo time 4.6 ms"),
        (0x00189087, ("FD", (0.0, 800.0)), "0: b value 0 s/mm2; 1: b value 800 s/mm2"),
        (0x00200012, ("IS", (3, 4)), "0: acquisition 3; 1: acquisition 4"),
        (0x00080008, ("CS", ("ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\P")), "0: image type M; 1: image type P"),
    ],
    ids=["time", "echo", "b value", "acquisition", "kind"],
)
def test_volumes_of_one_place_are_frames_named_by_what_differs(tmp_path, mark, values, named):
    kind, (first, second) = values
    # interleaved: slice 0 first, slice 0 second, slice 1 first, ...
    write_slices(tmp_path, [0, 0, 2, 2, 4, 4, 6, 6], lambda n: {mark: (kind, second if n % 2 else first)})
    with pytest.raises(InputError, match=f"has 2 frames.*{named}"):
        read_image(tmp_path)
    for frame in (0, 1):
        volume, texts = read_warned(tmp_path, frame)
        np.testing.assert_array_equal(volume.array, VOXELS[frame::2])
        assert texts == []


def test_b_values_in_private_elements_of_siemens_count(tmp_path):
    def private(n):
        return {0x00190010: ("LO", "SIEMENS MR HEADER"), 0x0019100C: ("IS", 1000 * (n % 2))}

    write_slices(tmp_path, [0, 0, 2, 2], private)
    with pytest.raises(InputError, match="0: b value 0 s/mm2; 1: b value 1000 s/mm2"):
        read_image(tmp_path)


def test_two_interleaved_stacks_that_do_not_fit_each_other_are_two_volumes(tmp_path):
    write_slices(tmp_path, [0, 0.5, 5, 5.5, 10, 10.5], lambda n: {0x00200012: ("IS", n % 2)})
    volume, texts = read_warned(tmp_path, 1)
    np.testing.assert_array_equal(volume.array, VOXELS[1:6:2])
    assert volume.spacing[2] == pytest.approx(5) and volume.ijk_to_ras[2, 3] == 0.5 and texts == []


def test_two_interleaved_passes_that_fit_each_other_are_one_volume(tmp_path):
    write_slices(tmp_path, [0, 2, 4, 6, 8, 10], lambda n: {0x00200012: ("IS", n % 2)})
    volume, texts = read_warned(tmp_path)
    assert volume.size[2] == 6 and texts == []


def test_a_part_with_closer_slices_is_read_on_the_finer_grid(tmp_path):
    write_slices(tmp_path, [0, 4, 8, 12, 14, 16, 18])
    volume, texts = read_warned(tmp_path)
    assert volume.spacing[2] == pytest.approx(2) and volume.size[2] == 10
    np.testing.assert_array_equal(volume.array[[0, 2, 4, 6, 7, 8, 9]], VOXELS[:7])
    assert len(texts) == 1 and "2.00 to 4.00 mm apart" in texts[0] and "3 slices were filled in" in texts[0]


def test_slices_at_odd_distances_are_interpolated_in_place(tmp_path):
    heights = np.array([0, 1.0, 3.7, 4.3, 7.1, 8.2])
    ramp = np.broadcast_to((100 * heights).astype(np.uint16)[:, None, None], (6, 6, 5))
    write_slices(tmp_path, heights, voxels=ramp)
    volume, texts = read_warned(tmp_path)
    along = volume.ijk_to_ras[2, 3] + volume.ijk_to_ras[2, 2] * np.arange(volume.size[2])
    np.testing.assert_allclose(volume.array[:, 0, 0], 100 * along, atol=1)
    assert along[-1] == pytest.approx(8.2) and "were interpolated" in texts[0]


def test_separate_blocks_are_refused(tmp_path):
    write_slices(tmp_path, [0, 2, 4, 80, 82, 84])
    with pytest.raises(InputError, match=r"separate blocks: 76.0 mm lie between slices 2 and 3"):
        read_image(tmp_path)


def test_a_localizer_inside_a_series_is_left_out_and_said(tmp_path):
    write_slices(tmp_path, [0, 2, 4, 6])
    scout = image_elements(VOXELS[7], dicom.MR, "1.2.9.99") | placed((0, 0, 0), axes=(0, 1, 0, 0, 0, -1))
    write_dicom(tmp_path / "scout", scout | {0x00080008: ("CS", "ORIGINAL\\PRIMARY\\LOCALIZER")})
    volume, texts = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, VOXELS[:4])
    assert len(texts) == 1 and "1 localizer" in texts[0]


def test_sizes_and_orientations_that_mix_are_listed_with_a_file_of_each(tmp_path):
    write_slices(tmp_path, [0, 2, 4])
    other = image_elements(VOXELS[7][:4], dicom.MR, "1.2.9.99") | placed((0, 0, 0), axes=(0, 1, 0, 0, 0, -1))
    path = write_dicom(tmp_path / "other", other)
    with pytest.raises(
        InputError,
        match=r"3 of 5 x 6 pixels of \S+ x \S+ mm across axial, e.g. \w+/IM0000; 1 of 5 x 4 pixels of \S+ x \S+ mm across sagittal",
    ):
        read_image(tmp_path)
    assert read_warned(path)[0].size == (5, 4, 1)


def test_rounding_of_directions_does_not_split_a_series(tmp_path):
    tilted = (1, 0, 0, 0, 0.8660254, 0.5)
    rounded = (1, 0, 0, 0, 0.8665, 0.4995)
    for n in range(4):
        elements = image_elements(VOXELS[n], dicom.MR, f"1.2.9.{n + 1}")
        axes = rounded if n % 2 else tilted
        write_dicom(tmp_path / str(n), elements | placed((0, -0.5 * 2 * n, 0.8660254 * 2 * n), axes=axes))
    assert read_warned(tmp_path)[0].size[2] == 4


def test_slices_shifted_sideways_are_said(tmp_path):
    for n in range(5):
        elements = image_elements(VOXELS[n], dicom.MR, f"1.2.9.{n + 1}") | placed((3.0 * (n == 2), 0, 2 * n))
        write_dicom(tmp_path / str(n), elements)
    _, texts = read_warned(tmp_path)
    assert len(texts) == 1 and "sideways by up to 3.00 mm" in texts[0]


def test_a_disc_is_read_from_its_folder_or_its_dicomdir(tmp_path):
    for part, heights in ((0, [0, 2, 4]), (1, [6, 8])):
        for n, z in enumerate(heights):
            k = part * 3 + n
            elements = image_elements(VOXELS[k], dicom.MR, f"1.2.9.{k}") | placed((0, 0, z))
            write_dicom(tmp_path / "DICOM" / f"PART{part}" / f"I{n}", elements)
    directory = {0x00080016: ("UI", "1.2.840.10008.1.3.10"), 0x00041220: ("SQ", [{0x00041430: ("CS", "IMAGE")}])}
    write_dicom(tmp_path / "DICOMDIR", directory)
    (tmp_path / "VIEWER.EXE").write_bytes(b"MZ" + b"\0" * 300)
    for path in (tmp_path, tmp_path / "DICOMDIR"):
        volume, texts = read_warned(path)
        np.testing.assert_array_equal(volume.array, VOXELS[:5])
        assert texts == []


def test_a_damaged_file_is_left_out_named_and_its_place_filled(tmp_path):
    write_slices(tmp_path, [0, 2, 4, 6])
    cut = tmp_path / "IM0001"
    cut.write_bytes(cut.read_bytes()[:-10])
    volume, texts = read_warned(tmp_path)
    assert volume.size[2] == 4 and any("IM0001" in t and "cut off" in t for t in texts)
    np.testing.assert_array_equal(volume.array[[0, 2, 3]], VOXELS[[0, 2, 3]])


def test_a_series_without_uids_or_with_one_uid_for_all_slices_is_read(tmp_path):
    write_slices(tmp_path / "none", [0, 2, 4])
    write_slices(tmp_path / "same", [0, 2, 4])
    for n in range(3):
        elements = image_elements(VOXELS[n], dicom.MR, "1.2.9.1") | placed((0, 0, 2 * n))
        write_dicom(tmp_path / "same" / f"IM{n:04d}", elements)
        for tag in (0x00080018, 0x0020000D, 0x0020000E, 0x00080060):
            del elements[tag]
        write_dicom(tmp_path / "none" / f"IM{n:04d}", elements)
    for name in ("none", "same"):
        volume, texts = read_warned(tmp_path / name)
        np.testing.assert_array_equal(volume.array, VOXELS[:3])
        assert texts == []


def test_slice_locations_stand_in_for_places(tmp_path):
    for n, z in enumerate((6, 0, 4, 2)):
        elements = image_elements(VOXELS[n], dicom.MR, f"1.2.9.{n}") | {0x00201041: ("DS", z)}
        write_dicom(tmp_path / str(n), elements | {0x00280030: ("DS", "1\\1")})
    volume, texts = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, VOXELS[[1, 3, 2, 0]])
    assert volume.spacing[2] == pytest.approx(2) and any("slice locations" in t for t in texts)


def test_slices_that_all_state_one_place_are_stacked_by_number_and_said(tmp_path):
    write_slices(tmp_path, [0, 0, 0, 0], name="{}", thickness=3.0)
    volume, texts = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, VOXELS[:4])
    assert volume.spacing[2] == pytest.approx(3) and any("all state the same place" in t for t in texts)


def test_slices_without_a_place_among_others_are_left_out_and_named(tmp_path):
    write_slices(tmp_path, [0, 2, 4])
    lost = image_elements(VOXELS[7], dicom.MR, "1.2.9.99")
    write_dicom(tmp_path / "LOST", lost | {0x00280030: ("DS", "1\\1")})
    volume, texts = read_warned(tmp_path)
    assert volume.size[2] == 3 and any("LOST" in t for t in texts)


def test_one_slice_has_the_thickness_that_it_states(tmp_path):
    write_slices(tmp_path, [7], thickness=4.5)
    volume, texts = read_warned(tmp_path)
    assert volume.array.shape == (1, 6, 5) and volume.spacing[2] == pytest.approx(4.5) and texts == []


@pytest.mark.parametrize("syntax", [dicom.EXPLICIT, dicom.IMPLICIT])
@pytest.mark.parametrize("sop_class", [dicom.ENHANCED_CT, dicom.ENHANCED_MR])
def test_the_frames_of_an_enhanced_file_are_sorted_by_place(tmp_path, sop_class, syntax):
    heights = [6, 0, 4, 2, 10, 8]
    frames = [functional_groups((1, 2, z)) for z in heights]
    elements = enhanced_elements(VOXELS[:6], frames, sop_class, spacing=(2, 3))
    path = write_dicom(tmp_path / "a", elements, syntax, undefined_lengths=syntax == dicom.IMPLICIT)
    volume, texts = read_warned(path)
    np.testing.assert_array_equal(volume.array, VOXELS[np.argsort(heights)])
    np.testing.assert_allclose(volume.ijk_to_ras, [[-3, 0, 0, -1], [0, -2, 0, -2], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert texts == []


def test_time_points_of_an_enhanced_file_are_frames_and_each_frame_has_its_own_rescaling(tmp_path):
    def time(t):
        return {0x00209111: ("SQ", [{0x00209128: ("UL", t)}])}

    frames = [functional_groups((0, 0, 2 * (n // 2)), time(n % 2 + 1), slope=n + 1, intercept=-5 * n) for n in range(8)]
    path = write_dicom(tmp_path / "a", enhanced_elements(VOXELS, frames))
    with pytest.raises(InputError, match=r"2 frames.*0: temporal position 1; 1: temporal position 2"):
        read_image(path)
    volume, _ = read_warned(path, 1)
    wanted = VOXELS[1::2] * np.arange(2, 9, 2)[:, None, None] - 5.0 * np.arange(1, 8, 2)[:, None, None]
    np.testing.assert_allclose(volume.array, wanted, rtol=1e-6)


def test_files_of_several_enhanced_frames_make_one_volume(tmp_path):
    for n in range(2):
        frames = [functional_groups((0, 0, 8 * n + 2 * k)) for k in range(4)]
        elements = enhanced_elements(VOXELS[4 * n : 4 * n + 4], frames) | {0x00080018: ("UI", f"1.2.9.{n}")}
        write_dicom(tmp_path / str(n), elements)
    np.testing.assert_array_equal(read_warned(tmp_path)[0].array, VOXELS)


def test_a_folder_of_the_same_series_twice_is_read_once(tmp_path):
    write_slices(tmp_path / "a", [0, 2, 4])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    volume, texts = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, VOXELS[:3])
    assert len(texts) == 1 and "3 of 6 files are copies" in texts[0]
