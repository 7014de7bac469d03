"""What Few-shot is asked for: on which slices, in which volume, with which settings and encoder; and what the panel tells of an answer:
quality, the next slice, notes, confidence, refusals."""

import numpy as np
import pytest
import slicer
from fake_propagation import FakePropagation
from few_shot_drawings import preview_node, square

from S3NetSegmentLib.engine import InputError, ResourceError
from S3NetSegmentLib.engine.few_shot.answer import SegmentOutlook


def test_only_the_current_slice_can_be_asked_for(open_drawn, views):
    panel = open_drawn()
    panel.choose(panel.ui.propagateComboBox, "Current slice")
    panel.look_at_slice(views.axial, 6)
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    assert np.flatnonzero(panel.mask("Liver").any((1, 2))).tolist() == [4, 6, 8]


def test_the_current_slice_may_run_across_the_drawn_ones(open_drawn, views):
    panel = open_drawn()
    panel.choose(panel.ui.propagateComboBox, "Current slice")
    panel.look_at_slice(views.sagittal, 15, "x")
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    liver = panel.mask("Liver")
    assert liver[:, :, 15].any(1).all() and np.flatnonzero(liver.any((1, 2))).size == 12
    assert np.flatnonzero(liver[[0, 6, 11]].any((0, 1))).tolist() == [15]


def test_the_drawing_can_be_taken_to_another_volume(open_drawn, keep_picture):
    panel = open_drawn()
    before = panel.mask("Liver")
    other = slicer.util.addVolumeFromArray(np.random.default_rng(3).normal(0, 1, (9, 36, 40)), name="Next patient")
    assert not panel.ui.otherVolumeSelector.isVisible()
    panel.choose(panel.ui.propagateComboBox, "Another volume")
    assert panel.ui.otherVolumeSelector.isVisible() and not panel.ui.propagateButton.enabled
    assert "Select the volume" in panel.ui.propagateButton.toolTip
    panel.ui.otherVolumeSelector.setCurrentNode(panel.parameters.volume)
    assert not panel.ui.propagateButton.enabled
    panel.ui.otherVolumeSelector.setCurrentNode(other)
    panel.propagate()
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "few_shot_other_volume")
    panel.click(panel.ui.acceptButton)
    made = slicer.util.getNode("Next patient segmentation")
    names = [made.GetSegmentation().GetNthSegment(n).GetName() for n in range(2)]
    assert names == ["Liver", "Spleen"] and "Next patient" in panel.ui.answerText.text
    assert (
        panel.parameters.segmentation is not made
        and (panel.mask("Liver", panel.parameters.segmentation) == before).all()
    )


def test_one_engine_is_kept_for_one_volume(open_drawn):
    engine = FakePropagation()
    panel = open_drawn(engine)
    panel.propagate()
    panel.draw("Liver", square(), "z", 11)
    panel.propagate()
    assert len(engine.made) == 1 and len(engine.runs[-1]["items"]) == 3
    slicer.util.arrayFromVolume(panel.parameters.volume)[0] += 1
    slicer.util.arrayFromVolumeModified(panel.parameters.volume)
    panel.propagate()
    assert len(engine.made) == 2


def test_settings_encoder_and_device_reach_the_engine(open_drawn, keep_picture):
    engine = FakePropagation()
    panel = open_drawn(engine)
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.settle(0.1)
    panel.panel.advanced.few_shot.more.collapsed = False
    panel.settle(0.1)
    _, target = panel.panel.advanced.few_shot._rows["target"]
    assert target.widget.isVisible() and not panel.ui.presetComboBox.isVisible()
    panel.widget.parent.resize(400, 1500)
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "few_shot_advanced")
    target.widget.currentIndex = target.widget.findText("scattered")
    panel.choose(panel.ui.encoderComboBox, "None (no weights needed)")
    panel.propagate()
    assert engine.made[0]["settings"].target == "scattered" and engine.made[0]["encoder"] == "default"
    panel.click(panel.ui.resetFewShotButton)
    assert panel.parameters.fewShotSettings == "{}" and target.read() == "auto"
    panel.open_segment()
    assert not target.widget.isVisible() and panel.ui.presetComboBox.isVisible()


def test_the_encoder_may_be_a_file_or_installed_weights(open_drawn, monkeypatch, tmp_path):
    import qt

    from S3NetSegmentLib.engine.nets import weights

    monkeypatch.setattr(
        weights.WeightsStore, "stored", lambda self: [weights.StoredWeights("dinov2-vits14", tmp_path, 1, "0", "")]
    )
    engine = FakePropagation()
    panel = open_drawn(engine)
    panel.ui.advancedCollapsibleButton.collapsed = False
    box = panel.ui.encoderComboBox
    assert [box.itemText(n) for n in range(box.count)][2:] == ["dinov2-vits14", "File..."]
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *_: "")
    panel.choose(box, "File...")
    assert panel.parameters.encoder == "auto" and box.currentText == "Automatic"
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *_: str(tmp_path / "mine.pth"))
    panel.choose(box, "File...")
    assert panel.parameters.encoder == str(tmp_path / "mine.pth") and box.currentText == "mine.pth"
    panel.settle()
    assert not panel.ui.propagateButton.enabled and "There is no file or folder" in panel.ui.propagateButton.toolTip
    (tmp_path / "mine.pth").write_bytes(b"weights")
    panel.wait(lambda: panel.ui.propagateButton.enabled)
    panel.propagate()
    assert engine.made[0]["encoder"] == str(tmp_path / "mine.pth")


def test_a_drawn_slice_is_not_propagated_to(open_drawn, views):
    panel = open_drawn()
    panel.choose(panel.ui.propagateComboBox, "Current slice")
    panel.look_at_slice(views.axial, 4)
    panel.propagate()
    assert "is drawn already" in panel.message and preview_node() is None


def test_the_next_slice_of_another_volume_is_shown_in_that_volume(open_drawn, views):
    panel = open_drawn()
    other = slicer.util.addVolumeFromArray(np.random.default_rng(3).normal(0, 1, (9, 36, 40)), name="Next patient")
    panel.choose(panel.ui.propagateComboBox, "Another volume")
    panel.ui.otherVolumeSelector.setCurrentNode(other)
    panel.propagate()
    panel.click(panel.ui.nextSliceButton)
    assert "No slice view shows 'Next patient'" in panel.message
    panel.headless.slice_logic(views.coronal).GetSliceCompositeNode().SetBackgroundVolumeID(other.GetID())
    panel.click(panel.ui.nextSliceButton)
    assert views.coronal.GetOrientation() == "Axial"


def test_a_volume_under_a_transform_is_answered_in_its_place(open_panel, volume_node, views):
    import mrml

    turned = mrml.affine(mrml.rotation(np.random.default_rng(2)), (5, -8, 11))
    mrml.put_under(volume_node, mrml.add_transform(turned))
    panel = open_panel(None, FakePropagation())
    panel.open_few_shot()
    panel.draw("Liver", square(), "z", 4)
    assert [row[0].split()[1] for row in panel.rows()] == ["4"]
    panel.propagate()
    panel.click(panel.ui.acceptButton)
    liver = mrml.exported(panel.segmentation, panel.segmentation.GetSegmentation().GetNthSegmentID(0), volume_node)
    assert all((plane == square()).all() for plane in liver)


def test_a_volume_that_cannot_be_used_says_why_and_makes_no_segmentation(open_panel, volume_node, views):
    import mrml

    mrml.put_under(volume_node, mrml.add_bend())
    panel = open_panel(None, FakePropagation())
    panel.open_few_shot()
    assert panel.segmentation is None and not panel.ui.propagateButton.enabled
    assert "transform" in panel.ui.propagateButton.toolTip and "harden" in panel.ui.propagateButton.toolTip.lower()


def test_without_a_volume_the_panel_says_what_is_missing(open_panel, volume_node):
    panel = open_panel(None, FakePropagation())
    slicer.mrmlScene.RemoveNode(volume_node)
    panel.open_few_shot()
    panel.settle(0.3)
    assert not panel.ui.propagateButton.enabled and "Select a volume" in panel.ui.propagateButton.toolTip
    assert not panel.ui.addSliceButton.enabled and panel.segmentation is None


def test_quality_and_the_next_slice_are_shown_in_plain_words(open_drawn, views):
    panel = open_drawn()
    panel.propagate()
    text = panel.ui.qualityText.text
    assert "Liver" in text and "95&nbsp;%" in text and "very good" in text and "85&nbsp;%" in text
    assert panel.ui.nextSliceButton.text == "Next slice to draw: axial 0"
    panel.click(panel.ui.nextSliceButton)
    assert panel.panel.few_shot._presenter.in_view(panel.panel.inputs.last_view)[0].place == ("z", 0)


def test_names_of_segments_are_shown_as_they_are(open_drawn):
    panel = open_drawn()
    segmentation = panel.segmentation.GetSegmentation()
    segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName("Liver")).SetName("<b>&")
    panel.propagate()
    assert "&lt;b&gt;&amp;" in panel.ui.qualityText.text


def test_notes_of_the_engine_are_shown(open_drawn):
    panel = open_drawn(FakePropagation(notes=["the images differ in contrast"]))
    panel.propagate()
    assert "The images differ in contrast." in panel.ui.answerText.text


def test_the_confidence_is_laid_over_the_image_on_demand(open_drawn, views):
    panel = open_drawn()
    panel.propagate()
    composite = panel.headless.slice_logic(views.axial).GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() is None
    panel.click(panel.ui.fewShotConfidenceCheckBox)
    node = slicer.util.getNode("MR head few-shot confidence")
    assert composite.GetForegroundVolumeID() == node.GetID()
    panel.click(panel.ui.fewShotConfidenceCheckBox)
    assert composite.GetForegroundVolumeID() is None
    panel.click(panel.ui.fewShotConfidenceCheckBox)
    panel.click(panel.ui.discardButton)
    assert composite.GetForegroundVolumeID() is None


@pytest.mark.parametrize("error", [InputError("segment 'Liver' is empty; draw it"), ResourceError("the memory is full; choose fewer slices")])  # fmt: skip
def test_what_the_engine_refuses_is_told_and_nothing_changes(open_drawn, error):
    panel = open_drawn(FakePropagation(error=error))
    before, nodes = panel.mask("Liver"), slicer.mrmlScene.GetNumberOfNodes()
    panel.propagate()
    assert panel.message == str(error)[0].upper() + str(error)[1:] and panel.panel.message.kind == "warning"
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes and (panel.mask("Liver") == before).all()


def test_an_unexpected_error_is_told_with_its_details(open_drawn, caplog):
    panel = open_drawn(FakePropagation(error=ZeroDivisionError("by zero")))
    panel.propagate()
    assert panel.panel.message.kind == "error" and preview_node() is None
    (entry,) = (record.message for record in caplog.records if "by zero" in record.message)  # the log says it once
    assert entry.startswith("S3NetSegment: Few-shot failed") and "fake_propagation.py" in entry


def test_without_torch_the_panel_says_what_is_missing(open_drawn):
    panel = open_drawn(FakePropagation(error=ModuleNotFoundError("No module named 'torch'", name="torch")))
    panel.propagate()
    assert "needs PyTorch" in panel.message


def test_a_next_slice_that_is_probably_empty_is_named_so_with_the_reason(open_drawn):
    engine = FakePropagation()
    engine.outlook = lambda value, far: SegmentOutlook(
        0.7, dict.fromkeys(far, 9.0), dict.fromkeys(far, 0.2), (4, 8), 0.4, ("before",)
    )
    panel = open_drawn(engine)
    panel.propagate()
    assert panel.ui.nextSliceButton.text == "Next slice to draw: axial 0 (probably empty)"
    assert (
        "'Liver' and 'Spleen' probably end before it; draw it, or say that there is nothing"
        in panel.ui.nextSliceButton.toolTip
    )
    assert "'Liver' and 'Spleen' may run past their ends before slice 4" in panel.ui.answerText.text
