"""The effect "Few-shot" of the Segment Editor: registered and loaded as Slicer does it, used by clicks."""

import importlib
import sys

import mrml
import numpy as np
import pytest
import slicer
from fake_propagation import FakePropagation
from PyQt5 import QtWidgets

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.scene.drawings.drawn_slices import slice_of_view
from S3NetSegmentLib.scene.drawings.support_set import SupportPlane, SupportSlice
from S3NetSegmentLib.scene.segmentation.labelmaps import segment_tag
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation, segment_mask
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import volume_from_node

SHAPE = (12, 36, 40)  # of the volume


def disc(top=10, left=12, size=8):
    mask = np.zeros(SHAPE[1:], bool)
    mask[top : top + size, left : left + size] = True
    return mask


class EffectDriver:
    """Uses the effect as a person does."""

    def __init__(self, editor, volume_node, segmentation_node):
        self.editor, self.volume_node, self.segmentation_node = editor, volume_node, segmentation_node

    @property
    def frame(self):
        return self.editor.effects["Few-shot"].self().frame

    def click(self, button):
        assert button.isEnabled(), f"{button.text} is disabled"
        QtWidgets.QPushButton.click(button)

    def draw(self, name, plane, index, erase=False):
        segment_id = self.segmentation_node.GetSegmentation().GetSegmentIdBySegmentName(name)
        if not segment_id:
            segment_id = self.segmentation_node.GetSegmentation().AddEmptySegment("", name)
        mask = np.zeros(SHAPE, bool)
        mask[index] = plane
        with segment_edit(self.segmentation_node, self.volume_node, self.editor.logic.SaveStateForUndo) as edit:
            (edit.remove if erase else edit.add)(segment_id, mask, volume_from_node(self.volume_node))

    def mask(self, name):
        segment_id = self.segmentation_node.GetSegmentation().GetSegmentIdBySegmentName(name)
        return segment_mask(self.segmentation_node, segment_id, volume_from_node(self.volume_node))

    def propagate(self):
        self.click(self.frame.propagate_button)
        assert slicer.app.wait(lambda: not self.frame.controller.running)


@pytest.fixture
def registered(scene, monkeypatch):
    """The effect, registered by the module when Slicer has started."""
    monkeypatch.delitem(sys.modules, "SegmentEditorFewShotLib", raising=False)
    slicer.qSlicerSegmentEditorEffectFactory._instance = None
    module = importlib.import_module("S3NetSegment")
    module.register_editor_effect()
    return slicer.qSlicerSegmentEditorEffectFactory.instance().effects["Few-shot"]


@pytest.fixture
def engine(monkeypatch):
    """A small engine in place of the real one."""
    engine = FakePropagation()
    monkeypatch.setattr("S3NetSegmentLib.panel.few_shot.controller._real_engine", engine)
    return engine


@pytest.fixture
def effect(registered, engine, volume_node, views):
    """The effect chosen in an editor; "Liver" is drawn on axial slices 4 and 8, "Spleen" on 4, "Bone" beside them on 6."""
    from qt_stand_in.editor_effects import EffectEditor
    from qt_stand_in.qt_module import slot_failures

    slot_failures.clear()
    node = create_segmentation(volume_node, "mine")
    driver = EffectDriver(EffectEditor(node, volume_node), volume_node, node)
    driver.draw("Liver", disc(), 4)
    driver.draw("Liver", disc(12, 14), 8)
    driver.draw("Spleen", disc(24, 24), 4)
    driver.editor.choose("Few-shot")
    yield driver
    driver.editor.close()
    assert not slot_failures, f"a slot raised {slot_failures[0]!r}"


def preview_node():
    nodes = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "preview" in n.GetName()]
    return nodes[0] if nodes else None


def test_results_of_segment_are_not_drawn_and_missing_segments_are_named(effect):
    found = np.zeros(SHAPE, bool)
    found[6] = disc(20, 20, 6)
    tags = {"S3NetSegment.Method": "Segment"}
    with segment_edit(effect.segmentation_node, effect.volume_node) as edit:
        edit.add_segment(mrml.segment("Object", tags=tags), found, volume_from_node(effect.volume_node))
    slicer.app.wait(lambda: False, 0.3)
    assert effect.frame.drawn_text.text == "Drawn: axial 4, axial 8"
    effect.draw("Bone", disc(2, 2, 4), 6)
    slicer.app.wait(lambda: False, 0.3)
    assert "axial 6: Liver is drawn before and behind" in effect.frame.drawn_text.text


def test_the_effect_registers_as_slicers_own_do_and_each_editor_gets_its_own(registered):
    assert registered.title == "Few-shot" and not registered.perSegment and registered.requireSegments
    clone = registered.self().clone()
    assert clone is not registered and clone.name == "Few-shot"
    assert not clone.self().icon().isNull()
    assert "Propagate" in clone.self().helpText()
    assert clone.self().frame is None  # nothing is imported before the effect is chosen


def test_choosing_it_shows_what_is_drawn(effect):
    assert effect.frame.drawn_text.text == "Drawn: axial 4, axial 8"
    assert effect.frame.propagate_button.isEnabled() and not effect.frame.accept_button.isEnabled()
    assert effect.frame.widget.window() is effect.editor.effects["Few-shot"].optionsFrame()


def test_propagate_shows_a_preview_and_accept_writes_it_in_one_undo_step(effect, keep_picture):
    before = {name: effect.mask(name) for name in ("Liver", "Spleen")}
    effect.propagate()
    options = effect.editor.effects["Few-shot"].optionsFrame()
    options.resize(380, options.heightForWidth(380))
    keep_picture(options, "few_shot_effect")
    assert effect.frame.message.text.startswith("Preview. Nothing is written yet. Expected quality: Liver 95 %")
    assert preview_node() is not None
    assert all((effect.mask(name) == mask).all() for name, mask in before.items())
    effect.click(effect.frame.accept_button)
    assert preview_node() is None and effect.editor.saves == 1
    liver, spleen = effect.mask("Liver"), effect.mask("Spleen")
    assert (liver[[4, 8]] == before["Liver"][[4, 8]]).all() and liver[[0, 6, 11]].any((1, 2)).all()
    assert spleen[:4].any((1, 2)).all() and not spleen[8].any()
    segment_id = effect.segmentation_node.GetSegmentation().GetSegmentIdBySegmentName("Liver")
    assert segment_tag(effect.segmentation_node, segment_id, "S3NetSegment.Method") == "Few-shot"
    effect.editor.logic.Undo()
    assert all((effect.mask(name) == mask).all() for name, mask in before.items())


def test_discard_and_cancel_leave_the_segments_as_they_were(effect, engine):
    before, nodes = effect.mask("Liver"), slicer.mrmlScene.GetNumberOfNodes()
    effect.propagate()
    effect.click(effect.frame.discard_button)
    assert preview_node() is None and not effect.frame.accept_button.isEnabled()
    engine.steps = 1000
    effect.click(effect.frame.propagate_button)
    assert effect.frame.controller.running and effect.frame.propagate_button.text == "Cancel"
    slicer.app.processEvents()
    effect.click(effect.frame.propagate_button)
    assert not effect.frame.controller.running and preview_node() is None
    assert (effect.mask("Liver") == before).all() and slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert effect.editor.saves == 0


def test_a_slice_corrected_with_another_effect_is_taken_up_and_the_answer_follows_it(effect):
    effect.propagate()
    effect.click(effect.frame.accept_button)
    effect.editor.choose("")
    effect.draw("Liver", disc(20, 20), 10)
    effect.editor.choose("Few-shot")
    assert "axial 10 (corrected)" in effect.frame.drawn_text.text
    effect.propagate()
    effect.click(effect.frame.accept_button)
    assert (effect.mask("Liver")[11] == effect.mask("Liver")[10]).all()


def test_what_was_drawn_after_the_answer_came_is_not_overwritten_by_it(effect):
    effect.propagate()
    effect.editor.choose("")
    effect.draw("Liver", disc(2, 2), 10)
    effect.editor.choose("Few-shot")
    effect.click(effect.frame.accept_button)
    assert (effect.mask("Liver")[10] == disc(2, 2)).all() and effect.mask("Liver")[9].any()


def test_a_preview_stays_while_the_user_draws_with_another_effect(effect):
    effect.propagate()
    effect.editor.choose("")
    assert preview_node() is not None
    effect.editor.choose("Few-shot")
    assert effect.frame.accept_button.isEnabled()


@pytest.mark.parametrize("mode", ["OverwriteAllSegments", "OverwriteVisibleSegments", "OverwriteNone"])
def test_other_segments_are_overwritten_as_the_editor_is_set(effect, mode):
    bone = np.zeros(SHAPE[1:], bool)
    bone[:, 14:16] = True
    effect.draw("Bone", bone, 6)
    effect.editor.choose("Few-shot")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segment = effect.segmentation_node.GetSegmentation().GetSegment(
        effect.segmentation_node.GetSegmentation().GetSegmentIdBySegmentName("Bone")
    )
    logic.SetSegmentStatus(segment, logic.Completed)  # not part of the drawing
    effect.frame.controller.support.remove("z", 6)
    effect.editor.node.SetOverwriteMode(getattr(effect.editor.node, mode))
    effect.propagate()
    effect.click(effect.frame.accept_button)
    liver, after = effect.mask("Liver"), effect.mask("Bone")
    assert liver[6].any() and (liver[6] & bone).any()
    assert (after[6] == (bone if mode == "OverwriteNone" else bone & ~liver[6])).all()


def test_the_editable_area_and_the_intensity_range_are_respected(effect):
    node = effect.editor.node
    node.SetSourceVolumeIntensityMask(True)
    node.SetSourceVolumeIntensityMaskRange(90, 110)
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments)
    before = effect.mask("Liver")
    effect.propagate()
    effect.click(effect.frame.accept_button)
    assert (effect.mask("Liver") == before).all()  # all that may change is drawn
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    effect.propagate()
    effect.click(effect.frame.accept_button)
    gained = effect.mask("Liver") & ~before
    image = slicer.util.arrayFromVolume(effect.volume_node)
    assert gained.any() and image[gained].min() >= 90 and image[gained].max() <= 110


def test_an_empty_slice_can_be_added_from_the_view(effect, views, engine):
    views.axial.JumpSliceByOffsetting(0, 0, 2 * 11 - 12)
    assert slice_of_view(views.axial, effect.volume_node) == ("z", 11)
    effect.click(effect.frame.add_button)
    assert "axial 11" in effect.frame.drawn_text.text
    effect.propagate()
    assert [i.index for i in engine.runs[-1]["items"]] == [4, 8, 11]
    effect.click(effect.frame.accept_button)
    assert not effect.mask("Liver")[10:].any()


def test_the_next_slice_is_named_and_shown(effect, views):
    assert not effect.frame.next_button.isEnabled()
    effect.propagate()
    assert effect.frame.next_button.text == "Next slice to draw: axial 0"
    effect.click(effect.frame.next_button)
    assert slice_of_view(views.axial, effect.volume_node) == ("z", 0)


def test_the_drawn_slices_are_kept_with_the_editors_parameters(effect):
    effect.frame.controller.support.add(SupportSlice("z", 2))
    effect.frame.state_changed()
    effect.propagate()
    effect.click(effect.frame.accept_button)
    again = type(effect.frame)(effect.editor.effects["Few-shot"])
    again.activate()
    assert again.drawn_text.text == "Drawn: axial 2, axial 4, axial 8"
    again.cleanup()
    other = create_segmentation(effect.volume_node, "other")
    effect.editor.select(other, effect.volume_node)
    assert effect.frame.drawn_text.text.startswith("Draw a segment on at least one slice")


def test_an_oblique_view_counts_as_drawn_by_the_button_and_by_a_stroke(effect, engine, views):
    views.axial.SetSliceToRASByNTP(0, 0.5, 0.866, 1, 0, 0, 0, 0, 0, 0)
    slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode").SetCursorPositionXYZ([1.0, 1, 0], views.axial)
    effect.click(effect.frame.add_button)
    assert effect.frame.drawn_text.text == "Drawn: axial 4, axial 8, oblique axial"
    views.axial.SetSliceToRASByNTP(0, -0.5, 0.866, 1, 0, 0, 0, 0, 0, 0)
    grid = volume_from_node(effect.volume_node)
    on_plane = SupportPlane.of_view(views.axial, effect.volume_node).voxels(grid, grid.extent)
    bone = effect.segmentation_node.GetSegmentation().AddEmptySegment("", "Bone")
    with segment_edit(effect.segmentation_node, effect.volume_node) as edit:
        edit.add(bone, on_plane & mrml.ball(SHAPE, (6, 18, 20), 5), grid)
    assert slicer.app.wait(lambda: effect.frame.drawn_text.text.endswith("oblique axial 2"))
    effect.propagate()
    assert [type(i).__name__ for i in engine.runs[-1]["items"]] == ["DrawnSlice"] * 2 + ["DrawnPlane"] * 2


def test_without_a_volume_or_segmentation_it_says_what_to_select(effect):
    effect.editor.select(None, None)
    assert effect.frame.drawn_text.text.startswith("Select a source volume")
    assert not effect.frame.propagate_button.isEnabled() and not effect.frame.add_button.isEnabled()


def test_what_cannot_be_done_is_said_and_nothing_changes(effect, engine):
    engine.seconds = 0.06  # longer than the stepping driver waits: progress is shown
    engine.error = InputError("the image has no contrast; choose another one")
    before = effect.mask("Liver")
    effect.propagate()
    assert effect.frame.message.text == "The image has no contrast; choose another one"
    engine.error = RuntimeError("surprise")
    effect.propagate()
    assert "surprise" in effect.frame.message.text and preview_node() is None
    engine.error = ImportError("No module named 'torch'", name="torch")
    effect.propagate()
    assert "PyTorch" in effect.frame.message.text
    assert (effect.mask("Liver") == before).all()


def test_a_volume_that_comes_under_a_bent_transform_is_refused_and_works_again_without_it(effect):
    mrml.put_under(effect.volume_node, mrml.add_bend())
    effect.editor.choose("Few-shot")
    assert "harden the transform" in effect.frame.drawn_text.text
    effect.click(effect.frame.propagate_button)
    assert not effect.frame.controller.running and "harden the transform" in effect.frame.message.text
    effect.volume_node.SetAndObserveTransformNodeID(None)
    effect.propagate()
    assert preview_node() is not None


def test_nodes_that_go_or_a_scene_that_closes_end_everything(effect, engine):
    engine.steps = 1000
    effect.click(effect.frame.propagate_button)
    slicer.app.processEvents()
    slicer.mrmlScene.RemoveNode(effect.segmentation_node)
    assert not effect.frame.controller.running and preview_node() is None
    slicer.mrmlScene.Clear(False)
    effect.editor.select(None, None)
    assert effect.frame.drawn_text.text.startswith("Select a source volume")
