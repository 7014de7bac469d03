"""Boxes, points and strokes as voxels: what they are, where they lie, and what is refused."""

import pytest

from S3NetSegmentLib.engine.common.errors import InputError
from S3NetSegmentLib.engine.images import Extent
from S3NetSegmentLib.engine.segment.prompts import Box, Prompts

EXTENT = Extent((0, 0, 0), (20, 16, 10))
SLICE = Extent((0, 0, 4), (20, 16, 5))


def test_a_box_has_its_corners_in_order_whichever_way_it_was_dragged():
    assert Box.between((9, 2, 4), (3, 8, 4)) == Box((3, 2, 4), (9, 8, 4))
    with pytest.raises(ValueError, match=r"see Box\.between"):
        Box((3, 2, 1), (9, 1, 1))


@pytest.mark.parametrize(
    ("box", "axis"),
    [
        (Box((3, 2, 4), (9, 8, 4)), "z"),
        (Box((3, 2, 4), (9, 2, 6)), "y"),
        (Box((3, 2, 4), (3, 8, 6)), "x"),
        (Box((3, 2, 4), (9, 8, 6)), None),
        (Box((3, 2, 4), (9, 2, 4)), None),
    ],
)
def test_a_box_is_flat_where_it_is_thin_on_exactly_one_axis(box, axis):
    assert box.flat_axis == axis


def test_a_flat_box_knows_its_slice_and_a_box_in_the_volume_has_none():
    assert Box((3, 2, 4), (9, 8, 4)).slice_index() == 4
    with pytest.raises(ValueError, match="no single slice"):
        Box((3, 2, 4), (9, 8, 6)).slice_index()


def test_a_box_is_clipped_to_the_searched_part():
    assert Box((-5, 2, 4), (9, 30, 4)).clipped(EXTENT) == Box((0, 2, 4), (9, 15, 4))
    assert Box((3, 2, 1), (9, 8, 7)).clipped(SLICE) == Box((3, 2, 4), (9, 8, 4))


@pytest.mark.parametrize(
    ("box", "extent", "said"),
    [
        (Box((30, 2, 4), (40, 8, 4)), EXTENT, r"box 30,2,4,40,8,4 .*lies outside the searched part"),
        (Box((3, 2, 5), (9, 8, 5)), SLICE, r"lies outside the searched part, which is \(0, 0, 4\)"),
        (Box((3, 2, 4), (3, 2, 4)), EXTENT, "has no area.*place a point"),
        (Box((3, 2, 4), (9, 2, 4)), EXTENT, "has no area"),
        (Box((19, 2, 4), (40, 8, 4)), EXTENT, r"within the searched part, .* has no area"),
    ],
)
def test_a_box_outside_or_without_area_is_refused_with_its_numbers(box, extent, said):
    with pytest.raises(InputError, match=said):
        box.clipped(extent)


def test_a_box_that_covers_everything_is_recognised():
    assert Box((0, 0, 4), (19, 15, 4)).covers(SLICE)
    assert not Box((0, 0, 4), (19, 14, 4)).covers(SLICE)


def test_a_slice_shows_the_prompts_that_lie_on_it_and_cuts_boxes_in_the_volume():
    prompts = Prompts(
        inside=((1, 1, 4), (1, 1, 5)), outside=((2, 2, 4),),
        boxes=(Box((3, 2, 4), (9, 8, 4)), Box((3, 2, 1), (9, 8, 7)), Box((0, 5, 0), (9, 5, 9))),
        strokes=(((1, 1, 4), (2, 1, 4), (3, 1, 5)), ((7, 7, 7), (8, 7, 7))),
    )  # fmt: skip
    there = prompts.on_slice("z", 4)
    assert there.inside == ((1, 1, 4),) and there.outside == ((2, 2, 4),)
    assert there.boxes == (Box((3, 2, 4), (9, 8, 4)), Box((3, 2, 4), (9, 8, 4)))
    assert there.strokes == (((1, 1, 4), (2, 1, 4)),)
    assert prompts.on_slice("y", 5).boxes == (Box((3, 5, 1), (9, 5, 7)), Box((0, 5, 0), (9, 5, 9)))


def test_a_stroke_of_one_voxel_is_a_point():
    checked = Prompts(strokes=(((1, 1, 4), (1, 1, 4)), ((2, 2, 4), (3, 2, 4)), ())).checked(EXTENT)
    assert checked.inside == ((1, 1, 4),) and checked.strokes == (((2, 2, 4), (3, 2, 4)),)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (Prompts(), "needs at least one point, box or stroke"),
        (Prompts(outside=((1, 1, 1),)), "needs at least one point, box or stroke"),
        (Prompts(inside=((1, 1, 1),), outside=((1, 1, 1),)), r"\(1, 1, 1\).*inside and outside at once"),
        (Prompts(strokes=(((1, 1, 1), (2, 1, 1)),), outside=((2, 1, 1),)), r"\(2, 1, 1\).*inside and outside at once"),
        (Prompts(strokes=(((1, 1, 1), (20, 1, 1)),)), r"\(20, 1, 1\).*outside the searched part"),
        (Prompts(boxes=(Box((30, 0, 0), (40, 9, 0)),)), "lies outside the searched part"),
    ],
)
def test_prompts_that_say_nothing_or_contradict_each_other_are_refused(prompts, said):
    with pytest.raises(InputError, match=said):
        prompts.checked(EXTENT)
