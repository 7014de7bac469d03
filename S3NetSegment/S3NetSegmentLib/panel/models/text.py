"""What a model file says of itself, as rich text for the panel."""

from __future__ import annotations

import html
from collections.abc import Mapping

from slicer.i18n import tr as _


def model_text(summary: Mapping) -> str:
    """The classes, what the model was trained on, and how good it was where its state was chosen.

    :param summary: of ``engine.training.model_file.Model.summary``.
    """
    classes = "&nbsp; ".join(
        f'<span style="color:{_hex(c["color"])}">&#9632;</span>&nbsp;{html.escape(c["name"])}'
        for c in summary["classes"]
    )
    return f"Finds: {classes}<br>{_training(summary)}<br>{_validation(summary)}"


def _training(summary: Mapping) -> str:
    made, slices = summary["provenance"], summary["slices"]
    method = f"{made.get('method', _('unknown method'))}, preset {made.get('preset', '?')}"
    images = made.get("training_cases", summary["training_cases"])
    labelled = made.get("labelled_cases")
    patients = made.get("labelled_patients")
    drawn = _(", {labelled} of them labelled").format(labelled=labelled) if labelled is not None else ""
    drawn += f" ({_counted(patients, 'patient')})" if patients is not None else ""
    size = _("{value} slices, {value2:.3g} mm per pixel").format(value=slices["plane"], value2=slices["spacing"])
    steps = f", {made['steps']} steps" if "steps" in made else ""
    return html.escape(
        _("Trained on {images}{drawn}; {size}; {method}{steps}.").format(
            images=_counted(images, "image"), drawn=drawn, size=size, method=method, steps=steps
        )
    )


def _validation(summary: Mapping) -> str:
    measured = summary["validation"]
    if not isinstance(measured.get("score"), float):
        return _("Not validated: no labelled case was held out, so nothing is known about how good it is.")
    each = [
        f"{html.escape(c['name'])}&nbsp;{100 * value:.0f}&nbsp;%"
        for c in summary["classes"]
        if isinstance(value := measured.get(f"dice {c['name']}"), float)
    ]
    cases = measured.get("cases", summary["provenance"].get("validation_cases"))
    where = _(" on {cases} that chose its state").format(cases=_counted(cases, "case")) if cases else ""
    return _("Validation (Dice){where}: {value}.").format(
        where=where, value=", ".join(each) or format(measured["score"], ".2f")
    )


def _counted(number, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _hex(color) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in color)
