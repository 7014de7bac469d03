"""The form of a training: kind, preset, time, device, what it starts from; and what it says about them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import qt
from slicer.i18n import tr as _

from ...engine.common.device import DEVICES
from ...engine.training.cohort import IMAGES, LABELS, count_cases
from ..segment.advanced_section import DEVICE_NAMES, device_setting
from ..widgets.path_row import PathRow
from .training_kinds import KINDS, TrainingKind, training_hint
from .training_order import TrainingOrder

_DEVICE_KEY = "S3NetSegment/TrainingDevice"  # of this machine; "": as under Advanced


class TrainingForm:
    """The widgets that make a :class:`TrainingOrder`.

    :param cohort: gives the folder of the cohort.
    """

    def __init__(self, ui, cohort: Callable[[], str]):
        self._ui, self._cohort = ui, cohort
        self._counted = None  # what the counts of the cohort belong to, and they
        for number, kind in enumerate(KINDS.values()):
            ui.trainingKindBox.addItem(kind.name)
            ui.trainingKindBox.setItemData(number, kind.help, qt.Qt.ToolTipRole)
        ui.trainingDeviceBox.addItem(_("as under Advanced"))
        for device in DEVICES:
            ui.trainingDeviceBox.addItem(DEVICE_NAMES[device])
        kept = qt.QSettings().value(_DEVICE_KEY, "")
        ui.trainingDeviceBox.currentIndex = DEVICES.index(kept) + 1 if kept in DEVICES else 0
        self._start_from = PathRow(ui.trainingStartEdit, ui.trainingStartButton, _("Trained encoder"))
        self._fill_presets()
        ui.trainingKindBox.connect("currentIndexChanged(int)", lambda _: self._kind_chosen())
        ui.trainingDeviceBox.connect("currentIndexChanged(int)", self._device_chosen)

    @property
    def kind(self) -> TrainingKind:
        return KINDS[self._key]

    def order(self, cohort: str = "") -> TrainingOrder:
        """What the form asks for.

        :param cohort: where the user has chosen none.
        """
        ui = self._ui
        return TrainingOrder(
            self._key, self._cohort() or cohort, self._preset, float(ui.trainingMinutesBox.value),
            self._start_from.path, ui.trainingSettingsEdit.text.strip(), self._device,
        )  # fmt: skip

    def fill(self, order: TrainingOrder) -> None:
        """Shows what a run was begun with."""
        ui = self._ui
        ui.trainingKindBox.currentIndex = list(KINDS).index(order.kind)
        self._fill_presets()
        if order.preset in self.kind.presets:
            ui.trainingPresetBox.currentIndex = list(self.kind.presets).index(order.preset)
        ui.trainingMinutesBox.value = order.minutes
        ui.trainingSettingsEdit.text = order.settings
        self._start_from.set(order.start_from)

    def start_a_model_from(self, encoder: str) -> None:
        """Asks for a segmentation model that starts from ``encoder``."""
        self._ui.trainingKindBox.currentIndex = list(KINDS).index("finetune")
        self._start_from.set(encoder)

    def set_enabled(self, enabled: bool) -> None:
        ui = self._ui
        for widget in (ui.trainingKindBox, ui.trainingPresetBox, ui.trainingMinutesBox, ui.trainingDeviceBox, ui.trainingStartRow, ui.trainingSettingsEdit):  # fmt: skip
            widget.enabled = enabled

    def show_hint(self) -> None:
        """What the training needs and gives, for the cohort as it is now."""
        folder = self._cohort()
        key = (folder, *(_changed(Path(folder) / place) for place in (IMAGES, LABELS))) if folder else ()
        if self._counted is None or self._counted[0] != key:
            self._counted = (key, count_cases(folder) if folder else (0, 0))
        text = training_hint(self.kind, *self._counted[1])
        if self._ui.trainingHintText.text != text:
            self._ui.trainingHintText.text = text

    # -- inside

    @property
    def _key(self) -> str:
        return list(KINDS)[self._ui.trainingKindBox.currentIndex]

    @property
    def _preset(self) -> str:
        return list(self.kind.presets)[max(0, self._ui.trainingPresetBox.currentIndex)]

    @property
    def _device(self) -> str:
        index = self._ui.trainingDeviceBox.currentIndex
        return DEVICES[index - 1] if index > 0 else device_setting()

    def _kind_chosen(self) -> None:
        self._start_from.set("")
        self._fill_presets()
        self.show_hint()

    def _fill_presets(self) -> None:
        ui, kind = self._ui, self.kind
        texts = list(kind.presets.values())
        if [ui.trainingPresetBox.itemText(n) for n in range(ui.trainingPresetBox.count)] != texts:
            ui.trainingPresetBox.clear()
            ui.trainingPresetBox.addItems(texts)
            ui.trainingPresetBox.currentIndex = 0 if _has_nvidia() else list(kind.presets).index("tiny")
        for widget in (ui.trainingStartLabel, ui.trainingStartRow):
            widget.setVisible(bool(kind.start_option))
        ui.trainingKindBox.toolTip = kind.help
        ui.trainingStartLabel.text = kind.start_label
        ui.trainingStartEdit.placeholderText = kind.start_hint

    @staticmethod
    def _device_chosen(index: int) -> None:
        qt.QSettings().setValue(_DEVICE_KEY, DEVICES[index - 1] if index > 0 else "")


def _has_nvidia() -> bool:
    """Whether there seems to be a device for the large presets; torch, which knows, is slow to load."""
    return shutil.which("nvidia-smi") is not None


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
