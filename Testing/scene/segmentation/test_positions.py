"""Segments lie where the image shows them: transforms, oblique planes, other grids."""

import mrml
import numpy as np
import pytest
import slicer
from segment_states import SHAPE

from S3NetSegmentLib.engine import Volume
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation, segment_mask
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.slices import shown_slice
from S3NetSegmentLib.scene.volumes import volume_from_node


@pytest.mark.parametrize("case", range(60))
def test_world_positions_survive_every_combination_of_transforms(app, case):
    """Volume moved, segmentation moved, both, neither; oblique, flipped, permuted, anisotropic; an existing reference
    geometry or none. Expected voxels are reckoned from world positions alone."""
    rng = np.random.default_rng(case)
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng, oblique=case % 3 > 0))
    node = create_segmentation(image)
    if case % 4 in (1, 3):
        mrml.put_under(image, mrml.add_transform(mrml.affine(mrml.rotation(rng), rng.uniform(-20, 20, 3))))
    if case % 4 in (2, 3):
        mrml.put_under(node, mrml.add_transform(mrml.affine(mrml.rotation(rng), rng.uniform(-20, 20, 3))))
    if case % 5 == 0:  # no grid of its own: takes the image's, exactly
        node.GetSegmentation().SetConversionParameter("Reference image geometry", "")
    grid = volume_from_node(image)
    mask = mrml.ball(SHAPE, (7, 8, 9), 5.3)
    with segment_edit(node, image) as edit:
        segment_id = edit.add_segment(mrml.segment(), mask, grid)
    if case % 5 == 0 or case % 4 == 0:
        np.testing.assert_array_equal(segment_mask(node, segment_id, grid), mask)
    labelmap = node.GetSegmentation().GetSegment(segment_id).GetRepresentation("Binary labelmap")
    expected = set()
    local = np.array(_matrix(labelmap))
    to_index = np.linalg.inv(grid.ijk_to_ras) @ _world(node) @ local
    reach = np.array(SHAPE[::-1])
    corners = np.array([[(-1, reach[a])[n >> a & 1] for a in range(3)] for n in range(8)])
    back = np.linalg.inv(to_index)
    cloud = corners @ back[:3, :3].T + back[:3, 3]
    low, high = np.floor(cloud.min(0)).astype(int) - 1, np.ceil(cloud.max(0)).astype(int) + 1
    ijk = np.stack(np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"), -1).reshape(-1, 3)  # fmt: skip
    at = np.floor(ijk @ to_index[:3, :3].T + to_index[:3, 3] + 0.5 + 1e-6).astype(int)
    inside = ((at >= 0) & (at < reach)).all(1)
    at, ijk = at[inside], ijk[inside]
    expected = {tuple(v) for v in ijk[mask[at[:, 2], at[:, 1], at[:, 0]]]}
    start = labelmap.GetExtent()[::2]
    written = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment_id)
    actual = {tuple(int(v) for v in np.array(kji[::-1]) + start) for kji in np.argwhere(written)}
    assert actual == {tuple(int(v) for v in e) for e in expected} and actual


def _matrix(labelmap):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    return [[matrix.GetElement(r, c) for c in range(4)] for r in range(4)]


def _world(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


@pytest.mark.parametrize("moved", ["volume", "segmentation", "both", "none"])
def test_a_shift_by_two_voxels_shifts_by_two_voxels(app, moved):
    """The case in which Slicer's own array helper is off by four."""
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.affine(np.diag([0.8, 0.8, 2.0])))
    node = create_segmentation(image)
    shift = mrml.add_transform(mrml.affine(shift=(1.6, 0, 0)))
    if moved in ("volume", "both"):
        mrml.put_under(image, shift)
    if moved in ("segmentation", "both"):
        mrml.put_under(node, shift)
    mask = mrml.ball(SHAPE, (6, 7, 8), 3)
    grid = volume_from_node(image)
    with segment_edit(node, image) as edit:
        segment_id = edit.add_segment(mrml.segment(), mask, grid)
    by = {"volume": 2, "segmentation": -2}.get(moved, 0)
    extent = node.GetSegmentation().GetSegment(segment_id).GetRepresentation("Binary labelmap").GetExtent()
    assert extent == (5 + by, 11 + by, 4, 10, 3, 9)
    np.testing.assert_array_equal(segment_mask(node, segment_id, grid), mask)
    np.testing.assert_array_equal(mrml.exported(node, segment_id, image), mask)


@pytest.mark.parametrize("case", range(8))
def test_an_oblique_plane_is_written_one_voxel_thick_and_reads_back(app, case):
    rng = np.random.default_rng(case)
    image = mrml.add_volume(rng.integers(0, 99, (24, 26, 28)).astype(np.int16), mrml.random_grid(rng))
    if case % 2:
        mrml.put_under(image, mrml.add_transform(mrml.affine(mrml.rotation(rng), (5, 6, 7))))
    node, grid = create_segmentation(image), volume_from_node(image)
    view = app.add_slice_view("Red", ("Axial", "Sagittal", "Coronal")[case % 3], image)
    shown = shown_slice(view, image)
    mask = np.ones_like(shown.valid)
    with segment_edit(node, image) as edit:
        segment_id = edit.add_segment(mrml.segment(), mask, shown.plane)
    # No holes: at every place of the view whose voxel lies over the plane, the drawing is seen again.
    assert segment_mask(node, segment_id, shown.plane)[_over(shown, grid)].all()
    written = segment_mask(node, segment_id, grid)
    ras = np.argwhere(written)[:, ::-1] @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3]
    normal = shown.plane.ijk_to_ras[:3, 2] / shown.plane.spacing[2]
    distance = np.abs((ras - shown.plane.ras_of((0, 0, 0))) @ normal)
    covered = node.GetSegmentation().GetSegment(segment_id).GetRepresentation("Binary labelmap").GetExtent()
    assert min(covered[::2]) >= 0 and (np.array(covered[1::2]) < grid.size).all()  # nothing beside the image
    assert distance.max() <= shown.plane.spacing[2] / 2 + 1e-6
    # Drawing on the plane again replaces what was drawn there, and only there.
    with segment_edit(node, image) as edit:
        edit.add(segment_id, np.ones(grid.array.shape, bool), grid)
        edit.replace(segment_id, np.zeros_like(mask), shown.plane)
    np.testing.assert_array_equal(segment_mask(node, segment_id, grid), ~written)


def _over(shown, grid) -> np.ndarray:
    """Pixels of an oblique plane that lie in a voxel whose centre projects onto the plane's rectangle."""
    j, i = np.indices(shown.plane.array.shape[1:])
    to_index = np.linalg.solve(grid.ijk_to_ras, shown.plane.ijk_to_ras)
    voxel = np.floor(np.stack((i, j, 0 * i), -1) @ to_index[:3, :3].T + to_index[:3, 3] + 0.5)
    back = np.linalg.inv(to_index)
    at = np.floor(voxel @ back[:3, :3].T + back[:3, 3] + 0.5)
    n, m = shown.plane.size[:2]
    return ((at[..., 0] >= 0) & (at[..., 0] < n) & (at[..., 1] >= 0) & (at[..., 1] < m) & shown.valid[0])[None]


def test_an_object_drawn_on_an_oblique_plane_keeps_its_shape(app, rng):
    image = mrml.add_volume(rng.integers(0, 99, (40, 44, 48)).astype(np.int16), mrml.affine(mrml.rotation(rng)))
    node = create_segmentation(image)
    shown = shown_slice(app.add_slice_view("Red", "Axial", image), image)
    disc = mrml.ball(shown.plane.array.shape, (0, shown.plane.size[1] / 2, shown.plane.size[0] / 2), 12)
    with segment_edit(node, image) as edit:
        segment_id = edit.add_segment(mrml.segment(), disc, shown.plane)
    back = segment_mask(node, segment_id, shown.plane)
    assert 2 * (back & disc).sum() / (back.sum() + disc.sum()) > 0.93


def test_a_2d_image_is_segmented_like_any_other(app, rng):
    image = mrml.add_volume(rng.integers(0, 255, (1, 20, 30, 3)).astype(np.uint8), class_name="vtkMRMLVectorVolumeNode")
    grid, mask = volume_from_node(image), mrml.ball((1, 20, 30), (0, 9, 12), 6)
    node = create_segmentation(image)
    with segment_edit(node, image) as edit:
        segment_id = edit.add_segment(mrml.segment(), mask, grid)
    np.testing.assert_array_equal(segment_mask(node, segment_id, grid), mask)


def test_a_segment_is_read_on_any_other_grid(two_segments, grid):
    node, a_id, a, _, _ = two_segments
    fine = Volume(np.zeros([2 * n for n in SHAPE], np.uint8), grid.ijk_to_ras @ mrml.affine(np.eye(3) / 2, [-0.25] * 3))
    np.testing.assert_array_equal(segment_mask(node, a_id, fine), a.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    away = Volume(np.zeros((3, 3, 3), np.uint8), mrml.affine(shift=(900, 900, 900)))
    assert not segment_mask(node, a_id, away).any()
