"""``PanelWalk``: random user actions over all tabs of the panel; after each of them nothing may be broken."""

from __future__ import annotations

import numpy as np
import slicer

SHAPE = (12, 36, 40)


class PanelWalk:
    """Attributes: ``done``, the names of all actions so far; ``random``.

    :param open_panel: opens a panel (a PanelDriver); called again where the walk reloads the module.
    :param slot_failures: list to which the stand-in adds what slots raise.
    """

    def __init__(self, open_panel, add_volume, show_views, slot_failures, seed: int = 0):
        self._open_panel, self._add_volume, self._show_views, self.failures = (
            open_panel,
            add_volume,
            show_views,
            slot_failures,
        )
        self.random, self.done = np.random.default_rng(seed), []
        self._begin_scene()
        self.panel = open_panel()

    def _begin_scene(self):
        self._add_volume("MR head")
        self._add_volume("CT")
        self.views = self._show_views()

    # -- what a user does

    def place(self):
        return tuple(float(v) for v in (self.random.uniform(-15, 15), self.random.uniform(-13, 13), self.view_offset()))

    def view_offset(self):
        return self.views[0].GetSliceOffset()

    def scroll(self):
        self.views[0].SetSliceOffset(float(2 * self.random.integers(-5, 6)))

    def click_inside(self):
        self._in_view(lambda view: view.click(self.place()))

    def click_outside(self):
        self._in_view(lambda view: view.click(self.place(), control=True))

    def drag_box(self):
        self._gesture()

    def drag_stroke(self):
        self._gesture(shift=True)

    def drag_outside(self):
        self._gesture(control=True)

    def drag_side(self):
        boxes = [
            n for n in slicer.util.getNodesByClass("vtkMRMLMarkupsROINode") if n.GetAttribute("S3NetSegment.Prompt")
        ]
        if boxes:
            box = boxes[self.random.integers(len(boxes))]
            for _ in range(3):
                box.SetSize(*(float(max(2, s + self.random.uniform(-3, 3))) for s in box.GetSize()))
                self.panel.settle(0.01)
            box.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)

    def remove_prompt(self):
        if self.panel.prompts():
            self.panel.choose_prompts(int(self.random.integers(len(self.panel.prompts()))))
            self._press(self.panel.ui.removePromptButton)

    def clear_prompts(self):
        self._press(self.panel.ui.deletePromptsButton)

    def segment(self):
        self._press(self.panel.ui.segmentButton)

    def segment_and_cancel(self):
        self._press(self.panel.ui.segmentButton)
        self._press(self.panel.ui.segmentButton)

    def undo(self):
        self._press(self.panel.ui.undoButton)

    def redo(self):
        self._press(self.panel.ui.redoButton)

    def slide(self):
        slider = self.panel.ui.granularitySlider
        if slider.isVisible() and slider.enabled:
            slider.value = int(self.random.integers(slider.maximum + 1))

    def other_answer(self):
        self._press(self.panel.ui.answer2Button)

    def pick_a_region(self):
        self._press(self.panel.ui.pickButton)
        self._in_view(lambda view: view.click(self.place()))

    def point_tool(self):
        self._press(self.panel.ui.pointButton)

    def draw_by_a_box(self):
        self._press(self.panel.ui.boxDrawButton)
        self._gesture()

    def next_object(self):
        self._press(self.panel.ui.nextObjectButton)

    def scope(self):
        box = self.panel.ui.scopeComboBox
        if box.isVisible() and box.enabled:
            box.currentIndex = int(self.random.integers(4))

    def confidence(self):
        self._press(self.panel.ui.confidenceCheckBox)

    def least_sure(self):
        self._press(self.panel.ui.confidenceWorstButton)

    def fold(self):
        ui = self.panel.ui
        button = (ui.advancedCollapsibleButton, ui.editCollapsibleButton, ui.adjustCollapsibleButton)[
            self.random.integers(3)
        ]
        if button.isVisible():
            button.collapsed = not button.collapsed

    def seed(self):
        form = self.panel.panel.advanced.segment
        if form.more is not None and self.panel.panel.mode == "segment" and self.panel.ui.sharedForm.enabled:
            form._rows["seed"][1].widget.value = int(self.random.integers(9))

    def tab(self):
        if self.panel.panel.tabs.bar.enabled:
            (self.panel.open_segment, self.panel.open_few_shot, self.panel.open_models)[self.random.integers(3)]()

    def paint(self):
        if (
            self.panel.parameters is not None
            and self.panel.parameters.segmentation is not None
            and self._volume() is not None
        ):
            mask = np.zeros(SHAPE[1:], bool)
            j, i = self.random.integers(4, 26, 2)
            mask[j : j + 6, i : i + 6] = True
            segment = self._segment()
            name = segment[0].GetSegment(segment[1]).GetName() if segment else "Painted"
            self.panel.draw(name, mask, "z", int(self.random.integers(SHAPE[0])))

    def effect(self):
        widget = self.panel.panel.editor.widget
        if widget.isVisible():
            widget.setActiveEffectByName(("Paint", "Erase", "")[self.random.integers(3)])

    def rename_segment(self):
        segment = self._segment()
        if segment is not None:
            segment[0].GetSegment(segment[1]).SetName(f"Renamed {self.random.integers(99)}")

    def delete_segment(self):
        segment = self._segment()
        if segment is not None:
            segment[0].RemoveSegment(segment[1])

    def propagate(self):
        self._press(self.panel.ui.propagateButton)

    def accept(self):
        self._press(self.panel.ui.acceptButton)

    def discard(self):
        self._press(self.panel.ui.discardButton)

    def next_slice(self):
        self._press(self.panel.ui.nextSliceButton)

    def kind_of_training(self):
        box = self.panel.panel.models.ui.trainingKindBox
        box.currentIndex = int(self.random.integers(3))

    def leave_and_enter(self):
        self.panel.widget.exit()
        self.panel.widget.enter()

    def other_volume(self):
        volumes = [
            n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetName() in ("MR head", "CT")
        ]
        if volumes and self.panel.ui.sharedForm.enabled:
            self.panel.ui.volumeSelector.setCurrentNode(volumes[self.random.integers(len(volumes))])

    def new_segmentation(self):
        if self.panel.ui.sharedForm.enabled and self._volume() is not None:
            self.panel.draw_in_new_segmentation()

    def change_voxels(self):
        volume = self._volume()
        if volume is not None:
            slicer.util.arrayFromVolume(volume)[0, 0, 0] += 1
            slicer.util.arrayFromVolumeModified(volume)

    def remove_segmentation(self):
        node = self.panel.parameters.segmentation if self.panel.parameters is not None else None
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)

    def remove_volume(self):
        volume = self._volume()
        if volume is not None:
            name = volume.GetName()
            slicer.mrmlScene.RemoveNode(volume)
            self._add_volume(name)
            self.views = self._show_views()

    def close_scene(self):
        slicer.mrmlScene.Clear(False)
        self._begin_scene()

    def reload(self):
        self.panel.close()
        self.panel = self._open_panel()

    # -- the walk

    def actions(self):
        names = [
            n
            for n in vars(type(self))
            if not n.startswith("_") and n not in ("place", "view_offset", "go", "actions", "check")
        ]
        rare = ("close_scene", "remove_volume", "reload", "remove_segmentation", "change_voxels", "new_segmentation")
        weights = np.array([0.2 if name in rare else 1.0 for name in names])
        return names, weights / weights.sum()

    def go(self, count: int) -> None:
        """``count`` actions. AssertionError with all of them where something is broken."""
        names, weights = self.actions()
        for _ in range(count):
            name = str(self.random.choice(names, p=weights))
            self.done.append(name)
            try:
                getattr(self, name)()
                if self.random.integers(3):
                    self._rest()
                self.check()
            except Exception as error:
                raise AssertionError(f"{error!r} after {self.done[-40:]}") from error
        self._rest()
        self.check()

    def check(self) -> None:
        """What holds after each action."""
        assert not self.failures, f"a slot raised {self.failures[0]!r}"
        panel = self.panel.panel
        assert panel.message.kind != "error", panel.message.text
        names = [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
        if not panel.running and not panel.prompts.watch.waiting:
            assert not [n for n in names if "first sight" in n], names
            assert panel.tabs.bar.enabled and panel.ui.sharedForm.enabled
        assert sum("preview" in n for n in names) <= 1, names
        rectangles = [n for n in slicer.util.getNodesByClass("vtkMRMLMarkupsROINode") if n.GetName() == "Drawing"]
        assert panel.few_shot.boxes.running or not rectangles

    def _rest(self) -> None:
        panel = self.panel.panel
        self.panel.wait(
            lambda: not panel.running and not panel.prompts.watch.waiting and not panel.few_shot.boxes.running
        )
        panel._refresh()

    def _volume(self):
        return self.panel.parameters.volume if self.panel.parameters is not None else None

    def _segment(self):
        node = self.panel.parameters.segmentation if self.panel.parameters is not None else None
        ids = node.GetSegmentation().GetSegmentIDs() if node is not None else ()
        return (node.GetSegmentation(), ids[self.random.integers(len(ids))]) if ids else None

    def _press(self, button) -> None:
        if button.isVisible() and button.enabled:
            button.click()

    def _in_view(self, action) -> None:
        if self._volume() is not None:
            action(self.panel.view(self.views[0]))

    def _gesture(self, **modifiers) -> None:
        if self._volume() is not None:
            one, other = self.place(), self.place()
            self.panel.drag(self.views[0], one, tuple((np.array(one) + other) / 2), other, **modifiers)


def make_walk(open_panel, application, headless, seed):
    """A walk in an empty scene with two small volumes and two views; ``open_panel(find_regions, make_few_shot)``."""
    from fake_engine import FakeEngine
    from fake_propagation import FakePropagation
    from qt_stand_in.qt_module import slot_failures

    def add_volume(name):
        k, j, i = np.mgrid[tuple(slice(n) for n in SHAPE)]
        ball = (i - 20) ** 2 + (j - 18) ** 2 + (2 * (k - 6)) ** 2 < 64
        noise = np.random.default_rng(len(name)).normal(0, 8, SHAPE)
        node = slicer.util.addVolumeFromArray((100 + 150 * ball + noise).astype(np.int16), name=name)
        node.SetSpacing(1, 1, 2)
        node.SetOrigin(-20, -18, -12)
        return node

    def show_views():
        volume = slicer.util.getNode("MR head")
        known = {n.GetName(): n for n in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
        nodes = []
        for name, orientation in (("Left", "Axial"), ("Right", "Coronal")):
            if name in known:
                headless.slice_logic(known[name]).GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
                nodes.append(known[name])
            else:
                nodes.append(headless.add_slice_view(name, orientation, volume))
        application.layoutManager().show(*nodes)
        return nodes

    def opened():
        return open_panel(FakeEngine(steps=3, seconds=0), FakePropagation(steps=2, seconds=0))

    slicer.mrmlScene.Clear(False)
    return PanelWalk(opened, add_volume, show_views, slot_failures, seed)
