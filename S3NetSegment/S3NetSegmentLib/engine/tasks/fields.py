"""How a field of a task is declared: once, with its help and the form in which people write it.

From the declaration come the option of the command line (:mod:`S3NetSegmentLib.cli.arguments`), the column of a manifest
(:func:`columns_of`) and the argument of a script (:func:`from_script`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..common.errors import InputError
from .forms import Form


@dataclass(frozen=True)
class Asked:
    """What a field is to people.

    :param help: for the option and the column; text after a "|" is for the option alone, see :attr:`option_help` and
        :attr:`column_help`.
    :param form: how its value is written.
    :param options: how the command line calls it, () if it has no option there (or one that the command makes itself).
    :param column: how a manifest calls it, "" if it has no column.
    :param group: heading of the option.
    """

    help: str
    form: Form
    options: tuple[str, ...]
    column: str
    group: str

    @property
    def option_help(self) -> str:
        return self.help.replace("|", "")

    @property
    def column_help(self) -> str:
        return self.help.partition("|")[0]


def asked(
    default, help: str, form: Form, *, option: str | None = None, column: str | None = None, group: str = ""
) -> Any:
    """A dataclass field that users fill.

    :param option: one or several names separated by spaces; None: made of the field's name; "": none.
    :param column: None: the field's name; "": none.
    """
    return field(default=default, metadata={"asked": (help, form, option, column, group)})


def asked_fields(task_class) -> dict[str, Asked]:
    """Field name -> what it is to people, in the order of the record."""
    found = {}
    for f in dataclasses.fields(task_class):
        if "asked" not in f.metadata:
            continue
        help_text, form, option, column, group = f.metadata["asked"]
        option = "--" + f.name.replace("_", "-") if option is None else option
        column = f.name if column is None else column
        found[f.name] = Asked(help_text, form, tuple(option.split()), column, group)
    return found


def columns_of(task_class) -> dict[str, Asked]:
    """Column of a manifest -> the field that it fills."""
    return {one.column: one for one in asked_fields(task_class).values() if one.column}


def from_script(task_class, arguments: Mapping[str, Any]):
    """The task that a script asks for.

    :param arguments: by the field's name, also as Slicer writes it (``notPoints``); the values as in a JSON manifest, or
        the field's own. None stands for the default.
    :raises TypeError: an unknown name. :raises InputError: a value that cannot be used.
    """
    fields, values = asked_fields(task_class), {}
    for given, value in arguments.items():
        name = re.sub(r"(?<=[a-z])([A-Z])", lambda found: "_" + found[1].lower(), given)
        if name not in fields:
            known = ", ".join(fields)
            raise TypeError(f"there is no argument {given!r}; the arguments are: {known}")
        if value is None:
            continue
        try:
            values[name] = fields[name].form.read(as_json(value))
        except ValueError as error:
            raise InputError(f"{given}: {error}") from None
    return task_class(**values)


def command_line(task) -> list[str]:
    """The options with which the command line asks for ``task``; what is as without an option is left out."""
    texts = []
    for f in dataclasses.fields(task):
        value = getattr(task, f.name)
        if "asked" not in f.metadata or value == f.default:
            continue
        field = asked_fields(type(task))[f.name]
        if not field.options:
            continue
        if field.form.is_switch:
            texts.append(field.options[0])
        else:
            texts += [f"{field.options[0]}={field.form.write(one)}" for one in (value if field.form.one else [value])]
    return texts


def camel_case(name: str) -> str:
    """How Slicer's scripts write the name of a field: ``notPoints``."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def as_json(value):
    """``value`` with the types that JSON has: tuples and arrays as lists, numpy's numbers as Python's."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: as_json(entry) for name, entry in value.items()}
    return [as_json(entry) for entry in value] if isinstance(value, (list, tuple)) else value
