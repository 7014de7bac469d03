"""``PanelDriver``: uses the panel as a person does, by clicks, and looks at what it shows and at the scene."""

from __future__ import annotations

import os

import slicer
from PyQt5 import QtCore, QtWidgets
from PyQt5.QtTest import QTest

# A test that fails waits for minutes, so that one on a busy machine does not.
PATIENCE = float(os.environ.get("S3NETSEGMENT_TEST_PATIENCE", "600"))


class PanelDriver:
    """Attributes: ``module``, ``widget``, ``ui``, ``panel``, ``application``; everything else is what a person can do."""

    def __init__(self, module, widget, application, headless):
        self.module, self.widget, self.application, self.headless = module, widget, application, headless
        self.ui, self.panel = widget.ui, widget.panel
        self._closed = False

    @property
    def parameters(self):
        return self.widget._parameterNode

    # -- hands

    def click(self, button):
        """A left click on a button of any kind."""
        QtWidgets.QApplication.processEvents()  # the layout settles
        assert button.enabled, f"{button.name} is disabled: {button.toolTip}"
        assert button.isVisible(), f"{button.name} is not visible"
        QTest.mouseClick(button, QtCore.Qt.LeftButton)

    def choose(self, box, text):
        """Chooses the entry ``text`` of a combo box, with the keyboard."""
        assert box.enabled, f"{box.name} is disabled: {box.toolTip}"
        index = box.findText(text)
        assert index >= 0, f"{text!r} is not among {[box.itemText(n) for n in range(box.count)]}"
        box.currentIndex = index
        box.activated.emit(index)

    def press(self, key, modifier=QtCore.Qt.NoModifier):
        """A key press with the focus in the panel."""
        self.widget.parent.activateWindow()
        QTest.keyClick(QtWidgets.QApplication.focusWidget() or self.ui.confidenceCheckBox, key, modifier)
        QtWidgets.QApplication.processEvents()

    def place(self, kind, *positions):
        """Points in the panel's lists, as placed with Slicer's own tools for markups."""
        node = self.panel.prompts.points_node({"inside": "inside points", "outside": "outside points"}[kind])
        for position in positions:
            node.AddControlPointWorld(*position)
        return node

    def drag(self, slice_node, *positions, **modifiers):
        """A drag in a slice view through world positions, with the tool "Point at it"."""
        view = self.view(slice_node)
        view.mouse("LeftButtonPressEvent", positions[0], **modifiers)
        for position in positions[1:]:
            view.mouse("MouseMoveEvent", position, **modifiers)
        view.mouse("LeftButtonReleaseEvent", positions[-1], **modifiers)

    def prompts(self):
        """The list of what was pointed at: (what, where)."""
        table = self.ui.promptTable
        if not table.isVisible():
            return []
        return [(table.item(n, 0).text(), table.item(n, 1).text()) for n in range(table.rowCount)]

    def choose_prompts(self, *numbers):
        """Selects lines of that list."""
        self.ui.promptTable.clearSelection()
        for number in numbers:
            for column in range(2):
                self.ui.promptTable.item(number, column).setSelected(True)

    def view(self, slice_node):
        """The slice view, to click in."""
        return self.application.layoutManager().view(slice_node)

    def wait(self, condition, seconds=0):
        """Runs the event loop until ``condition()`` is true. A test that fails waits for minutes, so that one on a busy machine
        does not: ``seconds`` only ever makes that longer."""
        assert self.application.wait(condition, max(seconds, PATIENCE)), "it did not happen in time"

    def settle(self, seconds=0.4):
        """Lets timers do their work."""
        self.application.settle(seconds)

    def segment(self):
        """Presses Segment and waits for the end."""
        self.click(self.ui.segmentButton)
        self.wait(lambda: not self.panel.controller.running)

    # -- Few-shot

    def open_few_shot(self):
        """Turns the tab to Few-shot."""
        self._turn_tab(1)

    def open_models(self):
        self._turn_tab(2)

    def open_cohort(self, folder):
        """Turns the tab to Cohort and types the folder."""
        self._turn_tab(3)
        edit = self.panel.cohort.ui.loopFolderEdit
        edit.text = str(folder)
        edit.editingFinished.emit()

    def open_segment(self):
        self._turn_tab(0)

    def _turn_tab(self, number):
        bar = self.panel.tabs.bar
        assert bar.enabled
        QTest.mouseClick(bar, QtCore.Qt.LeftButton, pos=bar.tabRect(number).center())
        QtWidgets.QApplication.processEvents()

    def look_at_slice(self, slice_node, number, axis="z"):
        """Scrolls a view to a slice of the volume, with the mouse over it."""
        from S3NetSegmentLib.scene.volumes import volume_from_node

        voxel = [0, 0, 0]
        voxel["xyz".index(axis)] = number
        slice_node.JumpSliceByOffsetting(*volume_from_node(self.parameters.volume).ras_of(voxel))
        crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
        crosshair.SetCursorPositionXYZ([1.0, 1.0, 0.0], slice_node)
        self.panel.few_shot.refresh_views()

    def add_segment(self, name, color=None):
        """What "Add" in the segment editor and a new name do; returns the segment's id."""
        segmentation = self.parameters.segmentation.GetSegmentation()
        segment_id = segmentation.AddEmptySegment("", name)
        if color is not None:
            segmentation.GetSegment(segment_id).SetColor(*color)
        return segment_id

    def draw(self, name, mask, axis="z", index=0, erase=False):
        """A stroke in the segment editor: ``mask`` [rows, columns] on a slice of the volume, one undo state."""
        from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
        from S3NetSegmentLib.scene.volumes import volume_from_node

        volume = volume_from_node(self.parameters.volume)
        extent = type(volume.extent).slab(volume, axis, index, index)
        grid = volume.cropped(extent)
        node = self.parameters.segmentation
        segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name) or self.add_segment(name)
        widget = self.panel.editor.widget
        with segment_edit(node, self.parameters.volume, widget.saveStateForUndo) as edit:
            (edit.remove if erase else edit.add)(segment_id, mask.reshape(grid.array.shape[:3]), grid)
        self.settle(0.2)

    def tilt(self, slice_node, degrees=30.0, along=(0.0, 0.0, 0.0)):
        """Turns an axial view about the left-right axis, through the point ``along`` (RAS), with the mouse over it."""
        import math

        sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        slice_node.SetSliceToRASByNTP(0, sine, cosine, 1, 0, 0, *along, 0)
        crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
        crosshair.SetCursorPositionXYZ([1.0, 1.0, 0.0], slice_node)
        self.panel.few_shot.refresh_views()

    def draw_in_view(self, name, slice_node, mask, erase=False, layers=1.0):
        """A stroke in an oblique view: the voxels of ``mask`` [K, J, I] that its plane, so thick, passes through."""
        from S3NetSegmentLib.scene.drawings.support_set import SupportPlane
        from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
        from S3NetSegmentLib.scene.volumes import volume_from_node

        node, image = self.parameters.segmentation, self.parameters.volume
        volume = volume_from_node(image)
        stroke = mask & SupportPlane.of_view(slice_node, image).voxels(volume, volume.extent, layers)
        segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name) or self.add_segment(name)
        with segment_edit(node, image, self.panel.editor.widget.saveStateForUndo) as edit:
            (edit.remove if erase else edit.add)(segment_id, stroke, volume)
        self.settle(0.2)
        return stroke

    def draw_in_new_segmentation(self):
        """Chooses "Create new" in the list of segmentations."""
        return self.ui.segmentationSelector.addNode()

    def rows(self):
        """The list of drawn slices as it is shown: (slice, segments, complete)."""
        table = self.ui.supportTable
        if not table.isVisible():
            return []
        return [
            (table.item(n, 0).text(), table.item(n, 1).text(), table.item(n, 2).checkState() == QtCore.Qt.Checked)
            for n in range(table.rowCount)
        ]

    def choose_row(self, number):
        """A click on a row of that list."""
        table = self.ui.supportTable
        place = table.visualItemRect(table.item(number, 0)).center()
        QTest.mouseClick(table.viewport(), QtCore.Qt.LeftButton, pos=place)

    def propagate(self, seconds=20):
        """Presses Propagate and waits for the end."""
        self.click(self.ui.propagateButton)
        self.wait(lambda: not self.panel.few_shot.controller.running, seconds)

    # -- eyes

    @property
    def message(self):
        """The text in the message row, "" if it is hidden."""
        return self.ui.messageText.text if self.ui.messageFrame.isVisible() else ""

    @property
    def segmentation(self):
        """The only segmentation of the scene, or None; a preview does not count."""
        nodes = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if not n.GetHideFromEditors()]
        assert len(nodes) < 2
        return nodes[0] if nodes else None

    def names(self):
        """Names of all segments."""
        segmentation = self.segmentation.GetSegmentation()
        return [segmentation.GetSegment(i).GetName() for i in segmentation.GetSegmentIDs()]

    def mask(self, name="Object", segmentation=None):
        """A segment on the grid of the volume, bool [K, J, I]; of the only segmentation, or the given one."""
        segmentation = segmentation or self.segmentation
        segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
        return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, self.parameters.volume) > 0

    def close(self):
        """What unloading the module does; later calls do nothing."""
        if self._closed:
            return
        self._closed = True
        self.widget.exit()
        self.application.moduleManager().moduleAboutToBeUnloaded.emit("S3NetSegment")
        for child in [self.widget.parent, *self.widget.parent.findChildren(slicer.qMRMLWidget)]:
            child.setMRMLScene(None)  # what Slicer's widgets do when they are deleted
        self.widget.parent.deleteLater()
        QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
        QtWidgets.QApplication.processEvents()
