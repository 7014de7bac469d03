"""Properties of widgets that are shown again and again, from a timer: Qt is asked to draw only what has changed."""

from __future__ import annotations


def set_property(widget, name: str, value) -> None:
    """Sets property ``name`` of ``widget``, unless it has the ``value`` already."""
    if getattr(widget, name) != value:
        setattr(widget, name, value)
