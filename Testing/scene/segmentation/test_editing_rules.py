"""The editable area, overwriting and intensity range of Slicer's segment editor, held against Slicer itself."""

import mrml
import numpy as np
import pytest
import slicer

from S3NetSegmentLib.scene.answers.preview import FewShotPreview
from S3NetSegmentLib.scene.drawings.support_set import SupportSlice
from S3NetSegmentLib.scene.segmentation.labelmaps import LabelBox, oriented_image
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation, segment_mask
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.segmentation.segment_slices import EditingRules, SegmentSlices
from S3NetSegmentLib.scene.volumes import volume_from_node

SHAPE = (8, 10, 12)
MODES = [name for name in dir(slicer.vtkMRMLSegmentationNode) if name.startswith("EditAllowed") and "_" not in name]


@pytest.fixture
def scene(app, rng):
    """(image, segmentation, ids of Liver, Bone and hidden Skin, editor node)"""
    image = mrml.add_volume(rng.integers(0, 100, SHAPE).astype(np.int16), mrml.random_grid(rng))
    node, grid = create_segmentation(image), volume_from_node(image)
    masks = {"Liver": mrml.ball(SHAPE, (4, 4, 4), 3), "Bone": mrml.ball(SHAPE, (4, 5, 8), 2), "Skin": mrml.ball(SHAPE, (5, 8, 5), 3)}  # fmt: skip
    with segment_edit(node, image) as edit:
        ids = [edit.add_segment(mrml.segment(name), mask, grid) for name, mask in masks.items()]
    node.GetDisplayNode().SetSegmentVisibility(ids[2], False)
    editor = mrml.Editor(app, node, image)
    editor.node.SetMaskSegmentID(ids[1])
    return image, node, ids, editor


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("intensities", [None, (20.0, 70.0)])
def test_the_editable_area_is_that_of_slicer(scene, mode, intensities):
    image, node, ids, editor = scene
    grid = volume_from_node(image)
    editor.node.SetMaskMode(getattr(node, mode))
    editor.node.SetSourceVolumeIntensityMask(intensities is not None)
    editor.node.SetSourceVolumeIntensityMaskRange(intensities or (0, 0))
    rules = EditingRules.of_editor(editor.node)
    image_data = oriented_image(LabelBox(grid.array), grid.ijk_to_ras)
    for segment_id in ids:
        mask = slicer.vtkOrientedImageData()
        assert node.GenerateEditMask(mask, editor.node.GetMaskMode(), image_data, segment_id, ids[1], image_data if intensities else None, intensities)  # fmt: skip
        from vtk.util.numpy_support import vtk_to_numpy

        expected = vtk_to_numpy(mask.GetPointData().GetScalars()).reshape(SHAPE) == 0
        found = rules.editable(segment_id, grid.extent, SegmentSlices(node, None, grid), grid)
        np.testing.assert_array_equal(np.broadcast_to(found, SHAPE), expected)
        assert expected.any()


def test_a_part_of_the_image_gives_that_part_of_the_area(scene):
    image, node, ids, editor = scene
    grid = volume_from_node(image)
    editor.node.SetMaskMode(node.EditAllowedOutsideAllSegments)
    editor.node.SetSourceVolumeIntensityMask(True)
    editor.node.SetSourceVolumeIntensityMaskRange(20, 70)
    rules, slices = EditingRules.of_editor(editor.node), SegmentSlices(node, None, grid)
    box = type(grid.extent)((2, 3, 1), (9, 8, 6))
    whole = rules.editable(ids[0], grid.extent, slices, grid)
    np.testing.assert_array_equal(rules.editable(ids[0], box, slices, grid), whole[box.slices])


@pytest.mark.parametrize("mode", ["OverwriteAllSegments", "OverwriteVisibleSegments", "OverwriteNone"])
def test_an_accepted_answer_overwrites_what_the_editor_overwrites(scene, mode):
    image, node, ids, editor = scene
    grid = volume_from_node(image)
    editor.node.SetOverwriteMode(getattr(editor.node, mode))
    before = [segment_mask(node, i, grid) for i in ids]
    preview = FewShotPreview(node, image, {1: ids[0]}, [SupportSlice("z", 4)])
    preview.show(np.ones(SHAPE, np.uint8), "z")
    preview.accept(lambda changed: editor.save(), rules=EditingRules.of_editor(editor.node))
    after = [segment_mask(node, i, grid) for i in ids]
    gained = after[0] & ~before[0]
    assert gained[[3, 5]].any() and not gained[4].any()
    lost = {"OverwriteAllSegments": ids[1:], "OverwriteVisibleSegments": ids[1:2], "OverwriteNone": []}[mode]
    for n in (1, 2):
        np.testing.assert_array_equal(after[n], before[n] & ~gained if ids[n] in lost else before[n])
    editor.logic.Undo()
    for i, mask in zip(ids, before, strict=True):
        np.testing.assert_array_equal(segment_mask(node, i, grid), mask)
    assert editor.saves == 1


def test_an_accepted_answer_changes_nothing_outside_the_editable_area(scene):
    image, node, ids, editor = scene
    grid = volume_from_node(image)
    editor.node.SetMaskMode(node.EditAllowedOutsideVisibleSegments)
    editor.node.SetOverwriteMode(editor.node.OverwriteNone)
    editor.node.SetSourceVolumeIntensityMask(True)
    editor.node.SetSourceVolumeIntensityMaskRange(30, 90)
    before = [segment_mask(node, i, grid) for i in ids]
    preview = FewShotPreview(node, image, {1: ids[0]}, [SupportSlice("z", 4)])
    answer = np.zeros(SHAPE, np.uint8)
    answer[:, 3:] = 1
    preview.show(answer, "z")
    preview.accept(rules=EditingRules.of_editor(editor.node))
    may = ~before[1] & (grid.array >= 30) & (grid.array <= 90)
    may[4] = False
    blocked = ((answer == 1) != before[0]) & ~may
    blocked[4] = False
    assert preview.notes == [
        f"{blocked.sum()} voxels of the answer are outside the editable area or intensity range and stay"
    ]
    np.testing.assert_array_equal(segment_mask(node, ids[0], grid), np.where(may, answer == 1, before[0]))
