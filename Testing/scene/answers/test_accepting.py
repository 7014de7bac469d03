"""An answer of Few-shot accepted into the user's segments; and which slices the user corrected after that."""

import mrml
import numpy as np
import pytest
import slicer
from few_shot_previews import DRAWN, SHAPE, masks, nodes, paint, shown, stroke

from S3NetSegmentLib.engine import InputError, Volume
from S3NetSegmentLib.scene.answers.accepted_answer import AcceptedAnswer, slices_changed_since
from S3NetSegmentLib.scene.answers.preview import FewShotPreview
from S3NetSegmentLib.scene.drawings.support_set import SupportSlice
from S3NetSegmentLib.scene.segmentation.labelmaps import segment_tag
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation, segment_mask
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.segmentation.segment_slices import EditingRules
from S3NetSegmentLib.scene.volumes import volume_from_node


def test_accepting_changes_all_but_the_drawn_slices_in_one_undo_step(preview, drawing, image, grid, answer, app):
    node, ids = drawing
    editor = mrml.Editor(app, node, image)
    before = masks(node, grid, ids)
    preview.show(answer, "z")
    preview.accept(lambda changed: editor.save())
    assert editor.saves == 1 and not preview.is_shown
    after = masks(node, grid, ids)
    for value, was, mask in zip((1, 2), before, after, strict=True):
        expected = answer == value
        expected[[3, 6]] = was[[3, 6]]
        np.testing.assert_array_equal(mask, expected)
    segment = node.GetSegmentation().GetSegment(ids[0])
    assert segment.GetName() == "Liver" and segment.GetColor() == pytest.approx((0.8, 0.1, 0.2))
    assert segment_tag(node, ids[0], segment.GetTerminologyEntryTagName()) == "a~b^c~d^e~f~|~^~^~|~~^^^~"
    editor.logic.Undo()
    for was, mask in zip(before, masks(node, grid, ids), strict=True):
        np.testing.assert_array_equal(was, mask)
    editor.logic.Redo()
    np.testing.assert_array_equal(masks(node, grid, ids)[1], after[1])


def test_only_answered_slices_change(preview, drawing, grid, answer):
    node, ids = drawing
    preview.show(answer, "z", slices=(4, 5))
    preview.accept()
    for value, mask in zip((1, 2), masks(node, grid, ids), strict=True):
        assert set(np.flatnonzero(mask.any((1, 2)))) <= {3, 4, 5, 6}
        np.testing.assert_array_equal(mask[4:6], answer[4:6] == value)


def test_slices_drawn_along_another_axis_stay_too(drawing, image, grid, answer):
    node, ids = drawing
    was = masks(node, grid, ids)
    preview = FewShotPreview(node, image, {1: ids[0], 2: ids[1]}, [*DRAWN, SupportSlice("y", 5)])
    preview.show(answer, "z")
    preview.accept()
    for before, mask, value in zip(was, masks(node, grid, ids), (1, 2), strict=True):
        np.testing.assert_array_equal(mask[:, 5], before[:, 5])
        np.testing.assert_array_equal(mask[4, 6:], answer[4, 6:] == value)


def test_a_slice_that_was_drawn_after_the_answer_came_stays_too(preview, drawing, image, grid, answer):
    node, ids = drawing
    preview.show(answer, "z")
    paint(node, image, grid, ids[0], stroke(5, slice(0, 3), slice(0, 3)))
    before = masks(node, grid, ids)
    preview.protect([*DRAWN, SupportSlice("z", 5)])
    assert not any(mask[5].any() for mask in shown(preview, image))
    preview.accept()
    for was, mask in zip(before, masks(node, grid, ids), strict=True):
        np.testing.assert_array_equal(mask[5], was[5])
        assert mask[4].any()


@pytest.mark.parametrize("overlaps", [False, True])
def test_other_segments_keep_their_voxels_and_are_overlapped_only_if_asked(
    preview, drawing, image, grid, answer, overlaps
):
    node, ids = drawing
    bone = mrml.ball(SHAPE, (5, 5, 6), 2)
    with segment_edit(node, image) as edit:
        bone_id = edit.add_segment(mrml.segment("Bone"), bone, grid)
    node.GetDisplayNode().SetSegmentVisibility(bone_id, False)
    preview.show(answer, "z")
    preview.accept(rules=EditingRules(overlaps=overlaps))
    np.testing.assert_array_equal(segment_mask(node, bone_id, grid), bone)
    liver = segment_mask(node, ids[0], grid)
    expected = (answer == 1) if overlaps else (answer == 1) & ~bone
    assert overlaps == (preview.notes == [])
    assert overlaps or "are in other segments, which keep them" in preview.notes[0]
    np.testing.assert_array_equal(liver[[4, 5, 7]], expected[[4, 5, 7]])


@pytest.mark.parametrize("overwrites", [False, True])
def test_segments_of_an_answer_that_overlap_are_shown_and_written_whole(drawing, image, grid, answer, overwrites):
    """Also where the editor lets no segments overlap: that is about other segments."""
    node, ids = drawing
    inner = mrml.ball(SHAPE, (5, 5, 5), 2)
    with segment_edit(node, image) as edit:
        bone_id = edit.add_segment(mrml.segment("Bone"), answer == 2, grid)
    before = masks(node, grid, ids)
    preview = FewShotPreview(node, image, {1: ids[0], 2: ids[1]}, DRAWN, layers={1: 0, 2: 1})
    preview.show([(answer > 0).astype(np.uint8), 2 * inner.astype(np.uint8)], "z")
    free = [n for n in range(SHAPE[0]) if n not in (3, 6)]
    for mask, expected in zip(shown(preview, image), (answer > 0, inner), strict=True):
        np.testing.assert_array_equal(mask[free], expected[free])
        assert not mask[[3, 6]].any()
    preview.accept(rules=EditingRules(overwritten=(bone_id,) if overwrites else ()))
    kept = (answer == 2) & (not overwrites)
    for mask, was, expected in zip(masks(node, grid, ids), before, (answer > 0, inner), strict=True):
        np.testing.assert_array_equal(mask[[3, 6]], was[[3, 6]])
        np.testing.assert_array_equal(mask[free], (expected & ~kept)[free])
    assert segment_mask(node, bone_id, grid)[free].any() != overwrites


def test_an_answer_with_more_layers_than_were_drawn_is_refused(preview, answer):
    with pytest.raises(InputError, match="2 layers came where 1 were drawn"):
        preview.show([answer, answer], "z")


def test_a_finer_segmentation_changes_only_where_the_answer_differs(app, image, grid, answer):
    """Half the voxel size: the user's fine border stays where the answer agrees with it."""
    fine = Volume(np.zeros([2 * n for n in SHAPE], np.uint8), grid.ijk_to_ras @ mrml.affine(np.eye(3) / 2, [-0.25] * 3))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    drawn = mrml.ball(fine.array.shape, (10, 10, 10), 7.3)
    with segment_edit(node, None) as edit:
        segment_id = edit.add_segment(mrml.segment(), drawn, fine)
    seen = segment_mask(node, segment_id, grid)
    labels = seen.astype(np.uint8)
    labels[2] = 0
    labels[2, 3, 3] = 1
    preview = FewShotPreview(node, image, {1: segment_id}, [SupportSlice("z", 5)])
    preview.show(labels, "z")
    preview.accept()
    after = segment_mask(node, segment_id, fine)
    differs = (labels != seen).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(after, np.where(differs, labels.astype(bool).repeat(2, 0).repeat(2, 1).repeat(2, 2), drawn))  # fmt: skip


def test_provenance_is_written_to_every_segment(preview, drawing, answer):
    node, ids = drawing
    preview.show(answer, "z")
    accepted = preview.accept(tags={"S3NetSegment.Method": "Few-shot"})
    for segment_id in ids:
        assert segment_tag(node, segment_id, "S3NetSegment.Method") == "Few-shot"
        assert segment_tag(node, segment_id, "S3NetSegment.Answer") == accepted.name


def test_a_segment_that_was_removed_meanwhile_is_left_out_and_a_renamed_one_keeps_its_name(
    preview, drawing, grid, answer
):
    node, ids = drawing
    preview.show(answer, "z")
    node.GetSegmentation().RemoveSegment(ids[1])
    node.GetSegmentation().GetSegment(ids[0]).SetName("renamed")
    preview.accept()
    assert list(node.GetSegmentation().GetSegmentIDs()) == [ids[0]]
    assert node.GetSegmentation().GetSegment(ids[0]).GetName() == "renamed"
    assert segment_mask(node, ids[0], grid)[5].any()
    assert "removed meanwhile" in preview.notes[0]


def test_a_failure_on_the_way_leaves_the_segmentation_as_it_was(preview, drawing, grid, answer, monkeypatch):
    node, ids = drawing
    before = [m.tobytes() for m in masks(node, grid, ids)]
    preview.show(answer, "z")

    def fail(changed):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        preview.accept(fail)
    assert [m.tobytes() for m in masks(node, grid, ids)] == before
    assert preview.is_shown  # can be tried again
    slicer.mrmlScene.RemoveNode(node)
    with pytest.raises(InputError, match="segmentation was removed"):
        preview.accept()


def test_nothing_can_be_accepted_before_an_answer(preview):
    with pytest.raises(InputError, match="propagate first"):
        preview.accept()


def test_the_answer_for_another_volume_makes_a_segmentation_with_the_same_looks(drawing, image, answer, app, rng):
    node, ids = drawing
    other = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng), name="CT 2")
    known = nodes()
    preview = FewShotPreview(None, other, {1: ids[0], 2: ids[1]}, looks_from=node)
    preview.show(answer, "z")
    preview.reject()
    assert nodes() == known
    preview = FewShotPreview(None, other, {1: ids[0], 2: ids[1]}, looks_from=node)
    preview.show(answer, "z")
    preview.accept()
    made = preview.segmentation_node
    assert made is not node and made.GetSegmentation().GetNumberOfSegments() == 2
    for n, name in enumerate(("Liver", "Lesion")):
        segment = made.GetSegmentation().GetNthSegment(n)
        assert segment.GetName() == name
        assert segment.GetColor() == node.GetSegmentation().GetNthSegment(n).GetColor()
        np.testing.assert_array_equal(
            mrml.exported(made, made.GetSegmentation().GetNthSegmentID(n), other), answer == n + 1
        )
    again = FewShotPreview(made, other, {1: ids[0], 2: ids[1]}, looks_from=node)
    again.show(np.where(answer == 2, 1, 0).astype(np.uint8), "z")
    again.accept()
    assert made.GetSegmentation().GetNumberOfSegments() == 2  # found again by their names
    np.testing.assert_array_equal(mrml.exported(made, made.GetSegmentation().GetNthSegmentID(0), other), answer == 2)


@pytest.mark.parametrize("case", range(16))
def test_on_any_grids_and_transforms_only_undrawn_answered_slices_change_and_then_hold_the_answer(app, case):
    """The segmentation on its own turned grid, under its own transform: reckoned voxel by voxel from world positions."""
    rng = np.random.default_rng(case)
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng, oblique=case % 2 == 1))
    if case % 3:
        mrml.put_under(image, mrml.add_transform(mrml.affine(mrml.rotation(rng), rng.uniform(-9, 9, 3))))
    grid = volume_from_node(image)
    linear = np.diag(rng.uniform(0.6, 1.4, 3)) @ (mrml.rotation(rng) if case % 4 == 3 else np.eye(3))
    centre = (np.array(grid.size) - 1) / 2 + rng.uniform(-1, 1, 3)
    turned = grid.ijk_to_ras @ mrml.affine(linear, centre - linear @ np.full(3, 7.5))
    own = Volume(np.zeros((16, 16, 16), np.uint8), turned)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    if case % 5 > 1:
        mrml.put_under(node, mrml.add_transform(mrml.affine(mrml.rotation(rng), rng.uniform(-9, 9, 3))))
    drawn, other = rng.random((2, 16, 16, 16)) > 0.7
    with segment_edit(node, None) as edit:
        ids = [edit.add_segment(mrml.segment(n), m, own) for n, m in (("Liver", drawn), ("Bone", other))]
    answer = (rng.random(SHAPE) > 0.5).astype(np.uint8)
    on_grid = segment_mask(node, ids[0], grid)
    preview = FewShotPreview(node, image, {1: ids[0]}, [SupportSlice("z", 3), SupportSlice("x", 6)])
    preview.show(answer, "z", slices=(2, 7))
    preview.accept(rules=EditingRules(overlaps=True))
    np.testing.assert_array_equal(segment_mask(node, ids[1], own), other)
    after = segment_mask(node, ids[0], own)
    kji = np.indices(own.array.shape).reshape(3, -1)
    at = np.linalg.inv(grid.ijk_to_ras) @ own.ijk_to_ras
    i, j, k = np.floor(at[:3, :3] @ kji[::-1] + at[:3, 3:] + 0.5).astype(int)
    inside = (i >= 0) & (i < 14) & (j >= 0) & (j < 12) & (k >= 0) & (k < 10)
    may = inside & (k >= 2) & (k <= 7) & (k != 3) & (i != 6)
    i, j, k = (np.where(inside, v, 0) for v in (i, j, k))
    differs = may & (on_grid[k, j, i] != answer[k, j, i])
    expected = np.where(differs, answer[k, j, i] > 0, drawn.reshape(-1)).reshape(drawn.shape)
    assert (after != expected).mean() < 0.001 and differs.any()  # voxels exactly between two may fall either way


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
