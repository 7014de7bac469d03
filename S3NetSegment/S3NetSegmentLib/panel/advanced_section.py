"""Advanced: device, preset, every setting of the engine, and the truth about torch."""

from __future__ import annotations

import json
from collections.abc import Callable

import qt

from ..engine.device import DEVICES
from .settings_form import SettingsForm
from .settings_values import settings_from
from .torch_support import has_torch

DEVICE_KEY = "S3NetSegment/Device"  # application settings: it belongs to the machine, not to the scene
_DEVICE_NAMES = {"auto": "Automatic", "cpu": "CPU", "cuda": "CUDA (NVIDIA)", "mps": "MPS (Apple)"}


def device_setting() -> str:
    """The device that the user chose on this machine."""
    value = qt.QSettings().value(DEVICE_KEY, "auto")
    return value if value in DEVICES else "auto"


class AdvancedSection:
    """Filled when it is first opened: until then neither the settings nor torch are touched."""

    def __init__(self, ui, on_error: Callable[[str], object]):
        self._ui, self._on_error = ui, on_error
        self._node = None
        self._form = None
        for device in DEVICES:
            ui.deviceComboBox.addItem(_DEVICE_NAMES[device], device)
        ui.deviceComboBox.currentIndex = DEVICES.index(device_setting())
        ui.deviceComboBox.connect("currentIndexChanged(int)", self._device_chosen)
        ui.advancedCollapsibleButton.connect("contentsCollapsed(bool)", self._folded)
        ui.resetSettingsButton.connect("clicked()", self._reset)
        ui.deviceText.text = ""

    def show(self, parameter_node) -> None:
        """Brings the form up to date with the parameter node."""
        self._node = parameter_node
        changes = self.changes()
        self._ui.resetSettingsButton.enabled = bool(changes)
        self._ui.resetSettingsButton.toolTip = (
            f"Set all settings back to the preset; changed now: {', '.join(changes)}"
            if changes
            else "All settings are those of the preset"
        )
        if self._form is not None:
            self._form.show(parameter_node.preset.value, changes)

    def changes(self) -> dict:
        """The settings that differ from the preset. {} if the scene's are unreadable."""
        try:
            changes = json.loads(self._node.settings or "{}")
            settings_from(self._node.preset.value, changes)
            return changes
        except (ValueError, TypeError, AttributeError) as error:  # a scene of another version
            self._on_error(f"the settings in this scene cannot be used and are reset ({error})")
            self._node.settings = "{}"
            return {}

    def settings(self):
        """The engine's settings."""
        return settings_from(self._node.preset.value, self.changes())

    def show_device(self) -> None:
        """Says what torch and the device really are. Imports torch."""
        if not has_torch():
            self._ui.deviceText.text = "PyTorch is not installed"
            return
        from ..engine.device import describe_device

        self._ui.deviceText.text = describe_device()

    def _folded(self, collapsed: bool) -> None:
        if collapsed or self._node is None:
            return
        if self._form is None:
            frame = qt.QWidget()
            layout = qt.QFormLayout(frame)
            layout.setContentsMargins(0, 0, 0, 0)
            self._ui.advancedCollapsibleButton.layout().addWidget(frame)
            self._form = SettingsForm(layout, self._edited, self._on_error)
            self.show(self._node)
        self.show_device()

    def _edited(self, changes: dict) -> None:
        self._node.settings = json.dumps(changes)

    def _reset(self) -> None:
        self._node.settings = "{}"

    @staticmethod
    def _device_chosen(index: int) -> None:
        qt.QSettings().setValue(DEVICE_KEY, DEVICES[index])
