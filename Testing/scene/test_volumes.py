"""Volume nodes as engine volumes."""

import mrml
import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.scene.volumes import turning_notes, volume_from_node


def test_the_array_is_a_live_view_of_the_nodes_voxels(app, rng):
    node = mrml.add_volume(rng.integers(-1000, 1000, (4, 5, 6)).astype(np.int16))
    volume = volume_from_node(node)
    assert volume.array.dtype == np.int16 and volume.array.shape == (4, 5, 6) and volume.name == "image"
    slicer.util.arrayFromVolume(node)[3, 2, 1] = 1234
    assert volume.array[3, 2, 1] == 1234


@pytest.mark.parametrize("case", range(8))
def test_voxels_lie_in_world_ras_under_nested_transforms(app, case):
    rng = np.random.default_rng(case)
    grid = mrml.random_grid(rng)
    node = mrml.add_volume(np.zeros((4, 5, 6), np.uint8), grid)
    outer = mrml.affine(mrml.rotation(rng) * 1.1, rng.uniform(-9, 9, 3))
    inner = mrml.affine(mrml.rotation(rng), rng.uniform(-9, 9, 3))
    mrml.put_under(node, mrml.add_transform(inner, mrml.add_transform(outer)))
    np.testing.assert_allclose(volume_from_node(node).ijk_to_ras, outer @ inner @ grid, atol=1e-9)


@pytest.mark.parametrize(
    "signs, said",
    [
        ((-1, 1, 1), "mirrors it"),
        ((1, 1, -1), "mirrors it"),
        ((1, -1, -1), "turns it to another side"),
        ((1, 1, 1), ""),
    ],
)
def test_a_transform_that_mirrors_or_turns_a_volume_is_told_but_not_one_that_moves_it(app, signs, said):
    node, other = (mrml.add_volume(np.zeros((4, 5, 6), np.uint8)) for _ in range(2))
    tilted = mrml.affine(np.array([[0.9, -0.3, 0], [0.3, 0.9, 0], [0, 0, 1]]) * signs, (30, 20, 10))
    transform = mrml.add_transform(tilted)
    mrml.put_under(node, transform)
    told = turning_notes(node)
    assert [note for note in told if f"transform {transform.GetName()!r} of {node.GetName()!r} {said}" in note] == told
    assert len(told) == bool(said) and len(turning_notes(node, other)) == len(turning_notes(other, node)) == bool(said)
    mrml.put_under(other, transform)  # both lie alike
    assert turning_notes(node, other) == []


def test_the_modality_is_that_of_the_node_or_of_its_item_in_the_hierarchy(app):
    node = mrml.add_volume(np.zeros((2, 3, 4), np.int16))
    assert volume_from_node(node).modality == ""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    assert volume_from_node(node).modality == "CT"
    node.SetAttribute("DICOM.Modality", "MR")
    assert volume_from_node(node).modality == "MR"


def test_colour_volumes_come_as_rgb_and_alpha_is_left_out(app, rng):
    for channels in (3, 4):
        array = rng.integers(0, 255, (1, 5, 6, channels)).astype(np.uint8)
        node = mrml.add_volume(array, class_name="vtkMRMLVectorVolumeNode")
        volume = volume_from_node(node)
        assert volume.is_rgb
        np.testing.assert_array_equal(volume.array, array[..., :3])


def test_a_vector_volume_with_one_component_is_grey(app, rng):
    node = mrml.add_volume(rng.random((2, 5, 6)), class_name="vtkMRMLVectorVolumeNode")
    assert volume_from_node(node).array.shape == (2, 5, 6)


def test_an_image_whose_extent_does_not_start_at_zero_keeps_its_place(app):
    node = mrml.add_volume(np.zeros((4, 5, 6), np.uint8), mrml.affine(np.diag([2, 3, 4]), (10, 20, 30)))
    node.GetImageData().SetExtent(1, 6, 2, 6, 3, 6)
    np.testing.assert_allclose(volume_from_node(node).ras_of((0, 0, 0)), (12, 26, 42))


def test_what_is_no_image_is_refused_with_a_reason(app):
    with pytest.raises(InputError, match="no volume is selected"):
        volume_from_node(None)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(InputError, match="'nothing' has no voxels"):
        volume_from_node(empty)
    labels = mrml.add_volume(np.zeros((2, 2, 2), np.uint8), class_name="vtkMRMLLabelMapVolumeNode")
    with pytest.raises(InputError, match="label map"):
        volume_from_node(labels)
    flow = mrml.add_volume(np.zeros((2, 2, 2, 2), np.float32), class_name="vtkMRMLVectorVolumeNode")
    with pytest.raises(InputError, match="2 values in each voxel"):
        volume_from_node(flow)
    tensor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLDiffusionTensorVolumeNode", "tensor")
    image = vtk.vtkImageData()
    image.SetDimensions(2, 2, 2)
    image.GetPointData().SetTensors(numpy_to_vtk(np.zeros((8, 9), np.float32), deep=True))
    tensor.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="tensors"):
        volume_from_node(tensor)


def test_a_non_linear_parent_transform_is_refused_with_the_remedy(app):
    node = mrml.add_volume(np.zeros((2, 2, 2), np.uint8))
    mrml.put_under(node, mrml.add_bend())
    with pytest.raises(InputError, match="'bend'; harden the transform first"):
        volume_from_node(node)


def test_the_proxy_of_a_sequence_is_its_current_frame(app):
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "beats")
    for frame in range(3):
        image = mrml.add_volume(np.full((2, 3, 4), frame * 10, np.int16), name="frame")
        sequence.SetDataNodeAtValue(image, str(frame))
        slicer.mrmlScene.RemoveNode(image)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    logic = slicer.modules.sequences.logic()
    for frame in (2, 1):
        browser.SetSelectedItemNumber(frame)
        logic.UpdateProxyNodesFromSequences(browser)
        proxy = browser.GetProxyNode(sequence)
        assert (volume_from_node(proxy).array == frame * 10).all()


def test_a_volume_that_was_removed_is_refused_with_the_remedy(app):
    image = mrml.add_volume(np.zeros((4, 5, 6), np.int16))
    slicer.mrmlScene.RemoveNode(image)
    with pytest.raises(InputError, match="was removed from the scene; select another one"):
        volume_from_node(image)
