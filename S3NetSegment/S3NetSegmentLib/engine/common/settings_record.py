"""What every settings record shares: fields with a help text and a range or choices, checked when a record is made.

``--set name=value`` on the command line, the advanced sections of the panel and the provenance tags all work from these
fields; a field's ``metadata`` holds its help text and its allowed range or choices.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields
from typing import Self

from .errors import InputError

_SWITCH = {"true": True, "on": True, "1": True, "yes": True, "false": False, "off": False, "0": False, "no": False}


def setting(default, help_text: str, low=None, high=None, choices=None):
    """A dataclass field for one setting: a switch (bool), a number or tuple of whole numbers from ``low`` to ``high``, or
    one of ``choices``."""
    return field(default=default, metadata={"help": help_text, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class SettingsRecord:
    """Base of a frozen dataclass whose fields are all made with :func:`setting`."""

    def __post_init__(self):
        for f in fields(self):
            object.__setattr__(self, f.name, _checked(f, getattr(self, f.name)))

    def with_texts(self, assignments: list[str]) -> Self:
        """A copy with ``name=value`` texts applied. Raises InputError for unknown names and values out of range."""
        known = {f.name: f for f in fields(self)}
        changes = {}
        for text in assignments:
            name, equals, value = text.partition("=")
            name = name.strip().replace("-", "_")
            if not equals or name not in known:
                raise InputError(
                    f"setting {text!r} is not understood; write name=value with a name of: {', '.join(known)}"
                )
            changes[name] = _parsed(known[name], value.strip())
        return dataclasses.replace(self, **changes)

    def changed(self) -> dict:
        """The settings that differ from the defaults, as name -> value (for provenance)."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


def _checked(f, value):
    """``value`` if it is right for field ``f``; raises InputError otherwise."""
    low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
    if choices is not None:
        if value not in choices:
            raise InputError(f"setting {f.name} is {value!r}; it must be one of {', '.join(choices)}")
        return value
    if isinstance(f.default, bool):
        if not isinstance(value, bool):
            raise InputError(f"setting {f.name} is {value!r}; it must be true or false")
        return value
    if isinstance(f.default, tuple):
        values = tuple(sorted({int(v) for v in value}))
        if not values or not all(low <= v <= high for v in values):
            raise InputError(f"setting {f.name} is {value!r}; give whole numbers from {low} to {high}, e.g. 2,4,8")
        return values
    whole = isinstance(f.default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
        raise InputError(
            f"setting {f.name} is {value!r}; it must be a {'whole ' if whole else ''}number from {low:g} to {high:g}"
        )
    return value if whole else float(value)


def _parsed(f, text: str):
    """``text`` as a value of field ``f``'s type; the range is checked later."""
    try:
        if isinstance(f.default, bool):
            return _SWITCH[text.lower()]
        if isinstance(f.default, tuple):
            return tuple(int(v) for v in text.split(","))
        return type(f.default)(text)
    except (ValueError, KeyError):
        raise InputError(f"setting {f.name} is {text!r}; {f.metadata['help']}") from None
