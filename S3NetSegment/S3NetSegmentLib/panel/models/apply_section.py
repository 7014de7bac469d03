"""Applying a model in the panel: choose its file, read what it is, press Apply."""

from __future__ import annotations

import html
import os

from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.common.device import torch_loaded
from ...scene.sequences import frame_of
from ..inputs import volume_problem
from ..messages import sentence
from ..run import SteppingDriver
from ..sections import SectionListener
from ..segment.advanced_section import device_setting
from ..widgets.choosing import PathRow
from ..widgets.looks import set_property
from ..widgets.torch_row import has_torch
from .controller import ModelController, ModelRequest, model_text

MODEL_KEY = "S3NetSegment/ModelFile"
_HELP = _("Segment the volume with this model (Ctrl+Return)")


class ApplySection(SectionListener):
    """The widgets over a :class:`ModelController`."""

    torch_text = _("Models need PyTorch, which is not installed; see the top of the panel")
    what = _("Applying the model")

    def __init__(self, ui, panel):
        super().__init__(panel)
        self._ui = ui
        self.controller = ModelController(self, panel.save_undo)
        self._node, self._active, self._described = None, False, ""  # the path that the text is about
        self._unusable = ""  # why what is there is no model
        self._lost = ""  # what the path's problem was when it was last read
        self._knows_mirrored = False  # whether the model was trained on mirrored slices
        self._path = PathRow(
            ui.modelFileEdit, ui.modelFileButton, _("Model"), MODEL_KEY, "file", _("Models (*.pt);;All files (*)"), self._chosen
        )  # fmt: skip
        self._reading = SteppingDriver()  # of torch, which reading a model needs
        ui.modelConfidenceCheckBox.connect("clicked(bool)", self._confidence_clicked)
        self._show()

    def set_active(self, active: bool) -> None:
        self._active = active
        if active:
            self._described = ""  # the file may be another one by now
            self._show()
            self._read_soon()
        else:
            self._reading.cancel()
            self.controller.hide_confidence()
            self._ui.modelConfidenceCheckBox.checked = False

    def choose(self, path: str) -> None:
        """Takes a model file, which is read even if its path is the one that is shown: it may be new there."""
        self._path.set(path)
        self._chosen()

    def run(self) -> None:
        self._start(self.controller.start, all_frames=bool(self._ui.modelAllFramesCheckBox.checked))

    # -- what the controller tells (Listener)

    def state_changed(self) -> None:
        self.show_progress(self.controller.running, self._ui.applyModelButton)
        if not self.controller.running and self.controller.node is not None and self._node is not None:
            self._node.segmentation = self.controller.node
            self.controller.node = None
        self._show()
        self._panel.running_changed()

    def refused(self, text: str) -> None:
        self._ui.modelConfidenceCheckBox.checked = False
        super().refused(text)

    def failed(self, error: Exception) -> None:
        self._ui.modelConfidenceCheckBox.checked = False
        super().failed(error)

    # -- inside

    def refresh(self) -> None:
        """The volume and the file change without the parameter node: to be called often."""
        if not self._active:
            return
        if self._lost != self._path.problem:  # it went, or came back
            self._lost, self._described = self._path.problem, ""
            self._read_soon()
        self._show()

    def _start(self, begin, all_frames: bool = False) -> None:
        if self._node is None:
            return
        self._panel.message.hide()
        node = self._node
        try:
            request = ModelRequest(
                self._path.path, node.volume, node.segmentation, bool(self._ui.modelConfidenceCheckBox.checked),
                device_setting(), self._knows_mirrored and bool(self._ui.modelFlipsCheckBox.checked),
                all_frames,
            )  # fmt: skip
        except InputError as error:
            self.refused(str(error))
            return
        begin(request)

    def _confidence_clicked(self, on: bool) -> None:
        if not on:
            self.controller.hide_confidence()
        elif self._problem():
            self.refused(self._problem())
        else:
            self._start(self.controller.show_confidence)

    def _chosen(self) -> None:
        self._panel.message.hide()
        self._described = ""
        self._show()
        if self._active:
            self._read_soon()

    def _read_soon(self) -> None:
        """Not in the turn in which the tab is shown."""
        self._reading.cancel()
        # After an error, too: it tries it again, and says what is wrong.
        self._reading.start(self._reading_steps(), on_done=lambda _: self._read(), on_error=lambda _: self._read())

    def _reading_steps(self):
        if self._path.path and has_torch():
            yield from torch_loaded("training.model.ensemble")

    def _read(self) -> None:
        path = self._path.path
        self._described, self._knows_mirrored, self._unusable = path, False, ""
        self._lost = self._path.problem
        if not path:
            text = _("Choose the model.pt of a training run. Train one below, or get one from somebody who has.")
        elif self._lost:
            text = html.escape(self._lost)
        elif not has_torch():
            text = _("PyTorch, which models need, is not installed.")
        else:
            try:
                models = self.controller.files.read(path)
                text, self._knows_mirrored = model_text(models.summary()), models.know_mirrored
            except InputError as error:
                self._unusable = sentence(str(error))
                text = html.escape(self._unusable)
            except Exception as error:  # a torch that cannot be imported
                text = html.escape(_("The model cannot be read: {error}").format(error=error))
        self._ui.modelText.text = text
        self._show()

    def _problem(self) -> str:
        """Why the button cannot be pressed; "" if it can."""
        if problem := volume_problem(self._node.volume if self._node is not None else None):
            return problem
        if not self._path.path:
            return _("Choose a model file first.")
        return self._path.problem or (self._unusable if self._described == self._path.path else "")

    def _show(self) -> None:
        ui, running = self._ui, self.controller.running
        self.show_big_button(ui.applyModelButton, _("Apply"), _HELP, self._problem())
        if self._described != self._path.path:
            name = html.escape(os.path.basename(self._path.path))
            ui.modelText.text = _("Reading {name}...").format(name=name) if name else ""
        for widget, name, value in (
            (ui.applyModelForm, "enabled", not running),
            (ui.modelConfidenceCheckBox, "enabled", not running),
            (ui.modelFlipsCheckBox, "visible", self._knows_mirrored),
            (ui.modelFlipsCheckBox, "enabled", not running),
            (ui.modelAllFramesCheckBox, "visible", self._node is not None and frame_of(self._node.volume) is not None),
            (ui.modelAllFramesCheckBox, "enabled", not running),
        ):
            set_property(widget, name, value)
