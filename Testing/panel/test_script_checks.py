"""What a script gives and cannot be used is refused before anything is computed; what goes meanwhile stops it."""

import mrml
import numpy as np
import pytest
import slicer

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation


def roi(matrix=None, name="mine"):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.SetAndObserveObjectToNodeMatrix(mrml.matrix_from_array(np.eye(4) if matrix is None else matrix))
    node.SetSize(17, 13, 10)
    return node


def about_z(degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return mrml.affine([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sliceRange": (4, 8)}, "sliceRange says where to search, but scope is 'volume'; give scope='range'"),
        ({"roiNode": roi}, "roiNode says where .* give scope='roi'"),
        ({"sliceNode": roi, "scope": "range"}, "sliceNode says where .* scope is 'range'; give scope='slice'"),
        ({"segmentId": "liver"}, "segmentId is 'liver' without a segmentationNode"),
        ({"segmentationNode": "mine", "segmentId": "gone"}, "'mine' has no segment 'gone'; it has 'liver', 'spleen'"),
        ({"segmentationNode": "mine", "segmentId": "Liver"}, "no segment 'Liver'; the id of the one called so is 'liver'"),
        ({"granularity": -1}, "granularity is -1; it counts from 0"),
        ({"granularity": 2, "points": None}, "for regions give their number"),
        ({"segmentationNode": roi}, "segmentationNode: 'mine' is not a segmentation node but a MarkupsROI"),
        ({"scope": "roi", "roiNode": "mine"}, "'mine' is not a ROI node but a Segmentation"),
    ],
)  # fmt: skip
def test_what_would_have_no_effect_or_is_not_there_is_refused(module, volume_node, options, said):
    mine = create_segmentation(volume_node, "mine")
    for segment_id in ("liver", "spleen"):
        mine.GetSegmentation().AddEmptySegment(segment_id, segment_id.capitalize())
    options = {
        name: value() if callable(value) else mine if value == "mine" else value for name, value in options.items()
    }
    with pytest.raises(InputError, match=said):
        module.S3NetSegmentLogic().segment(volume_node, **{"points": [(0, 0, 0)], **options})
    assert not module.engine.calls


def test_a_granularity_beyond_the_candidates_is_told(module, volume_node, caplog):
    module.S3NetSegmentLogic().segment(volume_node, points=[(0, 0, 0)], granularity=99)
    assert "granularity 99 goes beyond the candidates found here" in caplog.text


@pytest.mark.parametrize(
    ("given", "said"),
    [("MR head", r"'MR head' is not a volume node; give the node itself, slicer.util.getNode\('MR head'\)"), (roi, "not a volume node")],
)  # fmt: skip
def test_what_is_no_volume_is_refused_in_words(module, volume_node, given, said):
    logic = module.S3NetSegmentLogic()
    given = given() if callable(given) else given
    drawing = create_segmentation(volume_node)
    for ask in (logic.segment, lambda v: logic.fewShot(v, drawing), lambda v: logic.applyModel(v, "model.pt")):
        with pytest.raises(InputError, match=said):
            ask(given)


def test_what_is_no_segmentation_is_refused_by_few_shot_and_models(module, volume_node):
    logic = module.S3NetSegmentLogic()
    asked = (
        lambda: logic.fewShot(volume_node, volume_node),
        lambda: logic.fewShot(volume_node, create_segmentation(volume_node), otherSegmentationNode=volume_node),
        lambda: logic.applyModel(volume_node, "model.pt", volume_node),
    )
    for ask in asked:
        with pytest.raises(InputError, match="'MR head' is not a segmentation node but a Volume"):
            ask()


def test_a_box_that_is_turned_far_is_refused_and_one_that_is_turned_a_little_is_taken(module, volume_node):
    logic = module.S3NetSegmentLogic()
    logic.segment(volume_node, boxes=[roi(about_z(5))])
    assert len(module.engine.calls) == 1
    with pytest.raises(InputError, match=r"'mine' is turned by 45 degrees .*scope='roi'"):
        logic.segment(volume_node, boxes=[roi(about_z(45))])
    under = roi(name="under")
    mrml.put_under(under, mrml.add_transform(about_z(-30)))
    with pytest.raises(InputError, match="'under' is turned by 30 degrees"):
        logic.segment(volume_node, boxes=[under])


def test_that_a_turned_roi_is_searched_as_its_box_of_voxels_is_told_to_a_script(module, volume_node, caplog):
    logic = module.S3NetSegmentLogic()
    logic.segment(volume_node, scope="roi", roiNode=roi(about_z(45)))
    assert "ROI 'mine' is turned against the image: the whole box of voxels around it is searched" in caplog.text


@pytest.mark.parametrize("what", ["volume moved", "volume removed", "other voxels", "segmentation removed"])
def test_steps_end_with_an_error_when_their_nodes_change_or_go(module, volume_node, what):
    node = create_segmentation(volume_node, "mine")
    steps = module.S3NetSegmentLogic().segmentSteps(volume_node, points=[(0, 0, 0)], segmentationNode=node)
    next(steps)
    if what == "volume moved":
        volume_node.SetOrigin(5, 5, 5)
    elif what == "other voxels":  # as by another frame of a sequence
        slicer.util.updateVolumeFromArray(volume_node, slicer.util.arrayFromVolume(volume_node)[::-1].copy())
    else:
        slicer.mrmlScene.RemoveNode(node if what == "segmentation removed" else volume_node)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError, match="nothing was written; start again"):
        for _ in steps:
            pass
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes and node.GetSegmentation().GetNumberOfSegments() == 0


def test_a_segmentation_that_was_removed_before_is_refused(module, volume_node):
    gone = create_segmentation(volume_node, "gone")
    slicer.mrmlScene.RemoveNode(gone)
    with pytest.raises(InputError, match="'gone' was removed from the scene"):
        module.S3NetSegmentLogic().segment(volume_node, segmentationNode=gone)
