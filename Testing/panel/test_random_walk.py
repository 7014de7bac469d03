"""A user who does anything in any order: whatever happens, the list of drawn slices says what is drawn."""

import numpy as np
import pytest
import slicer
import vtk
from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from few_shot_drawings import square
from panel_walk import make_walk

from S3NetSegmentLib.scene.answers.provenance import made_by
from S3NetSegmentLib.scene.segmentation.reading import segment_mask
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import volume_from_node

STEPS = 100
NAMES = ("Liver", "Spleen", "Bone")
SLICES = (1, 3, 5, 7, 9)  # with gaps: what is drawn side by side could be a sagittal drawing
DRAWING = (
    "stroke", "stroke", "stroke", "erase", "undo", "redo", "delete_segment", "rename_segment", "hide_segment", "add_slice",
    "remove_row", "toggle_complete", "other_tab_and_back", "leave_and_enter", "propagate", "discard", "move_both",
)  # fmt: skip
ANYTHING = (
    *DRAWING,
    "stroke",
    "segment",
    "accept",
    "accept",
    "other_volume",
    "other_segmentation",
    "remove_segmentation",
)


class Walk:
    """Does something at random, and knows what the user has taken out of the list."""

    def __init__(self, panel, views, seed):
        self.panel, self.views, self.random = panel, views, np.random.default_rng(seed)
        self.done, self.removed = [], {}  # (ids of volume and segmentation, slice) -> what was drawn there then

    # -- what there is

    @property
    def node(self):
        return self.panel.parameters.segmentation

    @property
    def volume(self):
        return self.panel.parameters.volume

    @property
    def pair(self):
        return self.volume.GetID(), self.node.GetID()

    def masks(self):
        """Id -> mask of the segments that the user has drawn."""
        ids = [i for i in self.node.GetSegmentation().GetSegmentIDs() if not made_by(self.node, i)]
        return {i: segment_mask(self.node, i, volume_from_node(self.volume)) for i in ids}

    def drawn(self):
        """Slice -> names of the segments that the user has drawn there."""
        segmentation, found = self.node.GetSegmentation(), {}
        for segment_id, mask in self.masks().items():
            for z in np.flatnonzero(mask.any((1, 2))).tolist():
                found.setdefault(z, set()).add(segmentation.GetSegment(segment_id).GetName())
        return found

    def content(self, z):
        """What is drawn on a slice, whatever the segments are called."""
        return {i: mask[z].tobytes() for i, mask in self.masks().items() if mask[z].any()}

    def any_slice(self):
        return int(self.random.choice(SLICES))

    def any_segment(self):
        ids = self.node.GetSegmentation().GetSegmentIDs()
        return ids[self.random.integers(len(ids))] if ids else None

    # -- what a user does

    def stroke(self, erase=False):
        z, name = self.any_slice(), str(self.random.choice(NAMES))
        segmentation = self.node.GetSegmentation()
        if erase and not segmentation.GetSegmentIdBySegmentName(name):
            return
        if not segmentation.GetSegmentIdBySegmentName(name):
            segmentation.AddEmptySegment("", name)
        volume = volume_from_node(self.volume)
        mask = np.zeros(volume.array.shape[:3], bool)
        top, left = self.random.integers(0, 20, 2)
        mask[z] = True if erase else square(top, left, 6, mask.shape[1:])
        save = self.panel.panel.editor.widget.saveStateForUndo
        with segment_edit(self.node, self.volume, save) as edit:
            (edit.remove if erase else edit.add)(segmentation.GetSegmentIdBySegmentName(name), mask, volume)

    def erase(self):
        self.stroke(erase=True)

    def undo(self):
        self.panel.panel.editor.undo()

    def redo(self):
        self.panel.panel.editor.redo()

    def delete_segment(self):
        segment_id = self.any_segment()
        if segment_id:
            self.panel.panel.editor.widget.saveStateForUndo()
            self.node.GetSegmentation().RemoveSegment(segment_id)

    def rename_segment(self):
        segment_id = self.any_segment()
        if segment_id:
            self.node.GetSegmentation().GetSegment(segment_id).SetName(
                f"{self.random.choice(NAMES)} {self.random.integers(9)}"
            )

    def hide_segment(self):
        segment_id = self.any_segment()
        if segment_id:
            self.node.GetDisplayNode().SetSegmentVisibility(segment_id, bool(self.random.integers(2)))

    def add_slice(self):
        self.panel.look_at_slice(self.views.axial, self.any_slice())
        if self.panel.ui.addSliceButton.enabled:
            self.panel.ui.addSliceButton.click()

    def remove_row(self):
        support = self.panel.panel.few_shot.controller.support
        if support is not None and support.slices:
            place = support.slices[self.random.integers(len(support.slices))].place
            self.panel.panel.few_shot.remove([place])
            self.removed[(self.pair, place[1])] = self.content(place[1])

    def toggle_complete(self):
        table = self.panel.ui.supportTable
        if table.isVisible() and table.rowCount:
            item = table.item(int(self.random.integers(table.rowCount)), 2)
            item.setCheckState(0 if item.checkState() else 2)

    def other_tab_and_back(self):
        self.panel.open_segment() if self.random.integers(2) else self.panel.open_models()
        self.panel.open_few_shot()

    def leave_and_enter(self):
        self.panel.widget.exit()
        self.panel.widget.enter()

    def segment(self):
        self.panel.open_segment()
        self.panel.ui.scopeComboBox.currentIndex = int(self.random.choice([0, 2]))
        if self.panel.ui.segmentButton.enabled:
            self.panel.segment()
        self.panel.open_few_shot()

    def propagate(self):
        if self.panel.ui.propagateButton.enabled:
            self.panel.ui.propagateButton.click()
            if self.random.integers(3) == 0:
                self.panel.ui.propagateButton.click()  # cancel
            self.panel.wait(lambda: not self.panel.panel.few_shot.controller.running)

    def discard(self):
        if self.panel.ui.discardButton.isVisible():
            self.panel.ui.discardButton.click()

    def accept(self):
        if self.panel.ui.acceptButton.isVisible() and self.panel.ui.acceptButton.enabled:
            self.panel.ui.acceptButton.click()

    def other_volume(self):
        nodes = [slicer.util.getNode(name) for name in ("MR head", "CT")]
        self.panel.ui.volumeSelector.setCurrentNode(nodes[self.random.integers(2)])

    def move_both(self):
        """Volume and segmentation under the same transform, or under none."""
        transform = slicer.util.getNode("moved") if self.random.integers(2) else None
        for node in (self.volume, self.node):
            node.SetAndObserveTransformNodeID(transform.GetID() if transform else None)

    def other_segmentation(self):
        nodes = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if not n.GetHideFromEditors()]
        own = [n for n in nodes if n.GetNodeReference("referenceImageGeometryRef") is self.volume]
        self.panel.ui.segmentationSelector.setCurrentNode(own[self.random.integers(len(own))])

    def remove_segmentation(self):
        slicer.mrmlScene.RemoveNode(self.node)
        self.leave_and_enter()

    # -- the walk

    def go(self, actions, check):
        for _ in range(STEPS):
            action = actions[self.random.integers(len(actions))]
            self.done.append(action)
            getattr(self, action)()
            self.rest()
            try:
                check()
            except AssertionError as error:
                raise AssertionError(f"after {self.done}") from error

    def rest(self):
        """Until the panel has taken up what was done."""
        watch = self.panel.panel.few_shot._watch
        for _ in range(2):
            self.panel.wait(lambda: not watch._timer.active)
            self.panel.panel._refresh()

    def check_rows(self):
        """Every slice of the list holds what is shown, and everything that was drawn is in the list."""
        support = self.panel.panel.few_shot.controller.support
        drawn, rows = self.drawn(), self.panel.rows()
        assert support is not None and len(rows) == len(support.slices)
        for s, (_, text, complete) in zip(support.slices, rows, strict=True):
            assert complete == s.complete
            shown = [] if text.startswith("nothing here") else sorted(text.split(";")[0].split(", "))
            assert drawn.get(s.index, set()) <= set(shown)
            assert s.added or s.corrected or shown
        listed = {s.index for s in support.slices}
        taken_out = {
            z for (pair, z), content in self.removed.items() if pair == self.pair and content == self.content(z)
        }
        assert set(drawn) - taken_out <= listed
        by_itself = {s.index for s in support.slices if not s.added}
        assert by_itself <= set(drawn)

    def check_names(self):
        """After answers: no row names a segment that is not there."""
        support = self.panel.panel.few_shot.controller.support
        segmentation = self.node.GetSegmentation()
        assert [s.place for s in support.slices] == sorted({s.place for s in support.slices})
        for s in support.slices:
            for segment_id in support.drawn_on()[s.place]:
                mask = segment_mask(self.node, segment_id, volume_from_node(self.volume))
                assert segmentation.GetSegment(segment_id) is not None and mask[s.index].any()
            assert s.added or s.corrected or support.drawn_on()[s.place]


@pytest.fixture
def walk(open_panel, views, monkeypatch):
    monkeypatch.setattr("S3NetSegmentLib.panel.few_shot.following._CALM", 1)
    other = slicer.util.addVolumeFromArray(np.random.default_rng(2).normal(0, 9, (12, 30, 32)), name="CT")
    other.SetSpacing(1, 1, 3)
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, 4.0)
    moved.SetMatrixTransformToParent(matrix)

    def begin(seed):
        panel = open_panel(FakeEngine(steps=2, seconds=0), FakePropagation(steps=2, seconds=0))
        panel.open_few_shot()
        return Walk(panel, views, seed)

    return begin


@pytest.mark.parametrize("seed", range(2))
def test_the_list_is_what_is_drawn_whatever_the_user_does(walk, seed):
    walker = walk(seed)
    walker.go(DRAWING, walker.check_rows)


@pytest.mark.parametrize("seed", range(2))
def test_nothing_fails_and_nothing_leaks_whatever_the_user_does(walk, seed):
    walker = walk(seed)
    walker.go(ANYTHING, walker.check_names)
    panel = walker.panel
    panel.close()
    inner, few_shot = panel.panel, panel.panel.few_shot
    controllers = (inner.controller, few_shot.controller)
    watches = [w for c in controllers for w in (c._run._watch, c._result_watch)]
    assert watches == [None] * 4 and not few_shot._watch.active and not inner.segment.target._segments.active
    assert not inner.prompts.watch.observed and not panel.widget.Observations and not inner._refresh_timer.active
    assert not [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "preview" in n.GetName()]


def test_no_action_breaks_the_panel_and_nothing_leaks(open_panel):
    import headless_slicer
    import qt_stand_in

    headless = headless_slicer.start()
    walk = make_walk(open_panel, qt_stand_in.install(headless), headless, seed=3)
    walk.go(120)
    panel = walk.panel
    panel.close()
    inner = panel.panel
    assert inner.controller._run._watch is None and inner.controller._result_watch is None
    assert (
        not inner.prompts.watch.observed
        and not inner._refresh_timer.active
        and not inner.segment.target._segments.active
    )
