"""Sequences: the volumes of all frames, and a segmentation that follows them."""

import dataclasses

import numpy as np
import pytest
import slicer
from mrml import add_transform, add_volume, affine, exported, put_under, random_grid, rotation, segment
from sequences import play, show

from S3NetSegmentLib.engine import InputError, Segmentation
from S3NetSegmentLib.engine.common.provenance import SEGMENT, OutcomeFacts, TaskFacts, provenance
from S3NetSegmentLib.scene.answers.provenance import CONTENT_TAG, content_name, is_found, segment_fact
from S3NetSegmentLib.scene.segmentation.labelmaps import read_segment, segment_tag
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.sequences import frame_of, frame_volumes, write_frames
from S3NetSegmentLib.scene.volumes import volume_from_node

SHAPE = (6, 14, 12)
FRAMES = [np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) + 1000 * number for number in range(3)]


@pytest.fixture
def volume_node(app):
    return add_volume(FRAMES[0], random_grid(np.random.default_rng(5)), "cine")


def found_in(volumes):
    """A segmentation of each frame; the object moves, and "rare" is in the second one alone."""
    out = []
    for number, volume in enumerate(volumes):
        labels = np.zeros(SHAPE, np.uint8)
        labels[1:4, 2:6, 2 + number : 6 + number] = 1
        labels[5, 7:11, 2:6] = 2 if number == 1 else 0
        out.append(Segmentation([labels], [segment("ventricle"), segment("rare", value=2)], volume.ijk_to_ras))
    return out


def ids_of(node):
    return list(node.GetSegmentation().GetSegmentIDs())


def test_all_frames_lie_where_the_shown_one_lies_and_the_shown_one_stays(volume_node):
    put_under(volume_node, add_transform(affine(rotation(np.random.default_rng(1)), (5, -3, 8))))
    volume_node.SetAttribute("DICOM.Modality", "MR")
    play(volume_node, FRAMES, 1)
    frames, shown = frame_volumes(volume_node), volume_from_node(volume_node)
    assert frame_of(volume_node) == (2, 3) and (shown.array == FRAMES[1]).all()
    for volume, array in zip(frames, FRAMES, strict=True):
        assert (volume.array == array).all() and np.allclose(volume.ijk_to_ras, shown.ijk_to_ras)
        assert (volume.name, volume.modality) == ("cine", "MR")
    other = add_volume(FRAMES[0])
    assert frame_of(other) is None and len(frame_volumes(other)) == 1


def test_a_volume_that_follows_a_longer_sequence_is_counted_in_its_own(volume_node):
    browser = play(volume_node, FRAMES)
    slower = add_volume(FRAMES[0], random_grid(np.random.default_rng(5)), "slower")
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "every second beat")
    for number in (0, 2):
        slicer.util.updateVolumeFromArray(slower, FRAMES[number])
        own.SetDataNodeAtValue(slower, str(40 * number))
    browser.AddSynchronizedSequenceNode(own)
    browser.AddProxyNode(slower, own, False)
    for item, frame in ((0, 1), (1, 1), (2, 2)):
        show(browser, item)
        assert frame_of(slower) == (frame, 2) and frame_of(volume_node) == (item + 1, 3)
        assert (volume_from_node(slower).array == frame_volumes(slower)[frame - 1].array).all()


def test_the_segments_of_every_frame_count_as_found_as_they_were_found_in_it(volume_node):
    browser = play(volume_node, FRAMES)
    found = found_in(frame_volumes(volume_node))
    steps = [f"{number} of 3" for number in (1, 2, 3)]
    for one, step in zip(found, steps, strict=True):
        tags = provenance(TaskFacts(SEGMENT), OutcomeFacts(granularity=step))
        one.segments[:] = [dataclasses.replace(segment, tags=tags) for segment in one.segments]
    node = write_frames(found, volume_node)
    for frame, step in enumerate(steps):
        show(browser, frame)
        for i in ids_of(node):
            assert is_found(node, i) and segment_fact(node, i, "Granularity") == step
            assert segment_tag(node, i, CONTENT_TAG) == content_name(read_segment(node, i)[0])


def test_the_segmentation_follows_the_frames_and_keeps_what_is_edited_in_each(volume_node):
    put_under(volume_node, add_transform(affine(rotation(np.random.default_rng(1)), (5, -3, 8))))
    browser = play(volume_node, FRAMES, 1)
    found = found_in(frame_volumes(volume_node))
    node = write_frames(found, volume_node)

    def shown_as(labels):
        return all((exported(node, i, volume_node) == (labels == n)).all() for n, i in enumerate(ids_of(node), 1))

    assert shown_as(found[1].layers[0]) and frame_of(volume_node) == (2, 3)
    for frame in (0, 2, 1):
        show(browser, frame)
        assert shown_as(found[frame].layers[0]) and (volume_from_node(volume_node).array == FRAMES[frame]).all()
    own = np.zeros(SHAPE, bool)
    own[0, :3, :3] = True
    with segment_edit(node, volume_node) as edit:
        edit.replace(ids_of(node)[0], own, volume_from_node(volume_node))
    show(browser, 0)
    assert shown_as(found[0].layers[0])
    show(browser, 1)
    assert (exported(node, ids_of(node)[0], volume_node) == own).all()
    names = [node.GetSegmentation().GetSegment(i).GetName() for i in ids_of(node)]
    assert names == ["ventricle", "rare"]
    sequence = browser.GetSequenceNode(node)
    values = [sequence.GetNthIndexValue(n) for n in range(3)]
    assert values == ["0", "40", "80"] and (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("time", "ms")


@pytest.mark.parametrize("lost", ["sequence", "frame", "writing"])
def test_what_cannot_be_written_leaves_the_scene_as_it_was(volume_node, lost, monkeypatch):
    browser = play(volume_node, FRAMES)
    found = found_in(frame_volumes(volume_node))
    if lost == "sequence":
        slicer.mrmlScene.RemoveNode(browser)
    elif lost == "frame":
        browser.GetMasterSequenceNode().RemoveDataNodeAtValue("80")
    else:
        monkeypatch.setattr("S3NetSegmentLib.scene.sequences.segment_edit", lambda *_: 1 / 0)
    before = _nodes()
    with pytest.raises(ZeroDivisionError if lost == "writing" else InputError):
        write_frames(found, volume_node)
    assert _nodes() == before


def _nodes():
    """The ids of all nodes but the one of the subject hierarchy, which comes with the first data node."""
    nodes = slicer.util.getNodesByClass("vtkMRMLNode")
    return {node.GetID() for node in nodes if not node.IsA("vtkMRMLSubjectHierarchyNode")}
