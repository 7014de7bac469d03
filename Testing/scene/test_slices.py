"""Which slice a view shows."""

import mrml
import numpy as np
import pytest
import slicer

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.scene import slices
from S3NetSegmentLib.scene.slices import (
    LastSliceView,
    last_used_slice_node,
    shown_slice,
)
from S3NetSegmentLib.scene.volumes import volume_from_node

ORIENTATIONS = ("Axial", "Sagittal", "Coronal")


def scroll_to(app, view, ras):
    """Moves the view along its normal to the plane through ``ras``."""
    view.JumpSliceByOffsetting(*ras)


@pytest.mark.parametrize("case", range(24))
def test_the_index_is_exact_for_any_flips_permutations_and_transforms(app, case):
    rng = np.random.default_rng(case)
    node = mrml.add_volume(rng.integers(0, 99, (7, 9, 11)).astype(np.int16), mrml.random_grid(rng, oblique=case % 2))
    if case % 3 == 0:
        mrml.put_under(node, mrml.add_transform(mrml.affine(mrml.rotation(rng), rng.uniform(-9, 9, 3))))
    view = app.add_slice_view("Red", ORIENTATIONS[case % 3], node)
    view.RotateToVolumePlane(node)
    volume = volume_from_node(node)
    for _ in range(5):
        ijk = [int(rng.integers(n)) for n in volume.size]
        scroll_to(app, view, volume.ras_of(np.array(ijk) + rng.uniform(-0.49, 0.49, 3)))
        shown = shown_slice(view, node)
        assert not shown.is_oblique
        assert shown.index == ijk["xyz".index(shown.axis)]
        logic = app.slice_logic(view)
        assert shown.index == logic.GetSliceIndexFromOffset(logic.GetSliceOffset(), node) - 1
        assert shown.extent.contains(tuple(ijk)) and shown.extent.size["xyz".index(shown.axis)] == 1


def test_first_last_half_and_outside_slices(app):
    # Flipped along S: the first array slice is the highest.
    node = mrml.add_volume(np.zeros((5, 6, 7), np.uint8), mrml.affine(np.diag([1.0, 1.0, -2.0]), (0, 0, 100)))
    view = app.add_slice_view("Red", "Axial", node)
    for offset, index in ((100, 0), (100.99, 0), (98.01, 1), (98, 1), (92, 4), (91.01, 4), (99, 1), (97, 2)):
        scroll_to(app, view, (0, 0, offset))
        assert (shown_slice(view, node).axis, shown_slice(view, node).index) == ("z", index), offset
    for offset in (101.01, 90.99, -500):
        scroll_to(app, view, (0, 0, offset))
        with pytest.raises(InputError, match="Red view does not cut 'image'"):
            shown_slice(view, node)


def test_slices_are_described_as_the_user_knows_them(app):
    node = mrml.add_volume(np.zeros((5, 6, 7), np.uint8))
    names = []
    for orientation in ORIENTATIONS:
        view = app.add_slice_view(orientation, orientation, node)
        scroll_to(app, view, (3, 2, 1))
        names.append(shown_slice(view, node).describe())
    assert names == ["axial slice 1", "sagittal slice 3", "coronal slice 2"]


def test_a_2d_image_is_its_only_slice(app):
    node = mrml.add_volume(np.zeros((1, 6, 7), np.uint8))
    view = app.add_slice_view("Red", "Axial", node)
    assert (shown_slice(view, node).axis, shown_slice(view, node).index) == ("z", 0)
    scroll_to(app, view, (0, 0, 0.6))
    with pytest.raises(InputError, match="does not cut"):
        shown_slice(view, node)


def test_a_transform_of_the_volume_moves_its_slices(app):
    node = mrml.add_volume(np.zeros((9, 6, 7), np.uint8))
    view = app.add_slice_view("Red", "Axial", node)
    scroll_to(app, view, (0, 0, 6))
    mrml.put_under(node, mrml.add_transform(mrml.affine(shift=(0, 0, 4))))
    assert shown_slice(view, node).index == 2


def linear_volume(grid, shape=(12, 14, 16)):
    """A volume whose value at any place is 100 + R + 2 A - 3 S (float64): linear interpolation must be exact."""
    node = mrml.add_volume(np.zeros(shape), grid)
    array = slicer.util.arrayFromVolume(node)
    k, j, i = np.indices(shape)
    ras = np.tensordot(grid[:3, :3], np.stack((i, j, k)), 1) + grid[:3, 3].reshape(3, 1, 1, 1)
    array[...] = 100 + ras[0] + 2 * ras[1] - 3 * ras[2]
    slicer.util.arrayFromVolumeModified(node)
    return node


@pytest.mark.parametrize("case", range(10))
def test_an_oblique_plane_samples_the_volume_in_its_place(app, case):
    rng = np.random.default_rng(case)
    node = linear_volume(mrml.random_grid(rng))
    view = app.add_slice_view("Red", ORIENTATIONS[case % 3], node)
    shown = shown_slice(view, node)
    assert shown.is_oblique and shown.axis is None and "oblique" in shown.describe()
    plane, volume = shown.plane, volume_from_node(node)
    assert plane.size[2] == 1 and shown.valid.shape == plane.array.shape
    checked = 0
    for j in range(0, plane.size[1], 3):
        for i in range(0, plane.size[0], 3):
            ras = plane.ras_of((i, j, 0))
            index = np.linalg.solve(volume.ijk_to_ras, (*ras, 1))[:3]
            inside = all(-0.5 <= v < n - 0.5 for v, n in zip(index, volume.size, strict=True))
            assert shown.valid[0, j, i] == inside
            if all(0 <= v <= n - 1 for v, n in zip(index, volume.size, strict=True)):
                assert plane.array[0, j, i] == pytest.approx(100 + ras[0] + 2 * ras[1] - 3 * ras[2], abs=1e-6)
                checked += 1
            elif not inside:
                assert plane.array[0, j, i] == pytest.approx(np.percentile(volume.array, 0.5))
    assert checked > 5
    # The plane is the one that the view shows, and as thick as a voxel is across it.
    to_ras = np.array([view.GetSliceToRAS().GetElement(r, c) for r in range(4) for c in range(4)]).reshape(4, 4)
    normal = to_ras[:3, 2]
    assert normal @ (plane.ras_of((0, 0, 0)) - to_ras[:3, 3]) == pytest.approx(0, abs=1e-6)
    assert plane.spacing[2] == pytest.approx(np.abs(normal @ volume.ijk_to_ras[:3, :3]).sum())
    assert plane.spacing[0] == pytest.approx(min(volume.spacing))


def test_zoom_and_pan_do_not_change_the_oblique_plane(app, rng):
    node = linear_volume(mrml.random_grid(rng))
    view = app.add_slice_view("Red", "Axial", node)
    before = shown_slice(view, node)
    x, y, z = view.GetFieldOfView()
    view.SetFieldOfView(x / 7, y / 7, z)
    matrix = view.GetSliceToRAS()
    for row in range(3):  # pan within the plane
        matrix.SetElement(row, 3, matrix.GetElement(row, 3) + 3.3 * matrix.GetElement(row, 0))
    view.UpdateMatrices()
    after = shown_slice(view, node)
    np.testing.assert_allclose(after.plane.ijk_to_ras, before.plane.ijk_to_ras, atol=1e-9)
    np.testing.assert_allclose(after.plane.array, before.plane.array, atol=1e-6)


def test_naming_an_oblique_slice_does_not_sample_the_volume(app, rng, monkeypatch):
    node = linear_volume(mrml.random_grid(rng))
    view = app.add_slice_view("Red", "Axial", node)
    calls, real = [], slices.sampled_plane
    monkeypatch.setattr(slices, "sampled_plane", lambda *arguments: calls.append(1) or real(*arguments))
    shown = shown_slice(view, node)
    assert shown.is_oblique and shown.describe().startswith("oblique") and not calls
    assert shown.plane is shown.plane and shown.valid.any() and len(calls) == 1


def test_an_oblique_plane_keeps_voxel_type_and_colour(app, rng):
    grid = mrml.random_grid(rng)
    grey = mrml.add_volume(rng.integers(-1000, 1000, (9, 9, 9)).astype(np.int16), grid)
    view = app.add_slice_view("Red", "Axial", grey)
    assert shown_slice(view, grey).plane.array.dtype == np.int16
    colour = mrml.add_volume(rng.integers(0, 255, (9, 9, 9, 3)).astype(np.uint8), grid, "c", "vtkMRMLVectorVolumeNode")
    plane = shown_slice(view, colour).plane
    assert plane.is_rgb and plane.array.dtype == np.uint8


def test_an_oblique_plane_beside_the_volume_is_refused(app, rng):
    node = mrml.add_volume(np.zeros((5, 5, 5), np.uint8), mrml.random_grid(rng))
    view = app.add_slice_view("Red", "Axial", node)
    scroll_to(app, view, (0, 0, 5000))
    with pytest.raises(InputError, match="does not cut"):
        shown_slice(view, node)


def test_the_view_last_pointed_at_is_the_one_whatever_its_name(app):
    image, other = (mrml.add_volume(np.zeros((5, 5, 5), np.uint8), name=name) for name in ("image", "other"))
    app.add_slice_view("Compare1", "Axial", other)
    first = app.add_slice_view("Compare2", "Axial", image)
    second = app.add_slice_view("Upper+", "Coronal", image)
    crosshair = app.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    assert last_used_slice_node(image) is first
    last = LastSliceView()
    crosshair.SetCursorPositionXYZ([10, 10, 0], second)
    assert last_used_slice_node(image) is second
    crosshair.SetCursorPositionInvalid()  # the mouse has gone to the panel
    assert last_used_slice_node(image) is first
    assert last_used_slice_node(image, last) is second
    assert last_used_slice_node(other, last).GetLayoutName() == "Compare1"
    last.stop()
    crosshair.SetCursorPositionXYZ([10, 10, 0], first)
    assert last.node is second
    hidden = mrml.add_volume(np.zeros((5, 5, 5), np.uint8), name="hidden")
    with pytest.raises(InputError, match="no slice view shows 'hidden'"):
        last_used_slice_node(hidden)


def test_views_of_the_layout_come_before_hidden_ones(app):
    node = mrml.add_volume(np.zeros((5, 5, 5), np.uint8))
    app.add_slice_view("Hidden", "Axial", node)
    visible = app.add_slice_view("Visible", "Axial", node)
    visible.SetMappedInLayout(1)
    assert last_used_slice_node(node) is visible


def test_beyond_the_volume_an_oblique_plane_is_as_dark_as_the_image_and_not_as_its_padding(app):
    node = linear_volume(mrml.random_grid(np.random.default_rng(0)))
    array = slicer.util.arrayFromVolume(node)
    low = np.percentile(array, 0.5)
    array[0, 0, :3] = -9000.0
    slicer.util.arrayFromVolumeModified(node)
    node.SetAttribute("DICOM.Modality", "MR")
    shown = shown_slice(app.add_slice_view("Red", ORIENTATIONS[0], node), node)
    outside = shown.plane.array[~shown.valid]
    assert outside.size and outside.min() == outside.max() == pytest.approx(low, abs=0.02 * np.ptp(array[1:]))
    assert shown.plane.modality == "MR"
