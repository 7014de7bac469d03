"""The tool "Point at it": clicks, boxes and strokes in the slice views, each answered at once."""

import numpy as np
import slicer
import vtk
from fake_engine import FakeEngine
from panel_pointing import BOX_THERE, CENTER, CORNERS, click, drag

from S3NetSegmentLib.engine.segment.prompts import Box
from S3NetSegmentLib.scene.prompts import BOX, prompt_nodes


def the_box():
    (node,) = prompt_nodes(BOX)
    return node


def drag_side(panel, size, center=CENTER):
    """What Slicer does while a side of the box is dragged, and the rest after it."""
    node = the_box()
    node.SetSize(*size)
    node.SetCenter(*center)
    node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    panel.wait(lambda: not panel.panel.prompts.watch.waiting)


def test_the_tool_is_on_when_a_volume_is_chosen_and_stays_off_when_switched_off(pointing):
    panel = pointing
    assert panel.ui.pointButton.checked and "drag a box" in panel.ui.promptHint.text
    panel.click(panel.ui.pointButton)
    panel.parameters.regionCount = 3
    assert not panel.ui.pointButton.checked
    other = slicer.util.addVolumeFromArray(np.random.default_rng(2).normal(0, 1, (4, 20, 20)), name="other")
    panel.ui.volumeSelector.setCurrentNode(other)
    assert panel.ui.pointButton.checked


def test_the_tool_belongs_to_its_tab(pointing, views):
    panel = pointing
    panel.open_few_shot()
    assert not panel.ui.pointButton.checked
    panel.drag(views.axial, *CORNERS)
    assert not prompt_nodes() and not panel.engine.asked
    panel.open_segment()
    assert panel.ui.pointButton.checked


def test_a_drag_makes_a_box_and_the_object_is_asked_for_with_it(pointing, views):
    panel = pointing
    view = panel.view(views.axial)
    view.mouse("LeftButtonPressEvent", CORNERS[0])
    assert not prompt_nodes()
    view.mouse("MouseMoveEvent", CENTER)
    assert the_box().GetSize() == (
        9.0,
        7.0,
        2.0,
    )  # shown while it is dragged: all voxels that it touches, one slice thick
    view.mouse("MouseMoveEvent", CORNERS[1])
    assert not panel.engine.asked
    view.mouse("LeftButtonReleaseEvent", CORNERS[1])
    panel.wait(lambda: not panel.panel.controller.running)
    assert panel.engine.asked[-1]["boxes"] == (BOX_THERE,) and panel.engine.asked[-1]["inside"] == ()
    assert panel.names() == ["Object"] and panel.mask().sum() == 17 * 13
    assert panel.prompts() == [("Box", "axial 6")] and not panel.message


def test_a_drag_of_less_than_a_few_pixels_is_a_click(pointing, views):
    panel = pointing
    view = panel.view(views.axial)
    x, y = view.position(CENTER)
    for event, place in (
        ("LeftButtonPressEvent", (x, y)),
        ("MouseMoveEvent", (x + 3, y - 2)),
        ("LeftButtonReleaseEvent", (x + 3, y)),
    ):
        view.mouse_at(event, *place)
    panel.wait(lambda: not panel.panel.controller.running)
    assert panel.engine.asked[-1]["inside"] == ((20, 18, 6),) and panel.engine.asked[-1]["boxes"] == ()
    assert not prompt_nodes() and panel.prompts() == [("Point inside 1", "axial 6")]


def test_shift_and_a_drag_is_a_stroke_through_the_object(pointing, views):
    panel = pointing
    drag(panel, views.axial, (-5.0, 0.0, 0.0), CENTER, (5.0, 5.0, 0.0), shift=True)
    (stroke,) = panel.engine.asked[-1]["strokes"]
    assert stroke[0] == (15, 18, 6) and stroke[-1] == (25, 23, 6) and (20, 18, 6) in stroke
    steps = np.abs(np.diff(stroke, axis=0)).max(axis=1)
    assert (steps == 1).all()  # no voxel is missing in between
    assert panel.prompts() == [("Stroke", "axial 6")] and panel.names() == ["Object"]


def test_control_marks_what_is_outside_by_click_and_by_stroke(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    click(panel, views.axial, (6.0, 0.0, 0.0), control=True)
    assert panel.engine.asked[-1]["outside"] == ((26, 18, 6),) and panel.engine.asked[-1]["boxes"] == (BOX_THERE,)
    assert not panel.mask()[6, 18, 26] and panel.mask()[6, 18, 20]
    drag(panel, views.axial, (-7.0, -5.0, 0.0), (-7.0, 5.0, 0.0), control=True)
    (stroke,) = panel.engine.asked[-1]["outside_strokes"]
    assert len(stroke) == 11 and not panel.mask()[6, 18, 13]
    assert [what for what, _ in panel.prompts()] == ["Box", "Outside stroke", "Point outside 1"]


def test_outside_alone_is_refused_with_the_remedy_and_kept(pointing, views):
    panel = pointing
    click(panel, views.axial, CENTER, control=True)
    assert "only outside points" in panel.message and not panel.engine.calls
    drag(panel, views.axial, (-9.0, -9.0, 0.0), (9.0, 9.0, 0.0))
    assert panel.names() == ["Object"] and not panel.mask()[6, 18, 20]


def test_dragging_a_side_asks_again(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    before = panel.mask().sum()
    drag_side(panel, (9.0, 13.0, 2.0))
    panel.wait(lambda: panel.mask().sum() == 9 * 13)
    assert panel.engine.asked[-1]["boxes"] == (Box((16, 12, 6), (24, 24, 6)),)
    assert len(panel.engine.calls) == 1 and before == 17 * 13  # the regions are known


def test_dragging_a_side_of_a_box_on_another_slice_asks_for_that_slice(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    views.axial.SetSliceOffset(4.0)
    drag(panel, views.axial, (-3.0, -3.0, 4.0), (3.0, 3.0, 4.0))
    assert set(np.nonzero(panel.mask())[0]) == {6, 8} and panel.names() == ["Object"]
    first = prompt_nodes(BOX)[0]
    first.SetSize(3.0, 3.0, 2.0)
    panel.wait(lambda: panel.mask()[6].sum() == 9)
    assert panel.mask()[8].sum() == 49


def test_a_box_pulled_through_several_slices_counts_on_each_of_them(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    drag_side(panel, (17.0, 13.0, 10.0))
    assert panel.prompts() == [("Box", "17 × 13 × 5")]
    views.axial.SetSliceOffset(2.0)
    click(panel, views.axial, (1.0, 0.0, 2.0))
    assert panel.engine.asked[-1]["boxes"] == (Box((12, 12, 7), (28, 24, 7)),)


def test_in_the_whole_volume_boxes_of_all_slices_and_views_are_asked_with(pointing, views):
    panel = pointing
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    drag(panel, views.axial, *CORNERS)
    drag(panel, views.coronal, (-8.0, 0.0, -6.0), (8.0, 0.0, 6.0))
    assert panel.engine.asked[-1]["boxes"] == (BOX_THERE, Box((12, 18, 3), (28, 18, 9)))
    assert panel.prompts() == [("Box", "axial 6"), ("Box 2", "coronal 18")]
    whole = [call for call in panel.engine.calls if call["extent"] == call["volume"].extent]
    assert len(whole) == 1 and set(np.nonzero(panel.mask())[0]) == set(range(3, 10))


def test_a_box_on_an_oblique_view_is_drawn_on_its_plane(pointing, views):
    panel = pointing
    turn = vtk.vtkTransform()
    turn.RotateX(30)
    turn.RotateY(10)
    views.axial.GetSliceToRAS().DeepCopy(turn.GetMatrix())
    views.axial.UpdateMatrices()
    corners = [turn.TransformPoint(*place) for place in ((-6.0, -5.0, 0.0), (6.0, 5.0, 0.0))]
    drag(panel, views.axial, *corners)
    (box,) = panel.engine.asked[-1]["boxes"]
    assert panel.engine.calls[0]["volume"].size[2] == 1 and box.flat_axis == "z"
    assert abs(box.size[0] - 13) <= 1 and abs(box.size[1] - 11) <= 1
    assert panel.mask()[6, 18, 20] and panel.prompts() == [("Box", "oblique")]


def oblique_places(view, *places):
    """World positions of places (mm right and up from the middle) in a view."""
    matrix = view.GetSliceToRAS()
    return [matrix.MultiplyPoint((*place, 0.0, 1.0))[:3] for place in places]


def test_in_the_whole_volume_a_box_on_an_oblique_view_is_answered_on_its_plane_and_carried(pointing, views):
    panel = pointing
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.tilt(views.axial)
    drag(panel, views.axial, *oblique_places(views.axial, (-6.0, -5.0), (6.0, 5.0)))
    assert not panel.message
    first, last = panel.engine.calls[0], panel.engine.calls[-1]
    assert first["volume"].size[2] == 1 and last["extent"] == last["volume"].extent
    asked = panel.engine.asked[-1]
    (plane,) = asked["planes"]
    assert asked["slices"] == (plane,) and not asked["boxes"] and panel.mask()[6, 18, 20]
    panel.wait(lambda: panel.ui.madeByText.text.endswith("whole volume, from boxes."))
    # What lies on its plane belongs to it, what is drawn along the slices does not.
    drag(panel, views.coronal, (-8.0, 0.0, -6.0), (8.0, 0.0, 6.0))
    drag(panel, views.axial, *oblique_places(views.axial, (-3.0, -4.0), (3.0, 4.0)), shift=True)
    drag(panel, views.axial, *oblique_places(views.axial, (-9.0, -9.0), (-9.0, 9.0)), shift=True, control=True)
    click(panel, views.axial, oblique_places(views.axial, (2.0, 3.0))[0])
    click(panel, views.axial, oblique_places(views.axial, (9.0, 9.0))[0], control=True)
    asked = panel.engine.asked[-1]
    (plane,) = asked["planes"]
    kinds = {
        kind: len(getattr(plane.prompts, kind)) for kind in ("boxes", "strokes", "outside_strokes", "inside", "outside")
    }
    assert kinds == {"boxes": 1, "strokes": 1, "outside_strokes": 1, "inside": 1, "outside": 1}
    assert [box.flat_axis for box in asked["boxes"]] == ["y"] and not asked["strokes"] and not asked["inside"]
    assert asked["slices"] == (("y", 18), plane)
    panel.click(panel.ui.undoButton)  # the click outside
    panel.click(panel.ui.undoButton)
    panel.click(panel.ui.undoButton)
    panel.click(panel.ui.undoButton)
    assert panel.prompts() == [("Box", "oblique"), ("Box 2", "coronal 18")]
    for _ in range(2):
        panel.click(panel.ui.redoButton)
    panel.segment()
    (again,) = panel.engine.asked[-1]["planes"]
    assert len(again.prompts.strokes) == len(again.prompts.outside_strokes) == 1  # brought back with its plane


def test_a_box_in_a_view_far_out_of_the_slices_says_that_a_second_one_helps(pointing, views):
    panel = pointing
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    for degrees, told in ((20, False), (40, True)):
        panel.click(panel.ui.deletePromptsButton) if panel.prompts() else None
        panel.tilt(views.axial, degrees)
        drag(panel, views.axial, *oblique_places(views.axial, (-6.0, -5.0), (6.0, 5.0)))
        assert ("turned by 40 degrees" in panel.ui.promptHint.text and panel.ui.promptHint.isVisible()) == told
    drag(panel, views.sagittal, (0.0, -6.0, -6.0), (0.0, 6.0, 6.0))
    assert "turned" not in panel.ui.promptHint.text or not panel.ui.promptHint.isVisible()


def test_a_stroke_alone_in_an_oblique_view_is_answered_on_its_plane(pointing, views):
    panel = pointing
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.tilt(views.axial)
    drag(panel, views.axial, *oblique_places(views.axial, (-6.0, -5.0), (6.0, 5.0)), shift=True)
    (plane,) = panel.engine.asked[-1]["planes"]
    assert len(plane.prompts.strokes) == 1 and not panel.engine.asked[-1]["strokes"] and not panel.message


def test_a_side_of_a_box_on_an_oblique_view_is_followed_in_its_plane_while_it_is_dragged(pointing, views):
    panel = pointing
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.tilt(views.axial)
    drag(panel, views.axial, *oblique_places(views.axial, (-6.0, -5.0), (6.0, 5.0)))
    calls, node = len(panel.engine.calls), the_box()
    _, height, depth = node.GetSize()
    node.SetSize(7.0, height, depth)
    panel.wait(
        lambda: any("first sight" in n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
    )
    assert len(panel.engine.calls) == calls
    node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    panel.wait(lambda: not panel.panel.prompts.watch.waiting and not panel.panel.controller.running)
    (plane,) = panel.engine.asked[-1]["planes"]
    assert abs(plane.prompts.boxes[0].size[0] - 7) <= 1 and len(panel.engine.calls) == calls


def test_a_box_without_an_area_or_beside_the_image_is_refused_and_leaves_nothing(pointing, views):
    panel = pointing
    drag(panel, views.axial, (-8.0, 0.0, 0.0), (8.0, 0.0, 0.0))
    assert "no area" in panel.message and not prompt_nodes() and not panel.engine.calls
    drag(panel, views.axial, (40.0, 40.0, 0.0), (60.0, 60.0, 0.0))
    assert panel.message and not prompt_nodes()
    drag(panel, views.axial, (40.0, 40.0, 0.0), (60.0, 60.0, 0.0), shift=True)
    assert "beside" in panel.message and not prompt_nodes()
    click(panel, views.axial, (60.0, 60.0, 0.0))
    assert "outside image" in panel.message and not panel.prompts()


def test_where_the_cursor_is_on_a_side_of_a_box_slicer_drags_it(pointing, views):
    panel = pointing
    drag(panel, views.axial, *CORNERS)
    display = the_box().GetDisplayNode()
    display.SetActiveComponent(display.ComponentScaleHandle, 0)
    heard = []
    interactor = panel.view(views.axial).interactor()
    tag = interactor.AddObserver("LeftButtonPressEvent", lambda *_: heard.append(1))
    panel.drag(views.axial, (8.0, 0.0, 0.0), (4.0, 0.0, 0.0))
    interactor.RemoveObserver(tag)
    assert heard and len(prompt_nodes(BOX)) == 1 and not panel.parameters.insidePoints
    drag(panel, views.axial, (8.0, 0.0, 0.0), (4.0, 0.0, 0.0), shift=True)
    assert [what for what, _ in panel.prompts()] == ["Box", "Stroke"]


def test_what_is_pointed_at_during_a_run_is_answered_after_it(open_panel, views):
    engine = FakeEngine(steps=40, seconds=0.01)
    panel = open_panel(engine)
    panel.drag(views.axial, *CORNERS)
    assert panel.panel.controller.running
    panel.view(views.axial).click((6.0, 0.0, 0.0), control=True)
    panel.wait(lambda: not panel.panel.controller.running)
    assert len(engine.calls) == 1 and engine.asked[-1]["outside"] == ((26, 18, 6),)
    assert not panel.mask()[6, 18, 26]


def test_a_side_that_is_dragged_during_a_run_is_answered_after_it(open_panel, views):
    engine = FakeEngine(steps=40, seconds=0.01)
    panel = open_panel(engine)
    panel.drag(views.axial, *CORNERS)
    assert panel.panel.controller.running
    drag_side(panel, (9.0, 13.0, 1.0))
    assert panel.panel.controller.running
    panel.wait(lambda: not panel.panel.controller.running)
    assert engine.asked[-1]["boxes"] == (Box((16, 12, 6), (24, 24, 6)),)


def test_leaving_the_module_while_a_box_is_drawn_leaves_no_half_of_it(pointing, views):
    panel = pointing
    view = panel.view(views.axial)
    view.mouse("LeftButtonPressEvent", CORNERS[0])
    view.mouse("MouseMoveEvent", CORNERS[1])
    panel.widget.exit()
    assert not prompt_nodes()


def test_the_tool_leaves_views_of_other_volumes_and_the_placing_of_markups_to_slicer(pointing, views):
    panel = pointing
    composite = panel.headless.slice_logic(views.axial).GetSliceCompositeNode()
    composite.SetBackgroundVolumeID(None)
    panel.drag(views.axial, *CORNERS)
    assert not prompt_nodes()
    composite.SetBackgroundVolumeID(panel.parameters.volume.GetID())
    interaction = panel.application.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.Place)
    panel.drag(views.axial, *CORNERS)
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert not prompt_nodes() and not panel.engine.calls


def test_one_point_whose_answers_differ_much_says_what_a_box_would_tell(pointing, views):
    panel = pointing
    click(panel, views.axial, CENTER)
    assert "leaves the size open" in panel.ui.promptHint.text and "Drag a box" in panel.ui.promptHint.text
    drag(panel, views.axial, *CORNERS)
    assert not panel.ui.promptHint.isVisible()


def test_a_completed_segment_takes_no_more_until_it_is_open_again(pointing, views):
    panel, logic = pointing, slicer.vtkSlicerSegmentationsModuleLogic
    click(panel, views.axial, CENTER)
    segment = panel.segmentation.GetSegmentation().GetSegment(panel.parameters.targetSegment)
    logic.SetSegmentStatus(segment, logic.Completed)
    before = panel.mask()
    for act in (lambda: click(panel, views.axial, (4.0, 4.0, 0.0)), panel.segment):
        act()
        assert "has the status Completed" in panel.message and (panel.mask() == before).all()
    panel.click(panel.ui.nextObjectButton)
    panel.ui.keepOutCheckBox.click()
    click(panel, views.axial, CENTER)
    assert panel.names() == ["Object", "Object 2"] and (panel.mask() == before).all()
