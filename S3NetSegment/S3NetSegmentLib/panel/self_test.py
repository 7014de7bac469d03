"""The module's self test: real work on a small synthetic volume, with and without torch.

Each test takes the test case, for its assertions and messages, and the module's logic.
"""

import numpy as np
import slicer

from .parameter_node import Scope


def run(case, make_logic) -> None:
    """Runs all tests, each in an empty scene, as parts of ``case``; ``make_logic()`` makes the module's logic."""
    for test in (points_make_an_object, regions_without_points, network, few_shot, parameters_survive):
        case.setUp()
        case.delayDisplay(test.__name__.replace("_", " "))
        test(case, make_logic())
    case.delayDisplay("S3NetSegment self test passed")


def points_make_an_object(case, logic):
    """A point in a bright ball gives that ball, in place, and nothing else in the scene."""
    volume_node, ball = make_volume()
    node = logic.segment(volume_node, points=[(6.0, 8.0, 9.0)])
    case.assertEqual(node.GetSegmentation().GetNumberOfSegments(), 1)
    segment_id = node.GetSegmentation().GetNthSegmentID(0)
    found = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node) > 0
    dice = 2 * (found & ball).sum() / (found.sum() + ball.sum())
    case.assertGreater(dice, 0.9)


def regions_without_points(case, logic):
    """Without points there are as many regions as asked for, without gaps or overlaps."""
    volume_node, _ball = make_volume()
    node = logic.segment(volume_node, regions=3, scope="range", sliceRange=(8, 10), axis="z")
    segmentation = node.GetSegmentation()
    ids = [i for i in segmentation.GetSegmentIDs() if segmentation.GetSegment(i).GetName().startswith("Region")]
    case.assertEqual(len(ids), 3)
    total = sum((slicer.util.arrayFromSegmentBinaryLabelmap(node, i, volume_node) > 0).astype(int) for i in ids)
    case.assertTrue((total[8:11] == 1).all())
    case.assertFalse(total[:8].any())


def network(case, logic):
    """S3-Net gives the same labels twice. Needs torch; without it this part says that it is left out."""
    from .widgets.torch_row import has_torch

    if not has_torch():
        case.delayDisplay("torch is not installed: the test of S3-Net is LEFT OUT")
        return
    volume_node, _ball = make_volume()
    options = {"scope": "range", "sliceRange": (9, 9), "axis": "z", "regions": 2, "device": "cpu"}
    options["settings"] = {"sources": "s3net", "steps": 3, "restarts": 1}
    arrays = []
    for _run in range(2):
        node = logic.segment(volume_node, **options)
        segment_id = node.GetSegmentation().GetSegmentIdBySegmentName("Region 1")
        arrays.append(slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node))
    case.assertTrue((arrays[0] == arrays[1]).all())
    case.assertTrue(arrays[0].any())


def few_shot(case, logic):
    """Two drawn slices of a ball give the ball; they stay as they are. Needs torch, as :func:`network`."""
    from .widgets.torch_row import has_torch

    if not has_torch():
        case.delayDisplay("torch is not installed: the test of Few-shot is LEFT OUT")
        return
    volume_node, ball = make_volume()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    segment_id = node.GetSegmentation().AddEmptySegment("ball", "Ball")
    drawing = ball * 0
    drawing[[8, 12]] = ball[[8, 12]]
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawing.astype("uint8"), node, segment_id, volume_node)
    answered = logic.fewShot(volume_node, node, encoder="default", device="cpu")
    case.assertIs(answered, node)
    found = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node) > 0
    case.assertTrue((found[[8, 12]] == ball[[8, 12]]).all())
    dice = 2 * (found & ball).sum() / (found.sum() + ball.sum())
    case.assertGreater(dice, 0.8)


def parameters_survive(case, logic):
    """The parameter node keeps what was set."""
    volume_node, _ball = make_volume()
    parameter_node = logic.getParameterNode()
    parameter_node.volume = volume_node
    parameter_node.scope = Scope.RANGE
    parameter_node.settings = '{"seed": 7}'
    again = logic.getParameterNode()
    case.assertIs(again.volume, volume_node)
    case.assertEqual((again.scope, again.settings), (Scope.RANGE, '{"seed": 7}'))


def make_volume():
    """``(volume node, ball)``: 32 x 28 x 20 voxels of 1 x 1 x 1.5 mm with noise and a bright ball, and its mask."""
    k, j, i = np.mgrid[:20, :28, :32]
    # The point (6, 8, 9) mm of the test is in its centre: IJK to RAS is the spacing alone, moved by (-10, -6, -6).
    ball = (i - 16.0) ** 2 + (j - 14.0) ** 2 + (1.5 * (k - 10.0)) ** 2 < 49
    array = (100 + 200 * ball + np.random.default_rng(1).normal(0, 12, ball.shape)).astype(np.int16)
    volume_node = slicer.util.addVolumeFromArray(array, name="Ball")
    volume_node.SetSpacing(1.0, 1.0, 1.5)
    volume_node.SetOrigin(-10.0, -6.0, -6.0)
    volume_node.CreateDefaultDisplayNodes()
    return volume_node, ball
