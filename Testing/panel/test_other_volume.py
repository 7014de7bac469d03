"""After another volume is selected, results do not go into the segmentation of the earlier one unawares."""

import numpy as np
import pytest
import slicer
from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from few_shot_drawings import square
from PyQt5.QtCore import Qt

from S3NetSegmentLib.scene.segmentation.reading import create_segmentation


@pytest.fixture
def other(volume_node):
    node = slicer.util.addVolumeFromArray(np.random.default_rng(2).normal(0, 9, (10, 30, 30)), name="CT")
    node.SetOrigin(5, 5, 5)
    return node


@pytest.fixture
def twin(volume_node):
    """Another image on the same grid, e.g. of another patient."""
    node = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(volume_node)[::-1].copy(), name="twin")
    node.SetSpacing(1, 1, 2)
    node.SetOrigin(-20, -18, -12)
    return node


@pytest.fixture
def panel(open_panel, views):
    panel = open_panel(FakeEngine(), FakePropagation())
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.segment()
    return panel


def names_of(node):
    return [node.GetSegmentation().GetSegment(i).GetName() for i in node.GetSegmentation().GetSegmentIDs()]


def segmentations():
    return {n.GetName(): n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")}


@pytest.mark.parametrize("which", ["CT", "twin"])
def test_results_of_another_volume_go_into_a_new_segmentation_and_that_is_said(panel, other, twin, which):
    first = panel.segmentation
    before = names_of(first)
    panel.ui.volumeSelector.setCurrentNode(slicer.util.getNode(which))
    assert panel.parameters.segmentation is None and panel.ui.segmentationSelector.currentNode() is None
    assert f"'MR head segmentation' belongs to 'MR head', not to '{which}'" in panel.message
    assert "Select 'MR head segmentation' again to go on in it" in panel.message
    panel.segment()
    assert names_of(first) == before and "Region 1" in names_of(segmentations()[f"{which} segmentation"])


def test_what_is_selected_after_the_volume_stays(panel, other):
    first = panel.segmentation
    panel.ui.volumeSelector.setCurrentNode(other)
    panel.ui.segmentationSelector.setCurrentNode(first)
    panel.settle(0.3)
    assert panel.parameters.segmentation is first
    panel.widget.exit()
    panel.widget.enter()
    panel.segment()
    assert panel.parameters.segmentation is first and list(segmentations()) == ["MR head segmentation"]


def test_a_script_that_sets_both_is_left_alone(panel, other):
    first = panel.segmentation
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    with slicer.util.NodeModify(panel.parameters):
        panel.parameters.volume, panel.parameters.segmentation = other, node
    assert panel.parameters.segmentation is node and not panel.message
    panel.parameters.segmentation = first
    assert panel.parameters.segmentation is first


def test_back_at_the_first_volume_its_segmentation_is_selected_again(panel, other, volume_node):
    first = panel.segmentation
    panel.ui.volumeSelector.setCurrentNode(other)
    panel.segment()
    second = segmentations()["CT segmentation"]
    panel.ui.volumeSelector.setCurrentNode(volume_node)
    assert panel.parameters.segmentation is first and "selected again" in panel.message
    panel.ui.volumeSelector.setCurrentNode(other)
    assert panel.parameters.segmentation is second


def test_few_shot_draws_in_a_new_segmentation_of_the_other_volume(panel, other, volume_node):
    panel.open_few_shot()
    panel.draw("Liver", square(), "z", 4)
    first = panel.parameters.segmentation
    panel.ui.volumeSelector.setCurrentNode(other)
    assert panel.parameters.segmentation is not first and panel.rows() == []
    assert panel.parameters.segmentation.GetNodeReference("referenceImageGeometryRef") is other
    assert "belongs to 'MR head'" in panel.message
    panel.ui.volumeSelector.setCurrentNode(volume_node)
    assert panel.parameters.segmentation is first and [row[0] for row in panel.rows()] == ["axial 4"]


@pytest.mark.parametrize("drawn", [(2, 6), (2, 6, 7, 8, 9, 11)], ids=["few", "half of all"])
def test_all_that_is_known_of_a_drawing_is_back_with_its_volume(panel, views, other, volume_node, drawn):
    panel.open_few_shot()
    for k in drawn:
        panel.draw("Liver", square(), "z", k)
    panel.look_at_slice(views.axial, 0)
    panel.click(panel.ui.addSliceButton)  # an empty one
    panel.ui.supportTable.item(1, 2).setCheckState(Qt.Unchecked)  # drawn in part
    known, rows = panel.parameters.support, panel.rows()
    assert [row[0] for row in rows] == [f"axial {k}" for k in (0, *drawn)] and not rows[1][2]
    for _ in range(2):
        panel.ui.volumeSelector.setCurrentNode(other)
        assert panel.rows() == [] and not panel.parameters.support
        panel.ui.volumeSelector.setCurrentNode(volume_node)
        assert panel.rows() == rows and panel.parameters.support == known


def test_a_segmentation_without_a_volume_of_its_own_is_judged_by_its_grid(panel, other, twin):
    node = panel.segmentation
    node.SetNodeReferenceID("referenceImageGeometryRef", None)  # e.g. loaded from a file
    panel.ui.volumeSelector.setCurrentNode(twin)
    assert panel.parameters.segmentation is node
    panel.ui.volumeSelector.setCurrentNode(other)
    assert panel.parameters.segmentation is None
    assert "the grid of 'MR head segmentation' is not that of 'CT'" in panel.message.replace("The grid", "the grid")


def test_an_empty_segmentation_belongs_to_nobody(open_panel, views, other):
    panel = open_panel(FakeEngine())
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.ui.volumeSelector.setCurrentNode(other)
    assert panel.parameters.segmentation is node and not panel.message


def test_the_pair_of_a_saved_scene_is_kept(panel, other, tmp_path):
    first = panel.segmentation
    panel.ui.volumeSelector.setCurrentNode(other)
    panel.ui.segmentationSelector.setCurrentNode(first)
    for node, ending in ((first, "seg.nrrd"), (other, "nrrd"), (slicer.util.getNode("MR head"), "nrrd")):
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(tmp_path / f"{node.GetName()}.{ending}"))
        assert node.GetStorageNode().WriteData(node)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(False)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Connect()
    panel.settle(0.2)
    assert panel.parameters.volume.GetName() == "CT"
    assert panel.parameters.segmentation.GetName() == "MR head segmentation" and not panel.message


def test_a_script_is_warned_when_its_segmentation_has_another_grid(open_panel, volume_node, other, twin, caplog, monkeypatch):  # fmt: skip
    import importlib

    import S3NetSegmentLib.engine.segment.find_regions as real
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    monkeypatch.setattr(real, "find_regions", FakeEngine())
    logic = importlib.import_module("S3NetSegment").S3NetSegmentLogic()
    mine = create_segmentation(volume_node, "mine")
    logic.segment(volume_node, segmentationNode=mine)
    logic.segment(twin, segmentationNode=mine)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    assert logic.segment(other, segmentationNode=mine) is mine
    (warning,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert "the grid of 'mine' is not that of 'CT'" in warning


def test_volumes_of_the_same_name_are_told_apart(panel, twin):
    twin.SetName("MR head")
    panel.ui.volumeSelector.setCurrentNode(twin)
    assert "'MR head segmentation' belongs to another volume named 'MR head'" in panel.message


def test_what_becomes_of_the_object_is_said_when_the_volume_shows_another_frame(open_panel, views, volume_node):
    panel = open_panel(FakeEngine())
    panel.view(views.axial).click((0.0, 0.0, 0.0))
    panel.wait(lambda: not panel.panel.controller.running)
    before = panel.mask("Object")
    assert not panel.message
    slicer.util.arrayFromVolume(volume_node)[:] = slicer.util.arrayFromVolume(volume_node)[:, ::-1].copy()
    slicer.util.arrayFromVolumeModified(volume_node)
    assert "next result replaces 'Object'; press Next object" in panel.message
    panel.click(panel.ui.nextObjectButton)
    panel.ui.keepOutCheckBox.click()
    panel.view(views.axial).click((3.0, 0.0, 0.0))
    panel.wait(lambda: not panel.panel.controller.running)
    assert panel.names() == ["Object", "Object 2"] and (panel.mask("Object") == before).all()


def test_the_editor_follows_when_volume_and_segmentation_change_at_once_beside_a_live_result(panel, other):
    """As with the next case of the tab Cohort: what is drawn must not go into the segmentation of the volume before."""
    node = create_segmentation(other)
    with slicer.util.NodeModify(panel.parameters):
        panel.parameters.volume, panel.parameters.segmentation = other, node
    editor = panel.panel.editor.widget
    assert panel.panel.controller.result is None
    assert editor.segmentationNode() is node and editor.sourceVolumeNode() is other
