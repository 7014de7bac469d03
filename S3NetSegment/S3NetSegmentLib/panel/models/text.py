"""What a model file says of itself, as rich text for the panel."""

from __future__ import annotations

import html
from collections.abc import Mapping

from slicer.i18n import tr as _

from ...engine.images.colors import hex_color


def model_text(summary: Mapping) -> str:
    """The classes, what the model was trained on, and how good it was where its state was chosen.

    :param summary: of ``engine.training.ensemble.Ensemble.summary``.
    """
    models = summary.get("models", [summary])
    classes = "&nbsp; ".join(
        f'<span style="color:{hex_color(c["color"])}">&#9632;</span>&nbsp;{html.escape(c["name"])}'
        for c in summary["classes"]
    )
    if len(models) > 1:
        names = html.escape(", ".join(model["file"] for model in models))
        told = [f"{html.escape(m['file'])}: {_validation(m)}" for m in models]
        return _("Finds: {classes}<br>{models} models whose answers are averaged: {names}<br>{told}").format(
            classes=classes, models=len(models), names=names, told="<br>".join(told)
        )
    return f"Finds: {classes}<br>{_training(summary)}<br>{_validation(summary)}"


def _training(summary: Mapping) -> str:
    made, slices = summary["provenance"], summary["slices"]
    method = f"{made.get('method', _('unknown method'))}, preset {made.get('preset', '?')}"
    images = made.get("training_cases", summary["training_cases"])
    labelled = made.get("labelled_cases")
    patients = made.get("labelled_patients")
    drawn = _(", {labelled} of them labelled").format(labelled=labelled) if labelled is not None else ""
    drawn += f" ({counted(patients, 'patient')})" if patients is not None else ""
    kept = [
        text.format(cases=counted(made[name], _("labelled case")))
        for name, text in (
            ("validation_cases", _("{cases} more chose its state")),
            ("test_cases", _("{cases} more kept for the test")),
        )
        if made.get(name)
    ]
    drawn += "".join(f", {text}" for text in kept)
    size = _("{plane} slices, {spacing:.3g} mm per pixel").format(plane=slices["plane"], spacing=slices["spacing"])
    if slices.get("depth", 1) > 1:
        size += _(", in 3D patches of {depth}, {thickness:.3g} mm apart").format(
            depth=slices["depth"], thickness=slices["thickness"]
        )
    steps = f", {made['steps']} steps" if "steps" in made else ""
    return html.escape(
        _("Trained on {images}{drawn}; {size}; {method}{steps}.").format(
            images=counted(images, "image"), drawn=drawn, size=size, method=method, steps=steps
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
    where = _(" on {cases} that chose its state").format(cases=counted(cases, "case")) if cases else ""
    return _("Validation (Dice){where}: {scores}.").format(
        where=where, scores=", ".join(each) or format(measured["score"], ".2f")
    )


def counted(number: int, what: str) -> str:
    """E.g. "3 images"."""
    return f"{number} {what}{'' if number == 1 else 's'}"
