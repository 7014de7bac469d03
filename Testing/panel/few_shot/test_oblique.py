"""Few-shot: what is drawn in oblique views counts as drawn, is followed through undo and corrections, and is answered."""

import mrml
import numpy as np
import pytest
from fake_propagation import FakePropagation
from few_shot_drawings import square

from S3NetSegmentLib.engine.common.arrays import dice
from S3NetSegmentLib.engine.few_shot.drawings.support import DrawnPlane, DrawnSlice
from S3NetSegmentLib.scene.answers.provenance import segment_fact
from S3NetSegmentLib.scene.drawings.support_set import SupportPlane, support_from_text, support_to_text
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import array_from_matrix, volume_from_node

OBLIQUE = ("oblique axial", "Liver", True)


def ball(radius=8):
    """The ball of the test volume."""
    k, j, i = np.mgrid[:12, :36, :40]
    return (i - 20) ** 2 + (j - 18) ** 2 + (2 * (k - 6)) ** 2 < radius**2


@pytest.fixture
def engine():
    return FakePropagation()


@pytest.fixture
def panel(open_panel, views, engine):
    panel = open_panel(None, engine)
    panel.open_few_shot()
    panel.widget.parent.resize(400, 860)
    panel.tilt(views.axial)
    return panel


def undo(panel, word="undo"):
    getattr(panel.panel.editor, word)()
    panel.settle(0.2)


@pytest.mark.parametrize("layers", [1.0, 1.8])
def test_a_plane_drawn_in_an_oblique_view_appears_in_the_list_by_itself(panel, views, keep_picture, layers):
    panel.draw_in_view("Liver", views.axial, ball(), layers=layers)
    assert panel.rows() == [OBLIQUE] and not panel.message
    panel.draw_in_view("Liver", views.axial, ball(11), layers=layers)  # a second stroke
    assert panel.rows() == [OBLIQUE]
    panel.tilt(views.axial, -40)
    panel.draw_in_view("Liver", views.axial, ball(), layers=layers)
    assert panel.rows() == [OBLIQUE, ("oblique axial 2", "Liver", True)] and panel.ui.propagateButton.enabled
    keep_picture(panel.widget.parent, f"few_shot_oblique_{layers}")


@pytest.mark.parametrize("degrees", [0, 12])
def test_what_was_drawn_before_under_a_transform_that_turns_it_is_listed_as_planes(
    open_panel, views, engine, volume_node, degrees
):
    node = create_segmentation(volume_node)
    drawn = ball() & np.isin(np.arange(12), (4, 8))[:, None, None]
    with segment_edit(node, volume_node) as edit:
        edit.add_segment(mrml.segment("Liver"), drawn, volume_from_node(volume_node))
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    mrml.put_under(node, mrml.add_transform(mrml.affine([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])))
    panel = open_panel(None, engine)
    panel.parameters.segmentation = node
    panel.open_few_shot()
    panel.settle(0.2)
    names = [OBLIQUE[0], "oblique axial 2"] if degrees else ["axial 4", "axial 8"]
    assert panel.rows() == [(name, "Liver", True) for name in names]
    panel.propagate()
    items = engine.full_runs[-1]["items"]
    assert [type(item) for item in items] == [DrawnPlane if degrees else DrawnSlice] * 2
    pixel = np.prod(np.linalg.norm(items[0].plane_to_ras[:3, :2], axis=0)) if degrees else 1.0
    assert sum(item.labels.astype(bool).sum() for item in items) * pixel == pytest.approx(drawn.sum(), rel=0.1)


def in_view(node, right, up):
    """World position in a view, in mm from its origin."""
    matrix = array_from_matrix(node.GetSliceToRAS())
    return tuple(matrix[:3, 0] * right + matrix[:3, 1] * up + matrix[:3, 3])


def choose_liver_and_draw_by_a_box(panel):
    panel.panel.editor.widget.setCurrentSegmentID(panel.add_segment("Liver"))
    panel.click(panel.ui.boxDrawButton)


def wait_for_boxes(panel):
    panel.wait(lambda: not panel.panel.few_shot.boxes.running)
    panel.settle(0.3)


def test_a_box_and_a_click_draw_in_an_oblique_view_and_are_undone(panel, views, keep_picture):
    volume = volume_from_node(panel.parameters.volume)
    plane = SupportPlane.of_view(views.axial, panel.parameters.volume).voxels(volume, volume.extent, 1.0)
    choose_liver_and_draw_by_a_box(panel)
    panel.drag(views.axial, in_view(views.axial, -9, -9), (0, 0, 0), in_view(views.axial, 9, 9))
    wait_for_boxes(panel)
    drawn = panel.mask("Liver")
    assert not (drawn & ~plane).any() and dice(drawn, ball() & plane) > 0.85
    assert panel.rows() == [OBLIQUE] and not panel.message
    keep_picture(panel.widget.parent, "few_shot_oblique_box")
    undo(panel)
    assert not panel.mask("Liver").any() and panel.rows() == []
    panel.drag(views.axial, (0, 0, 0), (0, 0, 0))
    wait_for_boxes(panel)
    drawn = panel.mask("Liver")
    assert not (drawn & ~plane).any() and dice(drawn, ball() & plane) > 0.85
    assert panel.rows() == [OBLIQUE]


def test_a_box_in_an_oblique_view_ends_at_the_border_of_the_image(panel, views):
    choose_liver_and_draw_by_a_box(panel)
    panel.drag(views.axial, in_view(views.axial, -60, -60), (0, 0, 0), in_view(views.axial, 60, 60))
    wait_for_boxes(panel)
    segmentation = panel.parameters.segmentation.GetSegmentation()
    segment = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName("Liver"))
    assert panel.mask("Liver").any()
    covered = segment.GetRepresentation("Binary labelmap").GetExtent()
    size = volume_from_node(panel.parameters.volume).size
    assert all(low >= 0 and high < n for low, high, n in zip(covered[::2], covered[1::2], size, strict=True))


def test_an_undone_plane_leaves_the_list_and_a_redone_one_comes_back_wherever_the_view_is(panel, views):
    panel.draw_in_view("Liver", views.axial, ball())
    undo(panel)
    assert panel.rows() == []
    panel.tilt(views.axial, 10)
    undo(panel, "redo")
    assert panel.rows() == [OBLIQUE] and not panel.message


def test_slices_and_planes_stand_side_by_side(panel, engine, views):
    panel.look_at_slice(views.sagittal, 3, "x")
    panel.draw("Liver", square(), "z", 4)
    panel.tilt(views.axial)
    panel.draw_in_view("Liver", views.axial, ball())
    panel.draw("Spleen", square(24, 24), "z", 9)
    assert panel.rows() == [("axial 4", "Liver", True), ("axial 9", "Spleen", True), OBLIQUE]
    undo(panel)
    undo(panel)
    assert panel.rows() == [("axial 4", "Liver", True)]
    undo(panel, "redo")
    panel.propagate()
    items = engine.full_runs[-1]["items"]
    assert [type(item) for item in items] == [DrawnSlice, DrawnPlane] and items[1].labels.any()


def test_a_stroke_beside_the_plane_of_the_view_is_not_taken_for_one_on_it(panel, views):
    beside = ball() & ~ball(6)  # a shell: an operation on the volume
    panel.draw_in_view("Liver", views.axial, beside, layers=9.0)
    assert panel.rows() == [] and "slices changed at once" in panel.message


def test_a_removed_plane_stays_away_until_it_is_drawn_on_again(panel, views):
    panel.draw_in_view("Liver", views.axial, ball())
    panel.choose_row(0)
    panel.click(panel.ui.removeSliceButton)
    panel.draw("Liver", square(2, 2, 4), "z", 4)
    assert [row[0] for row in panel.rows()] == ["axial 4"] and not panel.message
    panel.draw_in_view("Liver", views.axial, ball(9))
    assert [row[0] for row in panel.rows()] == ["axial 4", "oblique axial"]


def test_an_empty_oblique_view_can_be_added_shown_again_and_marked_as_drawn_in_part(panel, engine, views):
    panel.draw_in_view("Liver", views.axial, ball())
    panel.tilt(views.axial, 25, (0, 0, 9))
    wanted = SupportPlane.of_view(views.axial, panel.parameters.volume)
    panel.click(panel.ui.addSliceButton)
    assert sorted(row[1:] for row in panel.rows()) == [("Liver", True), ("nothing here", True)]
    assert not panel.ui.addSliceButton.enabled and "already" in panel.ui.addSliceButton.toolTip
    panel.look_at_slice(views.axial, 3)
    number = [row[1] for row in panel.rows()].index("nothing here")
    panel.choose_row(number)
    panel.click(panel.ui.goToSliceButton)
    assert SupportPlane.of_view(views.axial, panel.parameters.volume).place == wanted.place
    panel.ui.supportTable.item(number, 2).setCheckState(0)
    panel.propagate()
    items = engine.full_runs[-1]["items"]
    assert sorted((bool(item.labels.any()), item.complete) for item in items) == [(False, False), (True, True)]


def test_a_plane_is_corrected_after_an_accepted_answer(panel, views):
    panel.look_at_slice(views.axial, 5)
    panel.draw("Liver", square(), "z", 5)
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    panel.tilt(views.axial)
    stroke = panel.draw_in_view("Liver", views.axial, ball(), erase=True)
    assert [row[0] for row in panel.rows()] == ["axial 5", "oblique axial (corrected)"]
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    assert not panel.mask("Liver")[stroke].any()  # and the answer keeps out of it


def test_what_segment_found_is_no_drawing_on_a_plane(panel, engine, views):
    from S3NetSegmentLib.scene.answers.provenance import CONTENT_TAG, METHOD_TAG
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit

    tags = {METHOD_TAG: "Segment", CONTENT_TAG: "one"}
    with segment_edit(panel.segmentation, panel.parameters.volume) as edit:
        edit.add_segment(mrml.segment("Found", tags=tags), ball(9), volume_from_node(panel.parameters.volume))
    panel.settle(0.2)
    panel.draw_in_view("Liver", views.axial, ball(5))
    assert panel.rows() == [OBLIQUE]
    panel.propagate()
    (item,) = engine.full_runs[-1]["items"]
    assert len(np.unique(item.labels)) == 2


def on_plane(panel, view):
    volume = volume_from_node(panel.parameters.volume)
    return SupportPlane.of_view(view, panel.parameters.volume).voxels(volume, volume.extent)


def draw_two_slices(panel, views):
    """So that the engine carries them; then the view is oblique again."""
    panel.look_at_slice(views.axial, 4)
    for number in (4, 8):
        panel.draw("Liver", square(), "z", number)


def test_the_plane_of_an_oblique_view_is_previewed_while_the_user_turns_it(panel, engine, views):
    draw_two_slices(panel, views)
    panel.click(panel.ui.liveCheckBox)
    drawn = np.zeros((12, 36, 40), bool)
    drawn[[4, 8]] = True
    for degrees in (30, 50):  # the plane before it goes
        panel.tilt(views.axial, degrees)
        plane = on_plane(panel, views.axial)
        panel.wait(lambda: not panel.panel.few_shot._live.active and not panel.panel.few_shot.controller.is_live)
        preview = panel.panel.few_shot.controller.result.preview
        np.testing.assert_array_equal(
            preview.answer.labels > 0, np.broadcast_to(square(), drawn.shape) & plane & ~drawn
        )
    assert engine.full_runs == [] and "Preview of the shown slice" in panel.ui.answerText.text
    panel.click(panel.ui.acceptButton)
    found = panel.mask("Liver")
    assert (found[[4, 8]] == square()).all() and not (found & ~drawn & ~plane).any() and (found & plane & ~drawn).any()


def test_a_newer_preview_of_an_oblique_plane_stands_in_the_whole_answer(panel, views):
    draw_two_slices(panel, views)
    panel.propagate()
    whole = panel.panel.few_shot.controller.result.preview.answer.labels.copy()
    panel.click(panel.ui.liveCheckBox)
    panel.tilt(views.axial)
    panel.wait(lambda: not panel.panel.few_shot._live.active and not panel.panel.few_shot.controller.is_live)
    assert (panel.panel.few_shot.controller.result.preview.answer.labels == whole).all()
    assert "newer than the others" in panel.ui.answerText.text


def test_the_plane_of_an_oblique_view_can_be_answered_alone_unless_it_is_drawn(panel, engine, views):
    draw_two_slices(panel, views)
    panel.tilt(views.axial)
    panel.parameters.propagateTo = type(panel.parameters.propagateTo)("slice")
    panel.propagate()
    first, last = engine.full_runs[-1]["slices"]
    reached = np.flatnonzero(on_plane(panel, views.axial).any((1, 2)))
    assert first in (reached[0] - 1, reached[0]) and last in (reached[-1], reached[-1] + 1)
    panel.click(panel.ui.acceptButton)
    plane = on_plane(panel, views.axial)
    plane[[4, 8]] = True
    assert not (panel.mask("Liver") & ~plane).any() and panel.mask("Liver")[6].any()
    panel.draw_in_view("Liver", views.axial, ball(3))
    panel.click(panel.ui.propagateButton)
    assert "drawn already" in panel.message


def test_planes_stay_in_the_image_when_a_transform_moves_it(panel, views):
    panel.draw_in_view("Liver", views.axial, ball())
    move = mrml.add_transform(mrml.affine(mrml.rotation(np.random.default_rng(3)), (5, -30, 12)))
    for node in (panel.parameters.volume, panel.segmentation):
        mrml.put_under(node, move)
    panel.settle(0.3)
    panel.panel.few_shot.refresh_views()
    assert [row[1:] for row in panel.rows()] == [("Liver", True)]


def test_planes_survive_as_text_and_damaged_ones_are_none(panel, views):
    panel.draw("Liver", square(), "z", 4)
    panel.tilt(views.axial)
    panel.draw_in_view("Liver", views.axial, ball())
    kept = support_from_text(panel.parameters.support)
    assert kept == panel.panel.few_shot.controller.support.drawn and isinstance(kept[1], SupportPlane)
    text = support_to_text(kept[1:])
    for old, new in (('"plane": [', '"plane": [1, '), ('"shape": [', '"shape": [0, '), ('"plane"', '"axe"')):
        assert old in text and support_from_text(text.replace(old, new)) == []


def test_two_drawn_planes_are_answered_and_stay_as_they_are_drawn(open_panel, views):
    pytest.importorskip("torch")
    panel = open_panel()
    panel.open_few_shot()
    drawn = {}
    for degrees in (25, -35):
        panel.tilt(views.axial, degrees)
        drawn[degrees] = panel.draw_in_view("Ball", views.axial, ball())
    panel.propagate(seconds=120)
    assert panel.ui.acceptButton.isVisible(), panel.message
    panel.click(panel.ui.acceptButton)
    found, truth = panel.mask("Ball"), ball()
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85
    for degrees, stroke in drawn.items():
        panel.tilt(views.axial, degrees)
        plane = SupportPlane.of_view(views.axial, panel.parameters.volume)
        grid = volume_from_node(panel.parameters.volume)
        on_plane = plane.voxels(grid, grid.extent)
        assert stroke.any() and (found[on_plane] == truth[on_plane]).all()
    ball_id = panel.segmentation.GetSegmentation().GetSegmentIdBySegmentName("Ball")
    assert "2 oblique planes" in segment_fact(panel.segmentation, ball_id, "Support")
