"""A model's answer in a segmentation: what it replaces, what it leaves alone, one undo step, any transform."""

import numpy as np
import pytest
import slicer
from mrml import Editor, add_transform, add_volume, affine, exported, put_under, random_grid, rotation, segment

from S3NetSegmentLib.engine import Segmentation
from S3NetSegmentLib.engine.common.provenance import provenance_tags
from S3NetSegmentLib.scene.segmentation.reading import segment_mask, write_model_answer
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import volume_from_node

SHAPE = (6, 14, 12)


@pytest.fixture
def volume_node(app):
    return add_volume(np.zeros(SHAPE, np.int16), random_grid(np.random.default_rng(5)), "MR")


def answer(node, shift=0):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:6, 2 + shift : 6 + shift] = 1
    labels[1:4, 7:11, 2 + shift : 6 + shift] = 2
    segments = [segment(name, value=v, tags=provenance_tags("Model")) for v, name in ((1, "Ring"), (2, "Core"))]
    return Segmentation([labels], segments, volume_from_node(node).ijk_to_ras)


def names(node):
    segmentation = node.GetSegmentation()
    return [segmentation.GetSegment(i).GetName() for i in segmentation.GetSegmentIDs()]


def test_the_answer_lies_where_slicer_expects_it_also_under_a_transform(volume_node):
    put_under(volume_node, add_transform(affine(rotation(np.random.default_rng(1)), (5, -3, 8))))
    found = answer(volume_node)
    node, ids = write_model_answer(found, volume_node)
    for segment_id, value in zip(ids, (1, 2), strict=True):
        assert (exported(node, segment_id, volume_node) == (found.layers[0] == value)).all()


def test_a_later_answer_replaces_the_earlier_one_in_one_undo_step(app, volume_node):
    node, ids = write_model_answer(answer(volume_node), volume_node)
    editor, volume = Editor(app, node, volume_node), volume_from_node(volume_node)
    _, again = write_model_answer(answer(volume_node, 3), volume_node, node, lambda _: editor.save())
    assert again == ids and editor.saves == 1 and names(node) == ["Ring", "Core"]
    assert (segment_mask(node, ids[1], volume) == (answer(volume_node, 3).layers[0] == 2)).all()
    editor.logic.Undo()
    assert (segment_mask(node, ids[1], volume) == (answer(volume_node).layers[0] == 2)).all()


def test_segments_of_the_user_completed_ones_and_those_of_another_volume_stay(volume_node):
    other = add_volume(np.zeros(SHAPE, np.int16), name="CT")
    node, ids = write_model_answer(answer(volume_node), volume_node)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(node.GetSegmentation().GetSegment(ids[0]), logic.Completed)
    volume = volume_from_node(volume_node)
    before = segment_mask(node, ids[0], volume)
    _, again = write_model_answer(answer(volume_node, 3), volume_node, node)
    assert names(node) == ["Ring", "Core", "Ring 2"] and again[1] == ids[1]
    assert (segment_mask(node, ids[0], volume) == before).all()
    write_model_answer(answer(other), other, node)
    assert names(node) == ["Ring", "Core", "Ring 2", "Ring 3", "Core 2"]


def test_an_error_leaves_no_new_segmentation_behind(volume_node, monkeypatch):
    from S3NetSegmentLib.scene.segmentation import reading

    def failing(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(reading, "segment_edit", failing)
    with pytest.raises(RuntimeError):
        write_model_answer(answer(volume_node), volume_node)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == 0


def test_a_drawing_of_the_same_name_is_the_users(volume_node):
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    node, volume = create_segmentation(volume_node), volume_from_node(volume_node)
    mask = np.ones(SHAPE, bool)
    with segment_edit(node, volume_node) as edit:
        mine = edit.add_segment(segment("Ring"), mask, volume)
    write_model_answer(answer(volume_node), volume_node, node)
    assert names(node) == ["Ring", "Ring 2", "Core"] and segment_mask(node, mine, volume).all()
