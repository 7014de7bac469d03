"""Where boxes allow an object to be, and the slices on which prompts are answered."""

import numpy as np

from S3NetSegmentLib.engine.images import Extent
from S3NetSegmentLib.engine.images.array_order import ArrayOrder
from S3NetSegmentLib.engine.segment.prompts import Box, Prompts, allowed_voxels, box_hulls, prompted_slices

ORDER = ArrayOrder((0, 1, 2), (False, False, False), (30, 30, 30))
AXIAL = Box((4, 5, 10), (20, 25, 10))
CORONAL = Box((5, 15, 3), (22, 15, 17))


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
