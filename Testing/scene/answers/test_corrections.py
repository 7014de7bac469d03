"""Which slices the user corrected after an answer was accepted."""

import mrml
import numpy as np
import pytest
from few_shot_previews import SHAPE, paint, stroke

from S3NetSegmentLib.scene.answers.accepted_answer import AcceptedAnswer, slices_changed_since
from S3NetSegmentLib.scene.drawings.support_set import SupportSlice
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation, segment_edit


def test_right_after_accepting_nothing_is_corrected(drawing, image, accepted):
    assert slices_changed_since(drawing[0], image, accepted, drawing[1]) == []


@pytest.mark.parametrize("remove", [False, True])
def test_a_slice_painted_or_erased_since_is_a_corrected_one(drawing, image, grid, accepted, remove):
    node, ids = drawing
    paint(node, image, grid, ids[0], stroke(8, slice(2, 9), slice(1, 9)), remove)
    paint(node, image, grid, ids[1], stroke(2, slice(7, 10), slice(9, 12)), remove)
    assert slices_changed_since(node, image, accepted, ids) == [SupportSlice("z", 2, corrected=True), SupportSlice("z", 8, corrected=True)]  # fmt: skip


def test_corrections_in_other_views_are_slices_of_those_views(drawing, image, grid, accepted):
    node, ids = drawing
    paint(node, image, grid, ids[0], stroke(slice(0, 9), slice(None), 12))
    paint(node, image, grid, ids[0], stroke(9, slice(0, 9), slice(0, 9)))
    assert slices_changed_since(node, image, accepted, ids) == [SupportSlice("x", 12, corrected=True), SupportSlice("z", 9, corrected=True)]  # fmt: skip


def test_one_voxel_counts_for_the_answers_own_axis(drawing, image, grid, accepted):
    node, ids = drawing
    paint(node, image, grid, ids[0], stroke(8, 1, 1))
    assert slices_changed_since(node, image, accepted, ids) == [SupportSlice("z", 8, corrected=True)]


def test_a_change_all_over_is_counted_along_the_axis_with_fewest_slices(drawing, image, grid, accepted):
    node, ids = drawing
    paint(node, image, grid, ids[0], np.ones(SHAPE, bool))
    assert slices_changed_since(node, image, accepted, ids) == [
        SupportSlice("z", n, corrected=True) for n in range(SHAPE[0])
    ]


def test_new_segments_count_if_named(drawing, image, grid, accepted):
    node, ids = drawing
    with segment_edit(node, image) as edit:
        new_id = edit.add_segment(mrml.segment("New"), stroke(1, slice(3, 6), slice(3, 6)), grid)
    assert slices_changed_since(node, image, accepted, ids) == []
    assert slices_changed_since(node, image, accepted, [*ids, new_id]) == [SupportSlice("z", 1, corrected=True)]


def test_what_was_accepted_survives_as_text(drawing, image, grid, accepted):
    node, ids = drawing
    again = AcceptedAnswer.from_text(accepted.to_text())
    assert slices_changed_since(node, image, again, ids) == []
    paint(node, image, grid, ids[0], stroke(8, slice(2, 9), slice(1, 9)))
    assert slices_changed_since(node, image, again, ids) == slices_changed_since(node, image, accepted, ids) != []
    for damaged in (
        "",
        "{}",
        "7",
        "null",
        accepted.to_text()[:-9],
        accepted.to_text().replace('"version": 1', '"version": 2'),
    ):
        assert AcceptedAnswer.from_text(damaged) is None
    short = accepted.masks[ids[0]]
    assert AcceptedAnswer.from_text(AcceptedAnswer("a", "z", {ids[0]: (*short[:2], short[2][:8])}).to_text()) is None


def test_before_any_answer_changes_count_from_a_state_without_a_name(drawing, image, grid):
    node, ids = drawing
    state = AcceptedAnswer.of(node, ids, grid, "z", "")
    assert slices_changed_since(node, image, state, ids) == []
    paint(node, image, grid, ids[0], stroke(8, slice(2, 9), slice(1, 9)))
    assert [s.place for s in slices_changed_since(node, image, state, ids)] == [("z", 8)]
    empty = create_segmentation(image)
    state = AcceptedAnswer.of(empty, [], grid, "z", "")
    with segment_edit(empty, image) as edit:
        new_id = edit.add_segment(mrml.segment("New"), stroke(1, slice(3, 6), slice(3, 6)), grid)
    assert [s.place for s in slices_changed_since(empty, image, state, [new_id])] == [("z", 1)]
