"""The report as one page of HTML: what ``report.html.j2`` makes of the rows."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from ... import __version__
from ..common.errors import MissingPackageError
from ..images.segment_size import shown_size

_MOST_SEGMENTS = 6  # more are folded
_MOST_PICTURES = 2000  # in the page; each has some 15 KB, and a browser must hold them all


@lru_cache(maxsize=1)
def template():
    """The page without its rows.

    :raises MissingPackageError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise MissingPackageError(
            "the report of a batch needs jinja2; install it with 'pip install jinja2'", "jinja2"
        ) from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters |= {
        "address": lambda name: "./" + quote(name),
        "beneath": lambda path, folder: os.path.relpath(path, folder) if folder else path,
        "digest": lambda text: f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}",
        "size": lambda row: None if row.voxels is None else shown_size(vars(row)),
    }
    return environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))


def page(rows: Iterable, counts: dict[str, int]) -> str:
    """The page of ``rows`` (:class:`~.report.ReportRow`), in their order."""
    rows, states = list(rows), [(state, count) for state, count in counts.items() if count]
    return template().render(
        rows=rows, told=", ".join(f"{count:,} {state}" for state, count in states) or "no cases", totals=_totals(rows),
        states=[("", "all cases"), ("look", "to look at"), *((state, state) for state, _ in states)],
        methods=[("", "all methods"), *((m, m) for m in sorted({row.method for row in rows}))],
        shared=_shared_folder([row.image for row in rows]), most_segments=_MOST_SEGMENTS, most_pictures=_MOST_PICTURES,
        version=__version__,
    )  # fmt: skip


def _totals(rows: list) -> str:
    """What the batch took, in one sentence."""
    seconds = sum(row.seconds or 0 for row in rows)
    memory = max((row.memory_mb for row in rows if row.memory_mb), default=None)
    look = sum(bool(row.why) for row in rows)
    took = (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
    most = f", at most {memory:,} MB of memory" if memory else ""
    return f"{look:,} to look at. All cases together took {took}{most}."


def _shared_folder(images: list[str]) -> str:
    """The folder that all images lie in, "" if there is none that is worth telling once instead of in each line."""
    try:
        shared = os.path.commonpath([os.path.dirname(image) for image in images]) if len(images) > 1 else ""
    except ValueError:  # on several drives
        return ""
    return shared if len(shared) > 3 else ""
