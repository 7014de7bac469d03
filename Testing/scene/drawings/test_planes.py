"""Drawings in oblique views."""

import mrml
import numpy as np
import pytest

from S3NetSegmentLib.engine import Extent, InputError
from S3NetSegmentLib.engine.few_shot.drawings.support import DrawnPlane
from S3NetSegmentLib.scene.answers.preview import FewShotPreview
from S3NetSegmentLib.scene.drawings.drawn_slices import other_volume_support, read_drawn
from S3NetSegmentLib.scene.drawings.support_set import SupportPlane, SupportSlice
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation, segment_mask
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import array_from_matrix, matrix_from_array, volume_from_node

SHAPE = (20, 24, 22)


@pytest.fixture(params=range(4))
def oblique(request, app):
    """(image, view turned by some degrees, plane, ball as mask)"""
    rng = np.random.default_rng(request.param)
    image = mrml.add_volume(
        rng.integers(0, 99, SHAPE).astype(np.int16), mrml.random_grid(rng, oblique=request.param > 1)
    )
    if request.param % 2:
        mrml.put_under(image, mrml.add_transform(mrml.affine(mrml.rotation(rng), rng.uniform(-9, 9, 3))))
    view = turned_view(app, image)
    return image, view, SupportPlane.of_view(view, image), mrml.ball(SHAPE, (10, 12, 11), 7)


def turned_view(app, image):
    view, grid = app.add_slice_view("Red", "Axial", image), volume_from_node(image)
    view.RotateToVolumePlane(image)
    a, b = np.radians(25), np.radians(15)
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    view.GetSliceToRAS().DeepCopy(matrix_from_array(array_from_matrix(view.GetSliceToRAS()) @ mrml.affine(tilt @ turn)))
    view.UpdateMatrices()
    view.JumpSliceByOffsetting(*grid.ras_of((11, 12, 10)))
    return view


def drawn_on_plane(image, plane, ball):
    """A segmentation in which the ball is painted where the plane passes through it."""
    grid, node = volume_from_node(image), create_segmentation(image)
    with segment_edit(node, image) as edit:
        edit.add_segment(mrml.segment("Ball"), ball & plane.voxels(grid, grid.extent), grid)
    return node


def test_the_voxels_of_a_plane_are_those_it_passes_through(oblique):
    image, view, plane, _ = oblique
    grid = volume_from_node(image)
    normal = array_from_matrix(view.GetSliceToRAS())[:3, 2]
    middle = grid.ras_of((11, 12, 10))
    kji = np.indices(SHAPE).reshape(3, -1)
    ras = grid.ijk_to_ras[:3, :3] @ kji[::-1] + grid.ijk_to_ras[:3, 3:]
    distance = np.abs(normal @ (ras - middle[:, None])).reshape(SHAPE)
    width = np.abs(normal @ grid.ijk_to_ras[:3, :3]).sum()
    found = plane.voxels(grid, grid.extent)
    np.testing.assert_array_equal(found, distance <= width / 2 + 1e-4)
    box = Extent((3, 5, 2), (15, 20, 16))
    np.testing.assert_array_equal(plane.voxels(grid, box), found[box.slices])


def test_a_drawing_on_an_oblique_plane_is_read_on_that_plane(oblique):
    image, _, plane, ball = oblique
    node, grid = drawn_on_plane(image, plane, ball), volume_from_node(image)
    drawn = read_drawn(node, None, image, [plane])
    assert isinstance(drawn.items[0], DrawnPlane) and drawn.items[0].complete
    labels, matrix = drawn.items[0].labels, drawn.items[0].plane_to_ras
    rows, columns = np.indices(labels.shape).reshape(2, -1)
    ras = matrix[:3, 0:1] * columns + matrix[:3, 1:2] * rows + matrix[:3, 3:]
    ijk = np.linalg.solve(grid.ijk_to_ras, np.vstack((ras, np.ones(ras.shape[1]))))[:3]
    at = np.floor(ijk + 0.5).astype(int)
    inside = ((at >= 0) & (at < np.array(grid.size)[:, None])).all(0)
    expected = np.zeros(len(rows), bool)
    expected[inside] = ball[tuple(at[a, inside] for a in (2, 1, 0))]
    assert (labels.ravel() != expected).mean() < 0.01 and expected.any()


def test_an_accepted_answer_leaves_the_drawn_plane_as_it_is(oblique):
    image, _, plane, ball = oblique
    node, grid = drawn_on_plane(image, plane, ball), volume_from_node(image)
    segment_id = node.GetSegmentation().GetNthSegmentID(0)
    before, on_plane = segment_mask(node, segment_id, grid), plane.voxels(grid, grid.extent)
    preview = FewShotPreview(node, image, {1: segment_id}, [plane, SupportSlice("z", 3)])
    preview.show(np.ones(SHAPE, np.uint8), "z")
    assert not preview.answer.labels[on_plane].any() and not preview.answer.labels[3].any()
    preview.accept()
    after = segment_mask(node, segment_id, grid)
    np.testing.assert_array_equal(after[on_plane], before[on_plane])
    on_plane[3] = True
    assert after[~on_plane].all() and not after[3].any()


def test_an_oblique_plane_can_be_drawn_for_another_volume(oblique):
    image, _, plane, ball = oblique
    node, grid = drawn_on_plane(image, plane, ball), volume_from_node(image)
    drawing = other_volume_support(node, None, image, [plane, SupportSlice("z", 10)])
    (found,) = drawing.items
    assert len(drawing.segments) == 1 and drawing.notes == [] and not found.is_whole
    assert isinstance(found.drawings[0], DrawnPlane) and (found.drawings[1].axis, found.drawings[1].index) == ("z", 10)
    labelled = found.checked().labels > 0
    assert labelled.sum() > 0.8 * (ball & plane.voxels(grid, grid.extent)).sum()
    assert (labelled & ~ball).sum() < 0.1 * labelled.sum()


def test_what_planes_cannot_do_is_refused(app, rng):
    image = mrml.add_volume(rng.integers(0, 99, SHAPE).astype(np.int16))
    plane = SupportPlane.of_view(turned_view(app, image), image)
    with pytest.raises(InputError, match=r"nothing is drawn on the listed slices \(an oblique plane\)"):
        empty = create_segmentation(image)
        empty.GetSegmentation().AddEmptySegment("a", "A")
        read_drawn(empty, None, image, [plane])
    with pytest.raises(InputError, match="name that slice instead"):
        SupportPlane.of_view(app.add_slice_view("Green", "Axial", image), image)
