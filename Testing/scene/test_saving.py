"""Results survive files: .seg.nrrd, a saved scene."""

from types import SimpleNamespace

import mrml
import numpy as np
import pytest
import slicer

from S3NetSegmentLib import __version__
from S3NetSegmentLib.engine import SegmentSettings
from S3NetSegmentLib.engine.common.provenance import provenance_tags
from S3NetSegmentLib.engine.few_shot.settings import FewShotSettings
from S3NetSegmentLib.scene.answers.accepted_answer import AcceptedAnswer, slices_changed_since
from S3NetSegmentLib.scene.answers.preview import FewShotPreview
from S3NetSegmentLib.scene.answers.provenance import few_shot_tags
from S3NetSegmentLib.scene.drawings.support_set import SupportSlice
from S3NetSegmentLib.scene.segmentation.labelmaps import segment_tag
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation, find_segment, segment_mask
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import volume_from_node

SHAPE = (10, 12, 14)


@pytest.fixture
def result(app, rng):
    """(image node, segmentation node, mask, tags): an oblique image with a segment and its provenance."""
    # Right-handed: Slicer's reader turns the slices of a left-handed image file round.
    grid = mrml.affine(mrml.rotation(rng) @ np.diag((0.8, 1.1, 2.5)), (10, -20, 30))
    image = mrml.add_volume(rng.integers(0, 99, SHAPE).astype(np.int16), grid, name="Bild ü")
    node, mask = create_segmentation(image), mrml.ball(SHAPE, (5, 6, 7), 4)
    tags = provenance_tags(
        "segment",
        settings=SegmentSettings(seed=7, region_counts=(2, 4)).changed(),
        seed=7,
        points=[np.array([1.25, -2, 3]), (4, 5, 6.123456789)],
        device="cpu",
        volume="a|b: c\nd = e;",
        frame=None,
    )
    with segment_edit(node, image) as edit:
        edit.add_segment(mrml.segment("Niere (links) é", (0.25, 0.5, 0.75), tags=tags), mask, volume_from_node(image))
    return image, node, mask, tags


def test_provenance_says_what_made_the_result(result):
    tags = result[3]
    assert tags == {
        "S3NetSegment.Method": "segment",
        "S3NetSegment.Version": __version__,
        "S3NetSegment.Settings": "seed=7; region_counts=2,4",
        "S3NetSegment.Seed": "7",
        "S3NetSegment.Points": "1.25,-2,3 / 4,5,6.12346",
        "S3NetSegment.Device": "cpu",
        "S3NetSegment.Volume": "a/b: c d = e;",
    }


def test_few_shot_says_what_was_drawn_and_which_weights_were_used():
    answer = SimpleNamespace(mix={"carried": 0.75, "prototypes": 0.25, "appearance": 0.0})
    support = [SupportSlice("z", 3), SupportSlice("x", 9)]
    encoder = SimpleNamespace(name="dinov2-vits14", digest="abc", device="cuda:0")
    tags = few_shot_tags(FewShotSettings(seed=4, margin=0.9), "CT", support, answer, encoder, "drawing", "CT before")
    assert tags == {
        "S3NetSegment.Method": "Few-shot",
        "S3NetSegment.Version": __version__,
        "S3NetSegment.Settings": "margin=0.9",
        "S3NetSegment.Seed": "4",
        "S3NetSegment.Device": "cuda:0",
        "S3NetSegment.Image": "CT",
        "S3NetSegment.Support": "drawing on CT before z=3 x=9",
        "S3NetSegment.Encoder": "dinov2-vits14 sha256 abc",
        "S3NetSegment.Mix": "carried 0.75, prototypes 0.25",
    }
    assert few_shot_tags(FewShotSettings(), "CT", (), answer)["S3NetSegment.Support"] == "all slices"


def test_a_seg_nrrd_keeps_voxels_name_colour_and_provenance(result, tmp_path):
    image, node, mask, tags = result
    storage = slicer.vtkMRMLSegmentationStorageNode()
    slicer.mrmlScene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "result.seg.nrrd"))
    assert storage.WriteData(node)
    loaded = slicer.modules.segmentations.logic().LoadSegmentationFromFile(str(tmp_path / "result.seg.nrrd"), True)
    segment_id = find_segment(loaded, "Niere (links) é")
    np.testing.assert_array_equal(segment_mask(loaded, segment_id, volume_from_node(image)), mask)
    assert loaded.GetSegmentation().GetSegment(segment_id).GetColor() == pytest.approx((0.25, 0.5, 0.75), abs=1e-3)
    assert {name: segment_tag(loaded, segment_id, name) for name in tags} == tags
    # and it can be edited further, on its own grid
    with segment_edit(loaded, image) as edit:
        edit.remove(segment_id, mask, volume_from_node(image))
    assert not segment_mask(loaded, segment_id, volume_from_node(image)).any()


def test_a_saved_scene_brings_the_result_back(app, result, tmp_path):
    image, node, _, tags = result
    mrml.put_under(image, mrml.add_transform(mrml.affine(shift=(3, 4, 5))))
    for data, name, storage_class in (
        (image, "image.nrrd", "vtkMRMLVolumeArchetypeStorageNode"),
        (node, "result.seg.nrrd", "vtkMRMLSegmentationStorageNode"),
    ):
        storage = slicer.mrmlScene.AddNewNodeByClass(storage_class)
        storage.SetFileName(str(tmp_path / name))
        data.SetAndObserveStorageNodeID(storage.GetID())
        assert storage.WriteData(data)
    expected = segment_mask(node, find_segment(node, "Niere (links) é"), volume_from_node(image))
    app.scene.SetRootDirectory(str(tmp_path))
    app.scene.SetURL(str(tmp_path / "scene.mrml"))
    assert app.scene.Commit()
    app.new_scene()
    app.scene.SetURL(str(tmp_path / "scene.mrml"))
    assert app.scene.Connect()
    image = app.scene.GetFirstNodeByName("Bild ü")
    node = app.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    segment_id = find_segment(node, "Niere (links) é")
    assert expected.any()
    np.testing.assert_array_equal(segment_mask(node, segment_id, volume_from_node(image)), expected)
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is image
    assert {name: segment_tag(node, segment_id, name) for name in tags} == tags


def test_a_few_shot_preview_is_not_saved_and_what_was_accepted_is_known_after_loading(result, tmp_path):
    image, node, mask, _ = result
    segment_id, grid = node.GetSegmentation().GetNthSegmentID(0), volume_from_node(image)
    preview = FewShotPreview(node, image, {1: segment_id}, [SupportSlice("z", 5)])
    preview.show(mask.astype(np.uint8), "z")
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Commit()
    text = (tmp_path / "scene.mrml").read_text(encoding="utf8")
    assert node.GetName() in text and "preview" not in text
    accepted = preview.accept().to_text()
    storage = slicer.vtkMRMLSegmentationStorageNode()
    slicer.mrmlScene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "accepted.seg.nrrd"))
    assert storage.WriteData(node)
    loaded = slicer.modules.segmentations.logic().LoadSegmentationFromFile(str(tmp_path / "accepted.seg.nrrd"), True)
    known = AcceptedAnswer.from_text(accepted)
    assert slices_changed_since(loaded, image, known, [segment_id]) == []
    extra = np.zeros(SHAPE, bool)
    extra[8, 2:5, 3:7] = True
    with segment_edit(loaded, image) as edit:
        edit.add(segment_id, extra, grid)
    assert slices_changed_since(loaded, image, known, [segment_id]) == [SupportSlice("z", 8, corrected=True)]
