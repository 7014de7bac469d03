"""What the panel tells of an answer of Few-shot: quality, the next slice, notes, confidence, refusals."""

import pytest
import slicer
from fake_propagation import FakePropagation
from few_shot_drawings import preview_node

from S3NetSegmentLib.engine import InputError, ResourceError
from S3NetSegmentLib.engine.few_shot.answer import SegmentOutlook


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
    assert panel.panel.message.kind == "error" and "fake_propagation.py" in caplog.text and preview_node() is None


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
