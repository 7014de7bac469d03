"""Provenance of a result as segment tags: what made it, so that it can be made again. Tags survive ``.seg.nrrd``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .. import __version__

PREFIX = "S3NetSegment."


def provenance_tags(
    method: str,
    version: str = __version__,
    settings: Mapping | str | None = None,
    seed: int | None = None,
    points: Iterable[Sequence[float]] = (),
    device: str | None = None,
    **more,
) -> dict[str, str]:
    """Segment tags that say how a result was made.

    :param settings: name -> value, those that differ from the defaults (:meth:`SegmentSettings.changed`).
    :param points: positions in RAS mm, in the order in which they were given.
    :param more: further facts, e.g. ``volume="CT"``, ``frame=3``, ``outside_points=[...]``; None is left out.
    :returns: tags named ``S3NetSegment.<Fact>``; their texts hold no "|" and no line break, which would end a tag in
        ``.seg.nrrd``.
    """
    facts = {"method": method, "version": version, "settings": settings, "seed": seed, "points": list(points), "device": device, **more}  # fmt: skip
    tags = {}
    for name, value in facts.items():
        text = _text(value)
        if text:
            tags[PREFIX + "".join(word.capitalize() for word in name.split("_"))] = text
    return tags


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
