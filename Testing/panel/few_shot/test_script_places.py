"""Few-shot in a script where the drawing lies elsewhere: under a transform, beside the volume, in another volume or frame."""

import mrml
import numpy as np
import pytest
import slicer

from S3NetSegmentLib.engine import InputError


def content(node, volume_node, name="Ball"):
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node) > 0


def about_x(degrees, center):
    """A rotation about an axis along R through ``center``."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return mrml.affine(turn, np.array(center) - turn @ center)


@pytest.mark.parametrize(("degrees", "axis"), [(10, "auto"), (30, "z"), (1, "auto")])
def test_a_drawing_under_a_transform_that_turns_it_is_drawn_on_planes_not_on_the_slices_that_it_crosses(
    module, few_shot_engine, volume_node, drawing, degrees, axis
):
    mrml.put_under(drawing, mrml.add_transform(about_x(degrees, (0, 0, 0))))
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, axis=axis)
    items = few_shot_engine.runs[0]["items"]
    if degrees == 1:  # within a slice
        assert {(s.axis, s.index) for s in items} == {("z", 4), ("z", 8)}
        return
    normal = about_x(degrees, (0, 0, 0))[:3, 2]
    assert len(items) == 2
    for item, number in zip(items, (4, 8), strict=True):
        own = item.plane_to_ras[:3, 2] / np.linalg.norm(item.plane_to_ras[:3, 2])
        assert abs(own @ normal) == pytest.approx(1, abs=1e-6) and item.complete
        assert abs(item.plane_to_ras[:3, 3] @ own) == pytest.approx(
            abs(2 * number - 12), abs=1e-6
        )  # mm from the middle
        pixel = np.prod(np.linalg.norm(item.plane_to_ras[:3, :2], axis=0))
        assert item.labels.astype(bool).sum() * pixel == pytest.approx(40 * np.pi, rel=0.1)


def test_what_of_a_drawing_lies_beside_the_volume_is_told_or_refused(
    module, few_shot_engine, volume_node, drawing, caplog
):
    move = mrml.add_transform(mrml.affine(shift=(0, 0, 500)))
    mrml.put_under(drawing, move)
    with pytest.raises(InputError, match="what is drawn in 'drawn' lies beside 'MR head'; give the volume"):
        module.S3NetSegmentLogic().fewShot(volume_node, drawing)
    move.SetMatrixTransformToParent(mrml.matrix_from_array(mrml.affine(shift=(0, 0, 12))))  # slice 4 becomes 10, 8 goes
    module.S3NetSegmentLogic().fewShot(volume_node, drawing)
    assert "50.0% of 'Ball' lies beside 'MR head' and does not count" in caplog.text


def test_a_segmentation_for_the_answer_without_another_volume_is_refused(module, few_shot_engine, volume_node, drawing):
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    before = content(drawing, volume_node)
    with pytest.raises(InputError, match="no other volume is given; give otherVolumeNode"):
        module.S3NetSegmentLogic().fewShot(volume_node, drawing, otherSegmentationNode=other)
    np.testing.assert_array_equal(content(drawing, volume_node), before)


def test_a_script_is_told_that_a_drawing_counts_for_the_frame_that_is_shown(
    module, few_shot_engine, volume_node, drawing, caplog, monkeypatch
):
    monkeypatch.setattr("S3NetSegmentLib.panel.script_support.frame_of", lambda node: (3, 8))
    module.S3NetSegmentLogic().fewShot(volume_node, drawing)
    assert "'MR head' shows frame 3 of 8 of a sequence; the drawing is taken as that of this frame" in caplog.text


@pytest.mark.parametrize("given", [("Ball", "Ball"), ("Ball", "Ball 2"), ("Ball",), ()])
def test_drawn_segments_of_one_name_do_not_fall_into_one_segment_of_another_volume(
    module, few_shot_engine, volume_node, drawing, given
):
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    second = np.zeros((12, 36, 40), bool)
    second[[4, 8], 2:6, 2:6] = True
    with segment_edit(drawing, volume_node) as edit:
        second_id = edit.add_segment(mrml.segment("Second"), second, volume_from_node(volume_node))
    drawing.GetSegmentation().GetSegment(second_id).SetName("Ball")
    other = slicer.util.addVolumeFromArray(np.zeros((12, 36, 40), np.int16), name="next")
    other.CopyOrientation(volume_node)
    target = create_segmentation(other, "answers")
    for number, name in enumerate(given):
        target.GetSegmentation().AddEmptySegment(f"s{number}", name)
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, otherVolumeNode=other, otherSegmentationNode=target)
    ids = target.GetSegmentation().GetSegmentIDs()
    assert len(ids) == 2
    for segment_id, source in zip(ids, ("ball", second_id), strict=True):
        answer = slicer.util.arrayFromSegmentBinaryLabelmap(target, segment_id, other) > 0
        drawn = slicer.util.arrayFromSegmentBinaryLabelmap(drawing, source, volume_node) > 0
        np.testing.assert_array_equal(answer[4], drawn[4])
        assert answer.any()
