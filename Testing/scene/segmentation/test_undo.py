"""One undo step for each action, and nothing half-written after a failure."""

import mrml
import numpy as np
import pytest
from segment_states import SHAPE, state

from S3NetSegmentLib.engine import Extent, InputError, Segmentation
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation, find_segment, write_segmentation
from S3NetSegmentLib.scene.segmentation.segment_edit import SegmentEdit, segment_edit


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
    import S3NetSegmentLib.scene.segmentation.segment_edit as module

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
