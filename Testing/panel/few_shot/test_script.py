"""Few-shot in a script: the logic without the panel."""

import mrml
import numpy as np
import pytest
import slicer

from S3NetSegmentLib.engine import InputError


def content(node, volume_node, name="Ball"):
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node) > 0


def test_few_shot_finds_the_drawn_slices_and_fills_the_others(module, few_shot_engine, volume_node, drawing):
    before = content(drawing, volume_node)
    node = module.S3NetSegmentLogic().fewShot(volume_node, drawing, seed=5, settings={"margin": 0.9})
    assert node is drawing
    items, settings = few_shot_engine.runs[0]["items"], few_shot_engine.made[0]["settings"]
    assert [(s.axis, s.index, s.complete) for s in items] == [("z", 4, True), ("z", 8, True)]
    assert (settings.seed, settings.margin) == (5, 0.9)
    after = content(drawing, volume_node)
    np.testing.assert_array_equal(after[[4, 8]], before[[4, 8]])
    np.testing.assert_array_equal(after[[3, 5, 11]], before[[4, 4, 8]])
    from S3NetSegmentLib.scene.segmentation.labelmaps import segment_tag

    assert segment_tag(node, "ball", "S3NetSegment.Method") == "Few-shot"
    assert segment_tag(node, "ball", "S3NetSegment.Support") == f"{drawing.GetName()} z=4,8"


def test_few_shot_by_a_script_keeps_segments_that_overlap_whole(module, few_shot_engine, volume_node, drawing):
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    ball = content(drawing, volume_node)
    inner = ball & np.roll(ball, 2, 2)
    with segment_edit(drawing, volume_node) as edit:
        edit.add_segment(mrml.segment("Inner"), inner, volume_from_node(volume_node))
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, seed=5)
    assert [(s.index, s.layer) for s in few_shot_engine.runs[0]["items"]] == [(4, 0), (4, 1), (8, 0), (8, 1)]
    for name, mask in (("Ball", ball), ("Inner", inner)):
        after = content(drawing, volume_node, name)
        np.testing.assert_array_equal(after[[4, 8]], mask[[4, 8]])
        np.testing.assert_array_equal(after[[3, 5, 11]], mask[[4, 4, 8]])


def test_few_shot_takes_named_slices_empty_ones_partial_ones_and_a_range(module, few_shot_engine, volume_node, drawing):
    logic = module.S3NetSegmentLogic()
    before = content(drawing, volume_node)
    logic.fewShot(volume_node, drawing, slices=[8, 11], axis="z", partial=True, sliceRange=(5, 6))
    assert [(s.index, s.complete, bool(s.labels.any())) for s in few_shot_engine.runs[0]["items"]] == [(8, False, True), (11, False, False)]  # fmt: skip
    after = content(drawing, volume_node)
    others = [n for n in range(12) if n not in (5, 6)]
    np.testing.assert_array_equal(after[others], before[others])
    np.testing.assert_array_equal(after[5], before[8])
    assert few_shot_engine.runs[0]["slices"] == (5, 6)


def test_few_shot_takes_the_slices_that_views_show(module, few_shot_engine, volume_node, drawing, views):
    from S3NetSegmentLib.engine.few_shot.drawings.support import DrawnPlane

    views.axial.JumpSliceByOffsetting(0, 0, 2 * 8 - 12)
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, slices=[views.axial, 4], axis="z")
    assert [(i.axis, i.index) for i in few_shot_engine.runs[0]["items"]] == [("z", 8), ("z", 4)]
    matrix = views.coronal.GetSliceToRAS()
    matrix.SetElement(2, 2, 0.2)
    views.coronal.UpdateMatrices()
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, slices=[8, views.coronal], axis="z")
    assert isinstance(few_shot_engine.runs[1]["items"][1], DrawnPlane)


def test_few_shot_in_another_volume_makes_a_segmentation_there(module, few_shot_engine, volume_node, drawing):
    other = slicer.util.addVolumeFromArray(np.zeros((6, 30, 30), np.int16), name="next")
    before = content(drawing, volume_node)
    node = module.S3NetSegmentLogic().fewShot(volume_node, drawing, otherVolumeNode=other)
    assert node is not drawing and content(node, other).any()
    np.testing.assert_array_equal(content(drawing, volume_node), before)
    assert few_shot_engine.runs[0]["items"][0].drawn == (4, 8) and few_shot_engine.made[0]["volume"].name == "next"
    again = module.S3NetSegmentLogic().fewShot(volume_node, drawing, slices="all", otherVolumeNode=other, otherSegmentationNode=node)  # fmt: skip
    assert again is node and node.GetSegmentation().GetNumberOfSegments() == 1
    assert few_shot_engine.runs[1]["items"][0].drawn is None


def test_a_transform_that_turns_the_other_volume_is_told(module, few_shot_engine, volume_node, drawing, caplog):
    other = slicer.util.addVolumeFromArray(np.zeros((6, 30, 30), np.int16), name="next")
    mrml.put_under(other, mrml.add_transform(mrml.affine(np.diag((1, 1, -1)))))
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, otherVolumeNode=other)
    assert "of 'next' mirrors it" in caplog.text


def test_few_shot_logs_what_the_user_should_know(module, few_shot_engine, volume_node, drawing, caplog):
    import logging

    caplog.set_level(logging.INFO)
    few_shot_engine.notes.append("the image is noisy")
    other_id = drawing.GetSegmentation().AddEmptySegment("bone", "Bone")
    everywhere = np.ones((12, 36, 40), np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(everywhere, drawing, other_id, volume_node)
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, segmentIds=["ball"])
    assert "the image is noisy" in caplog.text and "in other segments, which keep them" in caplog.text


def test_few_shot_makes_confidence_on_request(module, few_shot_engine, volume_node, drawing):
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, confidence=True)
    assert slicer.util.arrayFromVolume(slicer.util.getNode("MR head few-shot confidence"))[6].max() == np.float32(
        1 / 1.2
    )


def test_few_shot_writes_only_at_the_end(module, few_shot_engine, volume_node, drawing):
    before = content(drawing, volume_node)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    steps = module.S3NetSegmentLogic().fewShotSteps(volume_node, drawing)
    next(steps)
    steps.close()
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    np.testing.assert_array_equal(content(drawing, volume_node), before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slices": [99]}, "drawn slice 99"),
        ({"slices": [1.5]}, "not a whole number"),
        ({"slices": "some"}, "slices is 'some'"),
        ({"slices": "all"}, "nothing to find"),
        ({"slices": range(12), "axis": "z"}, "nothing left to find"),
        ({"slices": [1]}, "nothing is drawn on the listed slices"),
        ({"slices": []}, "no slice is listed"),
        ({"segmentIds": ["gone"], "slices": [4]}, "has no segment 'gone'"),
        ({"segmentIds": ["gone"]}, "has no segment 'gone'; it has 'ball'"),
        ({"segmentIds": "ball"}, r"segmentIds is the text 'ball'; give a list of ids, \['ball'\]"),
        ({"axis": "w"}, "axis is 'w'"),
        ({"settings": {"margins": 1}}, "there is no setting margins"),
        ({"settings": {"margin": -1}}, "margin"),
    ],
)
def test_few_shot_refuses_bad_input_and_changes_nothing(module, few_shot_engine, volume_node, drawing, options, said):
    before = content(drawing, volume_node)
    with pytest.raises(InputError, match=said):
        module.S3NetSegmentLogic().fewShot(volume_node, drawing, **options)
    np.testing.assert_array_equal(content(drawing, volume_node), before)


def add_result(node, volume_node, index, name="Found", method="Segment"):
    """A segment on one slice that carries the tags of a result; returns its id."""
    import mrml

    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    mask = np.zeros((12, 36, 40), bool)
    mask[index, 2:6, 2:6] = True
    with segment_edit(node, volume_node) as edit:
        made = mrml.segment(name, tags={"S3NetSegment.Method": method})
        return edit.add_segment(made, mask, volume_from_node(volume_node))


@pytest.mark.parametrize("method", ["Segment", "Model", "Few-shot"])
def test_results_are_not_drawn_where_a_script_names_nothing(
    module, few_shot_engine, volume_node, drawing, caplog, method
):
    add_result(drawing, volume_node, 6, method=method)
    before = content(drawing, volume_node, "Found")
    module.S3NetSegmentLogic().fewShot(volume_node, drawing)
    assert [(s.axis, s.index) for s in few_shot_engine.runs[0]["items"]] == [("z", 4), ("z", 8)]
    np.testing.assert_array_equal(content(drawing, volume_node, "Found"), before)
    assert "'Found' come from" in caplog.text


def test_results_alone_are_refused_unless_a_script_names_them(module, few_shot_engine, volume_node):
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    node = create_segmentation(volume_node, "results")
    found = add_result(node, volume_node, 6)
    with pytest.raises(InputError, match=r"nothing is drawn by hand in 'results': 'Found' .*segmentIds, slices"):
        module.S3NetSegmentLogic().fewShot(volume_node, node)
    module.S3NetSegmentLogic().fewShot(volume_node, node, slices=[6])
    assert content(node, volume_node, "Found")[3].any()
    other = create_segmentation(volume_node, "others")
    module.S3NetSegmentLogic().fewShot(volume_node, other, segmentIds=[add_result(other, volume_node, 2)])
    assert found and content(other, volume_node, "Found")[9].any()


def test_few_shot_warns_of_a_complete_slice_that_lacks_what_is_drawn_around_it(
    module, few_shot_engine, volume_node, drawing, caplog
):
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, slices=[4, 6, 8], axis="z")
    (warning,) = (r for r in caplog.records if r.levelname == "WARNING")
    assert "'Ball': drawn before and behind slice 6 along z" in warning.getMessage()
    caplog.clear()
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, slices=[4, 6, 8], axis="z", partial=True)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_few_shot_needs_a_drawing(module, few_shot_engine, volume_node):
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    with pytest.raises(InputError, match="no segmentation is given"):
        module.S3NetSegmentLogic().fewShot(volume_node, None)
    with pytest.raises(InputError, match="nothing is drawn in 'empty'"):
        module.S3NetSegmentLogic().fewShot(volume_node, create_segmentation(volume_node, "empty"))
