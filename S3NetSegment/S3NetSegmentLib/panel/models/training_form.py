"""The form of a training: kind, preset, time, device, what it starts from; and what it says about them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import qt
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.common.device import DEVICES
from ...engine.tasks.train import FinetuneTask, PretrainTask, TrainTask
from ...engine.training.cohort.folder import IMAGES, LABELS, count_cases
from ..segment.advanced_section import DEVICE_NAMES, device_setting
from ..widgets.choosing import PathRow, missing_path
from ..widgets.looks import set_items
from .controller import counted

_TINY, _PAPER = _("tiny: small, for a CPU"), _("paper: as published, for a GPU")
_DEVICE_KEY = "S3NetSegment/TrainingDevice"  # of this machine; "": as under Advanced


@dataclass(frozen=True)
class TrainingKind:
    """One kind of training.

    :param name: for people.
    :param task: the class of its task, and the fields that make it this kind.
    :param presets: name -> text for people; the first is for a graphics device.
    :param start_field, start_label, start_hint: what it can start from; "": nothing.
    :param gives: what its model.pt is good for.
    :param help: what it learns from, with the name of the method.
    """

    name: str
    task: tuple[type[TrainTask], Mapping[str, str]]
    presets: Mapping[str, str]
    start_field: str
    start_label: str
    start_hint: str
    gives: str
    help: str

    @property
    def needs_labels(self) -> bool:
        return self.task[0] is FinetuneTask

    def asked(self, start_from: str = "", **fields) -> TrainTask:
        task_class, own = self.task
        start = {self.start_field: start_from} if self.start_field and start_from else {}
        return task_class(**own, **start, **fields)

    def start_of(self, task: TrainTask) -> str:
        return (getattr(task, self.start_field) if self.start_field else "") or ""


def kind_of(task: TrainTask) -> str:
    """The key of the kind that ``task`` belongs to."""
    return next(
        key
        for key, kind in KINDS.items()
        if type(task) is kind.task[0] and all(getattr(task, name) == value for name, value in kind.task[1].items())
    )


KINDS = {
    "finetune": TrainingKind(
        _("Segmentation model"),
        (FinetuneTask, {}),
        {"plus": _("plus: full size, for a GPU"), "paper": _PAPER, "tiny": _TINY},
        "init", _("Start from:"), _("nothing (optional: a trained start)"),
        _("The model segments new volumes (Apply, above)."),
        _("Learns to segment what is drawn in the cases of the training folder; cases without a drawing teach it, too (IDEAL, fine-tuning)"),
    ),
    "ideal": TrainingKind(
        _("Start for a segmentation model"),
        (PretrainTask, {"method": "ideal"}),
        {"default": _("default: full size, for a GPU"), "paper": _PAPER, "tiny": _TINY},
        "", "", "",
        _("The model does not segment by itself: a segmentation model on the same images starts from it."),
        _("Learns from images without drawings; a segmentation model that starts from it needs fewer drawings (IDEAL, pre-training)"),
    ),
    "alpnet": TrainingKind(
        _("Image features for Few-shot"),
        (PretrainTask, {"method": "alpnet"}),
        {"default": _("default: full size, for a GPU"), "paper": _PAPER, "tiny": _TINY},
        "encoder", _("Network:"), _("a new one (or a file of weights)"),
        _("The model does not segment by itself: choose it in Few-shot (Advanced, Image features)."),
        _("Learns from images without drawings to describe them for Few-shot (ALPNet, superpixel episodes; a new network is a U-Net, weights are those of DINOv2)"),
    ),
}  # fmt: skip


def training_hint(kind: TrainingKind, images: int, labelled: int) -> str:
    """What the training works on, what it gives, and what is missing for it.

    :param images, labelled: numbers of cases in the cohort, and of those with a label file.
    """
    if not images:
        need = _("images, some of them drawn") if kind.needs_labels else _("images; drawings are not needed")
        return _("Needs {need}. Choose a training folder above, or add cases to one. {gives}").format(
            need=need, gives=kind.gives
        )
    if not kind.needs_labels:
        return _("The training folder holds {images}; drawings are not needed. {gives}").format(
            images=counted(images, "image"), gives=kind.gives
        )
    if not labelled:
        return _(
            "None of the {images} of the training folder is drawn. Draw at least one and add it as a case."
        ).format(images=counted(images, "image"))
    others = images - labelled
    text = _("Learns from {labelled}").format(labelled=counted(labelled, _("drawn case")))
    text += (
        _(" and {others} that nobody drew.").format(others=counted(others, "other"))
        if others
        else _("; images that nobody drew would help too.")
    )
    if labelled < 4:
        text += _(" With fewer than four drawn patients none can be held out to measure how good it is.")
    return f"{text} {kind.gives}"


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
        self._start_from = PathRow(ui.trainingStartEdit, ui.trainingStartButton, _("File to start from"))
        self._fill_presets()
        ui.trainingKindBox.connect("currentIndexChanged(int)", lambda _: self._kind_chosen())
        ui.trainingDeviceBox.connect("currentIndexChanged(int)", self._device_chosen)

    @property
    def kind(self) -> TrainingKind:
        return KINDS[self._key]

    @property
    def problem(self) -> str:
        """What was chosen and is no longer there, as a sentence; "" otherwise."""
        return missing_path(self._cohort()) or self._start_from.problem

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
        if set_items(ui.trainingPresetBox, list(kind.presets.values())):
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
