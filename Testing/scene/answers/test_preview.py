"""An answer of Few-shot as a preview: shown, and rejected."""

import mrml
import numpy as np
import pytest
import slicer
from few_shot_previews import SHAPE, masks, nodes, shown

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.scene.answers.preview import FewShotPreview
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation, segment_mask
from S3NetSegmentLib.scene.volumes import volume_from_node


def test_the_preview_looks_like_the_users_segments_and_is_no_part_of_the_saved_scene(preview, drawing, image, answer):
    node, _ = drawing
    preview.show(answer, "z")
    theirs, ours = node.GetSegmentation(), preview.node.GetSegmentation()
    assert [ours.GetNthSegment(n).GetName() for n in range(2)] == ["Liver", "Lesion"]
    for n in range(2):
        assert ours.GetNthSegment(n).GetColor() == theirs.GetNthSegment(n).GetColor()
    assert "preview" in preview.node.GetName() and not preview.node.GetSaveWithScene()
    assert not preview.node.GetDisplayNode().GetSaveWithScene()
    assert preview.node.GetHideFromEditors()


def test_the_preview_shows_the_answer_where_nothing_is_drawn(preview, image, answer):
    preview.show(answer, "z")
    for value, mask in zip((1, 2), shown(preview, image), strict=True):
        expected = answer == value
        expected[[3, 6]] = False
        np.testing.assert_array_equal(mask, expected)
    assert preview.answer.numbers == [0, 1, 2, 4, 5, 7, 8, 9]


def test_a_new_answer_of_one_slice_changes_that_slice_alone_and_the_views_are_told(preview, image, answer):
    preview.show(answer, "z")
    told = []
    preview.node.AddObserver(slicer.vtkSegmentation.SourceRepresentationModified, lambda *_: told.append(1))
    before = shown(preview, image)
    preview.show(np.full(SHAPE, 2, np.uint8), "z", slices=(5, 5))
    assert told
    after = shown(preview, image)
    assert not after[0][5].any() and after[1][5].all()
    for a, b in zip(before, after, strict=True):
        others = [n for n in range(SHAPE[0]) if n != 5]
        np.testing.assert_array_equal(a[others], b[others])


def test_the_first_slice_can_come_alone_and_another_axis_starts_anew(preview, image, answer):
    preview.show(answer, "z", slices=(5, 5))
    assert preview.answer.numbers == [5] and not shown(preview, image)[0][[4, 7]].any()
    preview.show(answer, "x", slices=(5, 6))
    assert preview.answer.axis == "x" and preview.answer.numbers == [5, 6]
    assert not shown(preview, image)[0][:, :, 4].any()


def test_an_answer_of_another_shape_is_refused(preview):
    with pytest.raises(InputError, match="does not fit 'CT'"):
        preview.show(np.zeros((2, 3, 4), np.uint8), "z")


@pytest.mark.parametrize("moved", ["volume", "segmentation", "both"])
def test_preview_and_accepted_answer_lie_on_the_volume_under_transforms(app, rng, answer, moved):
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng))
    node = create_segmentation(image)
    transform = mrml.add_transform(mrml.affine(shift=image_step(image)))
    for part in (image, node) if moved == "both" else ((image,) if moved == "volume" else (node,)):
        mrml.put_under(part, transform)
    if moved == "segmentation":
        image.SetAndObserveTransformNodeID(None)
    segment_id = node.GetSegmentation().AddEmptySegment("a", "A")
    preview = FewShotPreview(node, image, {1: segment_id})
    preview.show((answer == 1).astype(np.uint8), "z")
    np.testing.assert_array_equal(shown(preview, image)[0], answer == 1)
    preview.accept()
    np.testing.assert_array_equal(segment_mask(node, segment_id, volume_from_node(image)), answer == 1)


def image_step(image):
    """Two voxels along i."""
    return 2 * volume_from_node(image).ijk_to_ras[:3, 0]


def test_rejecting_leaves_everything_as_it_was(preview, drawing, image, grid, answer):
    node, ids = drawing
    before, known = [m.tobytes() for m in masks(node, grid, ids)], nodes()
    preview.show(answer, "z")
    preview.reject()
    preview.reject()
    assert [m.tobytes() for m in masks(node, grid, ids)] == before
    assert not preview.is_shown and len(known - nodes()) == 2  # the preview and its display


def test_a_closed_scene_or_a_deleted_preview_does_no_harm(preview, app, answer, drawing, grid):
    slicer.mrmlScene.RemoveNode(preview.node)
    assert not preview.is_shown
    preview.show(answer, "z")
    preview.accept()
    assert segment_mask(drawing[0], drawing[1][0], grid)[5].any()
    app.scene.Clear(False)
    preview.reject()
    with pytest.raises(InputError, match="volume was removed"):
        preview.accept()
