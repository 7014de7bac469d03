"""DICOM SEG as a drawing, a reference or labels of a cohort: binary, fractional and label maps, written element by element."""

import dicom_files as dicom
import numpy as np
import pytest
from dicom_files import described_segment, plane_groups, segmentation_elements, write_dicom

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.common.errors import ImageWarning
from S3NetSegmentLib.engine.few_shot.drawings.support_files import read_support
from S3NetSegmentLib.engine.images.formats.seg_nrrd import on_grid_of, read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.metrics import compare_segmentations
from S3NetSegmentLib.engine.tasks.few_shot import SupportFile
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort

STEP = 2.5
MATRIX = np.array([[-0.7, 0, 0, 10], [0, -0.6, 0, 20], [0, 0, STEP, -30], [0, 0, 0, 1]])  # voxel to RAS
SHAPE = (8, 7, 9)  # odd, so that frames of single bits do not end at bytes


def masks() -> np.ndarray:
    """Two segments that overlap, and one that is apart; bool [segment, K, J, I]."""
    found = np.zeros((3, *SHAPE), bool)
    found[0, 2:6, 1:5, 1:6] = True
    found[1, 3:5, 2:4, 3:8] = True
    found[2, 7, 6, 8] = True
    return found


def write_seg(path, frames, pixels, segments, kind="BINARY", step=STEP, syntax=dicom.EXPLICIT, more=None):
    """A SEG. ``frames``: (segment number, k) of each; ``pixels``: [frame, J, I]; ``step``: whether the header states it."""
    groups = [plane_groups((-10, -20, -30 + STEP * k), number) for number, k in frames]
    elements = segmentation_elements(pixels, groups, segments, kind, spacing=(0.6, 0.7), thickness=STEP)
    if step:
        elements[0x52009229][1][0][0x00289110][1][0][0x00180088] = ("DS", step)
    return write_dicom(path, elements | (more or {}), syntax)


def write_binary(path, **options):
    found = masks()
    frames = [(n + 1, k) for n in range(3) for k in range(SHAPE[0]) if found[n, k].any()]
    pixels = np.stack([found[number - 1, k] for number, k in frames])
    return write_seg(
        path,
        frames,
        pixels,
        [described_segment(1, "Leber"), described_segment(2, "Knoten"), described_segment(3, "Punkt")],
        **options,
    )


def image():
    return Volume(np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16), MATRIX, "image")


@pytest.mark.parametrize("syntax", [dicom.IMPLICIT, dicom.EXPLICIT, dicom.DEFLATED])
@pytest.mark.parametrize("step", [STEP, None])
def test_segments_come_back_with_names_codes_colors_and_overlaps(tmp_path, syntax, step):
    segmentation = read_segmentation(write_binary(tmp_path / "seg.dcm", syntax=syntax, step=step))
    placed = on_grid_of(segmentation, image())
    for found, wanted in zip(placed.segments, masks(), strict=True):
        np.testing.assert_array_equal(placed.mask(found), wanted)
    assert [s.name for s in placed.segments] == ["Leber", "Knoten", "Punkt"]
    assert [s.layer for s in placed.segments] == [0, 1, 0]
    assert placed.segments[0].terminology.split("~")[1:3] == [
        "SCT^123037004^Anatomical Structure", "SCT^10200004^Liver",
    ]  # fmt: skip
    assert placed.segments[0].color == pytest.approx((1, 0, 0), abs=0.005)


def test_a_fractional_one_counts_from_half_and_a_label_map_by_its_values(tmp_path):
    shares = np.array([[[0, 99, 100, 200]]], np.uint8)
    path = write_seg(tmp_path / "f.dcm", [(1, 4)], shares, [described_segment(1, "A")], "FRACTIONAL",
                     more={0x0062000E: ("US", 200)})  # fmt: skip
    found = read_segmentation(path)
    np.testing.assert_array_equal(found.mask(found.segments[0]), [[[0, 0, 1, 1]]])
    values = np.array([[[0, 5, 2, 5]], [[2, 2, 0, 0]]], np.uint8)
    path = write_seg(tmp_path / "l.dcm", [(0, 1), (0, 3)], values, [described_segment(0, "Background"), described_segment(5, "A"), described_segment(2, "B")],
                     "LABELMAP")  # fmt: skip
    found = read_segmentation(path)
    assert [s.name for s in found.segments] == ["A", "B"] and found.layers[0].shape == (3, 1, 4)
    np.testing.assert_array_equal(found.layers[0], [[[0, 1, 2, 1]], [[0, 0, 0, 0]], [[2, 2, 0, 0]]])
    np.testing.assert_allclose(found.ijk_to_ras[:3, 3], (10, 20, -30 + STEP))


def test_it_is_compared_with_other_files_and_found_in_its_folder(tmp_path):
    write_binary(tmp_path / "seg" / "IM1")
    labels = np.zeros(SHAPE, np.uint8)
    labels[masks()[0]] = 1
    write_image(Volume(labels, MATRIX), tmp_path / "l.nii.gz")
    scores = compare_segmentations(read_segmentation(tmp_path / "seg"), read_segmentation(tmp_path / "l.nii.gz"))
    assert scores[0].dice == 1 and [s.state for s in scores[1:]] == ["extra", "extra"]
    write_binary(tmp_path / "seg" / "IM2")
    with pytest.raises(InputError, match="2 DICOM SEG files"):
        read_segmentation(tmp_path / "seg")


def test_it_is_a_drawing_for_few_shot(tmp_path):
    found = masks()[0]
    drawn = [(1, k) for k in (2, 5)]
    path = write_seg(tmp_path / "drawn.dcm", drawn, found[[2, 5]], [described_segment(1, "Leber")])
    support = read_support([SupportFile(str(path))], image(), "auto", [], True)
    assert support.facts[0]["drawn"] == [2, 5] and support.segments[0].name == "Leber"
    np.testing.assert_array_equal(support.drawings[1].labels, found[5])


def test_it_labels_a_case_of_a_cohort(tmp_path):
    (tmp_path / "images").mkdir()
    write_image(image(), tmp_path / "images" / "a.nii.gz")
    write_binary(tmp_path / "labels" / "a.dcm")
    cohort = run_to_end(read_cohort(tmp_path))
    assert [c.name for c in cohort.classes] == ["Leber", "Knoten", "Punkt"]
    labels = cohort.cases[0].read_labels(cohort.classes)
    np.testing.assert_array_equal(labels == 2, masks()[1])


def test_it_is_no_image_and_damaged_ones_are_refused(tmp_path):
    path = write_binary(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match=r"segmentation \(SEG\)"):
        read_image(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cut off"):
        read_segmentation(path)
    nothing = write_seg(tmp_path / "n.dcm", [(1, 0)], masks()[0, :1], [])
    with pytest.raises(InputError, match="describes no segments"):
        read_segmentation(nothing)


def test_planes_beside_their_grid_are_said(tmp_path):
    groups = [plane_groups((0, 0, z), 1) for z in (0, 2, 3.4, 6)]
    elements = segmentation_elements(np.ones((4, 1, 8)), groups, [described_segment(1, "A")])
    with pytest.warns(ImageWarning, match="unevenly"):
        read_segmentation(write_dicom(tmp_path / "a", elements))
