"""What a model file says of itself, as rich text for the panel."""

from __future__ import annotations

import html
from collections.abc import Mapping

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
        return f"Finds: {classes}<br>{len(models)} models whose answers are averaged: {names}<br>{'<br>'.join(told)}"
    return f"Finds: {classes}<br>{_training(summary)}<br>{_validation(summary)}"


def _training(summary: Mapping) -> str:
    made, slices = summary["provenance"], summary["slices"]
    method = f"{made.get('method', 'unknown method')}, preset {made.get('preset', '?')}"
    images = made.get("training_cases", summary["training_cases"])
    labelled = made.get("labelled_cases")
    patients = made.get("labelled_patients")
    drawn = f", {labelled} of them labelled" if labelled is not None else ""
    drawn += f" ({counted(patients, 'patient')})" if patients is not None else ""
    size = f"{slices['plane']} slices, {slices['spacing']:.3g} mm per pixel"
    steps = f", {made['steps']} steps" if "steps" in made else ""
    return html.escape(f"Trained on {counted(images, 'image')}{drawn}; {size}; {method}{steps}.")


def _validation(summary: Mapping) -> str:
    measured = summary["validation"]
    if not isinstance(measured.get("score"), float):
        return "Not validated: no labelled case was held out, so nothing is known about how good it is."
    each = [
        f"{html.escape(c['name'])}&nbsp;{100 * value:.0f}&nbsp;%"
        for c in summary["classes"]
        if isinstance(value := measured.get(f"dice {c['name']}"), float)
    ]
    cases = measured.get("cases", summary["provenance"].get("validation_cases"))
    where = f" on {counted(cases, 'case')} that chose its state" if cases else ""
    return f"Validation (Dice){where}: {', '.join(each) or format(measured['score'], '.2f')}."


def counted(number: int, what: str) -> str:
    """E.g. "3 images"."""
    return f"{number} {what}{'' if number == 1 else 's'}"
