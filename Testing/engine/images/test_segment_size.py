"""The unit in which the size of a segment is told: ml in volumes, areas or pixels in pictures."""

import numpy as np
import pytest

from S3NetSegmentLib.engine import Segment, Segmentation
from S3NetSegmentLib.engine.images.segmentation import segment_size, shown_size, size_table
from S3NetSegmentLib.engine.results import described

SHEARED = np.array([[0.5, 0.25, 0, 0], [0, 0.5, 0, 0], [0, 0, 5.0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("shape", "matrix", "voxels", "told"),
    [
        ((4, 50, 60), np.diag((1.0, 1, 5, 1)), 2469, "12.35 ml"),
        ((4, 50, 60), np.diag((0.1, 0.1, 0.1, 1)), 5000, "5 mm³"),  # "0.01 ml" would hide that
        ((4, 50, 60), np.eye(4), 0, "0.00 ml"),
        ((1, 50, 60), np.eye(4), 1234, "1,234 pixels"),  # a photograph, whose file tells no size
        ((1, 50, 60), np.eye(4), 1, "1 pixel"),
        ((1, 50, 60), np.diag((0.5, 0.5, 5, 1)), 1200, "1,200 pixels (300 mm²)"),  # one slice of an MR
        ((1, 50, 60), SHEARED, 1200, "1,200 pixels (300 mm²)"),
        ((50, 60, 1), np.diag((5.0, 2, 2, 1)), 1200, "1,200 pixels (48.0 cm²)"),  # a sagittal one
        ((1, 50, 60), np.diag((0.5, 0.5, 5, 1)), 0, "0 pixels"),
    ],
)
def test_the_unit_suits_the_image(shape, matrix, voxels, told):
    assert shown_size(segment_size(voxels, shape, matrix)) == told


def test_a_picture_has_no_volume_and_one_without_pixel_size_no_area():
    volume, slice_, photograph = (
        segment_size(8, *grid)
        for grid in (((2, 9, 9), np.eye(4)), ((1, 9, 9), np.diag((2.0, 2, 4, 1))), ((1, 9, 9), np.eye(4)))
    )
    assert volume == {"voxels": 8, "volume_ml": 0.008, "area_mm2": None}
    assert slice_ == {"voxels": 8, "volume_ml": None, "area_mm2": 32.0}
    assert photograph == {"voxels": 8, "volume_ml": None, "area_mm2": None}


def test_the_table_of_segments_is_aligned_and_the_summary_has_the_same_sizes():
    layer = np.zeros((1, 40, 50), np.uint8)
    layer[0, :30, :40], layer[0, 30, 0] = 1, 2
    found = Segmentation([layer], [Segment("Lesion", (1, 0, 0), 1), Segment("Hair", (0, 1, 0), 2)], np.eye(4))
    facts = described(found)
    assert size_table(facts) == ["  Lesion  1,200 pixels", "  Hair         1 pixel"]
    assert [f["voxels"] for f in facts] == [1200, 1] and facts[0]["volume_ml"] is None
    assert size_table([]) == []
