"""Few-shot beside segments that Segment, a model or an earlier answer has made: they are no drawing unless the user says so."""

import numpy as np
import pytest
import slicer
from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from few_shot_drawings import square
from mrml import segment

from S3NetSegmentLib.engine.common.provenance import OutcomeFacts, TaskFacts, provenance
from S3NetSegmentLib.scene.segmentation.reading import write_model_answer
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import volume_from_node


@pytest.fixture
def panel(open_panel, views):
    """An object found by a click on axial slice 6, then the tab Few-shot."""
    panel = open_panel(FakeEngine(), FakePropagation())
    panel.place("inside", (0.0, 0.0, 0.0))
    panel.segment()
    assert panel.mask()[6].any() and not panel.mask()[7].any()
    panel.open_few_shot()
    return panel


def draw_liver(panel):
    panel.draw("Liver", square(), "z", 4)
    panel.draw("Liver", square(), "z", 8)


def request_of(panel):
    panel.propagate()
    return panel.panel.few_shot.controller.result.request


def test_a_slice_with_a_clicked_object_is_no_drawn_slice(panel):
    assert panel.rows() == []
    draw_liver(panel)
    assert panel.rows() == [("axial 4", "Liver", True), ("axial 8", "Liver", True)]
    before = panel.mask()
    request = request_of(panel)
    assert [item.index for item in request.items] == [4, 8]
    assert list(request.segments.values()) == [panel.segmentation.GetSegmentation().GetSegmentIdBySegmentName("Liver")]
    panel.click(panel.ui.acceptButton)
    assert panel.mask("Liver")[6].any() and (panel.mask() == before).all()


def test_an_object_of_the_whole_volume_is_not_drawn_on_the_slices_of_another_segment(open_panel, views):
    panel = open_panel(FakeEngine(), FakePropagation())
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.place("inside", (0.0, 0.0, 0.0))
    panel.segment()
    panel.open_few_shot()
    panel.draw("Liver", square(2, 2, 4), "z", 6)
    assert panel.mask()[6].any() and panel.rows() == [("axial 6", "Liver", True)]
    assert len(request_of(panel).segments) == 1


def test_a_later_result_does_not_join_the_slices_of_the_list(panel, views):
    draw_liver(panel)
    panel.look_at_slice(views.axial, 11)
    panel.click(panel.ui.addSliceButton)
    panel.open_segment()
    panel.click(panel.ui.nextObjectButton)
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.click(panel.ui.keepOutCheckBox)  # the new object lies over the first one
    panel.place("inside", (0.0, 0.0, 0.0))
    panel.segment()
    panel.ui.granularitySlider.value = 5
    assert panel.mask("Object 2")[11].any() and panel.mask("Object 2")[8].any()
    panel.open_few_shot()
    assert panel.rows() == [("axial 4", "Liver", True), ("axial 8", "Liver", True), ("axial 11", "nothing here", True)]


def test_the_user_can_add_the_slice_of_a_result(panel, views):
    panel.look_at_slice(views.axial, 6)
    panel.click(panel.ui.addSliceButton)
    assert panel.rows() == [("axial 6", "Object", True)]
    (item,) = request_of(panel).items
    assert (item.index, item.complete, bool(item.labels.any())) == (6, True, True)


def test_a_complete_slice_between_slices_with_other_segments_is_marked_in_its_row(panel, views, keep_picture):
    panel.look_at_slice(views.axial, 6)
    panel.click(panel.ui.addSliceButton)
    draw_liver(panel)
    assert panel.rows()[1] == ("axial 6", "Object; no Liver?", True)
    tip = panel.ui.supportTable.item(1, 2).toolTip()
    assert "Liver is drawn before and behind" in tip and not panel.ui.supportTable.item(1, 2).icon().isNull()
    panel.widget.parent.resize(400, 860)
    panel.settle(0.2)
    keep_picture(panel.widget.parent, "few_shot_missing_between")
    panel.ui.supportTable.item(1, 2).setCheckState(0)
    assert panel.rows()[1] == ("axial 6", "Object", False) and panel.ui.supportTable.item(1, 2).icon().isNull()


def test_what_was_erased_from_an_answer_is_not_marked_as_missing(open_panel, views):
    panel = open_panel(None, FakePropagation())
    panel.open_few_shot()
    draw_liver(panel)
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    panel.draw("Liver", np.ones((36, 40), bool), "z", 6, erase=True)
    assert panel.rows()[1] == ("axial 6 (corrected)", "nothing here", True)


def test_a_slice_that_is_painted_on_a_result_is_drawn(panel):
    panel.draw("Object", square(), "z", 9)
    assert panel.rows() == [("axial 9", "Object", True)]
    assert [item.index for item in request_of(panel).items] == [9]


def test_a_change_of_the_result_itself_is_no_drawn_slice_and_the_user_is_told(panel):
    panel.draw("Object", square(2, 2, 3), "z", 6)
    assert panel.rows() == [] and "'Object' was found without a drawing, and changed" in panel.message
    panel.draw("Object", square(2, 2, 3), "z", 6, erase=True)
    panel.panel.editor.undo()
    panel.settle(0.2)
    assert panel.rows() == []


def test_a_row_goes_with_its_segment_but_one_that_the_user_added_stays(panel, views):
    draw_liver(panel)
    panel.look_at_slice(views.axial, 11)
    panel.click(panel.ui.addSliceButton)
    segmentation = panel.segmentation.GetSegmentation()
    panel.panel.editor.save_undo(panel.segmentation, panel.parameters.volume)
    segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName("Liver"))
    panel.settle(0.2)
    assert panel.rows() == [("axial 11", "nothing here", True)]
    panel.panel.editor.undo()
    panel.settle(0.2)
    assert [row[0] for row in panel.rows()] == ["axial 4", "axial 8", "axial 11"]


def test_a_partial_slice_goes_with_its_drawing_too(panel):
    draw_liver(panel)
    panel.ui.supportTable.item(0, 2).setCheckState(0)
    panel.draw("Liver", np.ones((36, 40), bool), "z", 4, erase=True)
    assert panel.rows() == [("axial 8", "Liver", True)]


def test_a_corrected_slice_goes_with_its_segment(open_panel, views):
    panel = open_panel(None, FakePropagation())
    panel.open_few_shot()
    draw_liver(panel)
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    panel.draw("Spleen", square(24, 24, 4), "z", 10)
    assert [row[0] for row in panel.rows()] == ["axial 4", "axial 8", "axial 10 (corrected)"]
    segmentation = panel.segmentation.GetSegmentation()
    segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName("Spleen"))
    panel.settle(0.2)
    assert [row[0] for row in panel.rows()] == ["axial 4", "axial 8"]
    segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName("Liver"))
    panel.settle(0.2)
    assert panel.rows() == []


def model_segment(node, volume_node, slices, **task):
    labels = np.zeros((12, 36, 40), np.uint8)
    labels[slices] = square(20, 20)
    from S3NetSegmentLib.engine import Segmentation

    tags = provenance(TaskFacts("Model", **task), OutcomeFacts("cpu"))
    found = Segmentation([labels], [segment("Kidney", tags=tags)], volume_from_node(volume_node).ijk_to_ras)
    write_model_answer(found, volume_node, node)


def test_the_answer_of_a_model_is_no_drawn_slice(panel, volume_node):
    model_segment(panel.segmentation, volume_node, [5])
    draw_liver(panel)
    assert panel.rows() == [("axial 4", "Liver", True), ("axial 8", "Liver", True)]


@pytest.mark.parametrize("method", ["Segment", "Segment, object at points", "Model", "Few-shot"])
def test_a_loaded_result_is_no_drawing_also_with_tags_of_an_earlier_version(open_panel, volume_node, views, method):
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    panel = open_panel(None, FakePropagation())
    node = create_segmentation(volume_node, "from a file")
    mask = np.zeros((12, 36, 40), bool)
    mask[5] = square()
    tags = {"S3NetSegment.Method": method, "S3NetSegment.Volume": "MR head", "S3NetSegment.Drawn": "z 5"}
    with segment_edit(node, volume_node) as edit:
        edit.add_segment(segment("Found", tags=tags), mask, volume_from_node(volume_node))
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.open_few_shot()
    assert panel.rows() == []
    panel.draw("Liver", square(), "z", 2)
    assert panel.rows() == [("axial 2", "Liver", True)]


def test_what_does_not_count_stays_so_in_a_saved_scene(panel, views, volume_node):
    from S3NetSegmentLib.scene.drawings.support_set import support_from_text

    panel.look_at_slice(views.axial, 6)
    draw_liver(panel)
    panel.draw("Bone", square(2, 2, 3), "z", 6)
    kept = support_from_text(panel.parameters.support)
    assert [(s.index, s.added, len(s.without)) for s in kept] == [(4, False, 1), (6, False, 1), (8, False, 1)]
    panel.widget.exit()
    panel.widget.enter()
    assert panel.rows()[1] == ("axial 6", "Bone; no Liver?", True)


@pytest.mark.parametrize("opened_before", [True, False])
def test_what_was_drawn_by_hand_counts_although_segment_adds_to_it(open_panel, views, opened_before):
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    panel = open_panel(FakeEngine(), FakePropagation())
    panel.parameters.segmentation = create_segmentation(panel.parameters.volume)
    if opened_before:
        panel.open_few_shot()
    panel.draw("Liver", square(), "z", 4)
    panel.draw("Liver", square(), "z", 8)
    panel.open_segment()
    panel.choose(panel.ui.targetComboBox, "Liver")
    panel.place("inside", (0.0, 0.0, 0.0))
    panel.segment()
    assert panel.names() == ["Liver"] and panel.mask("Liver")[6].any()
    panel.draw("Liver", square(), "z", 10)
    panel.open_few_shot()
    assert [row[0] for row in panel.rows()] == ["axial 4", "axial 8", "axial 10"]


def test_a_result_that_is_written_again_leaves_what_the_user_drew_on_it(panel):
    panel.draw("Object", square(), "z", 9)
    panel.open_segment()
    panel.ui.granularitySlider.value = 4
    panel.open_few_shot()
    assert panel.rows() == [("axial 9", "Object", True)]


def test_the_tags_of_a_result_replace_those_of_an_earlier_one(panel, views):
    from S3NetSegmentLib.scene.answers.provenance import made_by, segment_fact

    panel.look_at_slice(views.axial, 6)
    panel.click(panel.ui.addSliceButton)
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    segment_id = panel.segmentation.GetSegmentation().GetSegmentIdBySegmentName("Object")
    fact = lambda name: segment_fact(panel.segmentation, segment_id, name)  # noqa: E731
    assert made_by(panel.segmentation, segment_id) == "Few-shot" and fact("Points") is None and fact("Role") is None
    assert fact("Support") == "MR head segmentation z=6" and fact("Image") == "MR head"


@pytest.mark.parametrize("tags", [{"Support": "MR z=4"}, {"Drawn": "z 4"}, {"Points": "1,2,3"}])
def test_a_segment_made_in_the_panel_from_a_drawing_is_semiautomatic_in_dicom_seg(tags):
    pytest.importorskip("highdicom", reason="DICOM SEG is written with highdicom")
    from S3NetSegmentLib.engine.images.dicom.seg_terms import segment_description

    made = segment(tags={"S3NetSegment.Method": "Few-shot", **{f"S3NetSegment.{n}": t for n, t in tags.items()}})
    assert segment_description(1, made, "S3NetSegment").SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_segments_that_a_model_found_are_automatic_in_dicom_seg():
    pytest.importorskip("highdicom", reason="DICOM SEG is written with highdicom")
    from S3NetSegmentLib.engine.images.dicom.seg_terms import segment_description

    made = segment(tags=provenance(TaskFacts("Model", "CT"), OutcomeFacts("cpu")))
    assert segment_description(1, made, "S3NetSegment").SegmentAlgorithmType == "AUTOMATIC"


def test_hidden_and_renamed_segments_stay_what_they_are(panel):
    draw_liver(panel)
    segmentation = panel.segmentation.GetSegmentation()
    panel.segmentation.GetDisplayNode().SetSegmentVisibility(segmentation.GetSegmentIdBySegmentName("Liver"), False)
    segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName("Object")).SetName("Kidney")
    panel.settle(0.2)
    assert panel.rows() == [("axial 4", "Liver", True), ("axial 8", "Liver", True)]
    assert slicer.mrmlScene.GetNodeByID(panel.segmentation.GetID()) is panel.segmentation
