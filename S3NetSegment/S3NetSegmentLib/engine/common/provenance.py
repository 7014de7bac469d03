"""Provenance of a result as segment tags: what made it, so that it can be made again. Tags survive ``.seg.nrrd``.

One vocabulary for the command line, batches, scripts and the panel: :func:`provenance` writes the tags, :func:`facts_of` and
:func:`method_of` read them, also those of earlier versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from ... import __version__

PREFIX = "S3NetSegment."
SEGMENT, FEW_SHOT, MODEL = METHODS = ("Segment", "Few-shot", "Model")
_EARLIER = {"Image": "Volume", "Support": "Drawn"}  # what the panel called these facts at first


@dataclass(frozen=True)
class TaskFacts:
    """What was asked for. Facts that are None or empty leave no tag.

    :param method: one of :data:`METHODS`.
    :param image: name of the image.
    :param settings: the engine's settings, with ``changed()`` and ``seed``.
    :param points, outside_points: positions in and out of the object, RAS mm, in the order in which they were given.
    :param boxes: two opposite corners each, RAS mm. ``strokes``: a text for each.
    :param planes: oblique planes in which some of these lie: twelve numbers each, rows of the matrix whose columns are right, up,
        normal and a point, RAS mm.
    :param radius_mm: rough radius of the object.
    :param preset: named settings.
    :param place: the part of the image that was searched.
    :param support: what was drawn, see :func:`support_text`.
    :param model, model_sha256, training: file name and digest of a trained model, and how it was trained; of several models
        separated by commas. ``flips``: "yes" where they also looked at mirrored slices.
    """

    method: str
    image: str | None = None
    settings: object = None
    points: Sequence = ()
    outside_points: Sequence = ()
    boxes: Sequence = ()
    strokes: Sequence = ()
    planes: Sequence = ()
    radius_mm: float | None = None
    preset: str | None = None
    place: str | None = None
    support: str | None = None
    model: str | None = None
    model_sha256: str | None = None
    training: str | None = None
    flips: str | None = None


@dataclass(frozen=True)
class OutcomeFacts:
    """What came of it.

    :param device: where it was computed.
    :param role: "object" or "region".
    :param granularity: the step of the object's ladder, e.g. "3 of 12".
    :param regions: number of regions.
    :param encoder: name and digest of the encoder.
    :param mix: the parts of several methods in the answer.
    """

    device: str | None = None
    role: str | None = None
    granularity: str | None = None
    regions: int | None = None
    encoder: str | None = None
    mix: str | None = None


def provenance(task: TaskFacts, outcome: OutcomeFacts) -> dict[str, str]:
    """The segment tags of a result: version, and the facts of task and outcome."""
    facts = {f.name: getattr(part, f.name) for part in (task, outcome) for f in fields(part)}
    settings = facts.pop("settings")
    if settings is not None:
        changed = {name: value for name, value in settings.changed().items() if name != "seed"}
        facts.update(settings=changed or "default", seed=settings.seed)
    return provenance_tags(facts.pop("method"), **facts)


def mix_text(mix: Mapping[str, float]) -> str:
    """The shares of the methods in an answer of Few-shot as a fact."""
    return ", ".join(f"{name} {share:.2f}" for name, share in mix.items() if share)


def support_text(drawing: str, drawn: Mapping[str, Sequence[int]] | None, planes: int = 0, image: str = "") -> str:
    """What was drawn as a fact, e.g. "liver.seg.nrrd on CT before z=4,8".

    :param drawing: name of the file or segmentation.
    :param drawn: axis -> numbers of the drawn slices; None: all slices.
    :param planes: number of drawn planes that are no slices of the image, or slices across other axes.
    :param image: name of the drawn image if it is another one.
    """
    places = "all slices" if drawn is None else " ".join(f"{a}={','.join(map(str, n))}" for a, n in drawn.items() if n)
    kind = "further" if drawn and any(drawn.values()) else "oblique"
    oblique = f"{planes} {kind} plane{'s' * (planes > 1)}" if planes else ""
    return " ".join(part for part in (drawing, f"on {image}" if image else "", places, oblique) if part)


def facts_of(tags: Mapping[str, str]) -> dict[str, str]:
    """Fact -> text of what ``tags`` say about a result; facts of earlier versions under their present names."""
    facts = {name.removeprefix(PREFIX): text for name, text in tags.items() if name.startswith(PREFIX)}
    for name, earlier in _EARLIER.items():
        if name not in facts and earlier in facts:
            facts[name] = facts.pop(earlier)
    return facts


def tag_names(fact: str) -> tuple[str, ...]:
    """The names of the tag that holds ``fact``: the present one, and that of an earlier version."""
    return tuple(PREFIX + name for name in (fact, _EARLIER.get(fact)) if name)


def all_tag_names() -> set[str]:
    """The names of all tags that results of any version have."""
    names = {f.name for part in (TaskFacts, OutcomeFacts) for f in fields(part)} | {"version", "seed", "drawn_on"}
    return {name for fact in names for name in tag_names(_tag_word(fact))}


def method_of(text: str | None) -> str:
    """Which of :data:`METHODS` the text of the fact "Method" means, also in an earlier version; "" for none."""
    text = (text or "").casefold()
    if text.startswith("apply"):
        return MODEL
    return next((method for method in METHODS if text.startswith(method.casefold())), "")


def provenance_tags(method: str, **facts) -> dict[str, str]:
    """Segment tags of any facts; results of this program use :func:`provenance`.

    :param facts: e.g. ``image="CT", seed=3, points=[...]``, ``settings``: name -> value; None and what is empty is left out.
    :returns: tags named ``S3NetSegment.<Fact>``; their texts hold no "|" and no line break, which would end a tag in
        ``.seg.nrrd``.
    """
    texts = {name: _text(value) for name, value in {"method": method, "version": __version__, **facts}.items()}
    return {PREFIX + _tag_word(name): text for name, text in texts.items() if text}


def _tag_word(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _text(value) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}={_text(entry)}" for name, entry in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, str) and isinstance(value, Iterable):
        entries = list(value)
        nested = any(isinstance(entry, Iterable) and not isinstance(entry, str) for entry in entries)
        return (" / " if nested else ",").join(_text(entry) for entry in entries)
    if hasattr(value, "item"):
        return _text(value.item())  # numpy scalars
    return " ".join(str(value).replace("|", "/").split())
