"""What the user sees: views drawn by Slicer's own displayable managers. The pictures are kept for people to look at."""

import mrml
import numpy as np
import pytest
import slicer
from paths import ARTIFACTS
from slice_pictures import SlicePicture, ThreeDPicture, why_no_pictures

from S3NetSegmentLib.scene.segments import create_segmentation, segment_edit
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
