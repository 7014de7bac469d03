"""The object that was pointed at, in all frames of a sequence."""

import numpy as np
import pytest
import slicer
from panel_pointing import CENTER, CORNERS, click, drag
from sequences import play, show

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.scene.segmentation.reading import segment_mask
from S3NetSegmentLib.scene.volumes import volume_from_node


@pytest.fixture
def cine(pointing):
    """The panel on the second of three frames, in which a bright block moves; its browser is ``browser``."""
    panel, volume = pointing, pointing.parameters.volume
    array = slicer.util.arrayFromVolume(volume).copy()
    panel.browser = play(volume, [np.roll(array, 2 * number, 2) for number in range(3)], 1)
    panel.settle(0.3)
    return panel


def in_all_frames(panel):
    panel.click(panel.ui.allFramesButton)
    panel.wait(lambda: not panel.panel.running)


def test_the_object_is_asked_for_in_each_frame_and_the_new_segmentation_follows_them(cine, views, keep_picture):
    panel, volume = cine, cine.parameters.volume
    drag(panel, views.axial, *CORNERS)
    assert panel.ui.allFramesButton.isVisible()
    earlier, mine = panel.segmentation, panel.mask()
    segment = earlier.GetSegmentation().GetNthSegment(0)
    segment.SetName("Ventricle")
    segment.SetColor(0.2, 0.4, 0.6)
    painted = mine.copy()
    painted[0, :4, :4] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        painted.astype(np.uint8), earlier, earlier.GetSegmentation().GetNthSegmentID(0), volume
    )
    asked = len(panel.engine.calls)
    in_all_frames(panel)
    node = panel.parameters.segmentation
    assert node is not earlier and panel.browser.GetSequenceNode(node).GetNumberOfDataNodes() == 3
    searched = [call["volume"].array for call in panel.engine.calls[asked:]]
    assert len(searched) == 2 and not any(np.array_equal(array, volume_from_node(volume).array) for array in searched)
    (segment_id,) = node.GetSegmentation().GetSegmentIDs()
    assert panel.parameters.targetSegment == segment_id and panel.message == ""
    made = node.GetSegmentation().GetSegment(segment_id)
    assert made.GetName() == "Ventricle" and made.GetColor() == pytest.approx((0.2, 0.4, 0.6))
    for frame in (1, 0, 2):
        show(panel.browser, frame)
        assert segment_mask(node, segment_id, volume_from_node(volume))[6, 18, 20]
    show(panel.browser, 1)
    assert (segment_mask(node, segment_id, volume_from_node(volume)) == painted).all()
    keep_picture(panel.widget.parent, "segment_frames")


def test_a_size_that_was_chosen_by_hand_stays_in_its_frame(cine, views):
    panel = cine
    click(panel, views.axial, CENTER)
    panel.ui.granularitySlider.value = 0
    mine = panel.mask()
    in_all_frames(panel)
    node, volume = panel.parameters.segmentation, volume_from_node(panel.parameters.volume)
    segment_id = node.GetSegmentation().GetNthSegmentID(0)
    assert (segment_mask(node, segment_id, volume) == mine).all()
    show(panel.browser, 0)
    assert segment_mask(node, segment_id, volume).sum() > mine.sum()  # the automatic one


def test_it_is_offered_for_an_object_in_a_sequence_alone(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    assert not panel.ui.allFramesButton.isVisible()
    panel.panel.segment.prompts.delete_all()
    play(panel.parameters.volume, [slicer.util.arrayFromVolume(panel.parameters.volume) + n for n in range(2)])
    panel.settle(0.3)
    panel.click(panel.ui.segmentButton)
    panel.wait(lambda: not panel.panel.controller.running)
    assert panel.ui.adjustCollapsibleButton.isVisible() and not panel.ui.allFramesButton.isVisible()  # regions


@pytest.mark.parametrize("end", ["cancel", "refused"])
def test_what_does_not_come_to_its_end_leaves_the_scene_as_it_was(cine, views, end):
    panel = cine
    drag(panel, views.axial, *CORNERS)
    mine = panel.mask()
    before = _nodes()
    if end == "refused":
        panel.engine.error = InputError("image 'a' is constant")
        in_all_frames(panel)
        assert panel.message.startswith("Frame 1 of 3: ") and "is constant" in panel.message
    else:
        panel.engine.seconds = 0.1
        panel.click(panel.ui.allFramesButton)
        panel.settle(0.1)
        assert panel.panel.running and panel.ui.segmentButton.text == "Cancel"
        panel.click(panel.ui.segmentButton)
        assert not panel.panel.running
    assert _nodes() == before and (panel.mask() == mine).all()


def _nodes():
    return sorted(node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode"))


def test_a_script_follows_a_block_through_its_frames(open_panel, volume_node):
    array = np.zeros((12, 36, 40), np.int16)
    array[4:8, 10:20, 8:16] = 200
    array += np.random.default_rng(0).normal(50, 5, array.shape).astype(np.int16)
    frames = [np.roll(array, 4 * number, 2) for number in range(3)]
    slicer.util.updateVolumeFromArray(volume_node, frames[0])
    logic = open_panel().module.S3NetSegmentLogic()
    with pytest.raises(InputError, match="shows no frame of a sequence; leave allFrames out"):
        logic.segment(volume_node, pixels=[(14, 14, 6)], scope="range", sliceRange=(6, 6), allFrames=True)
    browser = play(volume_node, frames)
    node = logic.segment(volume_node, pixels=[(14, 14, 6)], scope="range", sliceRange=(6, 6), allFrames=True)
    for frame, columns in enumerate((slice(8, 16), slice(12, 20))):
        show(browser, frame)
        found = segment_mask(node, node.GetSegmentation().GetNthSegmentID(0), volume_from_node(volume_node))[6]
        true = np.zeros(found.shape, bool)
        true[10:20, columns] = True
        assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.9
    for options, named in (
        ({"segmentationNode": node}, "segmentationNode"), ({"step": 1, "confidence": True}, "step, confidence"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"leave {named} out"):
            logic.segment(volume_node, pixels=[(14, 14, 6)], allFrames=True, **options)
    with pytest.raises(InputError, match="point at an object first"):
        logic.segment(volume_node, allFrames=True)
