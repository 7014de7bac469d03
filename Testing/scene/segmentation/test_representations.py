"""Segments that are surfaces, share a layer or come from elsewhere."""

import mrml
import numpy as np
import pytest
import slicer
from segment_states import SHAPE

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.scene.segmentation.labelmaps import ensure_binary_labelmap
from S3NetSegmentLib.scene.segmentation.reading import segment_mask
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit


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
