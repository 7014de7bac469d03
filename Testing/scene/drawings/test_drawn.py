"""What is drawn where, read for Few-shot; the support set that is saved."""

import json

import mrml
import numpy as np
import pytest
import slicer

from S3NetSegmentLib.engine import InputError, Volume
from S3NetSegmentLib.scene.drawings.drawn_slices import (
    other_volume_support,
    read_drawn,
    segment_content,
    slice_of_view,
    slices_with_labels,
)
from S3NetSegmentLib.scene.drawings.support_set import SupportSlice, merged_support, support_from_text, support_to_text
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import volume_from_node

SHAPE = (10, 12, 14)


@pytest.fixture
def image(app, rng):
    return mrml.add_volume(rng.integers(0, 99, SHAPE).astype(np.int16), mrml.random_grid(rng))


@pytest.fixture
def grid(image):
    return volume_from_node(image)


@pytest.fixture
def liver_and_lesion(image, grid):
    """(node, id of the liver, its mask, id of the lesion, its mask); they do not overlap."""
    liver, lesion = mrml.ball(SHAPE, (4, 5, 6), 3.2), mrml.ball(SHAPE, (7, 8, 10), 2)
    lesion &= ~liver
    return add_segments(image, grid, Liver=liver, Lesion=lesion)


def add_segments(image, grid, **masks):
    node = create_segmentation(image)
    out = [node]
    with segment_edit(node, image) as edit:
        for name, mask in masks.items():
            out += [edit.add_segment(mrml.segment(name), mask, grid), mask]
    return out


def plane(array, axis, index):
    return np.take(array, index, 2 - "xyz".index(axis))


@pytest.mark.parametrize("axis", "xyz")
def test_the_content_counts_voxels_of_every_segment_on_every_slice(liver_and_lesion, image, axis):
    node, a_id, a, b_id, b = liver_and_lesion
    content = segment_content(node, None, image, axis)
    for n in range(image.GetImageData().GetDimensions()["xyz".index(axis)]):
        expected = {i: int(plane(m, axis, n).sum()) for i, m in ((a_id, a), (b_id, b)) if plane(m, axis, n).any()}
        assert content.get(n, {}) == expected
    assert list(content) == sorted(content)
    assert segment_content(node, [b_id, "gone"], image, axis).keys() == {n for n in content if b_id in content[n]}


def test_drawn_slices_carry_each_segments_value_in_the_order_of_the_segments(liver_and_lesion, image):
    node, a_id, a, b_id, b = liver_and_lesion
    support = [SupportSlice("z", 5), SupportSlice("y", 7, complete=False), SupportSlice("z", 0)]
    drawn = read_drawn(node, [b_id, a_id], image, support)
    assert drawn.segments == {1: b_id, 2: a_id} and drawn.notes == []
    for chosen, found in zip(support, drawn.items, strict=True):
        expected = plane(b, *chosen.place) * 1 + plane(a, *chosen.place) * 2
        np.testing.assert_array_equal(found.labels, expected)
        assert (found.axis, found.index, found.complete) == (chosen.axis, chosen.index, chosen.complete)
        found.checked(volume_from_node(image))
    assert not drawn.items[2].labels.any()  # listed and empty: it holds nothing


def test_hidden_segments_count(liver_and_lesion, image):
    node, a_id, *_ = liver_and_lesion
    node.GetDisplayNode().SetSegmentVisibility(a_id, False)
    assert read_drawn(node, None, image, [SupportSlice("z", 4)]).items[0].labels.any()


@pytest.mark.parametrize("case", range(12))
def test_a_segmentation_on_another_grid_and_under_transforms_is_read_where_it_lies_in_the_patient(app, case):
    rng = np.random.default_rng(case)
    image = mrml.add_volume(np.zeros(SHAPE, np.int16), mrml.random_grid(rng, oblique=case % 2 == 1))
    if case % 3:
        mrml.put_under(image, mrml.add_transform(mrml.affine(mrml.rotation(rng), rng.uniform(-9, 9, 3))))
    grid = volume_from_node(image)
    # Another grid: half the spacing, turned by a few degrees, about the same centre.
    turn = np.array([[0.98, -0.199, 0], [0.199, 0.98, 0], [0, 0, 1]])
    fine = grid.ijk_to_ras @ mrml.affine(turn / 2)
    fine[:3, 3] += grid.ras_of((np.array(grid.size) - 1) / 2) - (fine @ (*(np.array(grid.size) - 0.7), 1))[:3]
    other = Volume(np.zeros([2 * n for n in SHAPE], np.uint8), fine)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    if case % 4 > 1:
        mrml.put_under(node, mrml.add_transform(mrml.affine(mrml.rotation(rng), rng.uniform(-9, 9, 3))))
    mask = mrml.ball(other.array.shape, (9, 12, 14), 6)
    with segment_edit(node, None) as edit:
        segment_id = edit.add_segment(mrml.segment(), mask, other)
    for axis, index in (("z", 5), ("y", 6), ("x", 6)):
        drawn = read_drawn(node, None, image, [SupportSlice(axis, index)])
        assert "another grid" in drawn.notes[0] and "'Object'" in drawn.notes[0]
        start, size = [0, 0, 0], list(grid.size)
        start["xyz".index(axis)], size["xyz".index(axis)] = index, 1
        ijk = np.stack(np.meshgrid(*(np.arange(n) + s for n, s in zip(size, start, strict=True)), indexing="ij"), -1)
        at = ijk.reshape(-1, 3) @ (np.linalg.inv(fine) @ grid.ijk_to_ras)[:3, :3].T
        at = np.floor(at + (np.linalg.inv(fine) @ grid.ijk_to_ras)[:3, 3] + 0.5).astype(int)
        inside = ((at >= 0) & (at < other.size)).all(1)
        expected = np.zeros(len(at), bool)
        expected[inside] = mask[tuple(at[inside, a] for a in (2, 1, 0))]
        expected = plane(expected.reshape(size).transpose(2, 1, 0), axis, 0)
        np.testing.assert_array_equal(drawn.items[0].labels > 0, expected)
        assert expected.any()
        assert segment_content(node, None, image, axis)[index] == {segment_id: int(expected.sum())}


def test_segments_that_overlap_stay_whole_in_layers_and_a_note_names_them(image, grid):
    big, small = mrml.ball(SHAPE, (5, 6, 7), 4), mrml.ball(SHAPE, (5, 6, 7), 2)
    other = mrml.ball(SHAPE, (5, 1, 1), 1)
    node, *_ = add_segments(image, grid, Liver=big, Lesion=small, Bone=other)
    drawn = read_drawn(node, None, image, [SupportSlice("z", 5), SupportSlice("z", 1)])
    assert [(s.index, s.layer) for s in drawn.items] == [(5, 0), (5, 1), (1, 0), (1, 1)]
    np.testing.assert_array_equal(drawn.items[0].labels, big[5] + 3 * other[5])
    np.testing.assert_array_equal(drawn.items[1].labels, 2 * small[5] + 3 * other[5])  # the bone is no lesion
    assert drawn.layers == {1: 0, 2: 1, 3: 0}
    assert drawn.notes == [
        f"'Liver' and 'Lesion' overlap in {small[5].sum()} drawn voxels; each is answered on its own and stays whole"
    ]
    elsewhere = read_drawn(node, None, image, [SupportSlice("z", 1)])  # where only the liver is drawn
    assert [s.layer for s in elsewhere.items] == [0] and elsewhere.notes == []


def test_segments_that_overlap_are_whole_for_another_volume_too(image, grid):
    big, small = mrml.ball(SHAPE, (5, 6, 7), 4), mrml.ball(SHAPE, (5, 6, 7), 2)
    node, *_ = add_segments(image, grid, Liver=big, Lesion=small)
    for support, slices in (((), slice(None)), ([SupportSlice("z", 5)], [5])):
        drawing = other_volume_support(node, None, image, support)
        for volume, value, mask in zip(drawing.items, (1, 2), (big, small), strict=True):
            np.testing.assert_array_equal(volume.labels[slices], value * mask[slices])
        assert "overlap" in drawing.notes[0] and [v.layer for v in drawing.items] == [0, 1]


def test_what_cannot_be_read_is_refused_with_a_remedy(liver_and_lesion, image, app):
    node, a_id, *_ = liver_and_lesion
    with pytest.raises(InputError, match="no slice is listed"):
        read_drawn(node, None, image, [])
    with pytest.raises(InputError, match=r"nothing is drawn on the listed slices \(slice 0 along z\)"):
        read_drawn(node, None, image, [SupportSlice("z", 0)])
    with pytest.raises(InputError, match="drawn slice 10 along z is not in 'image', which has 10 slices"):
        read_drawn(node, None, image, [SupportSlice("z", 4), SupportSlice("z", 10)])
    with pytest.raises(InputError, match="no segmentation is selected"):
        read_drawn(None, None, image, [SupportSlice("z", 4)])
    with pytest.raises(InputError, match="has no segment 'gone'"):
        read_drawn(node, [a_id, "gone"], image, [SupportSlice("z", 4)])
    with pytest.raises(InputError, match="has no segment; add one"):
        read_drawn(create_segmentation(image), None, image, [SupportSlice("z", 4)])
    with pytest.raises(InputError, match="every slice along z is listed as drawn"):
        read_drawn(node, None, image, [SupportSlice("z", n) for n in range(10)])
    bend = mrml.add_bend()
    mrml.put_under(node, bend)
    with pytest.raises(InputError, match="harden the transform"):
        read_drawn(node, None, image, [SupportSlice("z", 4)])
    node.SetAndObserveTransformNodeID(None)
    mrml.put_under(image, bend)
    with pytest.raises(InputError, match="harden the transform"):
        segment_content(node, None, image, "z")


def test_a_segment_that_reaches_beyond_the_volume_is_read_inside_it(app, rng):
    image = mrml.add_volume(np.zeros(SHAPE, np.int16))
    larger = Volume(np.zeros([n + 6 for n in SHAPE], np.uint8), image_matrix(image) @ mrml.affine(shift=(-3, -3, -3)))
    mask = rng.random(larger.array.shape) > 0.5
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    with segment_edit(node, None) as edit:
        edit.add_segment(mrml.segment(), mask, larger)
    inner = mask[3:-3, 3:-3, 3:-3]
    np.testing.assert_array_equal(read_drawn(node, None, image, [SupportSlice("x", 4)]).items[0].labels, inner[:, :, 4])
    assert [sum(v.values()) for v in segment_content(node, None, image, "z").values()] == inner.sum((1, 2)).tolist()


def image_matrix(image):
    return volume_from_node(image).ijk_to_ras.copy()


def test_the_slices_with_labels_are_found_also_along_two_axes(image, grid):
    drawn = np.zeros(SHAPE, bool)
    drawn[7, 2:9, 3:12] = True
    drawn[0:9, 1:11, 6] = True
    node, *_ = add_segments(image, grid, Liver=drawn)
    assert slices_with_labels(node, None, image) == [("x", 6), ("z", 7)]
    assert slices_with_labels(node, ["gone"], image) == []
    assert slices_with_labels(create_segmentation(image), None, image) == []


def test_a_view_tells_its_slice_and_an_oblique_one_none(app, image, grid):
    view = app.add_slice_view("Red", "Axial", image)
    view.RotateToVolumePlane(image)
    view.JumpSliceByOffsetting(*grid.ras_of((3, 4, 5)))
    axis, index = slice_of_view(view, image)
    assert index == (3, 4, 5)["xyz".index(axis)]
    matrix = view.GetSliceToRAS()
    turned = mrml.matrix_from_array(np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)]) @ mrml.affine(mrml.rotation(np.random.default_rng(1))))  # fmt: skip
    matrix.DeepCopy(turned)
    view.UpdateMatrices()
    assert slice_of_view(view, image) is None


def test_a_drawing_for_another_volume_holds_the_drawn_slices_alone(liver_and_lesion, image):
    node, a_id, a, b_id, b = liver_and_lesion
    support = [SupportSlice("z", 5), SupportSlice("z", 3), SupportSlice("x", 6)]
    drawing = other_volume_support(node, None, image, support)
    (found,) = drawing.items
    assert drawing.segments == {1: a_id, 2: b_id} and (found.axis, found.drawn) == ("z", (3, 5))
    assert [(d.axis, d.index) for d in found.drawings] == [("z", 5), ("z", 3), ("x", 6)]
    expected = np.zeros(SHAPE, np.uint8)
    expected[[3, 5]], expected[:, :, 6] = (a + 2 * b)[[3, 5]], (a + 2 * b)[:, :, 6]
    np.testing.assert_array_equal(found.labels, expected)
    found.checked()
    (along_z,) = other_volume_support(node, None, image, support[:2]).items
    assert along_z.drawn == (3, 5) and along_z.drawings == () and not along_z.labels[[0, 1, 2, 4]].any()
    drawing = other_volume_support(node, None, image)
    (whole,) = drawing.items
    np.testing.assert_array_equal(whole.labels, a + 2 * b)
    assert whole.drawn is None and drawing.notes == []


def test_the_support_set_survives_as_text_and_damaged_text_is_empty():
    support = [SupportSlice("z", 3), SupportSlice("x", 0, complete=False, corrected=True)]
    text = support_to_text(support)
    assert support_from_text(text) == support
    assert support_from_text(support_to_text([support[0], SupportSlice("z", 3, corrected=True)])) == [SupportSlice("z", 3, corrected=True)]  # fmt: skip
    later = json.loads(text) | {"version": 99}
    wrong_axis = {"version": 1, "slices": [{"axis": "q", "index": 3}]}
    wrong_index = {"version": 1, "slices": [{"axis": "z", "index": -3}]}
    for damaged in ("", "{", "[]", "7", text[:-4], *map(json.dumps, (later, wrong_axis, wrong_index, {"version": 1}))):
        assert support_from_text(damaged) == []


def test_support_sets_are_merged_slice_by_slice():
    merged = merged_support([SupportSlice("z", 9), SupportSlice("z", 3)], [SupportSlice("z", 9, corrected=True), SupportSlice("x", 1)])  # fmt: skip
    assert merged == [SupportSlice("x", 1), SupportSlice("z", 3), SupportSlice("z", 9, corrected=True)]
