"""The module without its panel: the logic in a script, the self test, the samples, the batch script."""

import json
import sys
import types
import unittest

import numpy as np
import pytest
import slicer
from paths import MODULE, SAMPLE_DATA

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.scene.answers.provenance import segment_fact
from S3NetSegmentLib.scene.prompts import BOX, STROKE, add_point, make_prompt, set_box, view_plane
from S3NetSegmentLib.scene.volumes import matrix_from_array


def test_the_logic_segments_without_a_widget(module, volume_node):
    node = module.S3NetSegmentLogic().segment(volume_node, points=[(0, 0, 0)], radius=9, seed=5)
    assert node.IsA("vtkMRMLSegmentationNode") and node.GetSegmentation().GetNumberOfSegments() == 1
    assert module.engine.calls[0]["settings"].seed == 5


def test_the_logic_takes_points_from_markups_and_writes_to_a_given_segment(module, volume_node):
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    points.AddControlPointWorld(0, 0, 0)
    mine = create_segmentation(volume_node, "mine")
    segment_id = mine.GetSegmentation().AddEmptySegment("liver", "Liver")
    node = module.S3NetSegmentLogic().segment(volume_node, points, segmentationNode=mine, segmentId=segment_id)
    assert node is mine and mine.GetSegmentation().GetNumberOfSegments() == 1
    assert slicer.util.arrayFromSegmentBinaryLabelmap(mine, segment_id, volume_node).any()


def test_a_script_gives_boxes_as_roi_nodes_or_corners_and_strokes_as_voxels(module, volume_node):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "mine")
    roi.SetCenter(0, 0, 0)
    roi.SetSize(17, 13, 10)
    logic = module.S3NetSegmentLogic()
    logic.segment(volume_node, boxes=[roi, (28, 24, 6, 12, 12, 6)])
    first, second = module.engine.asked[-1]["boxes"]
    assert (first.low, first.high) == ((12, 12, 4), (28, 24, 8)) and first.flat_axis is None
    assert (second.low, second.high, second.flat_axis) == ((12, 12, 6), (28, 24, 6), "z")
    node = logic.segment(
        volume_node,
        strokes=[[(15, 18, 6), (25, 18, 6)]],
        notStrokes=[[(15, 25, 6), (25, 25, 6)]],
        notPoints=[(15, 15, 0)],
    )
    asked = module.engine.asked[-1]
    assert asked["strokes"] == (tuple((i, 18, 6) for i in range(15, 26)),) and len(asked["outside_strokes"][0]) == 11
    assert node.GetSegmentation().GetNumberOfSegments() == 1


def test_a_script_gives_a_box_and_a_stroke_that_were_drawn_in_an_oblique_view(module, volume_node):
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]
    box = make_prompt(BOX, volume_node)
    set_box(box, turn, (9, 7, 2.2))
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.GetSliceToRAS().DeepCopy(matrix_from_array(turn))
    stroke = make_prompt(STROKE, volume_node, view_plane(view, volume_node))
    for place in ((-2, 0, 0), (2, 0, 0)):
        add_point(stroke, place)
    logic = module.S3NetSegmentLogic()
    node = logic.segment(volume_node, boxes=[box], strokes=[stroke])
    asked = module.engine.asked[-1]
    (plane,) = asked["planes"]
    assert len(plane.prompts.boxes) == len(plane.prompts.strokes) == 1 and not asked["boxes"] and not asked["strokes"]
    (segment_id,) = node.GetSegmentation().GetSegmentIDs()
    assert segment_fact(node, segment_id, "Boxes") and segment_fact(node, segment_id, "Strokes")
    right, up, normal, point = np.reshape(segment_fact(node, segment_id, "Planes").split(","), (3, 4)).astype(float).T
    np.testing.assert_allclose(np.abs([right, up, normal]), np.abs(turn[:3, :3].T), atol=1e-5)
    assert abs(normal @ point) < 1e-3  # through the origin, in which the box lies
    found = logic.segment(volume_node, segmentationNode=node, segmentId=segment_id, regions=3)
    assert found.GetSegmentation().GetNumberOfSegments() == 5  # what prompts have made is not written over
    with pytest.raises(InputError, match="regions 3 has no meaning"):
        logic.segment(volume_node, boxes=[box], regions=3)
    logic.segment(volume_node, boxes=[box], scope="slice", sliceNode=view)
    (flat,) = module.engine.asked[-1]["boxes"]
    assert flat == plane.prompts.boxes[0]


def test_what_is_odd_about_boxes_is_told_to_a_script_as_on_the_command_line(module, volume_node, caplog):
    i, j, k = volume_node.GetImageData().GetDimensions()
    logic = module.S3NetSegmentLogic()
    logic.segment(volume_node, boxes=[(12, 12, 6, 28, 24, 6)])
    assert not caplog.records
    logic.segment(volume_node, boxes=[(0, 0, 0, i - 1, j - 1, k)])
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("covers all of the searched part" in text for text in told)
    assert any("reaches beyond the image" in text for text in told)


def test_a_script_keeps_out_of_other_segments_unless_it_says_otherwise(module, volume_node):
    logic = module.S3NetSegmentLogic()
    node = logic.segment(volume_node, boxes=[(12, 12, 6, 28, 24, 6)])
    logic.segment(volume_node, boxes=[(20, 8, 6, 36, 28, 6)], segmentationNode=node)
    assert module.engine.asked[-1]["excluded"].sum() == 17 * 13
    logic.segment(volume_node, boxes=[(20, 8, 6, 36, 28, 6)], segmentationNode=node, keepOut=False)
    assert module.engine.asked[-1]["excluded"] is None


def test_a_box_that_was_drawn_on_another_volume_is_refused(module, volume_node):
    from S3NetSegmentLib.scene.prompts import BOX, make_prompt

    other = slicer.util.addVolumeFromArray(np.zeros((12, 36, 40)), name="CT")
    box = make_prompt(BOX, other)
    with pytest.raises(InputError, match="drawn on 'CT', not on 'MR head'"):
        module.S3NetSegmentLogic().segment(volume_node, boxes=[box])


def test_a_script_asks_for_other_steps_and_answers_as_the_command_line_does(module, volume_node, monkeypatch):
    logic, sizes = module.S3NetSegmentLogic(), []
    for options in ({}, {"step": 1}, {"step": -1}, {"alternative": 2}):
        node = logic.segment(volume_node, points=[(0, 0, 0)], **options)
        segment_id = node.GetSegmentation().GetNthSegmentID(0)
        sizes.append(int(slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node).sum()))
    usual, larger, smaller, other = sizes
    assert smaller < usual < larger and other != usual
    monkeypatch.setattr("fake_engine.FakeChoice.alternatives", (2, 4))
    for options, told in (({"alternative": 3}, "distinct answer"), ({"step": 1, "alternative": 2}, "leave one out")):
        before = slicer.mrmlScene.GetNumberOfNodes()
        with pytest.raises(ValueError, match=told):
            logic.segment(volume_node, points=[(0, 0, 0)], **options)
        assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_the_numbers_of_regions_that_a_script_prepares_are_kept_as_they_are(module, volume_node):
    module.S3NetSegmentLogic().segment(volume_node, settings={"region_counts": [2, 3]})
    assert module.engine.calls[-1]["settings"].region_counts == (2, 3)


def test_the_steps_write_only_at_the_end(module, volume_node):
    before = slicer.mrmlScene.GetNumberOfNodes()
    steps = module.S3NetSegmentLogic().segmentSteps(volume_node)
    for _ in range(3):
        assert 0 <= next(steps).fraction <= 1
    steps.close()
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_a_slice_of_a_view_and_a_range_can_be_segmented(module, volume_node, views):
    logic = module.S3NetSegmentLogic()
    logic.segment(volume_node, scope="slice", sliceNode=views.coronal)
    logic.segment(volume_node, scope="range", sliceRange=(2, 4), axis="z", regions=6)
    assert module.engine.calls[0]["axis"] == "y" and module.engine.calls[0]["extent"].size[1] == 1
    assert module.engine.calls[1]["extent"].size == (40, 36, 3)


def test_confidence_is_made_on_request(module, volume_node):
    module.S3NetSegmentLogic().segment(volume_node, confidence=True)
    assert slicer.util.arrayFromVolume(slicer.util.getNode("MR head confidence")).max() == 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"scope": "everything"},
        {"scope": "range", "sliceRange": (5, 50)},
        {"scope": "roi"},
        {"preset": "best"},
        {"settings": {"chanels": 3}},
        {"points": [(0, 0)]},
        {"points": [(0, 0, float("nan"))]},
        {"points": [(900, 0, 0)]},
        {"notPoints": [(0, 0, 0)]},
        {"boxes": [(50, 50, 6, 60, 60, 6)]},
        {"boxes": [(10, 10, 6, 10, 20, 6)]},
        {"boxes": [(1, 2, 3)]},
        {"boxes": ["box"]},
        {"boxes": [(1, 1, 1, 9, 9, 9)], "regions": 3},
        {"strokes": [[(15, 18, 60), (20, 18, 60)]]},
        {"notStrokes": [[(15, 18, 6), (20, 18, 6)]]},
        {"boxes": [(1, 1, 1, 9, 9, 9)], "pixels": [(5, 5, 5)], "notPixels": [(5, 5, 5)]},
    ],
)
def test_bad_input_raises_an_error_that_says_what_and_leaves_no_node(module, volume_node, options):
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError) as raised:
        module.S3NetSegmentLogic().segment(volume_node, **options)
    assert len(str(raised.value)) > 30
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_no_volume_raises_an_error(module):
    with pytest.raises(InputError, match="no volume"):
        module.S3NetSegmentLogic().segment(None)


def test_the_module_imports_nothing_heavy_at_its_top():
    """Neither itself nor by those files of its library that it imports at once."""
    import ast

    allowed = set(sys.stdlib_module_names) | {"slicer", "vtk", "S3NetSegmentLib"}
    files, checked = {MODULE / "S3NetSegment.py"}, set()
    while files:
        file = files.pop()
        checked.add(file)
        tree = ast.parse(file.read_text(encoding="utf8"))
        names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        names |= {("." * node.level) + (node.module or "") for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in names} <= allowed, file
        for name in (name for name in names if name.startswith("S3NetSegmentLib")):
            parts = name.split(".")
            packages = {MODULE.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts))}
            files |= ({MODULE.joinpath(*parts).with_suffix(".py")} | packages) - checked
    assert {"parameter_node.py", "startup.py", "__init__.py"} <= {f.name for f in checked}


def test_the_module_file_is_a_thin_front_door():
    assert len((MODULE / "S3NetSegment.py").read_text(encoding="utf8").splitlines()) <= 300


def test_the_choices_of_the_parameter_node_are_there_for_scripts(module):
    node = module.S3NetSegmentLogic().getParameterNode()
    node.scope, node.mode = module.Scope.ROI, module.Mode.MODELS
    assert (node.scope.value, node.mode.value) == ("roi", "models")
    assert module.SliceAxis.AUTO and module.Preset.PAPER and module.PropagateTo.OTHER


def test_wrong_options_of_the_script_interface_are_refused_by_name(module, volume_node):
    with pytest.raises(TypeError, match="sliceranges"):
        module.S3NetSegmentLogic().segmentSteps(volume_node, sliceranges=(1, 2))


def test_the_self_test_passes_with_the_real_engine(scene):
    import importlib

    module = importlib.import_module("S3NetSegment")
    case = module.S3NetSegmentTest("runTest")
    result = unittest.TestResult()
    case.run(result)
    assert result.testsRun == 1 and not result.failures and not result.errors, result.failures + result.errors


def test_the_self_test_passes_without_torch_and_says_what_it_left_out(scene, monkeypatch, caplog):
    import importlib
    import logging

    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, "torch", None)
    module = importlib.import_module("S3NetSegment")
    result = unittest.TestResult()
    module.S3NetSegmentTest("runTest").run(result)
    assert not result.failures and not result.errors, result.failures + result.errors
    assert "LEFT OUT" in caplog.text


def test_the_shipped_samples_are_registered_as_local_files(module, monkeypatch):
    registered = []
    sample_data = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: registered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=sample_data))
    module.register_sample_data()
    samples = json.loads((SAMPLE_DATA / "samples.json").read_text(encoding="utf8"))
    assert len(registered) == len(samples) > 0
    for source in registered:
        assert source["uris"].startswith("file://") and source["category"] == "S3NetSegment"
        assert (SAMPLE_DATA / source["uris"].rsplit("/", 1)[1]).is_file()
        thumbnail = read_image(source["thumbnailFileName"])
        assert thumbnail.size == (128, 128, 1) and thumbnail.is_rgb
