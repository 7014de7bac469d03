"""What is measured of candidates, on shapes where it is known."""

import numpy as np
import pytest

from S3NetSegmentLib.engine.segment.objects.candidates import Candidates
from S3NetSegmentLib.engine.segment.objects.ranked import dice_matrix
from S3NetSegmentLib.engine.segment.objects.slice_features import COLUMN, NAMES, SliceStatistics, measure


def disk(radius, centre=(60, 60), shape=(120, 120)):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def measured(masks, picture, point=None, votes=None):
    masks = np.stack(masks)
    votes = np.eye(len(masks), dtype=np.int32) if votes is None else np.asarray(votes)
    candidates = Candidates(masks, votes, np.zeros(len(masks), bool))
    partition = np.zeros(picture.shape[:2], np.uint16)
    return measure(candidates, SliceStatistics(picture, partition), dice_matrix(masks), point)


def column(table, name):
    return table[:, COLUMN[name]]


@pytest.fixture
def bright_disk():
    picture = np.zeros((120, 120, 1), np.float32)
    picture[disk(25)] = 2.0
    return picture


def test_size_and_shape_of_a_disk_and_a_bar(bright_disk):
    bar = np.zeros((120, 120), bool)
    bar[55:65, 10:110] = True
    table = measured([disk(25), bar], bright_disk)
    assert np.exp(column(table, "log_area"))[0] == pytest.approx(disk(25).mean())
    assert column(table, "compactness")[0] > 0.85 > 0.5 > column(table, "compactness")[1]
    assert abs(column(table, "log_elongation")[0]) < 0.01
    assert column(table, "log_elongation")[1] == pytest.approx(np.log(10), abs=0.05)
    assert column(table, "inscribed")[0] == pytest.approx(1, abs=0.1)
    assert column(table, "extent")[1] == pytest.approx(1)


def test_contrast_is_the_step_at_the_border(bright_disk):
    table = measured([disk(25), disk(12), disk(40)], bright_disk)
    assert column(table, "contrast")[0] == pytest.approx(2, abs=0.15)
    assert column(table, "contrast")[1] == pytest.approx(0, abs=0.05)
    assert column(table, "edge_strength").argmax() == 0
    assert column(table, "hand_to_best")[0] == 0


def test_the_click_is_deep_in_the_middle_and_shallow_at_the_border(bright_disk):
    middle = measured([disk(25)], bright_disk, (60, 60))[0]
    border = measured([disk(25)], bright_disk, (60, 84))[0]
    assert middle[COLUMN["click_depth"]] > 0.9 and border[COLUMN["click_depth"]] < 0.15
    assert middle[COLUMN["click_offset"]] < 0.05 and border[COLUMN["click_offset"]] == pytest.approx(0.96, abs=0.05)


def test_agreement_of_sources_is_counted(bright_disk):
    masks = [disk(25), disk(24), disk(5)]
    table = measured(masks, bright_disk, votes=[[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    overlap = dice_matrix(np.stack(masks))
    assert column(table, "consensus")[0] == pytest.approx((overlap[0, 1] + overlap[0, 2]) / 2, abs=1e-5)
    assert column(table, "consensus")[2] < column(table, "consensus")[0]
    assert column(table, "vote_share")[0] == pytest.approx(2 / 3)


def test_an_object_over_the_frame_is_not_plausible(bright_disk):
    edge = disk(30, centre=(0, 60))
    table = measured([disk(25), ~disk(25)], bright_disk, votes=[[1, 1], [1, 1]])
    assert column(table, "log_hand")[0] > column(table, "log_hand")[1] + 2
    assert measured([edge], bright_disk)[0, COLUMN["frame_share"]] > 0.1


def test_colour_turns_the_axes_but_not_the_contrast():
    masks = [disk(25), disk(15)]
    grey = np.zeros((120, 120, 1), np.float32)
    grey[masks[0]] = 1.5
    colour = np.zeros((120, 120, 3), np.float32)
    colour[masks[0]] = np.array([0.9, -1.0, 0.6]) / np.linalg.norm([0.9, -1.0, 0.6]) * 1.5
    first, second = measured(masks, grey), measured(masks, colour)
    for name in ("contrast", "contrast_inside", "contrast_ring", "fisher", "deviation_inside"):
        assert column(first, name) == pytest.approx(column(second, name), rel=0.02, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (64, 64)])
def test_the_whole_constant_slice_has_finite_features(shape):
    table = measured([np.ones(shape, bool)], np.zeros((*shape, 3), np.float32), (0, 0))
    assert table.shape == (1, len(NAMES)) and np.isfinite(table).all()


def test_more_candidates_than_bits_are_measured_as_fewer_are(bright_disk):
    masks = [disk(5 + n / 4) for n in range(90)]
    many = measured(masks, bright_disk, (60, 60))
    one = measured(masks[80:81], bright_disk, (60, 60))
    for name in ("log_area", "contrast", "inscribed", "click_depth"):
        assert many[80, COLUMN[name]] == pytest.approx(one[0, COLUMN[name]], abs=1e-5)
