"""``--explain``: why the object was chosen, as pictures of the candidates, a table, and lines for the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path

TABLE = ".csv"  # beside the pictures


def table_of(path: str) -> str:
    """The file of the table that belongs to the pictures in ``path``."""
    return str(Path(path).with_suffix(TABLE))


def write_explanation(arguments: argparse.Namespace, outcome) -> list[str]:
    """Writes the pictures and the table; returns the lines for the terminal.

    :param outcome: a SegmentOutcome.
    :raises InputError: there is no object to explain.
    """
    from ..engine.common.errors import InputError
    from ..engine.common.progress import run_to_end
    from ..engine.images.files import replacing
    from ..engine.images.writing import write_png
    from ..engine.segment.explanation import contact_sheet, explain

    if outcome.choice is None:
        raise InputError(
            "there is no object to explain: no point was given and no main object was found; point at one with --point or --pixel"
        )
    explanation = explain(outcome.choice)
    sheet = contact_sheet(outcome.choice, explanation, outcome.regions, outcome.shown_slice())
    write_png(run_to_end(sheet), arguments.explain)
    with replacing(table_of(arguments.explain)) as part:
        part.write_text(explanation.as_csv(), encoding="utf-8")
    return explanation.lines()
