"""Pictures that are tiled from slices: taken apart where the header says how, refused otherwise, never stacked as slices."""

import struct

import dicom_files as dicom
import numpy as np
import pytest
from dicom_files import image_elements, placed, write_dicom
from image_files import read_warned

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.dicom.seg_writing import write_dicom_seg
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.segmentation import Segment, Segmentation

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def slices(count, seed=0):
    return np.random.default_rng(seed).integers(1, 4000, (count, 6, 5)).astype(np.uint16)


def tiled(voxels, columns, rows):
    """One picture of ``voxels`` [K, J, I], row by row; tiles without a slice are 0."""
    full = np.zeros((columns * rows, *voxels.shape[1:]), voxels.dtype)
    full[: len(voxels)] = voxels
    return np.block([[full[r * columns + c] for c in range(columns)] for r in range(rows)])


def csa_header(**values):
    """A Siemens CSA header (SV10) with these numbers, among others."""
    out = b"SV10\4\3\2\1" + struct.pack("<II", len(values) + 1, 77)
    for name, numbers in {"EchoLinePosition": [], **values}.items():
        out += struct.pack("<64si4siii", name.encode(), 1, b"FD", 0, len(numbers), 77)
        for number in numbers:
            text = f"{number:.8f}".encode() + b"\0"
            out += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + b"\0" * (-len(text) % 4)
    return out


def mosaic(
    voxels, number=1, normal=None, side=3, position=(10.0, 20.0, 30.0), axes=(1, 0, 0, 0, 1, 0), count=None, **more
):
    """A Siemens mosaic; ``normal``: as its CSA header has it."""
    elements = image_elements(tiled(voxels, side, side), dicom.MR, f"1.2.9.{number}")
    elements |= placed(position, axes, spacing=(2.0, 3.0), thickness=4.0)
    elements |= {
        0x00080008: ("CS", "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC"), 0x00080060: ("CS", "MR"), 0x00080070: ("LO", "SIEMENS"),
        0x00180088: ("DS", 5), 0x00190010: ("LO", "SIEMENS MR HEADER"), 0x0019100A: ("US", count or len(voxels)),
        0x00200013: ("IS", number),
    }  # fmt: skip
    if normal is not None:
        elements[0x00290010] = ("LO", "SIEMENS CSA HEADER")
        elements[0x00291010] = ("OB", csa_header(SliceNormalVector=normal, NumberOfImagesInMosaic=[len(voxels)]))
    return elements | {int(tag[1:], 16): value for tag, value in more.items()}


@pytest.mark.parametrize("axes", [(1, 0, 0, 0, 1, 0), OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize("direction", [1, -1], ids=["along", "against"])
@pytest.mark.parametrize("count, side", [(7, 3), (9, 3), (4, 2), (10, 4)])
def test_a_mosaic_is_taken_apart_and_lies_where_its_scanner_measured_it(tmp_path, count, side, direction, axes):
    voxels = slices(count)
    column, row = np.array(axes[:3]), np.array(axes[3:])
    normal = direction * np.cross(column, row)
    corner = np.array([10.0, 20.0, 30.0])
    # Where a single slice of the size of the whole picture would begin, about the same centre (Siemens' conformance statement).
    first = corner + column * 3 * (side - 1) * 5 / 2 + row * 2 * (side - 1) * 6 / 2
    write_dicom(tmp_path / "a", mosaic(voxels, normal=normal, side=side, axes=axes))
    volume, texts = read_warned(tmp_path)
    assert volume.array.shape == (count, 6, 5) and volume.modality == "MR" and texts == []
    for k in range(count):
        wanted = first + 5 * k * normal
        at = volume.voxel_at((-wanted[0], -wanted[1], wanted[2]))
        assert at[:2] == (0, 0)
        np.testing.assert_array_equal(volume.array[at[2]], voxels[k])
    assert volume.spacing == pytest.approx((3, 2, 5))


def test_mosaics_of_several_times_are_frames(tmp_path):
    for t in range(3):
        write_dicom(tmp_path / str(t), mosaic(slices(7, t), t + 1, normal=(0, 0, 1), t00200012=("IS", t + 1)))
    with pytest.raises(InputError, match=r"3 frames.*0: acquisition 1; 1: acquisition 2"):
        read_image(tmp_path)
    volume, _ = read_warned(tmp_path, 2)
    np.testing.assert_array_equal(volume.array, slices(7, 2))


def test_mosaics_of_diffusion_are_named_by_their_b_values(tmp_path):
    for t, b in enumerate((0, 500, 1000)):
        csa = csa_header(SliceNormalVector=[0, 0, 1], NumberOfImagesInMosaic=[4], B_value=[b])
        write_dicom(tmp_path / str(t), mosaic(slices(4, t), t + 1, (0, 0, 1), 2) | {0x00291010: ("OB", csa)})
    with pytest.raises(InputError, match=r"0: b value 0 s/mm2; 1: b value 500 s/mm2; 2: b value 1000 s/mm2"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"normal": None}, "does not say which way"),
        ({"normal": (1, 0, 0)}, "does not say which way"),
        ({"normal": (0, 0, 1), "t00180088": ("DS", ""), "t00180050": ("DS", "")}, "how far they lie apart"),
        ({"normal": (0, 0, 1), "count": 30}, "cannot be divided"),
    ],
)
def test_a_mosaic_whose_header_says_too_little_is_refused_with_the_way_out(tmp_path, change, reason):
    path = write_dicom(tmp_path / "a", mosaic(slices(9), **change))
    if change.get("count"):
        elements = mosaic(slices(9), normal=(0, 0, 1), count=30)
        path = write_dicom(tmp_path / "a", elements)
    with pytest.raises(InputError, match=f"tiled from .*Siemens mosaic.*{reason}.*dcm2niix"):
        read_image(path)


def test_a_mosaic_without_distances_takes_the_thickness_and_says_so(tmp_path):
    write_dicom(tmp_path / "a", mosaic(slices(7), normal=(0, 0, 1), t00180088=("DS", "")))
    volume, texts = read_warned(tmp_path)
    assert volume.spacing[2] == pytest.approx(4) and len(texts) == 1 and "thickness, 4 mm, is taken" in texts[0]


def test_a_mosaic_that_is_not_called_one_is_known_by_its_header(tmp_path):
    elements = mosaic(slices(7), normal=(0, 0, 1), t00080008=("CS", "ORIGINAL\\PRIMARY"))
    volume, _ = read_warned(write_dicom(tmp_path / "a", elements))
    np.testing.assert_array_equal(volume.array, slices(7))


def grid_of_uih(voxels, number, columns, rows, positions, stated=None, creator_at=0x10):
    """A picture as United Imaging tiles it: an item with a place for each slice in a private sequence."""
    items = [{0x00200032: ("DS", list(p))} for p in positions]
    elements = image_elements(tiled(voxels, columns, rows), dicom.MR, f"1.2.9.{number}")
    return elements | {
        0x00080008: ("CS", "ORIGINAL\\PRIMARY\\M\\VFRAME"), 0x00080070: ("LO", "UIH"), 0x00200013: ("IS", number),
        0x00200037: ("DS", [1, 0, 0, 0, 1, 0]), 0x00280030: ("DS", [2.0, 3.0]),
        0x00650000 | creator_at: ("LO", "Image Private Header"),
        0x00650050 | creator_at << 8: ("DS", stated or len(voxels)),
        0x00650051 | creator_at << 8: ("SQ", items),
    }  # fmt: skip


@pytest.mark.parametrize("syntax", [dicom.EXPLICIT, dicom.IMPLICIT])
@pytest.mark.parametrize("count, columns, rows", [(4, 2, 2), (7, 3, 3), (20, 5, 4), (12, 4, 3)])
def test_a_grid_of_united_imaging_is_taken_apart_by_the_places_of_its_slices(tmp_path, count, columns, rows, syntax):
    voxels = slices(count)
    positions = [(1, 2, 40 - 2.5 * k) for k in range(count)]  # from above to below
    for t in range(2):
        elements = grid_of_uih(voxels + np.uint16(t), t + 1, columns, rows, positions)
        write_dicom(tmp_path / str(t), elements | {0x00200100: ("IS", t + 1)}, syntax)
    volume, texts = read_warned(tmp_path, 1)
    np.testing.assert_array_equal(volume.array, voxels[::-1] + np.uint16(1))
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], (-1, -2, 40 - 2.5 * (count - 1)))
    assert volume.spacing == pytest.approx((3, 2, 2.5)) and texts == []


def test_a_private_block_may_be_reserved_anywhere_in_its_group(tmp_path):
    positions = [(0, 0, 2 * k) for k in range(4)]
    path = write_dicom(tmp_path / "a", grid_of_uih(slices(4), 1, 2, 2, positions, creator_at=0x23))
    np.testing.assert_array_equal(read_warned(path)[0].array, slices(4))


@pytest.mark.parametrize("word", ["GRID", "VFRAME", "MOSAIC"])
def test_a_tiled_picture_that_does_not_place_its_tiles_is_refused_and_not_stacked(tmp_path, word):
    for t in range(3):
        elements = image_elements(tiled(slices(4, t), 2, 2), dicom.MR, f"1.2.9.{t}")
        elements |= {0x00080008: ("CS", f"ORIGINAL\\PRIMARY\\M\\{word}"), 0x00180088: ("DS", 3), 0x00200013: ("IS", t)}
        elements |= {0x00200037: ("DS", [1, 0, 0, 0, 1, 0]), 0x00280030: ("DS", "1\\1")}
        write_dicom(tmp_path / str(t), elements)
    for path in (tmp_path, tmp_path / "0"):
        with pytest.raises(InputError, match=r"tiled from slices.*does not say how many.*dcm2niix"):
            read_image(path)


def test_a_grid_with_fewer_places_than_slices_is_refused(tmp_path):
    path = write_dicom(tmp_path / "a", grid_of_uih(slices(4), 1, 2, 2, [(0, 0, 2 * k) for k in range(3)], stated=4))
    with pytest.raises(InputError, match=r"4 slices \(a grid of United Imaging\), but places 3.*dcm2niix"):
        read_image(path)


@pytest.mark.parametrize("word", ["MOSAIC", "VFRAME"])
@pytest.mark.parametrize("times", [1, 2])
def test_single_slices_that_are_called_tiled_but_have_a_place_each_are_slices(tmp_path, word, times):
    voxels = slices(8)
    for n in range(4 * times):
        elements = image_elements(voxels[n], dicom.MR, f"1.2.9.{n + 1}") | placed((0, 0, 2 * (n % 4)))
        elements |= {0x00080008: ("CS", f"ORIGINAL\\PRIMARY\\M\\ND\\{word}"), 0x00200013: ("IS", n)}
        write_dicom(tmp_path / str(n), elements | {0x00200100: ("IS", n // 4 + 1)})
    for path in (tmp_path, tmp_path / "2"):
        volume, texts = read_warned(path, times - 1)
        np.testing.assert_array_equal(volume.array, voxels[4 * times - 4 : 4 * times])
        assert volume.spacing[2] == pytest.approx(2) and texts == []


def test_a_mosaic_of_one_image_is_a_slice(tmp_path):
    path = write_dicom(tmp_path / "a", mosaic(slices(1), normal=(0, 0, 1), side=1))
    np.testing.assert_array_equal(read_warned(path)[0].array, slices(1))


def test_pictures_that_moved_by_less_than_half_a_slice_stay_tiled(tmp_path):
    """A scanner that follows the head places each mosaic a little elsewhere."""
    for t in range(3):
        elements = image_elements(tiled(slices(4, t), 2, 2), dicom.MR, f"1.2.9.{t}") | placed((0, 0, 0.4 * t))
        elements |= {0x00080008: ("CS", "ORIGINAL\\PRIMARY\\M\\MOCO\\MOSAIC"), 0x00200013: ("IS", t)}
        write_dicom(tmp_path / str(t), elements)
    with pytest.raises(InputError, match="tiled from slices"):
        read_image(tmp_path)


def test_a_dicom_seg_cannot_refer_to_tiles(tmp_path):
    pytest.importorskip("highdicom", reason="highdicom is not installed (pip install highdicom)")
    path = write_dicom(tmp_path / "a", mosaic(slices(7), normal=(0, 0, 1)))
    volume = read_image(path)
    drawn = Segmentation([np.zeros(volume.array.shape, np.uint8)], [Segment("A", (1, 0, 0), 1)], volume.ijk_to_ras)
    with pytest.raises(InputError, match=r"tiled into pictures.*\.seg\.nrrd"):
        write_dicom_seg(drawn, path, tmp_path / "out.dcm")


@pytest.mark.parametrize(
    "damage", [b"", b"SV10", b"SV10" + b"\xff" * 200, csa_header(SliceNormalVector=[0, 0, 1])[:150]]
)
def test_a_damaged_csa_header_is_refused_like_a_missing_one(tmp_path, damage):
    elements = mosaic(slices(7), normal=(0, 0, 1)) | {0x00291010: ("OB", damage)}
    with pytest.raises(InputError, match="does not say which way"):
        read_image(write_dicom(tmp_path / "a", elements))
