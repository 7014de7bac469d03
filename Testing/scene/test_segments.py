"""Writing results into segmentation nodes."""

import mrml
import numpy as np
import pytest
import slicer

from S3NetSegmentLib.engine import Extent, InputError, Segmentation, Volume
from S3NetSegmentLib.scene.segments import (
    SegmentEdit,
    create_segmentation,
    ensure_binary_labelmap,
    find_segment,
    segment_edit,
    segment_mask,
    segment_tag,
    write_segmentation,
)
from S3NetSegmentLib.scene.slices import shown_slice
from S3NetSegmentLib.scene.volumes import volume_from_node

SHAPE = (14, 16, 18)


@pytest.fixture
def image(app, rng):
    return mrml.add_volume(rng.integers(0, 99, SHAPE).astype(np.int16), mrml.random_grid(rng))


@pytest.fixture
def grid(image):
    return volume_from_node(image)


@pytest.fixture
def two_segments(image, grid):
    """A segmentation with two overlapping segments: (node, id a, mask a, id b, mask b)."""
    node = create_segmentation(image)
    a, b = mrml.ball(SHAPE, (6, 7, 8), 4), mrml.ball(SHAPE, (8, 8, 9), 4)
    with segment_edit(node, image) as edit:
        ids = [edit.add_segment(mrml.segment(n), m, grid) for n, m in (("A", a), ("B", b))]
    return node, ids[0], a, ids[1], b


def ids_of(node):
    return list(node.GetSegmentation().GetSegmentIDs())


def state(node, grid):
    """Everything of the segments that must come back: order, names, colours and voxels."""
    segmentation = node.GetSegmentation()
    return [
        (i, segmentation.GetSegment(i).GetName(), segmentation.GetSegment(i).GetColor(), segment_mask(node, i, grid).tobytes())
        for i in ids_of(node)
    ]  # fmt: skip


def test_a_new_segmentation_belongs_to_its_volume(app, image):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(app.scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.CreateItem(study, image)
    mrml.put_under(image, mrml.add_transform(mrml.affine(shift=(1, 2, 3))))
    node = create_segmentation(image)
    assert node.GetName() == "image segmentation"
    assert node.GetParentTransformNode() is image.GetParentTransformNode()
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is image
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert node.GetSegmentation().GetSourceRepresentationName() == "Binary labelmap"
    assert node.GetDisplayNode() is not None
    assert create_segmentation(image, "Organs").GetName() == "Organs"


def test_masks_read_back_equal_by_us_and_by_slicer(two_segments, image, grid):
    node, a_id, a, b_id, b = two_segments
    for segment_id, mask in ((a_id, a), (b_id, b)):
        np.testing.assert_array_equal(segment_mask(node, segment_id, grid), mask)
        np.testing.assert_array_equal(mrml.exported(node, segment_id, image), mask)


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


def test_a_crop_replaces_only_its_own_part_of_the_segment(two_segments, image, grid, rng):
    node, a_id, a, b_id, b = two_segments
    crop = Extent((5, 6, 4), (9, 12, 8))
    new = rng.random(a[crop.slices].shape) > 0.5
    with segment_edit(node, image) as edit:
        edit.replace(a_id, new, grid.cropped(crop))
    expected = a.copy()
    expected[crop.slices] = new
    np.testing.assert_array_equal(segment_mask(node, a_id, grid), expected)
    np.testing.assert_array_equal(segment_mask(node, b_id, grid), b)
    with segment_edit(node, image) as edit:
        edit.replace(a_id, new, grid.cropped(crop), within_extent=False)
    expected = np.zeros_like(a)
    expected[crop.slices] = new
    np.testing.assert_array_equal(segment_mask(node, a_id, grid), expected)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("case", range(6))
def test_any_sequence_of_edits_is_exact_and_leaves_the_other_segments_alone(app, shared, case):
    rng = np.random.default_rng(case)
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng))
    if case % 2:
        mrml.put_under(image, mrml.add_transform(mrml.affine(mrml.rotation(rng), (5, 6, 7))))
    grid, node = volume_from_node(image), create_segmentation(image)
    labels = rng.integers(0, 4, SHAPE)
    segments = [mrml.segment(f"R{v}", value=v) for v in (1, 2, 3)]
    with segment_edit(node, image) as edit:
        if shared:
            ids = edit.add_layer(segments, labels, grid)
        else:
            ids = [edit.add_segment(s, labels == s.value, grid) for s in segments]
    assert node.GetSegmentation().GetNumberOfLayers() == (1 if shared else 3)
    expected = [labels == v for v in (1, 2, 3)]
    for _ in range(8):
        n = int(rng.integers(3))
        start = [int(rng.integers(0, s - 1)) for s in grid.size]
        stop = [int(rng.integers(a + 1, s + 1)) for a, s in zip(start, grid.size, strict=True)]
        crop = Extent(tuple(start), tuple(stop))
        mask = rng.random(expected[n][crop.slices].shape) > 0.6
        action = ("replace", "add", "remove")[int(rng.integers(3))]
        with segment_edit(node, image) as edit:
            getattr(edit, action)(ids[n], mask, grid.cropped(crop))
        part = expected[n][crop.slices]
        part[...] = {"replace": mask, "add": part | mask, "remove": part & ~mask}[action]
        for segment_id, wanted in zip(ids, expected, strict=True):
            np.testing.assert_array_equal(segment_mask(node, segment_id, grid), wanted)


def test_a_one_slice_edit_keeps_all_other_slices(two_segments, image, grid):
    node, a_id, a, _, _ = two_segments
    for axis in "xyz":
        slab = Extent.slab(grid, axis, 7, 7)
        with segment_edit(node, image) as edit:
            edit.replace(a_id, np.ones_like(a[slab.slices]), grid.cropped(slab))
        a[slab.slices] = True
        np.testing.assert_array_equal(segment_mask(node, a_id, grid), a)
        with segment_edit(node, image) as edit:
            edit.replace(a_id, np.zeros_like(a[slab.slices]), grid.cropped(slab))
        a[slab.slices] = False
        np.testing.assert_array_equal(segment_mask(node, a_id, grid), a)


def test_undo_and_redo_are_bit_exact_and_one_step_for_each_action(app, two_segments, image, grid):
    node, a_id, a, b_id, _ = two_segments
    editor = mrml.Editor(app, node, image)
    states = [state(node, grid)]
    with segment_edit(node, image, editor.save) as edit:  # several changes, one action
        edit.add(a_id, ~a, grid)
        edit.remove(b_id, a, grid)
        edit.add_segment(mrml.segment("C"), a, grid)
    states.append(state(node, grid))
    labels = np.where(a, 2, 1)
    with segment_edit(node, image, editor.save) as edit:
        edit.delete_segment(b_id)
        edit.add_layer([mrml.segment("R1", value=1), mrml.segment("R2", value=2)], labels, grid)
    states.append(state(node, grid))
    with segment_edit(node, image, editor.save) as edit:
        edit.replace(find_segment(node, "R2"), ~a[:1], grid.cropped(Extent.slab(grid, "z", 0, 0)))
    states.append(state(node, grid))
    assert editor.saves == 3 and len({repr(s) for s in states}) == 4
    for expected in states[2::-1]:
        editor.logic.Undo()
        assert state(node, grid) == expected
    assert not editor.logic.CanUndo()
    for expected in states[1:]:
        editor.logic.Redo()
        assert state(node, grid) == expected


def test_no_undo_step_is_made_when_nothing_changes(app, two_segments, image, grid):
    node, a_id, a, b_id, b = two_segments
    editor = mrml.Editor(app, node, image)
    modified = node.GetSegmentation().GetMTime()
    with segment_edit(node, image, editor.save) as edit:
        edit.replace(a_id, a, grid)
        edit.add(b_id, a & b, grid)
        edit.remove(b_id, ~b, grid)
    with segment_edit(node, image, editor.save):
        pass
    assert editor.saves == 0 and node.GetSegmentation().GetMTime() == modified


def test_an_exception_inside_leaves_everything_as_it_was(app, two_segments, image, grid):
    node, a_id, _, _, _ = two_segments
    editor = mrml.Editor(app, node, image)
    before = state(node, grid)
    with pytest.raises(ZeroDivisionError), segment_edit(node, image, editor.save) as edit:
        edit.remove(a_id, np.ones(SHAPE, bool), grid)
        edit.add_segment(mrml.segment("C"), np.ones(SHAPE, bool), grid)
        raise ZeroDivisionError
    assert state(node, grid) == before and editor.saves == 0


@pytest.mark.parametrize("shared", [False, True])
def test_a_failure_while_writing_rolls_back(app, image, grid, monkeypatch, shared):
    node = create_segmentation(image)
    labels = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3
    with segment_edit(node, image) as edit:
        segments = [mrml.segment("R1", value=1), mrml.segment("R2", value=2)]
        ids = edit.add_layer(segments, labels, grid) if shared else [edit.add_segment(s, labels == s.value, grid) for s in segments]  # fmt: skip
    before = state(node, grid)
    import S3NetSegmentLib.scene.segment_edit as module

    real, calls = module.write_segment, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise MemoryError("no memory")
        return real(*arguments)

    monkeypatch.setattr(module, "write_segment", failing)
    with pytest.raises(MemoryError), segment_edit(node, image) as edit:
        edit.add_segment(mrml.segment("C"), labels == 0, grid)
        edit.remove(ids[0], labels == 1, grid)
        edit.add(ids[1], labels == 0, grid)
    assert len(calls) == 2
    assert state(node, grid) == before


@pytest.mark.parametrize("fails_at", [1, 2])
@pytest.mark.parametrize("surface", [False, True])
def test_a_failure_while_adding_rolls_back(app, image, grid, monkeypatch, surface, fails_at):
    node, mask = create_segmentation(image), mrml.ball(SHAPE, (6, 7, 8), 4)
    if surface:
        with segment_edit(node, image) as edit:
            old = edit.add_segment(mrml.segment("Old"), mask, grid)
        node.CreateClosedSurfaceRepresentation()
    before = state(node, grid)
    calls, real = [], SegmentEdit._write

    def failing(self, *arguments):
        calls.append(arguments)
        if len(calls) == fails_at:
            raise MemoryError("no memory")
        real(self, *arguments)

    monkeypatch.setattr(SegmentEdit, "_write", failing)
    with pytest.raises(MemoryError), segment_edit(node, image) as edit:
        for name in ("A", "B"):
            edit.add_segment(mrml.segment(name), mask, grid)
    assert state(node, grid) == before
    assert not surface or mrml.surface_points(node, old) > 0


def test_a_failed_new_segmentation_is_taken_away_again(app, image, grid):
    bad = Segmentation([np.ones(SHAPE, np.uint8)], [mrml.segment(value=1), mrml.segment(value=1)], grid.ijk_to_ras)
    with pytest.raises(InputError, match="must be different"):
        write_segmentation(bad, image)
    assert app.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_region_result_is_written_whole_or_by_extent(app, image, grid, rng):
    layers = [rng.integers(0, 3, SHAPE).astype(np.uint8), (rng.random(SHAPE) > 0.7).astype(np.uint16) * 300]
    segments = [mrml.segment("Region 1", value=1), mrml.segment("Object", value=300, layer=1), mrml.segment("Region 2", value=2)]  # fmt: skip
    result = Segmentation(layers, segments, grid.ijk_to_ras)
    node, ids = write_segmentation(result, image, name="Regions")
    assert node.GetName() == "Regions" and node.GetSegmentation().GetNumberOfLayers() == 2
    for segment_id, entry in zip(ids, segments, strict=True):
        np.testing.assert_array_equal(segment_mask(node, segment_id, grid), result.mask(entry))
        np.testing.assert_array_equal(mrml.exported(node, segment_id, image), result.mask(entry))
    slab = Extent.slab(grid, "y", 3, 5)
    again, more = write_segmentation(result, image, node, extent=slab)
    assert again is node
    names = [node.GetSegmentation().GetSegment(i).GetName() for i in more]
    assert names == ["Region 1 2", "Object 2", "Region 2 2"]
    for segment_id, entry in zip(more, segments, strict=True):
        wanted = np.zeros(SHAPE, bool)
        wanted[slab.slices] = result.mask(entry)[slab.slices]
        np.testing.assert_array_equal(segment_mask(node, segment_id, grid), wanted)


def test_a_rerun_replaces_its_regions_under_the_same_names_in_one_action(app, image, grid, rng):
    node = create_segmentation(image)
    first, second = rng.integers(0, 3, SHAPE), rng.integers(-2, 5, SHAPE) * 10000
    with segment_edit(node, image) as edit:
        ids = edit.add_layer([mrml.segment(f"Region {v}", value=v) for v in (1, 2)], first, grid)
    editor, before = mrml.Editor(app, node, image), state(node, grid)
    with segment_edit(node, image, editor.save) as edit:
        for segment_id in ids:
            edit.delete_segment(segment_id)
        new = edit.add_layer([mrml.segment(f"Region {v}", value=v * 10000) for v in (1, 2, 3)], second, grid)
        edit.remove(new[0], second == 10000, grid)
        edit.add(new[0], second == 40000, grid)
        edit.delete_segment(new[1])
    segmentation = node.GetSegmentation()
    assert [segmentation.GetSegment(i).GetName() for i in ids_of(node)] == ["Region 1", "Region 3"]
    np.testing.assert_array_equal(segment_mask(node, new[0], grid), second == 40000)
    np.testing.assert_array_equal(segment_mask(node, new[2], grid), second == 30000)
    layer = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, new[2])
    assert set(np.unique(layer)) == {0, 30000}
    editor.logic.Undo()
    assert state(node, grid) == before


def test_segments_get_unique_names_colour_terminology_and_tags(app, image, grid):
    node = create_segmentation(image)
    liver = "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
    mask = mrml.ball(SHAPE, (6, 7, 8), 3)
    with segment_edit(node, image) as edit:
        ids = [edit.add_segment(mrml.segment("Liver", (0.1, 0.5, 0.9), terminology=liver, tags={"X": "1"}), mask, grid) for _ in range(3)]  # fmt: skip
        edit.set_tags(ids[1], {"Y": "2"})
    segments = [node.GetSegmentation().GetSegment(i) for i in ids]
    assert [s.GetName() for s in segments] == ["Liver", "Liver 2", "Liver 3"] and len(set(ids)) == 3
    assert segments[0].GetColor() == pytest.approx((0.1, 0.5, 0.9)) and segments[0].GetTerminology() == liver
    assert [segment_tag(node, i, "X") for i in ids] == ["1"] * 3
    assert [segment_tag(node, i, "Y") for i in ids] == [None, "2", None]
    assert segment_tag(node, ids[0], "Segmentation.Status") == "inprogress"
    assert find_segment(node, "Liver 2") == ids[1] and find_segment(node, "Spleen") is None


def test_empty_masks_make_and_leave_empty_segments(app, image, grid):
    node, nothing = create_segmentation(image), np.zeros(SHAPE, bool)
    mask = mrml.ball(SHAPE, (6, 7, 8), 3)
    with segment_edit(node, image) as edit:
        empty = edit.add_segment(mrml.segment("E"), nothing, grid)
        full = edit.add_segment(mrml.segment("F"), mask, grid)
    assert not segment_mask(node, empty, grid).any()
    np.testing.assert_array_equal(segment_mask(node, full, grid), mask)
    with segment_edit(node, image) as edit:
        edit.add(empty, mask, grid)
        edit.remove(full, mask, grid)
    np.testing.assert_array_equal(segment_mask(node, empty, grid), mask)
    assert not segment_mask(node, full, grid).any() and full in ids_of(node)


def test_slicers_own_empty_segment_on_a_shared_layer_can_be_filled(two_segments, image, grid):
    node, a_id, a, b_id, b = two_segments
    own = node.GetSegmentation().AddEmptySegment("", "Mine")
    with segment_edit(node, image) as edit:
        edit.add(own, a | b, grid)
    for segment_id, wanted in ((own, a | b), (a_id, a), (b_id, b)):
        np.testing.assert_array_equal(segment_mask(node, segment_id, grid), wanted)


def test_the_closed_surface_follows_the_edit(two_segments, image, grid):
    node, a_id, a, b_id, _ = two_segments
    node.CreateClosedSurfaceRepresentation()
    other, before = mrml.surface_points(node, b_id), mrml.surface_points(node, a_id)
    with segment_edit(node, image) as edit:
        edit.remove(a_id, mrml.ball(SHAPE, (6, 7, 8), 2.5), grid)
        new = edit.add_segment(mrml.segment("C"), a, grid)
    assert mrml.surface_points(node, a_id) > before and mrml.surface_points(node, b_id) == other
    assert mrml.surface_points(node, new) == before
    with segment_edit(node, image) as edit:
        edit.remove(a_id, a, grid)
        empty = edit.add_segment(mrml.segment("D"), np.zeros_like(a), grid)
    assert mrml.surface_points(node, a_id) == mrml.surface_points(node, empty) == 0
    assert mrml.surface_points(node, b_id) == other and mrml.surface_points(node, new) == before
    with segment_edit(node, image) as edit:
        edit.add(empty, a, grid)
    assert mrml.surface_points(node, empty) == before


def test_a_segmentation_of_surfaces_is_converted_first(two_segments, image, grid):
    node, a_id, a, b_id, _ = two_segments
    node.CreateClosedSurfaceRepresentation()
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName("Closed surface")
    segmentation.RemoveRepresentation("Binary labelmap")
    other = segment_mask(node, b_id, grid)
    assert other.any()
    with segment_edit(node, image) as edit:
        edit.replace(a_id, a, grid)
    assert segmentation.GetSourceRepresentationName() == "Binary labelmap"
    np.testing.assert_array_equal(segment_mask(node, a_id, grid), a)
    np.testing.assert_array_equal(segment_mask(node, b_id, grid), other)


def test_a_segmentation_that_cannot_be_converted_is_refused(app, image):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "contours")
    node.GetSegmentation().SetSourceRepresentationName("Unknown")
    segment = slicer.vtkSegment()
    import vtk

    segment.AddRepresentation("Unknown", vtk.vtkPolyData())
    assert node.GetSegmentation().AddSegment(segment, "s")
    with pytest.raises(InputError, match="'contours' holds 'Unknown'"):
        ensure_binary_labelmap(node)
    with pytest.raises(InputError, match="no segmentation is selected"):
        ensure_binary_labelmap(None)


def test_a_foreign_segmentation_without_geometry_takes_the_volumes(app, image, grid):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "foreign")
    mask = mrml.ball(SHAPE, (6, 7, 8), 3)
    with segment_edit(node, image) as edit:
        segment_id = edit.add_segment(mrml.segment(), mask, grid)
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is image
    np.testing.assert_array_equal(segment_mask(node, segment_id, grid), mask)


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


def test_bad_masks_and_segments_are_refused_by_name(two_segments, image, grid):
    node, a_id, a, _, _ = two_segments
    with pytest.raises(InputError, match=r"shape \(2, 2, 2\) does not fit the grid of 'image'"), segment_edit(node, image) as edit:  # fmt: skip
        edit.replace(a_id, np.ones((2, 2, 2), bool), grid)
    with pytest.raises(InputError, match="has no segment 'gone'"), segment_edit(node, image) as edit:
        edit.add("gone", a, grid)
    with pytest.raises(InputError, match="whole numbers"), segment_edit(node, image) as edit:
        edit.add_layer([mrml.segment()], a.astype(float), grid)
    with pytest.raises(InputError, match="was deleted"), segment_edit(node, image) as edit:
        edit.delete_segment(a_id)
        edit.add(a_id, a, grid)
    mrml.put_under(node, mrml.add_bend())
    with pytest.raises(InputError, match="harden the transform"), segment_edit(node, image):
        pass
