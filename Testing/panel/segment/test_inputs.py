"""What can be chosen before the button is pressed, and why it cannot be pressed."""

import numpy as np
import pytest
import slicer
from fake_engine import FakeEngine

from S3NetSegmentLib.engine import Extent
from S3NetSegmentLib.scene.volumes import matrix_from_array


def test_without_a_volume_the_button_says_what_is_missing(open_panel, volume_node):
    slicer.mrmlScene.RemoveNode(volume_node)
    panel = open_panel(FakeEngine())
    assert not panel.ui.segmentButton.enabled
    assert panel.ui.segmentButton.toolTip.startswith("Select a volume first")


def test_controls_of_a_result_say_that_there_is_none_yet(open_panel):
    panel = open_panel(FakeEngine())
    ui = panel.ui
    for widget in (ui.granularitySlider, ui.pickButton, ui.regionCountComboBox, ui.undoButton, ui.answer1Button):
        assert not widget.enabled and widget.toolTip == "Press Segment first", widget.name
    assert not ui.nextObjectButton.enabled and "new segment already" in ui.nextObjectButton.toolTip


def test_label_maps_are_not_offered_as_images(open_panel):
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    colour = slicer.util.addVolumeFromArray(np.zeros((1, 9, 9, 3), np.uint8), name="colour", nodeClassName="vtkMRMLVectorVolumeNode")  # fmt: skip
    panel = open_panel(FakeEngine())
    panel.ui.volumeSelector.setCurrentNode(labels)
    assert panel.ui.volumeSelector.currentNode() is not labels
    panel.ui.volumeSelector.setCurrentNode(colour)
    assert panel.parameters.volume is colour


def test_the_shown_slice_is_named_live(open_panel, views):
    panel = open_panel(FakeEngine())
    assert panel.ui.sliceText.text == "Left: axial slice 6"
    views.axial.SetSliceOffset(4.0)
    panel.wait(lambda: panel.ui.sliceText.text == "Left: axial slice 8")


def test_the_slice_of_the_view_under_the_cursor_is_segmented(open_panel, views):
    engine = FakeEngine()
    panel = open_panel(engine)
    crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    views.sagittal.SetSliceOffset(5.0)
    crosshair.SetCursorPositionXYZ([10.0, 10.0, 0.0], views.sagittal)
    crosshair.SetCursorPositionInvalid()  # the cursor has left for the panel
    panel.wait(lambda: panel.ui.sliceText.text == "Middle: sagittal slice 15")
    panel.segment()
    assert engine.calls[0]["axis"] == "x"
    assert engine.calls[0]["extent"] == Extent((15, 0, 0), (16, 36, 12))


def test_a_view_beside_the_volume_disables_the_button_and_says_why(open_panel, views):
    panel = open_panel(FakeEngine())
    for node in (views.axial, views.sagittal, views.coronal):
        node.SetSliceOffset(500.0)
    panel.wait(lambda: not panel.ui.segmentButton.enabled)
    assert "does not cut" in panel.ui.segmentButton.toolTip
    views.axial.SetSliceOffset(0.0)
    panel.wait(lambda: panel.ui.segmentButton.enabled)


def test_an_oblique_view_is_segmented_on_its_own_plane(open_panel, views):
    import vtk

    turn = vtk.vtkTransform()
    turn.RotateX(30)
    turn.RotateY(10)
    views.axial.GetSliceToRAS().DeepCopy(turn.GetMatrix())
    views.axial.UpdateMatrices()
    engine = FakeEngine()
    panel = open_panel(engine)
    panel.wait(lambda: "oblique" in panel.ui.sliceText.text)
    panel.place("inside", (0.0, 0.0, 0.0))
    panel.segment()
    volume = engine.calls[0]["volume"]
    assert volume.size[2] == 1 and volume.size[0] > 20
    mask = panel.mask()
    assert mask[6, 18, 20] and 0 < mask.any(axis=(1, 2)).sum() < 9


def test_a_range_of_slices_is_searched(open_panel):
    engine = FakeEngine()
    panel = open_panel(engine)
    panel.choose(panel.ui.scopeComboBox, "Slice range")
    assert panel.ui.rangeRow.isVisible() and not panel.ui.sliceText.isVisible()
    assert panel.ui.lastSliceSpinBox.maximum == 11
    panel.ui.firstSliceSpinBox.value, panel.ui.lastSliceSpinBox.value = 3, 8
    panel.segment()
    assert engine.calls[0]["extent"] == Extent((0, 0, 3), (40, 36, 9))
    panel.choose(panel.ui.axisComboBox, "along i")
    assert panel.ui.lastSliceSpinBox.maximum == 39


def test_a_reversed_range_disables_the_button_and_says_why(open_panel):
    panel = open_panel(FakeEngine())
    panel.choose(panel.ui.scopeComboBox, "Slice range")
    panel.ui.firstSliceSpinBox.value = 5
    panel.wait(lambda: not panel.ui.segmentButton.enabled)
    assert "must not come after" in panel.ui.segmentButton.toolTip


def test_only_the_roi_is_searched_and_it_must_be_chosen_first(open_panel):
    engine = FakeEngine()
    panel = open_panel(engine)
    panel.choose(panel.ui.scopeComboBox, "ROI")
    panel.wait(lambda: not panel.ui.segmentButton.enabled)
    assert "ROI" in panel.ui.segmentButton.toolTip
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetCenter(0, 0, 0)
    roi.SetSize(10, 12, 8)
    panel.ui.roiSelector.setCurrentNode(roi)
    panel.wait(lambda: panel.ui.segmentButton.enabled)
    panel.segment()
    start, stop = engine.calls[0]["extent"].start, engine.calls[0]["extent"].stop
    assert all(4 <= b - a <= 13 for a, b in zip(start, stop, strict=True))


def test_points_of_other_slices_do_not_count_but_one_must_be_here(open_panel, views):
    panel = open_panel(FakeEngine())
    panel.place("inside", (0.0, 0.0, 8.0))
    panel.segment()
    assert "no point, box or stroke lies in" in panel.message.lower() and "axial slice 6" in panel.message
    panel.place("inside", (0.0, 0.0, 0.0))
    panel.segment()
    assert panel.names() == ["Object"] and set(np.nonzero(panel.mask())[0]) == {6}


def test_an_object_grows_slice_by_slice(open_panel, views):
    panel = open_panel(FakeEngine())
    panel.place("inside", (0.0, 0.0, 0.0))
    panel.segment()
    first = panel.mask()
    views.axial.SetSliceOffset(2.0)
    panel.wait(lambda: "slice 7" in panel.ui.sliceText.text)
    panel.place("inside", (0.0, 0.0, 2.0))
    panel.segment()
    assert panel.names() == ["Object"]
    assert set(np.nonzero(panel.mask())[0]) == {6, 7} and (panel.mask()[6] == first[6]).all()


def test_only_outside_points_are_refused_with_the_remedy(open_panel):
    panel = open_panel(FakeEngine())
    panel.place("outside", (0.0, 0.0, 0.0))
    panel.segment()
    assert "only outside points" in panel.message


def test_a_point_outside_the_image_is_refused_with_the_remedy(open_panel):
    panel = open_panel(FakeEngine())
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.place("inside", (300.0, 0.0, 0.0))
    panel.segment()
    assert "outside image" in panel.message


def test_a_non_linear_transform_is_refused_with_the_remedy(open_panel, volume_node):
    panel = open_panel(FakeEngine())
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    volume_node.SetAndObserveTransformNodeID(transform.GetID())
    panel.wait(lambda: not panel.ui.segmentButton.enabled)
    assert "harden the transform" in panel.ui.segmentButton.toolTip.lower()


@pytest.mark.parametrize("name", ["volumeSelector", "scopeComboBox", "pointButton", "deletePromptsButton", "radiusSpinBox",
    "keepOutCheckBox", "goToPromptButton", "removePromptButton", "promptTable", "segmentationSelector", "targetComboBox", "confidenceCheckBox", "segmentButton", "granularitySlider",
    "pickButton", "undoButton", "redoButton", "deviceComboBox", "presetComboBox", "resetSettingsButton"])  # fmt: skip
def test_every_control_has_a_tooltip(open_panel, name):
    assert len(getattr(open_panel(FakeEngine()).ui, name).toolTip) > 10


def test_a_turned_roi_is_searched_as_the_box_around_it_and_that_is_said(open_panel, views):
    panel = open_panel(FakeEngine())
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    panel.choose(panel.ui.scopeComboBox, "ROI")
    panel.parameters.roi = roi
    for degrees in (0, 30):
        turn = np.eye(4)
        sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
        turn[:2, :2] = [[cosine, -sine], [sine, cosine]]
        roi.SetAndObserveObjectToNodeMatrix(matrix_from_array(turn))
        roi.SetSize(20, 10, 8)
        panel.segment()
        assert ("'R' is turned" in panel.message) == (degrees > 0)


def test_the_slice_of_a_view_that_shows_a_slab_is_its_middle_and_that_is_said(open_panel, views):
    panel = open_panel(FakeEngine())
    views.axial.SetSlabReconstructionEnabled(True)
    panel.wait(lambda: "axial slice 6 (the view shows a slab" in panel.ui.sliceText.text)
