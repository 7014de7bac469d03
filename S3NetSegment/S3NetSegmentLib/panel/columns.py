"""The labels of all forms of the panel have one width, so that their fields stand in one column."""

from __future__ import annotations

import qt

_SHARED = (
    "volume", "scope", "part", "prompts", "radius", "segmentation", "target", "pick", "device", "preset", "propagate",
    "otherVolume", "encoder",
)  # fmt: skip
_MODELS = (
    "modelFile", "cohortFolder", "caseName", "patient", "runFolder", "trainingKind", "trainingPreset", "trainingMinutes",
    "trainingStart", "trainingSettings",
)  # fmt: skip
_GAP = 4  # pixels


def align_columns(ui, models_ui, cohort_ui) -> None:
    """Widens the labels of the forms to the widest."""
    names = ((ui, _SHARED), (models_ui, _MODELS), (cohort_ui, ("loopFolder",)))
    labels = [getattr(form, f"{name}Label") for form, of_form in names for name in of_form]
    width = max(qt.QFontMetrics(label.font).boundingRect(label.text).width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width + _GAP)
