"""The form of a training: kind, preset, time, device, what it starts from; and what it says about them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import qt
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.common.device import DEVICES
from ...engine.tasks.train import TrainTask
from ...engine.training.cohort import IMAGES, LABELS, count_cases
from ..segment.advanced_section import DEVICE_NAMES, device_setting
from ..widgets.path_row import PathRow
from .training_kinds import KINDS, TrainingKind, kind_of, training_hint

_DEVICE_KEY = "S3NetSegment/TrainingDevice"  # of this machine; "": as under Advanced


class TrainingForm:
    """The widgets that make a :class:`TrainTask`.

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

    def task(self, cohort: str = "") -> TrainTask:
        """What the form asks for. ValueError (InputError) for settings that are none.

        :param cohort: where the user has chosen none.
        """
        ui = self._ui
        return self.kind.asked(
            self._start_from.path, cohort=self._cohort() or cohort, preset=self._preset,
            minutes=float(ui.trainingMinutesBox.value) or None, settings=_settings_of(ui.trainingSettingsEdit.text),
            device=self._device,
        )  # fmt: skip

    def fill(self, task: TrainTask) -> None:
        """Shows what a run was begun with."""
        ui, key = self._ui, kind_of(task)
        ui.trainingKindBox.currentIndex = list(KINDS).index(key)
        self._fill_presets()
        if task.preset in self.kind.presets:
            ui.trainingPresetBox.currentIndex = list(self.kind.presets).index(task.preset)
        ui.trainingMinutesBox.value = task.minutes or 0.0
        ui.trainingSettingsEdit.text = shlex.join(task.settings)
        self._start_from.set(KINDS[key].start_of(task))

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
            widget.setVisible(bool(kind.start_field))
        ui.trainingKindBox.toolTip = kind.help
        ui.trainingStartLabel.text = kind.start_label
        ui.trainingStartEdit.placeholderText = kind.start_hint

    @staticmethod
    def _device_chosen(index: int) -> None:
        qt.QSettings().setValue(_DEVICE_KEY, DEVICES[index - 1] if index > 0 else "")


def _settings_of(text: str) -> tuple[str, ...]:
    """ "name=value name=value" apart; values with spaces in quotes."""
    settings = tuple(shlex.split(text))
    for setting in settings:
        if "=" not in setting:
            raise InputError(
                _("setting {setting!r} is not of the form name=value, e.g. batch=4").format(setting=setting)
            )
    return settings


def _has_nvidia() -> bool:
    """Whether there seems to be a device for the large presets; torch, which knows, is slow to load."""
    return shutil.which("nvidia-smi") is not None


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
