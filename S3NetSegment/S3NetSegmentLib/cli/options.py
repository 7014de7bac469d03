"""Options of the command line from the fields that a task declares, and the task from the parsed arguments."""

from __future__ import annotations

import argparse

from ..engine.tasks.fields import asked_fields

_DEST = "task_{}"  # so that no field clashes with an option of the command


def add_task_options(parser: argparse.ArgumentParser, task_class, groups: dict) -> dict:
    """Adds the options of ``task_class`` to ``groups`` (heading -> group), which are made where they are missing and returned."""
    for name, field in asked_fields(task_class).items():
        if not field.options:
            continue
        if field.group not in groups:
            groups[field.group] = parser.add_argument_group(field.group)
        group = groups[field.group]
        dest, form = _DEST.format(name), field.form
        if form.is_switch:
            group.add_argument(*field.options, dest=dest, action="store_true", help=field.help)
        else:
            repeats = form.one is not None
            group.add_argument(
                *field.options, dest=dest, type=argument_type(form.one or form.read), metavar=form.metavar or None,
                action=_Repeated if repeats else _Once, help=field.help,
            )  # fmt: skip
    return groups


def task_from(task_class, arguments: argparse.Namespace, **further):
    """The task that the arguments ask for; ``further``: fields that the command reads itself."""
    given = {name: getattr(arguments, _DEST.format(name), None) for name in asked_fields(task_class)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return task_class(**{name: value for name, value in values.items() if value is not None}, **further)


def refuse_contradictions(task, parser: argparse.ArgumentParser) -> None:
    """Refuses arguments that contradict each other, before anything is read. Exits with code 2."""
    for text in task.contradictions(lambda name: called(type(task), name)):
        parser.error(text)


def called(task_class, name: str) -> str:
    """How the command line calls a field of the task."""
    options = asked_fields(task_class)[name].options
    return options[0] if options else "--" + name.replace("_", "-")


def argument_type(read):
    """``read`` (raises ValueError with a text for people) as a type of argparse."""

    def parse(text: str):
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


class _Once(argparse.Action):
    """An option that may be given once: the last of several would win in silence."""

    def __call__(self, parser, namespace, value, option=None):
        if getattr(namespace, self.dest, None) is not None:
            names = " or ".join(self.option_strings)
            parser.error(f"{names} is given twice; leave one out")
        setattr(namespace, self.dest, value)


class _Repeated(argparse.Action):
    """An option that may be repeated."""

    def __call__(self, parser, namespace, value, option=None):
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest, None) or []), value])
