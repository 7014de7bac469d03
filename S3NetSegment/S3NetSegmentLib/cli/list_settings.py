"""``s3net settings``: all settings with their values, ranges and what they do."""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap

from .arguments import add_common

COMMANDS = ("segment", "few-shot")


def register(commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "settings", help="list all settings for --set, with ranges and what they do",
        description="Lists all settings that --set NAME=VALUE can change, with their values, ranges and what they do.",
    )  # fmt: skip
    parser.add_argument(
        "of", nargs="?", choices=COMMANDS, metavar="{segment,few-shot}", help="only those of this command"
    )
    parser.add_argument(
        "--preset", choices=("default", "paper"), default="default", help="whose values of segment to show"
    )
    add_common(parser)
    parser.set_defaults(run=run, check=lambda arguments: None)


def run(arguments: argparse.Namespace) -> int:
    """Prints the settings."""
    from ..engine.few_shot.settings import FewShotSettings
    from ..engine.settings import preset

    records = {"segment": preset(arguments.preset), "few-shot": FewShotSettings()}
    shown = {name: record for name, record in records.items() if arguments.of in (None, name)}
    if arguments.json:
        print(json.dumps({name: _facts_of_all(record) for name, record in shown.items()}, indent=2))
        return 0
    for number, (name, record) in enumerate(shown.items()):
        print(f"{chr(10) if number else ''}s3net {name} --set NAME=VALUE")
        for name, facts in _facts_of_all(record).items():
            _print(name, facts)
    return 0


def _print(name: str, facts: dict) -> None:
    value, allowed = facts["value"], ""
    if isinstance(value, bool):
        value, allowed = str(value).lower(), "true | false"
    elif isinstance(value, tuple):
        value = ",".join(map(str, value))
    allowed = allowed or " | ".join(facts["choices"] or ()) or f"{facts['low']:.10g} to {facts['high']:.10g}"
    print(f"  {name}={value}   ({allowed})")
    print(textwrap.indent(textwrap.fill(facts["help"], 94), "      "))


def _facts_of_all(record) -> dict:
    facts = ("help", "low", "high", "choices")
    return {
        f.name: {"value": getattr(record, f.name), **{k: f.metadata[k] for k in facts}}
        for f in dataclasses.fields(record)
    }
