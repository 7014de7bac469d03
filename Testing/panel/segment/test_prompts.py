"""The list of what was pointed at, undo, scenes, other volumes, and keeping out of other segments."""

import numpy as np
import slicer
from panel_pointing import CENTER, CORNERS, click, drag

from S3NetSegmentLib.scene.answers.provenance import segment_fact
from S3NetSegmentLib.scene.prompts import ATTRIBUTE, BOX, STROKE, prompt_nodes
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import volume_from_node


def rest(panel):
    panel.wait(lambda: not panel.panel.prompts.watch.waiting and not panel.panel.controller.running)


def names(panel):
    return [what for what, _ in panel.prompts()]


# -- the list


def test_nothing_is_listed_before_something_is_pointed_at(pointing, views):
    panel = pointing
    assert panel.prompts() == [] and not panel.ui.promptTable.isVisible()
    assert not panel.ui.deletePromptsButton.enabled and "nothing to remove" in panel.ui.deletePromptsButton.toolTip
    click(panel, views.axial, CENTER)
    assert panel.ui.promptTable.isVisible() and panel.ui.deletePromptsButton.enabled
    assert not panel.ui.goToPromptButton.enabled and "Select one line" in panel.ui.goToPromptButton.toolTip


def test_a_removed_line_of_the_list_leaves_the_question_and_the_answer_follows(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    click(panel, views.axial, (-14.0, 0.0, 0.0))
    click(panel, views.axial, (6.0, 0.0, 0.0), control=True)
    assert names(panel) == ["Box", "Point inside 1", "Point outside 1"] and not panel.mask()[6, 18, 26]
    panel.choose_prompts(2)
    panel.click(panel.ui.removePromptButton)
    panel.wait(lambda: panel.mask()[6, 18, 26])
    panel.choose_prompts(0)
    panel.click(panel.ui.removePromptButton)
    panel.wait(lambda: not panel.mask()[6, 12, 28])
    assert names(panel) == ["Point inside 1"] and panel.mask()[6, 18, 6]


def test_a_box_removed_elsewhere_leaves_the_list_and_the_question(pointing, views):
    panel = pointing
    click(panel, views.axial, (-14.0, 0.0, 0.0))
    drag(panel, views.axial, *CORNERS)
    slicer.mrmlScene.RemoveNode(prompt_nodes(BOX)[0])
    panel.wait(lambda: names(panel) == ["Point inside 1"] and not panel.mask()[6, 12, 28])


def test_without_anything_left_the_answer_stays(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    before = panel.mask()
    panel.click(panel.ui.deletePromptsButton)
    rest(panel)
    assert panel.prompts() == [] and (panel.mask() == before).all() and not panel.message


def test_go_to_shows_a_box_in_all_views(pointing, views):
    panel = pointing
    views.axial.SetSliceOffset(6.0)
    drag(panel, views.axial, (-8.0, -6.0, 6.0), (-2.0, 0.0, 6.0))
    views.axial.SetSliceOffset(-4.0)
    panel.choose_prompts(0)
    panel.click(panel.ui.goToPromptButton)
    assert views.axial.GetSliceOffset() == 6.0
    places = [view.GetSliceToRAS().GetElement(row, 3) for view, row in ((views.sagittal, 0), (views.coronal, 1))]
    np.testing.assert_allclose(places, (-5.0, -3.0), atol=0.1)


def test_a_run_without_prompts_leaves_the_object_of_a_box_alone(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    before, target = panel.mask(), panel.parameters.targetSegment
    assert segment_fact(panel.segmentation, target, "Boxes") == "-8,-6,0,8,6,0"
    panel.click(panel.ui.deletePromptsButton)
    rest(panel)
    panel.segment()
    assert "Object 2" in panel.names() and (panel.mask() == before).all()


# -- undo


def test_undo_takes_back_one_prompt_and_its_answer_after_the_other(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    box_alone = panel.mask()
    click(panel, views.axial, (6.0, 0.0, 0.0), control=True)
    drag(panel, views.axial, (-15.0, 10.0, 0.0), (-15.0, -10.0, 0.0), shift=True)
    everything = panel.mask()
    panel.click(panel.ui.undoButton)
    assert names(panel) == ["Box", "Point outside 1"] and not panel.mask()[6, 18, 5]
    panel.click(panel.ui.undoButton)
    assert names(panel) == ["Box"] and (panel.mask() == box_alone).all()
    panel.click(panel.ui.undoButton)
    assert panel.prompts() == [] and panel.segmentation.GetSegmentation().GetNumberOfSegments() == 0
    for _ in range(3):
        panel.click(panel.ui.redoButton)
    assert sorted(names(panel)) == ["Box", "Point outside 1", "Stroke"] and (panel.mask() == everything).all()
    rest(panel)
    asked = len(panel.engine.asked)
    panel.settle(0.2)
    assert len(panel.engine.asked) == asked and (panel.mask() == everything).all()


def test_undo_brings_a_dragged_side_and_a_removed_box_back(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    before = panel.mask()
    click(panel, views.axial, (-14.0, 0.0, 0.0))
    prompt_nodes(BOX)[0].SetSize(9.0, 13.0, 2.0)
    panel.wait(lambda: not panel.mask()[6, 18, 28])
    panel.choose_prompts(0)
    panel.click(panel.ui.removePromptButton)
    panel.wait(lambda: not panel.mask()[6, 24, 22])
    panel.click(panel.ui.undoButton)
    assert prompt_nodes(BOX)[0].GetSize() == (9.0, 13.0, 2.0) and panel.mask()[6, 24, 22]
    panel.click(panel.ui.undoButton)
    assert prompt_nodes(BOX)[0].GetSize() == (17.0, 13.0, 2.0) and panel.mask()[6, 18, 28]
    panel.click(panel.ui.undoButton)
    assert names(panel) == ["Box"] and (panel.mask() == before).all()


def test_what_is_undone_or_removed_takes_its_display_with_it(pointing, views):
    panel = pointing

    def displays():
        return slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsROIDisplayNode")

    for button in (panel.ui.undoButton, panel.ui.deletePromptsButton):
        drag(panel, views.axial, *CORNERS)
        assert displays() == 1
        panel.click(button)
        assert panel.prompts() == [] and displays() == 0
    drag(panel, views.axial, *CORNERS)
    panel.choose_prompts(0)
    panel.click(panel.ui.removePromptButton)
    assert displays() == 0


def test_what_was_painted_in_between_is_undone_first(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    painted = np.zeros((12, 36, 40), bool)
    painted[6, 30:34, 30:34] = True
    volume, editor = panel.parameters.volume, panel.panel.editor.widget
    with segment_edit(panel.segmentation, volume, editor.saveStateForUndo) as edit:  # as a brush would
        edit.add(panel.parameters.targetSegment, painted, volume_from_node(volume))
    panel.click(panel.ui.undoButton)
    assert names(panel) == ["Box"] and not panel.mask()[painted].any() and panel.mask()[6, 18, 20]
    panel.click(panel.ui.undoButton)
    assert panel.prompts() == []


def test_a_prompt_that_changes_nothing_is_a_step_of_its_own(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    box_alone = panel.mask()
    click(panel, views.axial, (14.0, 14.0, 0.0), control=True)  # there is nothing to take away
    assert names(panel) == ["Box", "Point outside 1"] and (panel.mask() == box_alone).all()
    panel.click(panel.ui.undoButton)
    assert names(panel) == ["Box"] and (panel.mask() == box_alone).all()
    panel.click(panel.ui.undoButton)
    assert panel.prompts() == [] and panel.segmentation.GetSegmentation().GetNumberOfSegments() == 0


# -- scenes and volumes


def test_boxes_and_strokes_are_saved_with_the_scene_and_go_on_there(pointing, views, tmp_path):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    drag(panel, views.axial, (-5.0, 0.0, 0.0), (5.0, 5.0, 0.0), shift=True)
    click(panel, views.axial, (6.0, 0.0, 0.0), control=True)
    listed, saved = panel.prompts(), panel.mask()
    asked = panel.engine.asked[-1]
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    kept = [(panel.parameters.volume, "nrrd"), (panel.segmentation, "seg.nrrd")]
    kept += [(node, "mrk.json") for node in slicer.util.getNodesByClass("vtkMRMLMarkupsNode")]
    for node, ending in kept:
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(tmp_path / f"{node.GetName()}.{ending}"))
        assert node.GetStorageNode().WriteData(node)
    assert slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(False)
    assert panel.prompts() == []
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Connect()
    panel.settle(0.3)
    assert panel.prompts() == listed and [n.GetAttribute(ATTRIBUTE) for n in prompt_nodes()] == [BOX, STROKE]
    panel.choose(panel.ui.scopeComboBox, "Whole volume")  # the views of the scene are not shown here
    panel.segment()
    for what in ("boxes", "strokes", "outside"):
        assert panel.engine.asked[-1][what] == asked[what]
    assert panel.names() == ["Object"] and (panel.mask()[6] == saved[6]).all()


def test_a_box_of_another_volume_is_refused_with_a_sentence_and_kept(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    other = slicer.util.addVolumeFromArray(np.random.default_rng(2).normal(0, 1, (12, 36, 40)), name="CT")
    panel.ui.volumeSelector.setCurrentNode(other)
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    assert panel.prompts() == [("Box", "on 'MR head'")]
    calls = len(panel.engine.calls)
    panel.segment()
    assert "'Box' was drawn on 'MR head', not on 'CT'" in panel.message and len(panel.engine.calls) == calls
    assert len(prompt_nodes(BOX)) == 1


def test_contradicting_prompts_are_refused_and_nothing_is_lost(pointing, views):
    panel = pointing
    click(panel, views.axial, CENTER)
    before = panel.mask()
    click(panel, views.axial, CENTER, control=True)
    assert "inside and outside at once" in panel.message
    assert (panel.mask() == before).all() and names(panel) == ["Point inside 1", "Point outside 1"]


def test_the_next_object_begins_without_the_prompts_of_the_last(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    first = panel.mask()
    panel.click(panel.ui.nextObjectButton)
    assert panel.prompts() == [] and not prompt_nodes()
    drag(panel, views.axial, (10.0, -6.0, 0.0), (16.0, 6.0, 0.0))
    assert panel.names() == ["Object", "Object 2"] and (panel.mask() == first).all()


# -- other segments


def test_an_object_keeps_out_of_other_visible_segments(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    first = panel.mask()
    panel.click(panel.ui.nextObjectButton)
    drag(panel, views.axial, (0.0, -10.0, 0.0), (16.0, 10.0, 0.0))
    assert panel.engine.asked[-1]["excluded"].sum() == first.sum()
    second = panel.mask("Object 2")
    assert second.any() and not (first & second).any()
    # Switched off, it may lie over them; switched on again it goes back.
    panel.click(panel.ui.keepOutCheckBox)
    panel.wait(lambda: (panel.mask("Object 2") & first).any())
    panel.click(panel.ui.keepOutCheckBox)
    panel.wait(lambda: not (panel.mask("Object 2") & first).any())


def test_hidden_segments_and_regions_are_no_obstacle(pointing, views):
    panel = pointing
    panel.segment()  # regions and the main object
    assert "Region 1" in panel.names()
    drag(panel, views.axial, *CORNERS)
    assert panel.engine.asked[-1]["excluded"] is None and panel.mask().sum() == 17 * 13
    panel.click(panel.ui.nextObjectButton)
    segment_id = panel.segmentation.GetSegmentation().GetSegmentIdBySegmentName("Object")
    panel.segmentation.GetDisplayNode().SetSegmentVisibility(segment_id, False)
    drag(panel, views.axial, (0.0, -10.0, 0.0), (16.0, 10.0, 0.0))
    assert panel.engine.asked[-1]["excluded"] is None


def test_pointing_into_another_segment_is_refused_with_the_remedy(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    panel.click(panel.ui.nextObjectButton)
    for gesture in ((CENTER,), ((-4.0, -4.0, 0.0), (4.0, 4.0, 0.0))):
        drag(panel, views.axial, *gesture)
        assert "lies in another visible segment" in panel.message and "Keep out" in panel.message
        assert panel.names() == ["Object"]
        panel.click(panel.ui.deletePromptsButton)
        rest(panel)
