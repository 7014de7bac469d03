"""What Few-shot is asked for: on which slices, in which volume, with which settings and encoder."""

import numpy as np
import slicer
from fake_propagation import FakePropagation
from few_shot_drawings import preview_node, square


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
    _, target = panel.panel.advanced.few_shot.form._rows["target"]
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
