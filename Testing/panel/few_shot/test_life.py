"""Few-shot while things go on around it: live previews, nodes that go, scenes that close, are saved and loaded."""

import numpy as np
import pytest
import slicer
from fake_propagation import FakePropagation
from few_shot_drawings import preview_node, square

LONG = {"steps": 1000, "seconds": 0.005}


@pytest.fixture
def open_drawn(open_panel, views):
    """Opens the panel with a segment drawn on axial slices 4 and 8."""

    def opener(engine=None):
        panel = open_panel(None, engine or FakePropagation())
        panel.open_few_shot()
        panel.draw("Liver", square(), "z", 4)
        panel.draw("Liver", square(12, 14), "z", 8)
        return panel

    return opener


def begin(panel):
    panel.click(panel.ui.propagateButton)
    panel.settle(0.1)
    assert panel.panel.few_shot.controller.running


# -- live preview


def test_the_shown_slice_is_previewed_while_drawing(open_drawn, views):
    engine = FakePropagation()
    panel = open_drawn(engine)
    panel.look_at_slice(views.axial, 6)
    panel.settle(0.6)
    assert engine.runs == []
    panel.click(panel.ui.liveCheckBox)
    panel.wait(lambda: preview_node() is not None)
    result = panel.panel.few_shot.controller.result
    assert result.preview.answer.numbers == [6] and engine.full_runs == []
    panel.draw("Liver", square(20, 20), "z", 5)
    panel.wait(lambda: len(engine.quick_runs) == 2 and not panel.panel.few_shot.controller.is_live)
    assert (panel.panel.few_shot.controller.result.preview.answer.labels[6] > 0).sum() == square(20, 20).sum()
    assert not panel.mask("Liver")[6].any() and panel.ui.propagateButton.text == "Propagate"


def test_scrolling_previews_the_next_slice_and_drawn_ones_need_none(open_drawn, views):
    engine = FakePropagation()
    panel = open_drawn(engine)
    panel.click(panel.ui.liveCheckBox)
    panel.look_at_slice(views.axial, 6)
    panel.wait(lambda: len(engine.runs) == 1)
    panel.look_at_slice(views.axial, 8)
    panel.settle(0.7)
    assert len(engine.runs) == 1
    panel.look_at_slice(views.axial, 9)
    panel.wait(lambda: len(engine.runs) == 2)
    panel.settle(0.1)
    assert panel.panel.few_shot.controller.result.preview.answer.numbers == [6, 9]


def test_strokes_in_quick_succession_give_one_preview(open_drawn, views):
    engine = FakePropagation()
    panel = open_drawn(engine)
    panel.look_at_slice(views.axial, 6)
    panel.click(panel.ui.liveCheckBox)
    for number in range(5):
        panel.draw("Liver", square(20, 20 + number, 3), "z", 8)  # 0.2 s each
    assert engine.runs == []
    panel.wait(lambda: len(engine.runs) == 1)
    panel.settle(0.6)
    assert len(engine.runs) == 1


def test_a_live_preview_says_that_the_rest_is_older(open_drawn, views):
    panel = open_drawn()
    panel.look_at_slice(views.axial, 6)
    panel.propagate()
    panel.click(panel.ui.liveCheckBox)
    panel.draw("Liver", square(20, 20), "z", 5)
    panel.wait(lambda: "newer than the others" in panel.ui.answerText.text)
    assert len(panel.panel.few_shot.controller.result.preview.answer.numbers) == 9


def test_propagate_replaces_a_live_preview(open_drawn, views):
    engine = FakePropagation()
    panel = open_drawn(engine)
    panel.look_at_slice(views.axial, 6)
    panel.click(panel.ui.liveCheckBox)
    panel.wait(lambda: preview_node() is not None)
    panel.propagate()
    assert len(panel.panel.few_shot.controller.result.preview.answer.numbers) == 10
    nodes = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "preview" in n.GetName()]
    assert len(nodes) == 1


# -- nodes that go or change


def test_a_removed_volume_stops_the_run_and_the_drawing_stays(open_drawn, volume_node):
    panel = open_drawn(FakePropagation(**LONG))
    begin(panel)
    segmentation = panel.segmentation
    slicer.mrmlScene.RemoveNode(volume_node)
    assert not panel.panel.few_shot.controller.running and preview_node() is None
    assert "'MR head' was removed" in panel.message and segmentation.GetScene() is not None
    panel.wait(lambda: not panel.ui.propagateButton.enabled)


def test_a_removed_segmentation_stops_the_run_and_is_not_replaced_by_itself(open_drawn):
    panel = open_drawn(FakePropagation(**LONG))
    begin(panel)
    slicer.mrmlScene.RemoveNode(panel.segmentation)
    assert not panel.panel.few_shot.controller.running and "was removed" in panel.message
    panel.settle(0.4)
    assert panel.segmentation is None and not panel.ui.propagateButton.enabled
    assert "Choose or create a segmentation" in panel.ui.propagateButton.toolTip
    panel.draw_in_new_segmentation()
    panel.draw("Liver", square(), "z", 3)
    assert panel.rows() == [("axial 3", "Liver", True)] and panel.ui.propagateButton.enabled


def test_a_removed_other_volume_stops_the_run(open_drawn):
    panel = open_drawn(FakePropagation(**LONG))
    other = slicer.util.addVolumeFromArray(np.zeros((9, 36, 40)), name="Next patient")
    panel.choose(panel.ui.propagateComboBox, "Another volume")
    panel.ui.otherVolumeSelector.setCurrentNode(other)
    begin(panel)
    slicer.mrmlScene.RemoveNode(other)
    assert not panel.panel.few_shot.controller.running and "'Next patient' was removed" in panel.message


def test_changed_voxels_stop_the_run(open_drawn, volume_node):
    panel = open_drawn(FakePropagation(**LONG))
    begin(panel)
    slicer.util.arrayFromVolume(volume_node)[:] = 3
    slicer.util.arrayFromVolumeModified(volume_node)
    assert not panel.panel.few_shot.controller.running and "was changed" in panel.message


def test_a_segment_renamed_while_running_keeps_its_new_name(open_drawn):
    panel = open_drawn(FakePropagation(steps=60, seconds=0.01))
    begin(panel)
    segmentation = panel.segmentation.GetSegmentation()
    segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName("Liver")).SetName("Hepar")
    panel.wait(lambda: not panel.panel.few_shot.controller.running)
    panel.click(panel.ui.acceptButton)
    assert panel.mask("Hepar")[6].any()


def test_a_segment_removed_while_running_is_left_out_and_that_is_said(open_drawn):
    panel = open_drawn(FakePropagation(steps=60, seconds=0.01))
    panel.draw("Spleen", square(24, 24), "z", 4)
    begin(panel)
    segmentation = panel.segmentation.GetSegmentation()
    segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName("Spleen"))
    panel.wait(lambda: not panel.panel.few_shot.controller.running)
    panel.click(panel.ui.acceptButton)
    assert panel.names() == ["Liver"] and panel.mask("Liver")[6].any()
    assert "removed" in panel.message


def test_an_undo_while_running_is_told_and_loses_nothing(open_drawn):
    panel = open_drawn(FakePropagation(steps=60, seconds=0.01))
    begin(panel)
    panel.panel.editor.undo()  # the stroke on slice 8
    panel.wait(lambda: not panel.panel.few_shot.controller.running)
    panel.settle(0.2)
    assert "changed meanwhile" in panel.message and [row[0] for row in panel.rows()] == ["axial 4"]
    panel.click(panel.ui.acceptButton)
    assert (panel.mask("Liver")[4] == square()).all() and panel.mask("Liver")[6].any()


def test_a_preview_removed_by_hand_can_not_be_accepted(open_drawn):
    panel = open_drawn()
    panel.propagate()
    slicer.mrmlScene.RemoveNode(preview_node())
    panel.panel.few_shot.controller.accept()
    assert "preview is gone" in panel.message and not panel.mask("Liver")[6].any()


# -- scenes and modules


def test_closing_the_scene_while_running_drops_the_run(open_drawn):
    engine = FakePropagation(**LONG)
    panel = open_drawn(engine)
    begin(panel)
    slicer.mrmlScene.Clear(False)
    assert not panel.panel.few_shot.controller.running
    panel.settle(0.3)
    assert len(engine.full_runs) == 1 and engine.finished == 1  # the quick answer before it
    assert preview_node() is None and not panel.message
    assert panel.parameters.support == "" and panel.ui.segmentButton.isVisible()


def test_leaving_the_module_lets_the_run_end_and_finds_corrections_on_return(open_drawn):
    panel = open_drawn(FakePropagation(steps=60, seconds=0.01))
    begin(panel)
    panel.widget.exit()
    panel.wait(lambda: not panel.panel.few_shot.controller.running)
    panel.widget.enter()
    panel.click(panel.ui.acceptButton)
    panel.widget.exit()
    panel.draw("Liver", square(20, 20), "z", 11)  # e.g. in the Segment Editor module
    panel.widget.enter()
    assert [row[0] for row in panel.rows()] == ["axial 4", "axial 8", "axial 11 (corrected)"]


def test_unloading_the_module_leaves_no_observers_and_no_timers(open_drawn):
    panel = open_drawn()
    panel.propagate()
    few_shot = panel.panel.few_shot
    panel.close()
    assert not few_shot._watch.active and not few_shot._live.active and preview_node() is None
    assert few_shot.controller.support is None and few_shot.controller.result is None


def save_and_load(tmp_path):
    """What "Save scene" and "Load scene" do."""
    scene = slicer.mrmlScene
    scene.SetURL(str(tmp_path / "scene.mrml"))
    for name, ending in (("MR head", "nrrd"), ("MR head segmentation", "seg.nrrd")):
        node = slicer.util.getNode(name)
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(tmp_path / f"{name}.{ending}"))
        assert node.GetStorageNode().WriteData(node)
    assert scene.Commit()
    scene.Clear(False)
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.Connect()


def test_drawn_slices_choices_and_corrections_survive_a_saved_scene(open_drawn, views, tmp_path):
    panel = open_drawn()
    panel.ui.supportTable.item(0, 2).setCheckState(0)
    panel.look_at_slice(views.axial, 11)
    panel.click(panel.ui.addSliceButton)
    panel.click(panel.ui.liveCheckBox)
    panel.parameters.encoder, panel.parameters.fewShotSettings = "default", '{"seed": 9}'
    panel.click(panel.ui.liveCheckBox)
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    panel.click(panel.ui.liveCheckBox)
    rows = panel.rows()
    assert len(rows) == 3 and rows[2][1] == "nothing here"
    panel.settle(0.7)
    save_and_load(tmp_path)
    panel.settle(0.3)
    assert panel.ui.propagateButton.isVisible() and panel.rows() == rows and panel.ui.liveCheckBox.checked
    assert panel.panel.advanced.few_shot.settings().seed == 9 and panel.parameters.encoder == "default"
    assert preview_node() is None
    panel.draw("Liver", square(20, 20), "z", 9)
    assert [row[0] for row in panel.rows()] == ["axial 4", "axial 8", "axial 9 (corrected)", "axial 11"]


def test_texts_of_another_version_in_the_scene_are_no_harm(open_drawn):
    panel = open_drawn()
    panel.parameters.support, panel.parameters.acceptedAnswer = '{"version": 99}', "nonsense"
    panel.parameters.fewShotSettings = '{"no_such_setting": 1}'
    panel.settle(0.1)
    assert panel.panel.advanced.few_shot.changes() == {} and "are reset" in panel.message
    panel.widget.exit()
    panel.widget.enter()
    panel.propagate()
    assert panel.ui.acceptButton.isVisible()


def test_the_keyboard_goes_through_the_panel_from_top_to_bottom(open_drawn):
    panel = open_drawn()
    panel.propagate()
    panel.settle(0.1)
    ui, chain = panel.ui, []
    widget = panel.panel.tabs.bar
    for _ in range(400):
        if widget.focusPolicy:
            chain.append(widget)
        widget = widget.nextInFocusChain()
    order = [
        panel.panel.tabs.bar, ui.volumeSelector, ui.segmentationSelector, panel.panel.editor.widget, ui.supportTable,
        ui.addSliceButton, ui.goToSliceButton, ui.removeSliceButton, ui.propagateComboBox, ui.propagateButton,
        ui.liveCheckBox, ui.acceptButton, ui.discardButton, ui.nextSliceButton, ui.fewShotConfidenceCheckBox,
        ui.deviceComboBox,
    ]  # fmt: skip
    places = [min(n for n, w in enumerate(chain) if w is wanted or wanted.isAncestorOf(w)) for wanted in order]
    assert places == sorted(places)
