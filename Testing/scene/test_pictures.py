"""What the user sees: views drawn by Slicer's own displayable managers. The pictures are kept for people to look at."""

import mrml
import numpy as np
import pytest
import slicer
from paths import ARTIFACTS
from slice_pictures import SlicePicture, ThreeDPicture, why_no_pictures

from S3NetSegmentLib.scene.answers.preview import FewShotPreview
from S3NetSegmentLib.scene.drawings.support_set import SupportSlice
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import volume_from_node

SHAPE = (40, 60, 60)


@pytest.fixture
def scene_with_result(app, rng):
    if why_no_pictures():
        pytest.skip(why_no_pictures())
    image = mrml.add_volume(rng.integers(80, 120, SHAPE).astype(np.int16), mrml.affine(np.diag([1.0, 1.0, 1.5])))
    image.CreateDefaultDisplayNodes()
    image.GetDisplayNode().AutoWindowLevelOff()
    image.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    node = create_segmentation(image)
    with segment_edit(node, image) as edit:
        edit.add_segment(mrml.segment("Ball", (1.0, 0.0, 0.0)), mrml.ball(SHAPE, (20, 30, 30), 12), volume_from_node(image))  # fmt: skip
    return app, image, node


def redness(picture):
    return np.mean(picture[..., 0].astype(int) - picture[..., 2] > 60)


def test_a_slice_view_shows_the_image_and_the_segment_over_it(scene_with_result):
    app, image, _ = scene_with_result
    view = SlicePicture(app, image, "Coronal")
    view.show_slice_at((30, 30, 30))
    with_segment = view.array()
    ARTIFACTS.mkdir(exist_ok=True)
    view.save(ARTIFACTS / "scene_slice.png")
    view.show_slice_at((30, 2, 30))
    without = view.array()
    view.close()
    assert without.mean() > 30 and redness(without) == 0
    assert 0.02 < redness(with_segment) < 0.5
    # The fill is half transparent: the image is seen through it.
    inside = with_segment[190:210, 240:260].astype(int)
    assert 30 < inside[..., 1].mean() < inside[..., 0].mean()


def test_a_3d_view_shows_the_surface(scene_with_result):
    app, _, node = scene_with_result
    view = ThreeDPicture(app)
    view.look_from()
    before = redness(view.array())
    node.CreateClosedSurfaceRepresentation()
    view.look_from()
    after = redness(view.array())
    ARTIFACTS.mkdir(exist_ok=True)
    view.save(ARTIFACTS / "scene_3d.png")
    view.close()
    assert before == 0 and after > 0.05
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLViewNode") == 1


def test_a_few_shot_preview_is_seen_beside_the_segments_and_follows_a_new_answer(scene_with_result):
    app, image, node = scene_with_result
    view = SlicePicture(app, image, "Axial")
    view.show_slice_at((30, 30, 30))
    preview = FewShotPreview(node, image, {1: node.GetSegmentation().GetNthSegmentID(0)}, [SupportSlice("z", 10)])
    before = redness(view.array())
    answer = np.zeros(SHAPE, np.uint8)
    answer[:, 5:15, 5:50] = 1
    preview.show(answer, "z", slices=(20, 20))
    shown = redness(view.array())
    ARTIFACTS.mkdir(exist_ok=True)
    view.save(ARTIFACTS / "scene_few_shot_preview.png")
    assert shown > before + 0.01
    answer[:, 5:25, 5:50] = 1
    preview.show(answer, "z", slices=(20, 20))
    assert redness(view.array()) > shown + 0.01
    view.show_slice_at((30, 30, 15))  # the drawn slice shows the drawing alone
    drawn = redness(view.array())
    preview.reject()
    assert redness(view.array()) == drawn
    view.show_slice_at((30, 30, 30))
    assert redness(view.array()) == before
    view.close()
