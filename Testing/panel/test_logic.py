"""The module without its panel: the logic in a script, the self test, the samples, the batch script."""

import json
import sys
import types
import unittest

import mrml
import numpy as np
import pytest
import slicer
from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from paths import MODULE, SAMPLE_DATA

from S3NetSegmentLib.engine import InputError


@pytest.fixture
def module(scene, monkeypatch):
    """S3NetSegment.py as a script imports it; the engine is a small one."""
    import importlib

    import S3NetSegmentLib.engine.segment.find_regions as real

    engine = FakeEngine()
    monkeypatch.setattr(real, "find_regions", engine)
    module = importlib.import_module("S3NetSegment")
    module.engine = engine
    return module


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
    assert {"parameter_node.py", "sample_data.py", "effect_registration.py", "__init__.py"} <= {f.name for f in checked}


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


# -- few-shot


@pytest.fixture
def drawing(volume_node):
    """A segmentation whose segment "Ball" is drawn on slices 4 and 8, from another hand than the image's own ball."""
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    node = create_segmentation(volume_node, "drawn")
    segment_id = node.GetSegmentation().AddEmptySegment("ball", "Ball")
    k, j, i = np.mgrid[:12, :36, :40]
    mask = ((i - 20) ** 2 + (j - 18) ** 2 < 40) & np.isin(k, (4, 8))
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment_id, volume_node)
    return node


@pytest.fixture
def few_shot_engine(module, monkeypatch):
    import S3NetSegmentLib.engine.few_shot.method as real

    engine = FakePropagation()
    monkeypatch.setattr(real, "FewShot", engine)
    monkeypatch.setattr(real, "load_encoder", lambda name, device: None)
    return engine


def content(node, volume_node, name="Ball"):
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node) > 0


def test_few_shot_finds_the_drawn_slices_and_fills_the_others(module, few_shot_engine, volume_node, drawing):
    before = content(drawing, volume_node)
    node = module.S3NetSegmentLogic().fewShot(volume_node, drawing, seed=5, settings={"margin": 0.9})
    assert node is drawing
    items, settings = few_shot_engine.runs[0]["items"], few_shot_engine.made[0]["settings"]
    assert [(s.axis, s.index, s.complete) for s in items] == [("z", 4, True), ("z", 8, True)]
    assert (settings.seed, settings.margin) == (5, 0.9)
    after = content(drawing, volume_node)
    np.testing.assert_array_equal(after[[4, 8]], before[[4, 8]])
    np.testing.assert_array_equal(after[[3, 5, 11]], before[[4, 4, 8]])
    from S3NetSegmentLib.scene.segmentation.reading import segment_tag

    assert segment_tag(node, "ball", "S3NetSegment.Method") == "Few-shot"
    assert segment_tag(node, "ball", "S3NetSegment.Support") == f"{drawing.GetName()} z=4,8"


def test_few_shot_by_a_script_keeps_segments_that_overlap_whole(module, few_shot_engine, volume_node, drawing):
    from S3NetSegmentLib.scene.segmentation.reading import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    ball = content(drawing, volume_node)
    inner = ball & np.roll(ball, 2, 2)
    with segment_edit(drawing, volume_node) as edit:
        edit.add_segment(mrml.segment("Inner"), inner, volume_from_node(volume_node))
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, seed=5)
    assert [(s.index, s.layer) for s in few_shot_engine.runs[0]["items"]] == [(4, 0), (4, 1), (8, 0), (8, 1)]
    for name, mask in (("Ball", ball), ("Inner", inner)):
        after = content(drawing, volume_node, name)
        np.testing.assert_array_equal(after[[4, 8]], mask[[4, 8]])
        np.testing.assert_array_equal(after[[3, 5, 11]], mask[[4, 4, 8]])


def test_few_shot_takes_named_slices_empty_ones_partial_ones_and_a_range(module, few_shot_engine, volume_node, drawing):
    logic = module.S3NetSegmentLogic()
    before = content(drawing, volume_node)
    logic.fewShot(volume_node, drawing, slices=[8, 11], axis="z", partial=True, sliceRange=(5, 6))
    assert [(s.index, s.complete, bool(s.labels.any())) for s in few_shot_engine.runs[0]["items"]] == [(8, False, True), (11, False, False)]  # fmt: skip
    after = content(drawing, volume_node)
    others = [n for n in range(12) if n not in (5, 6)]
    np.testing.assert_array_equal(after[others], before[others])
    np.testing.assert_array_equal(after[5], before[8])
    assert few_shot_engine.runs[0]["slices"] == (5, 6)


def test_few_shot_takes_the_slices_that_views_show(module, few_shot_engine, volume_node, drawing, views):
    from S3NetSegmentLib.engine.few_shot.drawings.support import DrawnPlane

    views.axial.JumpSliceByOffsetting(0, 0, 2 * 8 - 12)
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, slices=[views.axial, 4], axis="z")
    assert [(i.axis, i.index) for i in few_shot_engine.runs[0]["items"]] == [("z", 8), ("z", 4)]
    matrix = views.coronal.GetSliceToRAS()
    matrix.SetElement(2, 2, 0.2)
    views.coronal.UpdateMatrices()
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, slices=[8, views.coronal], axis="z")
    assert isinstance(few_shot_engine.runs[1]["items"][1], DrawnPlane)


def test_few_shot_in_another_volume_makes_a_segmentation_there(module, few_shot_engine, volume_node, drawing):
    other = slicer.util.addVolumeFromArray(np.zeros((6, 30, 30), np.int16), name="next")
    before = content(drawing, volume_node)
    node = module.S3NetSegmentLogic().fewShot(volume_node, drawing, otherVolumeNode=other)
    assert node is not drawing and content(node, other).any()
    np.testing.assert_array_equal(content(drawing, volume_node), before)
    assert few_shot_engine.runs[0]["items"][0].drawn == (4, 8) and few_shot_engine.made[0]["volume"].name == "next"
    again = module.S3NetSegmentLogic().fewShot(volume_node, drawing, slices="all", otherVolumeNode=other, otherSegmentationNode=node)  # fmt: skip
    assert again is node and node.GetSegmentation().GetNumberOfSegments() == 1
    assert few_shot_engine.runs[1]["items"][0].drawn is None


def test_few_shot_logs_what_the_user_should_know(module, few_shot_engine, volume_node, drawing, caplog):
    import logging

    caplog.set_level(logging.INFO)
    few_shot_engine.notes.append("the image is noisy")
    other_id = drawing.GetSegmentation().AddEmptySegment("bone", "Bone")
    everywhere = np.ones((12, 36, 40), np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(everywhere, drawing, other_id, volume_node)
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, segmentIds=["ball"])
    assert "the image is noisy" in caplog.text and "in other segments, which keep them" in caplog.text


def test_few_shot_makes_confidence_on_request(module, few_shot_engine, volume_node, drawing):
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, confidence=True)
    assert slicer.util.arrayFromVolume(slicer.util.getNode("MR head few-shot confidence"))[6].max() == np.float32(
        1 / 1.2
    )


def test_few_shot_writes_only_at_the_end(module, few_shot_engine, volume_node, drawing):
    before = content(drawing, volume_node)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    steps = module.S3NetSegmentLogic().fewShotSteps(volume_node, drawing)
    next(steps)
    steps.close()
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    np.testing.assert_array_equal(content(drawing, volume_node), before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slices": [99]}, "drawn slice 99"),
        ({"slices": [1.5]}, "not a whole number"),
        ({"slices": "some"}, "slices is 'some'"),
        ({"slices": "all"}, "nothing to find"),
        ({"slices": range(12), "axis": "z"}, "nothing left to find"),
        ({"slices": [1]}, "nothing is drawn on the listed slices"),
        ({"slices": []}, "no slice is listed"),
        ({"segmentIds": ["gone"], "slices": [4]}, "has no segment 'gone'"),
        ({"axis": "w"}, "axis is 'w'"),
        ({"settings": {"margins": 1}}, "there is no setting margins"),
        ({"settings": {"margin": -1}}, "margin"),
    ],
)
def test_few_shot_refuses_bad_input_and_changes_nothing(module, few_shot_engine, volume_node, drawing, options, said):
    before = content(drawing, volume_node)
    with pytest.raises(InputError, match=said):
        module.S3NetSegmentLogic().fewShot(volume_node, drawing, **options)
    np.testing.assert_array_equal(content(drawing, volume_node), before)


def add_result(node, volume_node, index, name="Found", method="Segment"):
    """A segment on one slice that carries the tags of a result; returns its id."""
    import mrml

    from S3NetSegmentLib.scene.segmentation.reading import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node

    mask = np.zeros((12, 36, 40), bool)
    mask[index, 2:6, 2:6] = True
    with segment_edit(node, volume_node) as edit:
        made = mrml.segment(name, tags={"S3NetSegment.Method": method})
        return edit.add_segment(made, mask, volume_from_node(volume_node))


@pytest.mark.parametrize("method", ["Segment", "Model", "Few-shot"])
def test_results_are_not_drawn_where_a_script_names_nothing(
    module, few_shot_engine, volume_node, drawing, caplog, method
):
    add_result(drawing, volume_node, 6, method=method)
    before = content(drawing, volume_node, "Found")
    module.S3NetSegmentLogic().fewShot(volume_node, drawing)
    assert [(s.axis, s.index) for s in few_shot_engine.runs[0]["items"]] == [("z", 4), ("z", 8)]
    np.testing.assert_array_equal(content(drawing, volume_node, "Found"), before)
    assert "'Found' come from" in caplog.text


def test_results_alone_are_refused_unless_a_script_names_them(module, few_shot_engine, volume_node):
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    node = create_segmentation(volume_node, "results")
    found = add_result(node, volume_node, 6)
    with pytest.raises(InputError, match=r"nothing is drawn by hand in 'results': 'Found' .*segmentIds, slices"):
        module.S3NetSegmentLogic().fewShot(volume_node, node)
    module.S3NetSegmentLogic().fewShot(volume_node, node, slices=[6])
    assert content(node, volume_node, "Found")[3].any()
    other = create_segmentation(volume_node, "others")
    module.S3NetSegmentLogic().fewShot(volume_node, other, segmentIds=[add_result(other, volume_node, 2)])
    assert found and content(other, volume_node, "Found")[9].any()


def test_few_shot_warns_of_a_complete_slice_that_lacks_what_is_drawn_around_it(
    module, few_shot_engine, volume_node, drawing, caplog
):
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, slices=[4, 6, 8], axis="z")
    (warning,) = (r for r in caplog.records if r.levelname == "WARNING")
    assert "'Ball': drawn before and behind slice 6 along z" in warning.getMessage()
    caplog.clear()
    module.S3NetSegmentLogic().fewShot(volume_node, drawing, slices=[4, 6, 8], axis="z", partial=True)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_few_shot_needs_a_drawing(module, few_shot_engine, volume_node):
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    with pytest.raises(InputError, match="no segmentation is given"):
        module.S3NetSegmentLogic().fewShot(volume_node, None)
    with pytest.raises(InputError, match="nothing is drawn in 'empty'"):
        module.S3NetSegmentLogic().fewShot(volume_node, create_segmentation(volume_node, "empty"))
