"""Few-shot: the chosen segment is drawn by a box around it, and corrected and undone like any drawing."""

import numpy as np
import pytest
import slicer
from fake_propagation import FakePropagation
from slicer_files import read_segmentation, save_node

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.few_shot.drawings.boxed_tag import BOXED_TAG
from S3NetSegmentLib.engine.few_shot.drawings.support_files import read_support
from S3NetSegmentLib.engine.tasks.few_shot import SupportFile
from S3NetSegmentLib.panel.few_shot import editor_section
from S3NetSegmentLib.scene.segmentation.labelmaps import segment_tag
from S3NetSegmentLib.scene.volumes import volume_from_node

SHAPE = (7, 60, 64)


def discs():
    """A volume with a bright disc in a grey one, at rows 30, columns 28; and their masks [60, 64]."""
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    away = np.hypot(rows - 30, columns - 28)
    inner, outer = away < 8, (away >= 8) & (away < 17)
    rng = np.random.default_rng(3)
    plane = 100 + 300 * outer + 600 * inner
    return (plane + rng.normal(0, 12, SHAPE)).astype(np.int16), inner, outer


@pytest.fixture
def panel(open_panel, views):
    array, *_ = discs()
    node = slicer.util.addVolumeFromArray(array, name="discs")
    panel = open_panel(None, FakePropagation())
    panel.widget.parent.resize(400, 900)
    panel.ui.volumeSelector.setCurrentNode(node)
    for view in (views.axial, views.sagittal, views.coronal):
        panel.headless.slice_logic(view).GetSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    panel.open_few_shot()
    return panel


@pytest.fixture
def box(panel, views):
    """Draws a segment by a box: its name, first and last row and column, on axial slice ``number``."""

    def draw(name, top, bottom, left, right, number=3, wait=True):
        panel.look_at_slice(views.axial, number)
        choose(panel, name)
        corners = [slicer_place(panel, column, row, number) for row, column in ((top, left), (bottom, right))]
        panel.drag(views.axial, corners[0], tuple(np.mean(corners, 0)), corners[1])
        if wait:
            panel.wait(lambda: not panel.panel.few_shot.boxes.running)
            panel.settle(0.2)

    panel.click(panel.ui.boxDrawButton)
    return draw


def choose(panel, name):
    segmentation = panel.segmentation.GetSegmentation()
    segment_id = segmentation.GetSegmentIdBySegmentName(name) or panel.add_segment(name)
    panel.panel.editor.widget.setCurrentSegmentID(segment_id)


def slicer_place(panel, i, j, k):
    from S3NetSegmentLib.scene.volumes import volume_from_node

    return tuple(float(v) for v in volume_from_node(panel.parameters.volume).ras_of(np.array([i, j, k], float)))


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def rectangles():
    return slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode")


def test_a_box_draws_its_segment_on_that_slice_which_counts_as_drawn(panel, box, keep_picture):
    _, inner, _ = discs()
    box("Cavity", 21, 39, 19, 37)
    mask = panel.mask("Cavity")
    assert dice(mask[3], inner) > 0.93 and mask.sum() == mask[3].sum()
    assert ("axial 3", "Cavity", True) in panel.rows() and panel.ui.propagateButton.enabled
    assert rectangles() == 0 and panel.ui.boxDrawButton.checked
    keep_picture(panel.widget.parent, "few_shot_box")
    panel.panel.editor.undo()
    assert not panel.mask("Cavity").any()


def test_the_outer_of_two_boxes_becomes_a_ring(panel, box):
    _, inner, outer = discs()
    box("Cavity", 21, 39, 19, 37)
    box("Wall", 12, 48, 10, 46)
    assert dice(panel.mask("Wall")[3], outer) > 0.85 and dice(panel.mask("Cavity")[3], inner) > 0.93
    assert not (panel.mask("Wall") & panel.mask("Cavity")).any()


def test_the_other_way_round_the_outer_one_is_answered_anew(panel, box):
    _, inner, outer = discs()
    box("Wall", 12, 48, 10, 46)
    box("Cavity", 21, 39, 19, 37)
    assert dice(panel.mask("Wall")[3], outer) > 0.85 and dice(panel.mask("Cavity")[3], inner) > 0.93


def test_what_was_drawn_by_hand_stays(panel, box):
    square = np.zeros(SHAPE[1:], bool)
    square[27:33, 25:31] = True
    panel.draw("Hand", square, "z", 3)
    box("Wall", 12, 48, 10, 46)
    assert (panel.mask("Hand")[3] == square).all() and not panel.mask("Wall")[3][square].any()


def test_a_box_inside_a_drawing_is_cut_out_of_it(panel, box):
    _, inner, outer = discs()
    panel.draw("Organ", inner | outer, "z", 3)
    box("Cavity", 21, 39, 19, 37)
    assert dice(panel.mask("Cavity")[3], inner) > 0.93 and dice(panel.mask("Organ")[3], outer) > 0.93


def test_where_segments_may_overlap_the_others_lose_nothing(panel, box):
    _, inner, outer = discs()
    panel.draw("Organ", inner | outer, "z", 3)
    panel.panel.editor.widget.mrmlSegmentEditorNode().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    box("Cavity", 21, 39, 19, 37)
    assert (panel.mask("Organ")[3] == (inner | outer)).all() and dice(panel.mask("Cavity")[3], inner) > 0.93


def test_a_corrected_answer_is_not_answered_anew(panel, box):
    box("Cavity", 21, 39, 19, 37)
    corner = np.zeros(SHAPE[1:], bool)
    corner[2:5, 2:5] = True
    panel.draw("Cavity", corner, "z", 3)
    box("Wall", 12, 48, 10, 46)
    assert panel.mask("Cavity")[3][corner].all()


def test_a_second_box_around_the_same_replaces_and_one_elsewhere_adds(panel, box):
    _, inner, outer = discs()
    box("Cavity", 12, 48, 10, 46)
    box("Cavity", 13, 48, 10, 46)
    assert dice(panel.mask("Cavity")[3], inner | outer) > 0.85
    before = panel.mask("Cavity")[3].sum()
    box("Cavity", 2, 9, 50, 62)
    assert panel.mask("Cavity")[3].sum() > before and panel.mask("Cavity")[3][2:10, 50:].any()


def expected(panel):
    """Dice that is expected of the drawing of the only drawn segment."""
    (dice,) = panel.panel.few_shot.request("volume").expected.values()
    return dice


def test_as_good_as_what_was_found_in_a_box_is_expected_until_it_is_corrected_by_hand(panel, box, tmp_path):
    _, inner, _ = discs()
    box("Cavity", 21, 39, 19, 37)
    by_box = expected(panel)
    assert 0.5 < by_box < 0.97
    panel.propagate()
    assert f"{100 * 0.95 * by_box:.0f} %" in panel.ui.qualityText.text.replace("&nbsp;", " ")
    panel.click(panel.ui.discardButton)
    corner = np.zeros(SHAPE[1:], bool)
    corner[2:5, 2:5] = True
    panel.draw("Cavity", corner, "z", 3)
    assert expected(panel) == 1
    panel.panel.editor.undo()
    panel.settle(0.2)
    assert expected(panel) == by_box
    panel.draw("Cavity", np.roll(inner, 1, 0), "z", 5)
    assert expected(panel) == pytest.approx((1 + by_box) / 2)
    path = tmp_path / "drawn.seg.nrrd"
    drawn = panel.segmentation
    assert save_node(drawn, path) and tag_of(read_segmentation(path)) == tag_of(drawn) != ""
    image = volume_from_node(panel.ui.volumeSelector.currentNode())
    support = read_support([SupportFile(str(path))], image, "z", [], True)  # as the command line does
    assert support.expected == {"Cavity": pytest.approx((1 + by_box) / 2, abs=1e-4)}


def tag_of(node):
    return segment_tag(node, node.GetSegmentation().GetNthSegmentID(0), BOXED_TAG)


def test_a_click_draws_no_better_than_a_click_finds(panel, box, views):
    panel.look_at_slice(views.axial, 3)
    place = slicer_place(panel, 28, 30, 3)
    panel.drag(views.axial, place, place)
    panel.wait(lambda: not panel.panel.few_shot.boxes.running)
    panel.settle(0.2)
    assert 0.3 < expected(panel) < 0.97


def test_boxes_that_come_while_one_is_answered_wait_for_it(panel, box):
    box("Cavity", 21, 39, 19, 37, wait=False)
    box("Cavity", 21, 39, 19, 37, number=5)
    panel.wait(lambda: not panel.panel.few_shot.boxes.running)
    panel.settle(0.2)
    assert [row[0] for row in panel.rows()] == ["axial 3", "axial 5"] and rectangles() == 0


def test_a_click_draws_what_is_found_there_and_a_further_one_adds(panel, box, views):
    _, inner, outer = discs()
    panel.look_at_slice(views.axial, 3)
    for column, wanted in ((28, inner), (42, inner | outer)):
        place = slicer_place(panel, column, 30, 3)
        panel.drag(views.axial, place, place)
        panel.wait(lambda: not panel.panel.few_shot.boxes.running)
        panel.settle(0.2)
        assert dice(panel.mask("Segment_1")[3], wanted) > 0.9
    assert [row[0] for row in panel.rows()] == ["axial 3"]
    panel.panel.editor.undo()
    assert dice(panel.mask("Segment_1")[3], inner) > 0.9


def test_a_place_beside_the_image_and_no_segment_are_refused_in_words(panel, box, views):
    place = slicer_place(panel, 28, 30, 3)
    panel.look_at_slice(views.axial, 3)
    beside = slicer_place(panel, 200, 200, 3)
    panel.drag(views.axial, beside, beside)
    assert "outside" in panel.message and rectangles() == 0
    panel.segmentation.GetSegmentation().RemoveAllSegments()
    panel.drag(views.axial, place, tuple(v + 5 for v in place))
    assert "No segment is chosen" in panel.message and rectangles() == 0


def test_the_tool_ends_with_the_tab_and_with_a_tool_of_the_editor(panel, box, views):
    panel.panel.editor.widget.setActiveEffectByName("Paint")
    panel.panel.few_shot.refresh_views()
    assert not panel.ui.boxDrawButton.checked
    panel.click(panel.ui.boxDrawButton)
    assert panel.panel.editor.widget.activeEffect() is None and panel.ui.boxDrawButton.checked
    box("Cavity", 21, 39, 19, 37, wait=False)
    panel.open_segment()
    assert not panel.ui.boxDrawButton.checked and rectangles() == 0
    assert not panel.panel.few_shot.boxes.running


def test_a_box_that_cannot_be_answered_leaves_everything_as_it_was(panel, box, monkeypatch):
    def broken(*_, **__):
        yield from ()
        raise InputError("nothing is left in the box")

    monkeypatch.setattr(editor_section.BoxedSlices, "answer", broken)
    box("Cavity", 21, 39, 19, 37)
    assert "Nothing is left" in panel.message and not panel.mask("Cavity").any() and rectangles() == 0
