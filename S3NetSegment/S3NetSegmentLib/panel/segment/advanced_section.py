"""Advanced: what a clinician may change (preset, seed, device, encoder); below, more settings by subject and all others by name."""

from __future__ import annotations

import os

import qt
from slicer.i18n import tr as _

from ...engine import preset
from ...engine.common.device import DEVICES, describe_device, torch_loaded
from ...engine.few_shot.settings import FewShotSettings
from ..run import SteppingDriver
from ..widgets.choosing import chosen_file
from ..widgets.looks import set_items
from ..widgets.settings_form import SettingsForm, SettingsLevels
from ..widgets.torch_row import has_torch

_AUTOMATIC = (_("Automatic"), "auto")
_NONE = (_("None (no weights needed)"), "default")
_FILE = _("File...")
DEVICE_KEY = "S3NetSegment/Device"  # application settings: it belongs to the machine, not to the scene
DEVICE_NAMES = {"auto": _("Automatic"), "cpu": "CPU", "cuda": "CUDA (NVIDIA)", "mps": "MPS (Apple)"}
_SEGMENT_LEVELS = SettingsLevels(
    ("seed",),
    {
        _("Regions"): ("sources", "region_counts", "work_size"),
        _("Network, for colour images"): ("fit_size", "steps", "restarts", "learning_rate"),
        _("Views that must agree"): ("rotation", "scaling", "flip"),
    },
)
_FEW_SHOT_LEVELS = SettingsLevels(
    ("seed",),
    {
        _("What is drawn"): ("target", "partial_ring", "largest_component"),
        _("Where it is looked for"): ("margin", "growing", "presence"),
        _("How it is found"): ("method", "appearance_weight", "leave_one_out"),
        _("Size of the work"): ("work_voxels", "grow_voxels"),
    },
)


class EncoderChoice:
    """The choice is the parameter node's ``encoder``. Which weights are installed is looked up when asked for."""

    def __init__(self, ui):
        self._box, self._node = ui.encoderComboBox, None
        self._entries: list[tuple[str, str]] = [_AUTOMATIC, _NONE]  # text, value
        self._fill()
        self._box.connect("activated(int)", self._chosen)

    def refresh(self) -> None:
        """Looks again which weights are installed."""
        from ...engine.nets.weights import WeightsStore

        names = [stored.name for stored in WeightsStore().stored()]
        self._entries = [_AUTOMATIC, _NONE, *((name, name) for name in names)]
        self._fill()
        if self._node is not None:
            self.show(self._node)

    def show(self, parameter_node) -> None:
        """Shows the parameter node's choice; weights that are not there are named all the same."""
        self._node = parameter_node
        value = parameter_node.encoder
        if value not in [v for _, v in self._entries]:
            self._entries.append((os.path.basename(value) or value, value))
            self._fill()
        self._box.currentIndex = [v for _, v in self._entries].index(value)

    def _fill(self) -> None:
        set_items(self._box, [text for text, _ in self._entries] + [_FILE])

    def _chosen(self, index: int) -> None:
        if index < len(self._entries):
            self._node.encoder = self._entries[index][1]
            return
        path = chosen_file(
            self._box.window(), _("Model for Few-shot"), "", _("Models (*.pth *.pt *.safetensors);;All files (*)")
        )
        if path:
            self._node.encoder = path
        self.show(self._node)


def device_setting() -> str:
    """The device that the user chose on this machine."""
    value = qt.QSettings().value(DEVICE_KEY, "auto")
    return value if value in DEVICES else "auto"


class AdvancedSection:
    """Filled when it is first opened: until then neither the settings nor torch are touched.

    Attributes: ``segment`` and ``few_shot``, the :class:`SettingsForm` of each use; ``encoder``, what describes the
    image for Few-shot.
    """

    def __init__(self, panel):
        ui, on_error = panel.ui, panel.refused
        self._ui, self._panel = ui, panel
        self._node = None
        self._mode = "segment"
        for device in DEVICES:
            ui.deviceComboBox.addItem(DEVICE_NAMES[device], device)
        ui.deviceComboBox.currentIndex = DEVICES.index(device_setting())
        ui.deviceComboBox.connect("currentIndexChanged(int)", self._device_chosen)
        ui.advancedCollapsibleButton.connect("contentsCollapsed(bool)", self._folded)
        self.segment = SettingsForm(
            "settings", lambda node: preset(node.preset.value), _SEGMENT_LEVELS, ui.resetSettingsButton, on_error,
            _("the preset"),
        )  # fmt: skip
        self.few_shot = SettingsForm(
            "fewShotSettings", lambda node: FewShotSettings(), _FEW_SHOT_LEVELS, ui.resetFewShotButton, on_error
        )
        self.encoder = EncoderChoice(ui)
        self._loading = SteppingDriver()
        ui.deviceText.text = ""

    def show(self, parameter_node) -> None:
        self._node = parameter_node
        self.segment.show(parameter_node)
        self.few_shot.show(parameter_node)
        self.encoder.show(parameter_node)

    def set_mode(self, mode: str) -> None:
        """Shows the rows of one use of the panel; models bring their settings with them."""
        ui, self._mode = self._ui, mode
        for widget in (ui.presetLabel, ui.presetRow, ui.whyButton):
            widget.setVisible(mode == "segment")
        for widget in (ui.encoderLabel, ui.encoderRow):
            widget.setVisible(mode == "few-shot")
        self.segment.set_visible(mode == "segment")
        self.few_shot.set_visible(mode == "few-shot")
        self._folded(ui.advancedCollapsibleButton.collapsed)

    def show_device(self) -> None:
        """Says what torch and the device really are, once torch is loaded."""
        if not has_torch():
            self._ui.deviceText.text = _("PyTorch is not installed")
        elif not self._loading.running:
            self._loading.start(
                torch_loaded(), lambda step, _left: self._say_device(f"{step.message} ..."),
                lambda _none: self._say_device(describe_device()),
                lambda error: self._say_device(_("PyTorch does not load: {error}").format(error=error)),
            )  # fmt: skip

    def stop(self) -> None:
        self._loading.cancel()

    def _say_device(self, text: str) -> None:
        self._ui.deviceText.text = text

    def _folded(self, collapsed: bool) -> None:
        if collapsed or self._node is None:
            return
        group = {"segment": self.segment, "few-shot": self.few_shot}.get(self._mode)
        if group is not None:
            group.open(self._ui.advancedCollapsibleButton.layout(), self._ui.deviceLabel.minimumWidth)
            self._panel.wheel.refresh()  # rows that the wheel must not change
        if self._mode == "few-shot":
            self.encoder.refresh()
        self.show_device()

    @staticmethod
    def _device_chosen(index: int) -> None:
        qt.QSettings().setValue(DEVICE_KEY, DEVICES[index])
