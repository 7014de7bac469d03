"""``s3net check``: versions, torch and its device, and a short trial of each method."""

from __future__ import annotations

import argparse
import dataclasses
import json

from ..engine.common.device import DEVICES
from .arguments import finish, new_command

DESCRIPTION = """\
Checks this installation: versions, torch and what it can compute on, and a trial of each method on a small made-up image.

Send its output along when something does not work. Exit code 1 if anything fails; what is left out does not fail."""


def register(commands) -> None:
    parser = new_command(commands, "check", "does this installation work?", DESCRIPTION)
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where networks compute (default: auto)")
    finish(parser, run)


def run(arguments: argparse.Namespace) -> int:
    from ..engine.check import check_installation, report_text
    from ..engine.common.progress import run_to_end

    lines = run_to_end(check_installation(arguments.device))
    print(json.dumps([dataclasses.asdict(line) for line in lines], indent=2) if arguments.json else report_text(lines))
    return 1 if any(line.works is False for line in lines) else 0
