"""The module without its panel: the logic in a script, the self test, the samples, the batch script."""

import json
import sys
import types
import unittest

import numpy as np
import pytest
import slicer
from fake_engine import FakeEngine
from paths import MODULE, SAMPLE_DATA

from S3NetSegmentLib.engine import InputError


@pytest.fixture
def module(scene, monkeypatch):
    """S3NetSegment.py as a script imports it; the engine is a small one."""
    import importlib

    import S3NetSegmentLib.engine.methods.segment as real

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
    from S3NetSegmentLib.scene.segments import create_segmentation

    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    points.AddControlPointWorld(0, 0, 0)
    mine = create_segmentation(volume_node, "mine")
    segment_id = mine.GetSegmentation().AddEmptySegment("liver", "Liver")
    node = module.S3NetSegmentLogic().segment(volume_node, points, segmentationNode=mine, segmentId=segment_id)
    assert node is mine and mine.GetSegmentation().GetNumberOfSegments() == 1
    assert slicer.util.arrayFromSegmentBinaryLabelmap(mine, segment_id, volume_node).any()


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
    import ast

    tree = ast.parse((MODULE / "S3NetSegment.py").read_text(encoding="utf8"))
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    allowed = set(sys.stdlib_module_names) | {"slicer", "vtk"}
    assert {name.split(".")[0] for name in names} <= allowed


def test_the_self_test_passes_with_the_real_engine(scene, real_engine_for_volumes):
    import importlib

    module = importlib.import_module("S3NetSegment")
    case = module.S3NetSegmentTest("runTest")
    result = unittest.TestResult()
    case.run(result)
    assert result.testsRun == 1 and not result.failures and not result.errors, result.failures + result.errors


def test_the_self_test_passes_without_torch_and_says_what_it_left_out(
    scene, real_engine_for_volumes, monkeypatch, caplog
):
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


# -- the batch script


@pytest.fixture
def batch(module, monkeypatch, tmp_path):
    """segment_folder.py with loading and saving played by numpy files; ``batch(*arguments)`` returns the exit code."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("segment_folder", MODULE / "Resources/Scripts/segment_folder.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def load(path, properties):
        if "broken" in path:
            raise ValueError("it cannot be read")
        return slicer.util.addVolumeFromArray(np.random.default_rng(0).normal(0, 1, (4, 20, 20)), name="image")

    def save(node, path):
        with open(path, "w") as file:
            file.write(str(node.GetSegmentation().GetNumberOfSegments()))
        return True

    monkeypatch.setattr(slicer.util, "loadVolume", load)
    monkeypatch.setattr(slicer.util, "saveNode", save)
    (tmp_path / "in").mkdir()
    for name in ("a.nii.gz", "b.NRRD", "notes.txt", "old.seg.nrrd"):
        (tmp_path / "in" / name).write_text("")
    return lambda *arguments: script.main([str(tmp_path / "in"), str(tmp_path / "out"), *arguments])


def test_the_batch_script_segments_every_image_of_a_folder(batch, tmp_path, module):
    assert batch("--regions", "3") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.seg.nrrd", "b.seg.nrrd"]
    calls = len(module.engine.calls)
    assert batch() == 0 and len(module.engine.calls) == calls
    assert batch("--overwrite") == 0 and len(module.engine.calls) == calls + 2


def test_the_batch_script_goes_on_after_a_failure_and_ends_with_1(batch, tmp_path, capsys):
    (tmp_path / "in" / "aa_broken.mha").write_text("")
    assert batch() == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.seg.nrrd", "b.seg.nrrd"]
    assert "cannot be read" in capsys.readouterr().err


def test_the_batch_script_ends_with_2_for_wrong_arguments(batch, tmp_path):
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    assert batch() == 2
    with pytest.raises(SystemExit) as stopped:
        batch("--preset", "best")
    assert stopped.value.code == 2
