"""Writing results into segmentation nodes."""

import mrml
import numpy as np
import pytest
import slicer
from segment_states import SHAPE, ids_of, state

from S3NetSegmentLib.engine import Extent, InputError, Segmentation
from S3NetSegmentLib.scene.segmentation.labelmaps import segment_tag
from S3NetSegmentLib.scene.segmentation.reading import (
    create_segmentation,
    find_segment,
    segment_mask,
    write_segmentation,
)
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import volume_from_node


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


def test_a_region_result_is_written_and_again_under_names_of_its_own(app, image, grid, rng):
    layers = [rng.integers(0, 3, SHAPE).astype(np.uint8), (rng.random(SHAPE) > 0.7).astype(np.uint16) * 300]
    segments = [mrml.segment("Region 1", value=1), mrml.segment("Object", value=300, layer=1), mrml.segment("Region 2", value=2)]  # fmt: skip
    result = Segmentation(layers, segments, grid.ijk_to_ras)
    node, ids = write_segmentation(result, image, name="Regions")
    assert node.GetName() == "Regions" and node.GetSegmentation().GetNumberOfLayers() == 2
    for segment_id, entry in zip(ids, segments, strict=True):
        np.testing.assert_array_equal(segment_mask(node, segment_id, grid), result.mask(entry))
        np.testing.assert_array_equal(mrml.exported(node, segment_id, image), result.mask(entry))
    again, more = write_segmentation(result, image, node)
    assert again is node
    names = [node.GetSegmentation().GetSegment(i).GetName() for i in more]
    assert names == ["Region 1 2", "Object 2", "Region 2 2"]
    for segment_id, entry in zip(more, segments, strict=True):
        np.testing.assert_array_equal(segment_mask(node, segment_id, grid), result.mask(entry))


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
