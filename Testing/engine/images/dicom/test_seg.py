"""DICOM SEG: written with highdicom, read back by it, in the place and with the names and codes of the segments."""

import sys
import warnings

import numpy as np
import pytest
from dicom_files import CT, enhanced_elements, functional_groups, image_elements, placed, write_dicom
from image_files import write_dicom_series

from S3NetSegmentLib.engine import InputError, Segment, Segmentation
from S3NetSegmentLib.engine.common.errors import ImageWarning
from S3NetSegmentLib.engine.images.dicom.seg_writing import check_dicom_seg, write_dicom_seg
from S3NetSegmentLib.engine.images.formats.seg_nrrd import on_grid_of, read_segmentation
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


def test_odd_values_of_the_source_are_not_told_in_words_of_pydicom(series, tmp_path, recwarn, caplog):
    import pydicom

    volume, folder = series
    for path in folder.iterdir():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path)
            data.PatientID, data.SpecificCharacterSet, data.StudyID = "p" * 99, "ISO_IR 999", "s" * 30
            data.save_as(path)
    recwarn.clear()
    caplog.clear()
    write_dicom_seg(made(volume), folder, tmp_path / "out.dcm")
    assert not list(recwarn) and not [r for r in caplog.records if r.name == "pydicom"]


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


RICH = (
    "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered Structure~SCT^108369006^Neoplasm~"
    "SCT^86049000^Primary~Anatomic codes - DICOM master list~SCT^64033007^Kidney~SCT^7771000^Left"
)


def test_codes_with_modifiers_names_of_any_script_and_how_it_was_made_survive(series, tmp_path):
    import pydicom

    volume, folder = series
    one = np.ones(volume.array.shape, np.uint8)
    tags = {"S3NetSegment.Method": "few-shot", "S3NetSegment.Version": "1.2", "S3NetSegment.Support": "d.seg.nrrd"}
    segment = Segment("Tête 头部", (0.2, 0.4, 0.6), 1, terminology=RICH, tags=tags)
    write_dicom_seg(Segmentation([one], [segment], volume.ijk_to_ras), folder, tmp_path / "out.dcm")
    (back,) = read_segmentation(tmp_path / "out.dcm").segments
    assert (back.name, back.terminology) == (segment.name, RICH)
    assert back.color == pytest.approx(segment.color, abs=0.005)
    data = pydicom.dcmread(tmp_path / "out.dcm")
    algorithm = data.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("S3NetSegment few-shot", "1.2")
    assert "Support=d.seg.nrrd" in str(algorithm.AlgorithmParameters)
    assert data.PatientName == "Doe^J" and data.FrameOfReferenceUID == "1.2.3.9"


def test_every_frame_refers_to_the_slice_that_it_lies_on(series, tmp_path):
    import pydicom

    volume, folder = series
    write_dicom_seg(made(volume), folder, tmp_path / "out.dcm")
    places = {d.SOPInstanceUID: d.ImagePositionPatient for d in map(pydicom.dcmread, folder.iterdir())}
    frames = pydicom.dcmread(tmp_path / "out.dcm").PerFrameFunctionalGroupsSequence
    assert len(frames) == 4
    for frame in frames:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert frame.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(places[source], abs=1e-4)


@pytest.mark.parametrize("tilt", [0.0, 0.4])
def test_anonymised_reversed_and_tilted_slices_get_their_planes(tmp_path, tilt):
    pytest.importorskip("highdicom", reason="highdicom is not installed (pip install highdicom)")
    for n, k in enumerate((4, 3, 2, 1, 0)):
        pixels = np.full((6, 8), 10 * k, np.uint16)
        elements = image_elements(pixels, CT, f"1.2.9.{n}") | placed((0, tilt * k, 2 * k), spacing=(0.7, 0.6))
        write_dicom(tmp_path / "s" / f"{n}", elements)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        volume = read_image(tmp_path / "s")
    layer = np.zeros(volume.array.shape, np.uint8)
    layer[1:4, 2, 3:5] = layer[3, 5, 7] = 1
    write_dicom_seg(
        Segmentation([layer], [Segment("A", (1, 0, 0), 1)], volume.ijk_to_ras), tmp_path / "s", tmp_path / "o.dcm"
    )
    placed_back = on_grid_of(read_segmentation(tmp_path / "o.dcm"), volume)
    np.testing.assert_array_equal(placed_back.layers[0], layer)


@pytest.mark.parametrize("count", [1, 3])
def test_slices_that_do_not_state_where_they_lie_get_the_places_that_they_were_read_in(tmp_path, count):
    import pydicom

    pytest.importorskip("highdicom", reason="highdicom is not installed (pip install highdicom)")
    folder = tmp_path / "series"
    write_dicom_series(folder, np.random.default_rng(0).integers(0, 99, (count, 12, 10)).astype(np.int16), np.eye(4))
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        del data.ImagePositionPatient
        data.save_as(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        volume = read_image(folder)
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[-1, 2:5, 3:7] = 1
    segmentation = Segmentation([labels], [Segment("a", (1, 0, 0), 1)], volume.ijk_to_ras)
    write_dicom_seg(segmentation, folder, tmp_path / "out.dcm")
    back = on_grid_of(read_segmentation(tmp_path / "out.dcm"), volume)
    assert np.array_equal(back.layers[0], labels)


def test_frames_of_an_enhanced_file_are_the_source(tmp_path):
    import pydicom

    pytest.importorskip("highdicom", reason="highdicom is not installed (pip install highdicom)")
    groups = [
        functional_groups((0, 0, 3 * (k // 2)), {0x00209111: ("SQ", [{0x00209128: ("UL", k % 2)}])}) for k in range(8)
    ]
    pixels = np.random.default_rng(0).integers(0, 99, (8, 5, 6)).astype(np.uint16)
    write_dicom(tmp_path / "s" / "a", enhanced_elements(pixels, groups))
    volume = read_image(tmp_path / "s", frame=1)
    layer = np.zeros((4, 5, 6), np.uint8)
    layer[1:3, 2, 2] = 1
    segmentation = Segmentation([layer], [Segment("A", (1, 0, 0), 1)], volume.ijk_to_ras)
    write_dicom_seg(segmentation, tmp_path / "s", tmp_path / "o.dcm", frame=1)
    np.testing.assert_array_equal(on_grid_of(read_segmentation(tmp_path / "o.dcm"), volume).layers[0], layer)
    frames = pydicom.dcmread(tmp_path / "o.dcm").PerFrameFunctionalGroupsSequence
    numbers = [int(f.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber) for f in frames]
    assert sorted(numbers) == [4, 6]  # of the second time point, counted from 1


def test_without_highdicom_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match="pip install"):
        check_dicom_seg()
