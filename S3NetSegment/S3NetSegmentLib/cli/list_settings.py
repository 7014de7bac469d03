"""``s3net settings``: all settings with their values, ranges and what they do."""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap

from .arguments import add_common


def register(commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "settings", help="list all settings for --set, with ranges and what they do",
        description="Lists all settings that --set NAME=VALUE can change, with their values, ranges and what they do.",
    )  # fmt: skip
    parser.add_argument("--preset", choices=("default", "paper"), default="default", help="whose values to show")
    add_common(parser)
    parser.set_defaults(run=run, check=lambda arguments: None)


def run(arguments: argparse.Namespace) -> int:
    """Prints the settings."""
    from ..engine.settings import preset

    settings = preset(arguments.preset)
    if arguments.json:
        print(json.dumps({f.name: _facts(f, settings) for f in dataclasses.fields(settings)}, indent=2))
        return 0
    for f in dataclasses.fields(settings):
        facts = _facts(f, settings)
        value, allowed = facts["value"], ""
        if isinstance(value, bool):
            value, allowed = str(value).lower(), "true | false"
        elif isinstance(value, tuple):
            value = ",".join(map(str, value))
        allowed = allowed or " | ".join(facts["choices"] or ()) or f"{facts['low']:.10g} to {facts['high']:.10g}"
        print(f"{f.name}={value}   ({allowed})")
        print(textwrap.indent(textwrap.fill(facts["help"], 96), "    "))
    return 0


def _facts(f, settings) -> dict:
    return {"value": getattr(settings, f.name), **{k: f.metadata[k] for k in ("help", "low", "high", "choices")}}
