"""Scenes that close, volumes that go, modules that are left, entered again and unloaded, parameters that are saved."""

import json

import numpy as np
import pytest
import slicer
from fake_engine import FakeEngine

LONG = {"steps": 1000, "seconds": 0.005}


def start(panel):
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.click(panel.ui.segmentButton)
    panel.settle(0.1)
    assert panel.panel.controller.running


def test_closing_the_scene_while_running_drops_the_run(open_panel, views):
    engine = FakeEngine(**LONG)
    panel = open_panel(engine)
    start(panel)
    slicer.mrmlScene.Clear(False)
    assert not panel.panel.controller.running
    panel.settle(0.3)
    assert engine.finished == 0 and panel.segmentation is None
    assert panel.ui.segmentButton.text == "Segment" and not panel.ui.segmentButton.enabled
    assert panel.parameters is not None and panel.parameters.volume is None


def test_removing_the_volume_while_running_stops_the_run_and_says_so(open_panel, volume_node):
    panel = open_panel(FakeEngine(**LONG))
    start(panel)
    slicer.mrmlScene.RemoveNode(volume_node)
    assert not panel.panel.controller.running
    assert "'MR head' was removed" in panel.message
    panel.wait(lambda: not panel.ui.segmentButton.enabled)


def test_changed_voxels_while_running_stop_the_run_and_say_so(open_panel, volume_node):
    panel = open_panel(FakeEngine(**LONG))
    start(panel)
    slicer.util.arrayFromVolume(volume_node)[:] = 3
    slicer.util.arrayFromVolumeModified(volume_node)
    assert not panel.panel.controller.running and "was changed" in panel.message


def test_a_segmentation_removed_while_running_is_replaced_by_a_new_one(open_panel, volume_node):
    panel = open_panel(FakeEngine(steps=60, seconds=0.01))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    panel.ui.segmentationSelector.setCurrentNode(node)
    start(panel)
    slicer.mrmlScene.RemoveNode(node)
    panel.wait(lambda: not panel.panel.controller.running)
    assert "Region 1" in panel.names() and panel.segmentation.GetName() == "MR head segmentation"


def test_a_result_is_let_go_when_its_volume_or_segmentation_goes(open_panel, volume_node):
    panel = open_panel(FakeEngine())
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.segment()
    slicer.mrmlScene.RemoveNode(panel.segmentation)
    assert panel.panel.controller.result is None and not panel.ui.granularitySlider.enabled
    panel.segment()
    slicer.mrmlScene.RemoveNode(volume_node)
    assert panel.panel.controller.result is None and "Region 1" in panel.names()


def test_switching_to_another_volume_lets_the_result_go_and_its_segments_stay(open_panel):
    panel = open_panel(FakeEngine())
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.segment()
    other = slicer.util.addVolumeFromArray(np.random.default_rng(2).normal(0, 1, (4, 20, 20)), name="other")
    panel.ui.volumeSelector.setCurrentNode(other)
    assert panel.panel.controller.result is None
    assert "Region 1" in panel.names()
    panel.ui.segmentationSelector.setCurrentNode(None)
    panel.segment()
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 2


def test_a_run_goes_on_after_the_module_is_left_and_its_result_is_there_on_return(open_panel):
    panel = open_panel(FakeEngine(steps=60, seconds=0.01))
    start(panel)
    panel.widget.exit()
    panel.wait(lambda: not panel.panel.controller.running)
    assert "Region 1" in panel.names()
    panel.widget.enter()
    assert panel.ui.granularitySlider.enabled and panel.ui.segmentationSelector.currentNode() is panel.segmentation


def test_leaving_the_module_switches_all_tools_off(open_panel, views):
    panel = open_panel(FakeEngine())
    assert panel.ui.pointButton.checked
    interactor = panel.view(views.axial).interactor()
    assert interactor.HasObserver("LeftButtonPressEvent")
    panel.widget.exit()
    assert not panel.ui.pointButton.checked and not interactor.HasObserver("LeftButtonPressEvent")
    panel.widget.enter()
    panel.widget.exit()
    panel.widget.enter()
    assert panel.ui.pointButton.checked
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.segment()
    assert "Region 1" in panel.names()


def test_unloading_the_module_leaves_no_observers_and_no_timers(open_panel, views, volume_node):
    panel = open_panel(FakeEngine())
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.place("inside", (0.0, 0.0, 0.0))
    panel.segment()
    panel.click(panel.ui.pickButton)
    inner = panel.panel
    panel.close()
    assert not inner._refresh_timer.active and not inner.prompts.watch.waiting
    assert (
        inner.inputs.last_view is None
        and not inner.prompts.watch.observed
        and not inner.segment.target._segments.active
    )
    assert not inner.segment.adjust._mouse.active and inner.controller.result is None
    assert not panel.widget.Observations
    for slice_node in (views.axial, views.sagittal):
        interactor = panel.application.layoutManager().view(slice_node).interactor()
        assert not interactor.HasObserver("LeftButtonPressEvent")


def test_the_panel_can_be_opened_again_after_it_was_unloaded(open_panel):
    open_panel(FakeEngine()).close()
    panel = open_panel(FakeEngine())
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.segment()
    assert "Region 1" in panel.names()


def change_everything(panel):
    panel.choose(panel.ui.scopeComboBox, "Slice range")
    panel.ui.firstSliceSpinBox.value, panel.ui.lastSliceSpinBox.value = 2, 9
    panel.place("inside", (1.0, 2.0, 0.0))
    panel.ui.radiusSpinBox.value = 7.5
    panel.drag(panel.axial, (-8.0, -8.0, 0.0), (8.0, 8.0, 0.0))
    panel.wait(lambda: not panel.panel.controller.running)
    panel.click(panel.ui.keepOutCheckBox)
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.choose(panel.ui.presetComboBox, "Paper (slow)")
    panel.click(panel.ui.confidenceCheckBox)
    panel.parameters.settings = json.dumps({"seed": 9})
    panel.segment()
    panel.ui.granularitySlider.value = 4


def assert_everything_is_back(panel):
    ui, parameters = panel.ui, panel.parameters
    assert ui.scopeComboBox.currentText == "Slice range"
    assert (ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value) == (2, 9)
    assert [what for what, _ in panel.prompts()] == ["Box", "Point inside 1"] and ui.radiusSpinBox.value == 7.5
    assert not ui.keepOutCheckBox.checked
    assert ui.presetComboBox.currentText == "Paper (slow)" and ui.confidenceCheckBox.checked
    assert ui.volumeSelector.currentNode().GetName() == "MR head"
    assert ui.targetComboBox.currentText == "Object" and parameters.granularity == 4
    assert panel.panel.advanced.segment.settings().seed == 9


def test_all_choices_survive_a_scene_file(open_panel, views, tmp_path, monkeypatch):
    panel = open_panel(FakeEngine())
    panel.axial = views.axial
    change_everything(panel)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        if node.GetStorageNode() is not None and node.GetStorageNode().GetFileName():
            node.GetStorageNode().SetFileName(None)
    kept = {node.GetID(): node for node in slicer.util.getNodesByClass("vtkMRMLStorableNode")}
    for name, ending in (
        ("MR head", "nrrd"),
        ("MR head segmentation", "seg.nrrd"),
        ("Inside points", "mrk.json"),
        ("Box", "mrk.json"),
    ):
        node = slicer.util.getNode(name)
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(tmp_path / f"{name}.{ending}"))
        assert node.GetStorageNode().WriteData(node)
    assert kept and slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(False)
    assert panel.ui.scopeComboBox.currentText == "Current slice" and panel.ui.radiusSpinBox.value == 0
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Connect()
    panel.settle(0.1)
    assert_everything_is_back(panel)
    # The saved object goes on where it was: the same question gives the same segment.
    saved = panel.mask()
    panel.segment()
    assert panel.names() == ["Object"] and (panel.mask() == saved).all()


@pytest.mark.parametrize("text", ["{", '{"no_such_setting": 1}', '{"seed": -5}', "[1]"])
def test_settings_of_another_version_are_reset_and_reported(open_panel, text):
    panel = open_panel(FakeEngine())
    panel.parameters.settings = text
    assert panel.panel.advanced.segment.changes() == {} and "are reset" in panel.message
