"""DICOM SEG: written with highdicom, read back by it, in the place and with the names and codes of the segments."""

import sys

import numpy as np
import pytest
from image_files import write_dicom_series

from S3NetSegmentLib.engine import InputError, Segment, Segmentation
from S3NetSegmentLib.engine.errors import ImageWarning
from S3NetSegmentLib.engine.images.dicom.seg_writing import check_dicom_seg, write_dicom_seg
from S3NetSegmentLib.engine.images.reading import read_image

LIVER = "Segmentation category and type~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~Anatomic codes~^^~^^"


@pytest.fixture
def series(tmp_path):
    """An oblique series of 5 slices and its folder, with the identifiers that every real series has."""
    pytest.importorskip("highdicom", reason="highdicom is not installed (pip install highdicom)")
    turn = np.eye(4)
    turn[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    matrix = turn @ np.diag([1.0, 1.5, 3.0, 1.0])
    matrix[:3, 3] = (10, -20, 30)
    extra = {
        "0010|0020": "P1", "0010|0010": "Doe^J", "0020|0052": "1.2.3.9", "0008|0020": "20240101", "0008|0030": "101010",
        "0010|0030": "", "0010|0040": "", "0020|0010": "1", "0008|0050": "",
    }  # fmt: skip
    array = np.random.default_rng(0).integers(0, 99, (5, 12, 10)).astype(np.int16)
    write_dicom_series(tmp_path / "series", array, matrix, extra=extra)
    return read_image(tmp_path / "series"), tmp_path / "series"


def made(volume):
    liver, inner = np.zeros((2, *volume.array.shape), np.uint8)
    liver[1:4, 3:9, 2:8] = 1
    inner[2, 4:6, 3:5] = 1  # inside the liver: they overlap
    segments = [Segment("Leber", (1, 0, 0), 1, terminology=LIVER), Segment("Knoten", (0, 1, 0), 1, layer=1)]
    return Segmentation([liver, inner], segments, volume.ijk_to_ras)


def test_segments_come_back_where_they_were_with_names_codes_and_references(series, tmp_path):
    import highdicom

    volume, folder = series
    segmentation = made(volume)
    write_dicom_seg(segmentation, folder, tmp_path / "out.dcm")
    back = highdicom.seg.segread(tmp_path / "out.dcm")
    assert [back.get_segment_description(n).segment_label for n in (1, 2)] == ["Leber", "Knoten"]
    liver = back.get_segment_description(1)
    assert (liver.segmented_property_type.value, liver.segmented_property_type.meaning) == ("10200004", "Liver")
    assert liver.segmented_property_category.value == "123037004"
    found = back.get_volume(combine_segments=False)
    # The grid that the file states, compared with that of the series: voxel by voxel in the patient.
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ segmentation.ijk_to_ras
    for number, segment in enumerate(segmentation.segments):
        k, j, i = np.nonzero(segmentation.mask(segment))
        wanted = (lps @ np.stack([i, j, k, np.ones(len(i))]))[:3].T
        indices = np.argwhere(found.array[..., number])
        places = (found.affine @ np.c_[indices, np.ones(len(indices))].T)[:3].T
        assert len(places) == len(wanted)
        assert np.allclose(
            np.array(sorted(map(tuple, np.round(places, 2)))),
            np.array(sorted(map(tuple, np.round(wanted, 2)))),
            atol=0.02,
        )
    referenced = {item[2] for item in back.get_source_image_uids()}
    assert len(referenced) == 5 and all(uid.startswith("1.2.3.4.") for uid in referenced)


def test_a_segmentation_of_another_grid_is_refused(series, tmp_path):
    volume, folder = series
    moved = volume.ijk_to_ras.copy()
    moved[0, 3] += 0.5
    other = Segmentation(made(volume).layers, made(volume).segments, moved)
    with pytest.raises(InputError, match="does not lie on the slices"):
        write_dicom_seg(other, folder, tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()


def test_interpolated_slices_have_no_frame_and_nothing_found_is_an_answer(series, tmp_path):
    import highdicom

    _, folder = series
    sorted(folder.iterdir())[2].unlink()  # now the volume has an interpolated slice there
    with pytest.warns(ImageWarning, match="1 of 5 slices seem to be missing"):
        volume = read_image(folder)
    write_dicom_seg(made(volume), folder, tmp_path / "out.dcm")
    back = highdicom.seg.segread(tmp_path / "out.dcm")
    assert len({item[2] for item in back.get_source_image_uids()}) == 4
    empty = Segmentation([np.zeros(volume.array.shape, np.uint8)], [Segment("A", (1, 0, 0), 1)], volume.ijk_to_ras)
    write_dicom_seg(empty, folder, tmp_path / "empty.dcm")
    assert highdicom.seg.segread(tmp_path / "empty.dcm").pixel_array.sum() == 0


def test_without_highdicom_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match="pip install"):
        check_dicom_seg()
