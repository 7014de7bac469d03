"""Going to a slice of a volume in a slice view, and the confidence of an answer over its image."""

import mrml
import numpy as np
import pytest

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.scene.answers.confidence import (
    ConfidenceOverlay,
    doubtful_part,
    show_place,
)
from S3NetSegmentLib.scene.drawings.drawn_slices import slice_of_view
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.slice_jump import show_slice
from S3NetSegmentLib.scene.volumes import array_from_matrix, volume_from_node

SHAPE = (10, 12, 14)


@pytest.mark.parametrize("case", range(12))
def test_any_slice_comes_into_a_view_along_its_axis(app, case):
    rng = np.random.default_rng(case)
    image = mrml.add_volume(rng.integers(0, 9, SHAPE).astype(np.int16), mrml.random_grid(rng, oblique=case % 2 == 1))
    if case % 3 == 0:
        mrml.put_under(image, mrml.add_transform(mrml.affine(mrml.rotation(rng), rng.uniform(-9, 9, 3))))
    views = [app.add_slice_view(n, n, image) for n in ("Axial", "Sagittal", "Coronal")]
    for axis in "xyz":
        index = int(rng.integers(volume_from_node(image).size["xyz".index(axis)]))
        view = show_slice(image, axis, index)
        assert view in views and slice_of_view(view, image) == (axis, index)


def test_the_only_view_is_turned_to_the_slice(app, rng):
    image = mrml.add_volume(np.zeros(SHAPE, np.int16))
    view = app.add_slice_view("Only", "Axial", image)
    assert show_slice(image, "x", 3) is view
    assert slice_of_view(view, image) == ("x", 3)


def test_the_view_is_centred_on_the_segments(app, rng):
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng, oblique=False))
    app.add_slice_view("Axial", "Axial", image)
    grid, node = volume_from_node(image), create_segmentation(image)
    mask = np.zeros(SHAPE, bool)
    mask[4, 2:7, 9:12] = True
    with segment_edit(node, image) as edit:
        edit.add_segment(mrml.segment(), mask, grid)
    view = show_slice(image, "z", 6, node)
    middle = array_from_matrix(view.GetSliceToRAS())[:3, 3]
    np.testing.assert_allclose(middle, grid.ras_of((10, 4, 6)), atol=1e-6)
    view = show_slice(image, "z", 7, create_segmentation(image))  # nothing in it: only scrolled
    across = view.GetSliceToRAS()
    moved = grid.ras_of((10, 4, 7)) - array_from_matrix(across)[:3, 3]
    assert abs(moved @ array_from_matrix(across)[:3, 2]) < 1e-6


def test_a_slice_that_does_not_exist_or_is_shown_nowhere_is_refused(app):
    image = mrml.add_volume(np.zeros(SHAPE, np.int16))
    with pytest.raises(InputError, match="no slice view shows"):
        show_slice(image, "z", 3)
    app.add_slice_view("Axial", "Axial", image)
    with pytest.raises(InputError, match="slice 10 along z is not in 'image'"):
        show_slice(image, "z", 10)


def test_confidence_lies_over_the_image_and_leaves_sure_background_clear(app, rng):
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng))
    view = app.add_slice_view("Axial", "Axial", image)
    confidence, labels = np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    labels[4], confidence[4], confidence[5], confidence[6, 0] = 1, 0.9, 0.6, 0.0
    node = ConfidenceOverlay(image).show(doubtful_part(confidence, labels), volume_from_node(image))
    shown = volume_from_node(node).array
    assert (shown[4] == np.float32(0.9)).all() and (shown[5] == np.float32(0.6)).all()
    assert (shown[6, 0] > 0).all() and not shown[7:].any()
    composite = app.slice_logic(view).GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == node.GetID() and composite.GetForegroundOpacity() == 0.6
    ConfidenceOverlay(image, "never shown").hide()
    assert composite.GetForegroundVolumeID() == node.GetID()
    ConfidenceOverlay(image).hide()
    assert composite.GetForegroundVolumeID() is None


@pytest.mark.parametrize("oblique", [False, True])
def test_the_least_sure_place_of_a_slice_is_found_and_marked(app, rng, oblique):
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng, oblique=oblique))
    grid = volume_from_node(image)
    views = [app.add_slice_view(n, n, image) for n in ("Axial", "Coronal")]
    confidence = np.full(SHAPE, 0.9, np.float32)
    confidence[4, 2, 3] = 0.01  # a speckle
    confidence[4, 6:11, 7:12] = 0.2
    confidence[7, :3, :3] = 0.05  # on another slice
    overlay = ConfidenceOverlay(image)
    overlay.show(confidence, grid)
    view = show_slice(image, "z", 4)
    place = overlay.least_sure_place(view)
    i, j, k = np.round(grid.index_of(place)).astype(int)
    assert k == 4 and confidence[k, j, i] == np.float32(0.2)
    show_place(place)
    crosshair = image.GetScene().GetSingletonNode("default", "vtkMRMLCrosshairNode")
    assert crosshair is None or np.allclose(crosshair.GetCrosshairRAS(), place)
    assert slice_of_view(views[1], image) == ("y", j) or oblique
    show_slice(image, "z", 1)
    with pytest.raises(InputError, match="no place of this slice is unsure"):
        overlay.least_sure_place(view)
    with pytest.raises(InputError, match="no confidence"):
        ConfidenceOverlay(image, "another").least_sure_place(view)


@pytest.mark.parametrize(("lowest", "found"), [(0.49, True), (0.51, False)])
def test_a_place_is_unsure_below_one_half(app, rng, lowest, found):
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng))
    confidence = np.full(SHAPE, 0.9, np.float32)
    confidence[4, 5:9, 5:9] = lowest
    app.add_slice_view("Axial", "Axial", image)
    overlay = ConfidenceOverlay(image)
    overlay.show(confidence, volume_from_node(image))
    view = show_slice(image, "z", 4)
    if not found:
        with pytest.raises(InputError, match="no place of this slice is unsure"):
            overlay.least_sure_place(view)
        return
    assert confidence[tuple(np.round(volume_from_node(image).index_of(overlay.least_sure_place(view))).astype(int)[::-1])] == np.float32(lowest)  # fmt: skip


def test_a_sure_voxel_amid_unsure_ones_is_not_the_least_sure_place(app, rng):
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng))
    confidence = np.full(SHAPE, 0.9, np.float32)
    confidence[4, 4:9, 4:9] = 0.3
    confidence[4, 6, 6] = 0.55  # in the middle, where the mean around is lowest
    app.add_slice_view("Axial", "Axial", image)
    overlay = ConfidenceOverlay(image)
    overlay.show(confidence, volume_from_node(image))
    place = overlay.least_sure_place(show_slice(image, "z", 4))
    i, j, k = np.round(volume_from_node(image).index_of(place)).astype(int)
    assert confidence[k, j, i] == np.float32(0.3)


def test_the_confidence_of_another_image_of_the_same_name_is_another_one(app):
    shown = []
    for number in (1, 2):
        image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.affine(shift=(100 * number, 0, 0)))
        view = app.add_slice_view(f"View {number}", "Axial", image)
        array = np.full(SHAPE, 0.9, np.float32)
        array[:, 4:9, 4:9] = 0.1 * number
        shown.append((image, view, array, ConfidenceOverlay(image).show(array, volume_from_node(image))))
    for image, view, array, node in shown:
        np.testing.assert_array_equal(volume_from_node(node).array, array)
        np.testing.assert_allclose(volume_from_node(node).ijk_to_ras, volume_from_node(image).ijk_to_ras)
        assert app.slice_logic(view).GetSliceCompositeNode().GetForegroundVolumeID() == node.GetID()
        place = volume_from_node(image).index_of(ConfidenceOverlay(image).least_sure_place(view))
        assert array[tuple(np.rint(place).astype(int)[::-1])] == array.min()
    image, _, array, node = shown[0]
    assert ConfidenceOverlay(image).show(array / 2, volume_from_node(image)) is node  # updated in place
    ConfidenceOverlay(image).hide()
    for _, view, *_ in shown:
        assert app.slice_logic(view).GetSliceCompositeNode().GetForegroundVolumeID() is None
