"""``s3net settings``: all settings with their values, ranges and what they do."""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap

from .arguments import finish, new_command

COMMANDS = ("segment", "few-shot", "pretrain", "finetune")


def register(commands) -> None:
    parser = new_command(
        commands, "settings", "list all settings for --set, with ranges and what they do",
        "Lists all settings that --set NAME=VALUE can change, with their values, ranges and what they do.",
    )  # fmt: skip
    parser.add_argument(
        "of",
        nargs="?",
        choices=COMMANDS,
        metavar="{segment,few-shot,pretrain,finetune}",
        help="only those of this command",
    )
    parser.add_argument(
        "--preset",
        choices=("default", "paper", "published", "plus", "tiny"),
        default="default",
        help="whose values to show, where a command has that preset",
    )
    finish(parser, run)


def run(arguments: argparse.Namespace) -> int:
    records = _records(arguments.preset)
    shown = {name: found for name, found in records.items() if arguments.of in (None, name.split()[0])}
    if arguments.json:
        print(json.dumps({name: _facts_of_all(found) for name, found in shown.items()}, indent=2))
        return 0
    for number, (name, found) in enumerate(shown.items()):
        print(f"{chr(10) if number else ''}s3net {name} --set NAME=VALUE")
        for name, facts in _facts_of_all(found).items():
            _print(name, facts)
    return 0


def _records(preset_name: str) -> dict[str, list]:
    """The settings records of each command with the values of a preset; the command's own default where it has none of
    that name."""
    from ..engine.few_shot.settings import PRESETS as FEW_SHOT_PRESETS
    from ..engine.few_shot.settings import few_shot_preset
    from ..engine.segment.settings import PRESETS, preset
    from ..engine.training.configuration import (
        FINETUNING_PRESETS,
        PRETRAINING_PRESETS,
        finetuning_configuration,
        pretraining_configuration,
    )

    def named(presets) -> str:
        return preset_name if preset_name in presets else presets[0]

    trained = {
        f"pretrain --method {method}": pretraining_configuration(method, named(presets))
        for method, presets in PRETRAINING_PRESETS.items()
    }
    trained["finetune"] = finetuning_configuration(named(FINETUNING_PRESETS))
    return {
        "segment": [preset(named(PRESETS))],
        "few-shot": [few_shot_preset(named(FEW_SHOT_PRESETS))],
        **{name: list(configuration.records.values()) for name, configuration in trained.items()},
    }


def _print(name: str, facts: dict) -> None:
    value, allowed = facts["value"], ""
    if isinstance(value, bool):
        value, allowed = str(value).lower(), "true | false"
    elif isinstance(value, tuple):
        value = ",".join(map(str, value))
    allowed = allowed or " | ".join(facts["choices"] or ()) or f"{facts['low']:.10g} to {facts['high']:.10g}"
    print(f"  {name}={value}   ({allowed})")
    print(textwrap.indent(textwrap.fill(facts["help"], 94), "      "))


def _facts_of_all(records) -> dict:
    facts = ("help", "low", "high", "choices")
    return {
        f.name: {"value": getattr(record, f.name), **{k: f.metadata[k] for k in facts}}
        for record in records
        for f in dataclasses.fields(record)
    }
