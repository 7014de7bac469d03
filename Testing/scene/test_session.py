"""What a running job is told when the scene moves on, and confidence volumes."""

import gc
import weakref

import mrml
import numpy as np
import pytest
import slicer
import vtk

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.scene.answers.confidence import UNSURE, ConfidenceOverlay
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
from S3NetSegmentLib.scene.session import SceneWatch
from S3NetSegmentLib.scene.volumes import volume_from_node


@pytest.fixture
def image(app):
    return mrml.add_volume(np.zeros((4, 5, 6), np.int16), name="CT")


@pytest.fixture
def reasons():
    return []


def change_voxels(image):
    slicer.util.arrayFromVolume(image)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(image)


def test_removing_any_watched_node_ends_the_job_once(app, image, reasons):
    for n in range(2):
        node = create_segmentation(image, f"Result {n}")
        SceneWatch([image, None, node], reasons.append)
        slicer.mrmlScene.RemoveNode(node if n == 0 else image)
    assert reasons == ["'Result 0' was removed", "'CT' was removed"]


def test_other_nodes_may_come_and_go(app, image, reasons):
    with SceneWatch([image], reasons.append):
        slicer.mrmlScene.RemoveNode(mrml.add_volume(np.zeros((2, 2, 2)), name="other"))
        assert reasons == []


def test_a_change_of_voxels_geometry_or_transform_ends_the_job(app, image, reasons):
    transform = mrml.add_transform(np.eye(4))
    mrml.put_under(image, transform)
    for change in (
        lambda: change_voxels(image),
        lambda: image.SetSpacing(1, 1, 2),
        lambda: transform.SetMatrixTransformToParent(mrml.matrix_from_array(mrml.affine(shift=(1, 0, 0)))),
        lambda: image.SetAndObserveTransformNodeID(None),
        lambda: slicer.util.updateVolumeFromArray(image, np.ones((4, 5, 6), np.int16)),
    ):
        SceneWatch([image], reasons.append)
        change()
        assert reasons == ["volume 'CT' was changed"]
        reasons.clear()


def test_renaming_and_display_do_not_end_the_job(app, image, reasons):
    image.CreateDefaultDisplayNodes()
    with SceneWatch([image], reasons.append):
        image.SetName("other name")
        image.GetDisplayNode().SetWindowLevelMinMax(1, 2)
        image.SetAttribute("a", "b")
        image.Modified()
        app.add_slice_view("Red", "Axial", image)
        volume_from_node(image)
        assert reasons == []


def test_closing_the_scene_ends_the_job(app, image, reasons):
    SceneWatch([image], reasons.append)
    SceneWatch([None], reasons.append)
    app.scene.Clear(False)
    assert reasons == ["the scene was closed"] * 2


def test_nothing_is_left_after_the_watch(app, image, reasons):
    before = [image.HasObserver(vtk.vtkCommand.ModifiedEvent), app.scene.HasObserver(slicer.vtkMRMLScene.StartCloseEvent)]  # fmt: skip
    watching = SceneWatch([image], reasons.append)
    watching.stop()
    watching.stop()
    assert before == [image.HasObserver(vtk.vtkCommand.ModifiedEvent), app.scene.HasObserver(slicer.vtkMRMLScene.StartCloseEvent)]  # fmt: skip
    gone = weakref.ref(watching)
    del watching
    gc.collect()
    assert gone() is None
    change_voxels(image)
    slicer.mrmlScene.RemoveNode(image)
    assert reasons == []


def test_confidence_lies_on_the_image_and_is_updated_in_place(app, rng):
    image = mrml.add_volume(np.zeros((4, 5, 6), np.int16), mrml.random_grid(rng))
    mrml.put_under(image, mrml.add_transform(mrml.affine(mrml.rotation(rng), (1, 2, 3))))
    grid, confidence = volume_from_node(image), rng.random((4, 5, 6))
    node = ConfidenceOverlay(image).show(confidence, grid)
    shown = volume_from_node(node)
    assert shown.array.dtype == np.float32 and node.GetParentTransformNode() is image.GetParentTransformNode()
    np.testing.assert_allclose(shown.array, confidence, atol=1e-6)
    np.testing.assert_allclose(shown.ijk_to_ras, grid.ijk_to_ras, atol=1e-6)
    display = node.GetDisplayNode()
    assert display.GetApplyThreshold() and display.GetLowerThreshold() > 0 and display.GetColorNode() is not None
    assert display.GetUpperThreshold() == UNSURE  # what is sure is not tinted
    display.SetWindowLevelMinMax(0.2, 0.8)  # the user's
    crop = grid.cropped(grid.extent.slab(grid, "z", 1, 2))
    assert ConfidenceOverlay(image).show(confidence[1:3], crop) is node
    np.testing.assert_allclose(volume_from_node(node).ijk_to_ras, crop.ijk_to_ras, atol=1e-6)
    assert volume_from_node(node).size == (6, 5, 2)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((0.2, 0.8))
    assert ConfidenceOverlay(image, "other").show(confidence, grid) is not node
    with pytest.raises(InputError, match="does not fit"):
        ConfidenceOverlay(image).show(confidence[1:], grid)
