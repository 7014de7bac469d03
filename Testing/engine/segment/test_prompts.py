"""Boxes, points and strokes as voxels: what they are, where they lie, what is refused, where they allow an object to be, and on which
slices they are answered."""

import numpy as np
import pytest

from S3NetSegmentLib.engine.common.errors import InputError
from S3NetSegmentLib.engine.images import Extent
from S3NetSegmentLib.engine.images.array_order import ArrayOrder
from S3NetSegmentLib.engine.segment.prompts import Box, Prompts, allowed_voxels, box_hulls, prompted_slices

EXTENT = Extent((0, 0, 0), (20, 16, 10))
SLICE = Extent((0, 0, 4), (20, 16, 5))
ORDER = ArrayOrder((0, 1, 2), (False, False, False), (30, 30, 30))
AXIAL = Box((4, 5, 10), (20, 25, 10))
CORONAL = Box((5, 15, 3), (22, 15, 17))


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


class TestBounds:
    def test_a_box_in_one_slice_bounds_nothing(self):
        assert box_hulls([AXIAL]) == []
        assert allowed_voxels([AXIAL], Extent((0, 0, 0), (30, 30, 30))) is None

    def test_boxes_in_two_views_hold_the_object_in_all_directions(self):
        assert box_hulls([AXIAL, CORONAL], room=0) == [Box((4, 5, 3), (22, 25, 17))]

    def test_a_box_in_the_volume_holds_it_alone(self):
        box = Box((1, 2, 3), (7, 8, 9))
        assert box_hulls([box]) == [box]

    def test_sections_leave_room_and_boxes_in_the_volume_leave_none(self):
        assert box_hulls([AXIAL, CORONAL], room=0.2) == [Box((0, 1, 0), (26, 29, 20))]
        assert box_hulls([Box((4, 5, 3), (20, 25, 9))], room=0.2) == [Box((4, 5, 3), (20, 25, 9))]

    def test_two_views_that_do_not_cross_show_two_things_and_bound_neither(self):
        assert box_hulls([AXIAL, Box((5, 28, 3), (22, 28, 17))]) == []

    def test_one_open_slice_beside_a_box_in_the_volume_leaves_the_object_open(self):
        box = Box((4, 5, 3), (20, 25, 9))
        assert box_hulls([box, AXIAL]) == []
        assert box_hulls([box, Box((6, 7, 5), (12, 12, 5))]) == [box]

    def test_several_slices_of_one_view_and_one_of_another_are_one_object(self):
        hull = Box((3, 5, 3), (22, 26, 17))
        assert box_hulls([AXIAL, Box((3, 6, 14), (18, 26, 14)), CORONAL], room=0) == [hull]

    def test_allowed_voxels_are_those_of_the_extent(self):
        allowed = allowed_voxels([Box((2, 3, 4), (5, 6, 7))], Extent((1, 1, 5), (9, 9, 9)))
        assert allowed.shape == (4, 8, 8)
        assert np.argwhere(allowed).min(0).tolist() == [0, 2, 1]
        assert np.argwhere(allowed).max(0).tolist() == [2, 5, 4]


class TestSlices:
    def test_each_flat_box_is_a_slice_of_its_own_axis(self):
        assert list(prompted_slices(Prompts(boxes=(AXIAL, CORONAL)), "z", ORDER)) == [("z", 10), ("y", 15)]

    def test_a_box_in_the_volume_is_seen_in_its_two_middle_slices(self):
        found = prompted_slices(Prompts(boxes=(Box((2, 2, 2), (10, 6, 20)),)), "z", ORDER)
        assert found == {
            ("z", 11): Prompts(boxes=(Box((2, 2, 11), (10, 6, 11)),)),
            ("y", 4): Prompts(boxes=(Box((2, 4, 2), (10, 4, 20)),)),
        }

    def test_a_stroke_belongs_to_the_view_that_it_was_drawn_in(self):
        stroke = ((3, 9, 4), (4, 9, 5), (5, 9, 6))
        assert prompted_slices(Prompts(strokes=(stroke,)), "z", ORDER) == {("y", 9): Prompts(strokes=(stroke,))}

    def test_a_point_founds_a_slice_only_where_no_other_prompt_has_one(self):
        assert list(prompted_slices(Prompts(inside=((9, 15, 6),), boxes=(CORONAL,)), "z", ORDER)) == [("y", 15)]
        assert list(prompted_slices(Prompts(inside=((9, 14, 6),), boxes=(CORONAL,)), "z", ORDER)) == [
            ("y", 15),
            ("z", 6),
        ]

    def test_points_outside_found_no_slice_but_count_on_those_that_are(self):
        found = prompted_slices(Prompts(outside=((5, 6, 10), (5, 6, 11)), boxes=(AXIAL,)), "z", ORDER)
        assert found == {("z", 10): Prompts(outside=((5, 6, 10),), boxes=(AXIAL,))}
