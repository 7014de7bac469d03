"""The tab Models: a model file is shown for what it is, and applied to the volume."""

import html
import time

import numpy as np
import pytest
import slicer

pytest.importorskip("torch")

import mrml
from model_files import CLASSES, PROVENANCE, write_model
from sequences import play, show

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.apply import ModelSegmenter
from S3NetSegmentLib.engine.training.model.ensemble import load_ensemble
from S3NetSegmentLib.engine.training.model.model_file import load_model
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout
from S3NetSegmentLib.engine.training.slices.likeness import ImageLook, TrainingLook
from S3NetSegmentLib.panel.models.controller import ModelRequest, apply_model_steps
from S3NetSegmentLib.scene.segmentation.reading import segment_mask
from S3NetSegmentLib.scene.volumes import volume_from_node


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "model.pt")


@pytest.fixture
def open_models(open_panel):
    """Opens the panel at the tab Models with a model file chosen."""

    def opener(path):
        panel = open_panel()
        panel.open_models()
        type_path(panel, path)
        return panel

    return opener


def type_path(panel, path):
    edit = panel.panel.models.ui.modelFileEdit
    edit.text = str(path)
    edit.editingFinished.emit()
    panel.settle(0.1)


def apply(panel):
    panel.click(panel.panel.models.ui.applyModelButton)
    panel.wait(lambda: not panel.panel.models.running)


def expected(model_file, volume_node):
    return run_to_end(ModelSegmenter(load_model(model_file), "cpu").segment(volume_from_node(volume_node))).labels


def slowly(request, files):
    """The real steps, as many as a large volume has."""
    for step in apply_model_steps(request, files):
        for _ in range(1000):
            time.sleep(0.005)
            yield step
    raise AssertionError("nobody waits so long")


def test_the_tab_shows_what_the_model_is(open_models, model_file):
    panel = open_models(model_file)
    text = panel.panel.models.ui.modelText.text
    assert "Ring" in text and "#ff8000" in text and "6 images, 3 of them labelled (2 patients)" in text
    assert "Ring&nbsp;70&nbsp;%, Core&nbsp;90&nbsp;%" in text and "2 cases" in text
    assert not panel.ui.segmentButton.isVisible() and not panel.ui.propagateButton.isVisible()
    panel.open_segment()
    assert panel.ui.segmentButton.isVisible() and not panel.panel.models.ui.applyModelButton.isVisible()


def test_labelled_cases_that_were_held_out_of_the_training_are_counted_too(open_models, tmp_path):
    held = {**PROVENANCE, "validation_cases": 1, "test_cases": 2}
    text = open_models(write_model(tmp_path / "model.pt", provenance=held)).panel.models.ui.modelText.text
    assert (
        "6 images, 3 of them labelled (2 patients), 1 labelled case more chose its state, 2 labelled cases more kept"
        in text
    )


def test_a_model_that_is_new_under_the_path_that_is_shown_is_read_when_it_is_chosen(open_models, tmp_path):
    path = tmp_path / "model.pt"
    panel = open_models(path)
    models = panel.panel.models
    assert "There is no file or folder" in models.ui.modelText.text
    for count in (3, 5):
        write_model(path, provenance={**PROVENANCE, "labelled_patients": count})
        models.apply.choose(str(path))  # as Use its model does
        panel.settle(0.2)
        assert f"({count} patients)" in models.ui.modelText.text


def test_the_model_file_is_remembered(open_models, open_panel, model_file):
    open_models(model_file).close()
    panel = open_panel()  # its fixture clears the settings once, before the first panel
    panel.open_models()
    panel.settle(0.1)
    assert "Ring" in panel.panel.models.ui.modelText.text


def test_a_transform_that_turns_the_volume_is_told(model_file, volume_node):
    answer, _ = run_to_end(apply_model_steps(ModelRequest(str(model_file), volume_node)))
    assert not any("mirrors it" in note for note in answer.notes)
    mrml.put_under(volume_node, mrml.add_transform(mrml.affine(np.diag((-1, 1, 1)))))
    answer, _ = run_to_end(apply_model_steps(ModelRequest(str(model_file), volume_node)))
    assert any(f"of {volume_node.GetName()!r} mirrors it" in note for note in answer.notes)


def test_applying_makes_segments_with_names_colours_and_terminology(open_models, model_file, volume_node, keep_picture):
    panel = open_models(model_file)
    apply(panel)
    assert panel.names() == ["Ring", "Core"] and panel.parameters.segmentation is panel.segmentation
    labels = expected(model_file, volume_node)
    assert (labels > 0).any()
    for number, c in enumerate(CLASSES, 1):
        assert (panel.mask(c.name) == (labels == number)).all()
        segment = panel.segmentation.GetSegmentation().GetNthSegment(number - 1)
        assert segment.GetColor() == pytest.approx(c.color)
    from S3NetSegmentLib.scene.segmentation.labelmaps import segment_tag
    from S3NetSegmentLib.scene.segmentation.reading import segment_look

    ids = panel.segmentation.GetSegmentation().GetSegmentIDs()
    assert segment_look(panel.segmentation, ids[0]).terminology == CLASSES[0].terminology
    assert len(segment_tag(panel.segmentation, ids[0], "S3NetSegment.ModelSha256")) == 64
    assert not panel.ui.progressRow.isVisible()
    panel.panel.models.ui.cohortCollapsibleButton.collapsed = False
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "models_apply")


def test_an_image_unlike_those_of_the_training_is_told_in_the_message_row(open_models, tmp_path, volume_node):
    other = ImageLook("ct", 0.1, 1.0, 900.0, 40.0, (0, 0.1, 0.2, 0.3, 0.5))
    panel = open_models(write_model(tmp_path / "model.pt", looks=TrainingLook.of([other, other])))
    apply(panel)
    assert "This image is unlike the 2 images that the model was trained on: it is" in panel.message


def test_a_3d_model_is_shown_as_one_and_applied_as_by_the_engine(open_models, tmp_path, volume_node):
    path = write_model(tmp_path / "model.pt", layout=SliceLayout("axial", 1.0, 32, depth=8, thickness=2.0))
    panel = open_models(path)
    assert "axial slices, 1 mm per pixel, in 3D patches of 8, 2 mm apart" in panel.panel.models.ui.modelText.text
    apply(panel)
    labels = expected(path, volume_node)
    assert len(np.unique(labels)) == 3
    assert all((panel.mask(name) == (labels == number)).all() for number, name in enumerate(("Ring", "Core"), 1))


def test_one_undo_takes_the_answer_back_and_other_segments_stay(open_models, model_file, volume_node):
    panel = open_models(model_file)
    node = panel.draw_in_new_segmentation()
    square = np.zeros((36, 40), bool)
    square[5:20, 5:20] = True
    panel.draw("Core", square, "z", 4)
    mine = panel.mask("Core")
    apply(panel)
    assert panel.segmentation is node and panel.names() == ["Core", "Ring", "Core 2"]
    assert (panel.mask("Core") == mine).all()
    panel.panel.editor.undo()
    assert panel.names() == ["Core"] and (panel.mask("Core") == mine).all()
    panel.panel.editor.redo()
    assert panel.names() == ["Core", "Ring", "Core 2"]


def test_confidence_is_laid_over_the_image_on_demand(open_models, model_file):
    panel = open_models(model_file)
    apply(panel)
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")[1:]
    panel.click(panel.panel.models.ui.modelConfidenceCheckBox)
    panel.wait(lambda: not panel.panel.models.running)
    node = slicer.util.getNode("MR head model confidence")
    array = slicer.util.arrayFromVolume(node)
    assert array.max() <= 1 and (array[panel.mask("Ring") | panel.mask("Core")] > 0.3).all()
    assert panel.names() == ["Ring", "Core"]
    view = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert view.GetForegroundVolumeID() == node.GetID()
    panel.click(panel.panel.models.ui.modelConfidenceCheckBox)
    assert view.GetForegroundVolumeID() is None


def test_the_folder_of_a_cross_validation_is_the_mean_of_its_models(open_models, tmp_path, volume_node):
    for fold in (1, 2):
        write_model(tmp_path / "cv" / f"fold_{fold}" / "model.pt", seed=fold)
    panel = open_models(tmp_path / "cv")
    text = panel.panel.models.ui.modelText.text
    assert "2 models whose answers are averaged: fold_1/model.pt, fold_2/model.pt" in text
    assert not panel.panel.models.ui.modelFlipsCheckBox.isVisible()
    apply(panel)
    found = run_to_end(
        ModelSegmenter(load_ensemble(tmp_path / "cv"), "cpu").segment(volume_from_node(volume_node))
    ).labels
    assert (panel.mask("Ring") == (found == 1)).all() and (panel.mask("Core") == (found == 2)).all()


def test_mirrored_slices_are_offered_for_models_that_know_them(open_models, tmp_path, volume_node):
    panel = open_models(write_model(tmp_path / "model.pt", provenance={"settings": {"flip": True}}))
    ui = panel.panel.models.ui
    assert ui.modelFlipsCheckBox.isVisible() and not ui.modelFlipsCheckBox.checked
    ui.modelFlipsCheckBox.checked = True
    apply(panel)
    models, volume = load_ensemble(tmp_path / "model.pt"), volume_from_node(volume_node)
    plain, found = (run_to_end(ModelSegmenter(models, "cpu", flips=f).segment(volume)).labels for f in (False, True))
    assert (panel.mask("Core") == (found == 2)).mean() > 0.999 and (plain != found).mean() > 0.1


def test_cancel_and_a_removed_volume_leave_the_scene_as_it_was(open_models, model_file, volume_node, monkeypatch):
    monkeypatch.setattr("S3NetSegmentLib.panel.models.controller.apply_model_steps", slowly)
    panel = open_models(model_file)
    models = panel.panel.models
    panel.click(models.ui.applyModelButton)
    panel.settle(0.1)
    assert models.running and models.ui.applyModelButton.text == "Cancel" and not panel.ui.sharedForm.enabled
    panel.click(models.ui.applyModelButton)
    assert not models.running and panel.segmentation is None and panel.ui.sharedForm.enabled
    panel.click(models.ui.applyModelButton)
    panel.settle(0.1)
    slicer.mrmlScene.RemoveNode(volume_node)
    assert not models.running and "'MR head' was removed" in panel.message
    panel.settle(0.3)
    assert not models.ui.applyModelButton.enabled and "Select a volume" in models.ui.applyModelButton.toolTip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"no model at all", "damaged"),
        (None, "no file"),
        ("foreign", "not a model file of S3NetSegment"),
    ],
)
def test_damaged_and_foreign_files_are_refused_with_the_reason(open_models, tmp_path, content, said):
    import torch

    path = tmp_path / "model.pt"
    if content == "foreign":
        torch.save({"weight": torch.zeros(2)}, path)
    elif content is not None:
        path.write_bytes(content)
    panel = open_models(path)
    button = panel.panel.models.ui.applyModelButton
    assert said in panel.panel.models.ui.modelText.text
    assert not button.enabled and said in button.toolTip and panel.segmentation is None


def test_the_logic_applies_a_model_without_the_panel_and_raises(open_panel, model_file, volume_node, tmp_path):
    logic = open_panel().module.S3NetSegmentLogic()
    node = logic.applyModel(volume_node, model_file, device="cpu")
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    again = logic.applyModel(volume_node, model_file, node, confidence=True, device="cpu")
    assert again is node and node.GetSegmentation().GetNumberOfSegments() == 2
    assert slicer.util.getNode("MR head model confidence") is not None
    with pytest.raises(InputError, match="no file"):
        logic.applyModel(volume_node, tmp_path / "none.pt")
    with pytest.raises(InputError, match="no volume"):
        logic.applyModel(None, model_file)


def _frames(volume_node, count=3):
    """The image, and the same moved by some rows."""
    array = slicer.util.arrayFromVolume(volume_node).copy()
    return [np.roll(array, 3 * number, 1) for number in range(count)]


def test_all_frames_of_a_sequence_are_answered_and_the_answer_follows_them(
    open_models, model_file, volume_node, keep_picture
):
    panel = open_models(model_file)
    box = panel.panel.models.ui.modelAllFramesCheckBox
    panel.settle(0.3)
    assert not box.isVisible()
    browser = play(volume_node, _frames(volume_node), 1)
    panel.wait(box.isVisible)
    earlier = panel.draw_in_new_segmentation()
    box.checked = True
    apply(panel)
    node = panel.parameters.segmentation
    assert node is not earlier and not earlier.GetSegmentation().GetNumberOfSegments()
    seen = []
    for frame in (1, 0, 2):
        show(browser, frame)
        labels = expected(model_file, volume_node)
        seen.append(labels)
        for number, c in enumerate(CLASSES, 1):
            segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(c.name)
            assert (segment_mask(node, segment_id, volume_from_node(volume_node)) == (labels == number)).all()
    assert len({labels.tobytes() for labels in seen}) == 3
    keep_picture(panel.widget.parent, "models_frames")


def test_a_frame_that_cannot_be_answered_is_named_and_a_frame_that_changes_ends_the_run(
    open_models, model_file, volume_node, monkeypatch
):
    panel = open_models(model_file)
    frames = _frames(volume_node)
    frames[2][:] = 7
    browser = play(volume_node, frames)
    panel.wait(panel.panel.models.ui.modelAllFramesCheckBox.isVisible)
    panel.panel.models.ui.modelAllFramesCheckBox.checked = True
    nodes = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    apply(panel)
    assert "Frame 3 of 3: " in panel.message and "is constant" in panel.message
    monkeypatch.setattr("S3NetSegmentLib.panel.models.controller.apply_model_steps", slowly)
    panel.click(panel.panel.models.ui.applyModelButton)
    panel.settle(0.1)
    show(browser, 1)
    panel.wait(lambda: not panel.panel.models.running)
    assert "stopped" in panel.message
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == nodes
    assert not slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") > 1


def test_a_script_answers_all_frames_and_is_refused_where_there_are_none(open_panel, model_file, volume_node):
    logic = open_panel().module.S3NetSegmentLogic()
    with pytest.raises(InputError, match="shows no frame of a sequence; leave allFrames out"):
        logic.applyModel(volume_node, model_file, device="cpu", allFrames=True)
    browser = play(volume_node, _frames(volume_node))
    node = logic.applyModel(volume_node, model_file, device="cpu", allFrames=True, confidence=True)
    assert browser.GetSequenceNode(node).GetNumberOfDataNodes() == 3
    assert slicer.util.getNode("MR head model confidence") is not None
    with pytest.raises(InputError, match="leave segmentationNode out"):
        logic.applyModel(volume_node, model_file, node, device="cpu", allFrames=True)


def test_what_cannot_be_applied_disables_the_button_and_says_why(open_models, model_file, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(model_file.read_bytes())
    panel = open_models(path)
    ui, button = panel.panel.models.ui, panel.panel.models.ui.applyModelButton
    assert button.enabled
    path.rename(tmp_path / "elsewhere.pt")
    panel.wait(lambda: not button.enabled)
    assert "There is no file or folder" in button.toolTip
    panel.wait(lambda: button.toolTip in html.unescape(ui.modelText.text))
    (tmp_path / "elsewhere.pt").rename(path)
    panel.wait(lambda: button.enabled)
    panel.wait(lambda: "Ring" in ui.modelText.text)
    path.write_bytes(b"this is no model")
    panel.panel.models.apply.choose(str(path))
    panel.wait(lambda: not button.enabled)
    assert str(path) in button.toolTip and button.toolTip == html.unescape(ui.modelText.text)
