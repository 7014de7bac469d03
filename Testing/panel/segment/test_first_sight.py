"""In a volume the answer in the slice that was pointed at comes first; a side that is dragged is followed."""

from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from fake_engine import FakeEngine
from panel_pointing import BOX_THERE, CENTER, CORNERS, click, drag

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.segment.prompts import Box, Prompts
from S3NetSegmentLib.engine.segment.settings import SegmentSettings
from S3NetSegmentLib.panel.segment.result import FirstSight
from S3NetSegmentLib.scene.prompts import BOX, prompt_nodes
from S3NetSegmentLib.scene.segmentation.reading import segment_mask
from S3NetSegmentLib.scene.volumes import volume_from_node


def sights():
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if "first sight" in node.GetName()]


def sight_mask(panel):
    (node,) = sights()
    (segment_id,) = node.GetSegmentation().GetSegmentIDs()
    return segment_mask(node, segment_id, volume_from_node(panel.parameters.volume))


def move_side(width):
    """One movement of the mouse with a side of the box."""
    prompt_nodes(BOX)[0].SetSize(width, 13.0, 2.0)


def let_go():
    prompt_nodes(BOX)[0].InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)


@pytest.fixture
def slow(open_panel):
    """The panel on the whole volume, whose regions take as long as a test wants; slices come at once."""

    class Engine(FakeEngine):
        waits = True

        def __call__(self, volume, *, extent, axis, settings, device):
            search = super().__call__(volume, extent=extent, axis=axis, settings=settings, device=device)
            if extent.size["xyz".index(axis)] == 1:
                return (yield from search)
            for step in search:
                yield step
            while self.waits:
                yield step
            return (yield from super().__call__(volume, extent=extent, axis=axis, settings=settings, device=device))

    engine = Engine(steps=2)
    panel = open_panel(engine)
    panel.engine = engine
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    yield panel
    engine.waits = False
    panel.panel.controller.cancel()


def finish(panel):
    panel.engine.waits = False
    panel.wait(lambda: not panel.panel.controller.running)


def test_a_box_in_the_volume_is_answered_in_its_slice_before_the_volume(slow, views, keep_picture):
    panel = slow
    panel.drag(views.axial, *CORNERS)
    panel.wait(sights)
    assert panel.panel.controller.running and panel.parameters.segmentation is None
    assert set(np.nonzero(sight_mask(panel))[0]) == {6} and sight_mask(panel)[6].sum() == 17 * 13
    assert not sights()[0].GetSaveWithScene() and sights()[0].GetHideFromEditors()
    keep_picture(panel.widget.parent, "segment_first_sight")
    finish(panel)
    assert not sights() and panel.names() == ["Object"]
    assert panel.engine.asked[-1]["boxes"] == (BOX_THERE,)
    (known,) = panel.engine.asked[-1]["slices"]  # the slice is not searched twice
    assert known == ("z", 6)


def test_cancel_leaves_the_scene_as_it_was(slow, views):
    panel = slow
    before = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}
    panel.drag(views.axial, *CORNERS)
    panel.wait(sights)
    panel.click(panel.ui.segmentButton)
    now = [node for node in slicer.util.getNodesByClass("vtkMRMLNode") if node.GetID() not in before]
    assert not panel.panel.controller.running
    assert {node.GetClassName() for node in now} <= {
        "vtkMRMLMarkupsROINode",
        "vtkMRMLMarkupsROIDisplayNode",
        "vtkMRMLSubjectHierarchyNode",
    }


def test_what_the_segment_held_before_is_hidden_until_the_run_ends(slow, views):
    panel = slow
    panel.engine.waits = False
    drag(panel, views.axial, *CORNERS)
    segment_id, display = panel.parameters.targetSegment, panel.segmentation.GetDisplayNode()
    before = panel.mask()
    panel.engine.waits = True
    panel.parameters.firstSlice, panel.parameters.lastSlice = 2, 9
    panel.choose(panel.ui.scopeComboBox, "Slice range")
    panel.click(panel.ui.segmentButton)
    panel.wait(sights)
    assert not display.GetSegmentVisibility2DFill(segment_id) and display.GetSegmentVisibility(segment_id)
    panel.click(panel.ui.segmentButton)
    assert display.GetSegmentVisibility2DFill(segment_id) and display.GetSegmentVisibility2DOutline(segment_id)
    assert (panel.mask() == before).all()


def test_a_second_box_during_the_run_is_shown_at_once_and_begins_no_other_search(slow, views):
    panel = slow
    panel.drag(views.axial, *CORNERS)
    panel.wait(sights)
    panel.drag(views.coronal, (-8.0, 0.0, -6.0), (8.0, 0.0, 6.0))
    panel.wait(lambda: set(np.nonzero(sight_mask(panel))[0]) == set(range(3, 10)))
    assert panel.panel.controller.running
    finish(panel)
    assert panel.engine.asked[-1]["boxes"] == (BOX_THERE, Box((12, 18, 3), (28, 18, 9)))
    whole = [call for call in panel.engine.calls if call["extent"] == call["volume"].extent]
    assert len(whole) == 2  # the two parts of one search
    panel.click(panel.ui.undoButton)
    assert panel.segmentation.GetSegmentation().GetNumberOfSegments() == 0 and not prompt_nodes(BOX)


def test_a_point_alone_in_the_volume_shows_no_slice_first(slow, views):
    panel = slow
    panel.view(views.axial).click(CENTER)
    panel.settle(0.2)
    assert panel.panel.controller.running and not sights()
    assert len(panel.engine.calls) == 1


def test_in_the_volume_the_slice_follows_a_side_while_it_is_dragged(slow, views):
    panel = slow
    panel.engine.waits = False
    drag(panel, views.axial, *CORNERS)
    calls, whole = len(panel.engine.calls), panel.mask()
    for width in (15.0, 13.0, 11.0):
        move_side(width)
        panel.wait(lambda w=width: sights() and sight_mask(panel)[6].sum() == w * 13)
        assert not panel.panel.controller.running and (panel.mask() == whole).all()
    let_go()
    panel.wait(lambda: panel.mask()[6].sum() == 11 * 13 and not panel.panel.controller.running)
    assert not sights() and len(panel.engine.calls) == calls
    panel.click(panel.ui.undoButton)
    assert (panel.mask() == whole).all() and prompt_nodes(BOX)[0].GetSize()[0] == 17.0


def test_a_side_put_back_where_it_was_leaves_the_answer(slow, views):
    panel = slow
    panel.engine.waits = False
    drag(panel, views.axial, *CORNERS)
    whole = panel.mask()
    move_side(11.0)
    panel.wait(sights)
    move_side(17.0)
    let_go()
    panel.wait(lambda: not sights())
    assert (panel.mask() == whole).all() and not panel.panel.controller.running


def test_in_a_slice_the_segment_follows_a_side_while_it_is_dragged_and_undo_takes_the_drag_back(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    for width in (15.0, 13.0, 9.0):
        move_side(width)
        panel.wait(lambda w=width: panel.mask().sum() == w * 13)
    let_go()
    panel.wait(lambda: not panel.panel.prompts.watch.waiting)
    panel.click(panel.ui.undoButton)
    assert panel.mask().sum() == 17 * 13 and prompt_nodes(BOX)[0].GetSize()[0] == 17.0
    panel.click(panel.ui.redoButton)
    assert panel.mask().sum() == 9 * 13 and prompt_nodes(BOX)[0].GetSize()[0] == 9.0


def test_a_click_in_the_middle_of_a_box_is_a_point_and_does_not_move_it(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    (box,) = prompt_nodes(BOX)
    display = box.GetDisplayNode()
    for component in (display.ComponentControlPoint, display.ComponentCenterPoint, display.ComponentTranslationHandle):
        display.SetActiveComponent(component, 0)
        heard = []
        interactor = panel.view(views.axial).interactor()
        tag = interactor.AddObserver("LeftButtonPressEvent", lambda *_, heard=heard: heard.append(1))
        click(panel, views.axial, CENTER)
        interactor.RemoveObserver(tag)
        assert not heard and tuple(box.GetCenter()) == (0.0, 0.0, 0.0)
    assert panel.prompts()[1:] == [(f"Point inside {n}", "axial 6") for n in (1, 2, 3)]


def test_each_drag_of_a_side_is_an_undo_step_of_its_own(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    for width in (15.0, 11.0):
        move_side(width)
        panel.wait(lambda w=width: panel.mask().sum() == w * 13)
        let_go()
        panel.wait(lambda: not panel.panel.prompts.watch.waiting)
    panel.click(panel.ui.undoButton)
    assert panel.mask().sum() == 15 * 13 and prompt_nodes(BOX)[0].GetSize()[0] == 15.0


def test_the_regions_of_the_last_twelve_slices_are_remembered(volume_node):
    """Dragging a box on one of them is followed at once; of a slice that was seen longer ago they are searched again."""
    volume = volume_from_node(volume_node)
    engine = FakeEngine(steps=1, seconds=0)
    sight = FirstSight(engine, lambda: (None, ""))

    def pointed_at(axis, number, key="an image"):
        low, high = [10, 10, 2], [16, 16, 9]
        low["xyz".index(axis)] = high["xyz".index(axis)] = number
        return SimpleNamespace(
            key=key, volume=volume, prompts=Prompts(boxes=(Box.between(low, high),)), extent=volume.extent, axis=axis,
            settings=SegmentSettings(), device="cpu", excluded=None,
        )  # fmt: skip

    def searched(request):
        before = len(engine.calls)
        run_to_end(sight.steps(request))
        return len(engine.calls) > before

    numbers = range(10, 23)  # thirteen slices
    assert all(searched(pointed_at("y", n)) for n in numbers)
    assert not any(searched(pointed_at("y", n)) for n in numbers[1:])
    assert searched(pointed_at("y", numbers[0]))
    assert searched(pointed_at("y", numbers[5], "another image")) and searched(pointed_at("y", numbers[5]))
