"""The report of a batch, as CSV, JSON and a page: one row for each case, the ones to look at first on top."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from ... import __version__
from ..common.errors import MissingPackageError
from ..common.json_file import spreadsheet_cell
from ..images.files import replace_text
from ..images.segmentation import shown_size
from .case import Case
from .output_names import place_in
from .resume import DONE, FAILED

WAITING = "waiting"
_UNUSUAL = 3.5  # robust deviations of a size from those of the other cases
_FEWEST = 5  # cases with a segment, below which no size is called unusual
_MOST_SEGMENTS = 6  # more are folded
_MOST_PICTURES = 2000  # in the page; each has some 15 KB, and a browser must hold them all


@dataclass(frozen=True)
class ReportRow:
    """What the report says of one case.

    :param look: how much it should be looked at, 0 to 1; ``why`` says for what.
    :param voxels, volume_ml, area_mm2: size of the object, or of all segments together where there are several drawn ones,
        see :func:`~..images.segmentation.segment_size`; None: nothing done.
    :param segments: "name size; ...".
    """

    look: float
    why: str
    name: str
    status: str
    method: str
    image: str
    confidence: float | None = None
    voxels: int | None = None
    volume_ml: float | None = None
    area_mm2: float | None = None
    segments: str = ""
    seconds: float | None = None
    memory_mb: int | None = None
    notes: str = ""
    error: str = ""
    output: str = ""
    overlay: str = ""
    thumbnail: str = ""


def report_rows(cases: Iterable[Case], records: Mapping[str, dict], edited: Iterable[str] = ()) -> list[ReportRow]:
    """One row for each case, those to look at first on top.

    Looked at first are failed cases, then empty segments, sizes far from those of the other cases (more than
    3.5 robust deviations), low confidence, and notes.
    """
    unusual, changed = _unusual_sizes(records.values()), set(edited)
    rows = [_row(case, records.get(case.name), unusual.get(case.name, ""), case.name in changed) for case in cases]
    return sorted(rows, key=lambda row: -row.look)  # stable: equals stay in the order of the manifest


def write_report(
    folder: str | os.PathLike, cases: list[Case], records: Mapping[str, dict], edited: Iterable[str] = ()
) -> list[ReportRow]:
    """Writes report.html, report.csv and report.json into ``folder``; returns the rows."""
    rows = report_rows(cases, records, edited)
    plain = [{name: value for name, value in asdict(row).items() if name != "thumbnail"} for row in rows]
    counts = count_states(rows)
    facts = {"version": __version__, "counts": counts, "cases": plain}
    _write(folder, "report.json", json.dumps(facts, indent=1))
    _write(folder, "report.csv", _csv(plain))
    _write(folder, "report.html", page(rows, counts))
    return rows


def count_states(rows: Iterable[ReportRow]) -> dict[str, int]:
    """How many cases are done, failed and waiting."""
    rows = list(rows)
    return {state: sum(row.status == state for row in rows) for state in (DONE, FAILED, WAITING)}


def one_line(record: dict) -> str:
    """What became of a case, for people who watch."""
    if record["status"] != DONE:
        return f"FAILED: {' '.join(record['error'].split())}"
    size = main_size(record["segments"])
    parts = [] if size is None else [shown_size(size)]
    if record["confidence"] is not None:
        parts.append(f"confidence {record['confidence']:.2f}")
    parts.append(f"{record['seconds']['total']:.1f} s")
    if record["memory_mb"]:
        parts.append(f"{record['memory_mb']:,} MB")
    return ", ".join(parts)


def _row(case: Case, record: dict | None, unusual: str, edited: bool) -> ReportRow:
    if record is None:
        return ReportRow(0.0, "", case.name, WAITING, case.method, case.image, output=case.output)
    segments = record["segments"]
    look, why = _attention(record, segments, unusual)
    notes = [*record["notes"], *(["changed by somebody since; kept as it is"] if edited else [])]
    return ReportRow(
        look, why, case.name, record["status"], case.method, case.image, record["confidence"], **main_size(segments) or {},
        segments="; ".join(_told(s, len(record.get("frames", ()))) for s in segments), seconds=record["seconds"].get("total"),
        memory_mb=record["memory_mb"], notes="; ".join(notes), error=record["error"], output=case.output,
        overlay=(record["outputs"].get("overlay") or {}).get("name", ""), thumbnail=record["thumbnail"],
    )  # fmt: skip


def _told(segment: dict, frames: int) -> str:
    """A segment with its size; of several frames the mean, and from what to what it goes."""
    text = f"{segment['name']} {shown_size(segment)}"
    if not frames:
        return text
    return f"{text} (mean of {frames} frames, {shown_size(segment['least'])} to {shown_size(segment['most'])})"


def main_size(segments: list[dict]) -> dict | None:
    """The size of the object, else of all segments that are not regions together; None without either."""
    wanted = [s for s in segments if s["name"] == "Object"] or [
        s for s in segments if not s["name"].startswith("Region ")
    ]
    if not wanted:
        return None
    values = {
        name: [v for s in wanted if (v := s.get(name)) is not None] for name in ("voxels", "volume_ml", "area_mm2")
    }
    return {name: round(sum(found), 6) if len(found) == len(wanted) else None for name, found in values.items()}


def _attention(record: dict, segments: list[dict], unusual: str) -> tuple[float, str]:
    if record["status"] != DONE:
        return 1.0, "failed"
    look, why = 0.0, []
    empty = [s["name"] for s in segments if not s["voxels"]]
    if empty:
        look, why = 0.95, [f"empty: {', '.join(empty)}"]
    if unusual:
        look, why = max(look, 0.9), [*why, unusual]
    sure = record["confidence"]
    if sure is not None and sure < 0.8:
        why.append(f"confidence {sure:.2f}")
    look = max(look, 0.0 if sure is None else 0.89 * (1 - sure))
    if record["notes"]:
        why.append(f"{len(record['notes'])} note{'s' if len(record['notes']) > 1 else ''}")
        look = min(look + 0.01, 0.99)
    return round(look, 4), "; ".join(why)


def _unusual_sizes(records: Iterable[dict]) -> dict[str, str]:
    """Case -> what is unusual about its sizes, compared with the same segment of the other cases."""
    known: dict[tuple[str, str, str], dict[str, float]] = {}
    for record in records:
        if record["status"] == DONE:
            for segment in record["segments"]:
                if segment["voxels"] and not segment["name"].startswith("Region "):
                    unit = next(u for u in ("volume_ml", "area_mm2", "voxels") if segment.get(u) is not None)
                    known.setdefault((record["method"], segment["name"], unit), {})[record["name"]] = segment[unit]
    found: dict[str, str] = {}
    for (_, segment, unit), by_case in known.items():
        if len(by_case) < _FEWEST:
            continue
        middle = statistics.median(by_case.values())
        # Relative deviations: small organs vary as large ones do. 5 % at least, so that equal sizes raise no alarm.
        spread = 1.4826 * statistics.median(abs(v / middle - 1) for v in by_case.values())
        for name, size in by_case.items():
            if abs(size / middle - 1) > _UNUSUAL * max(spread, 0.05):
                what = {"volume_ml": "volume", "area_mm2": "area", "voxels": "number of pixels"}[unit]
                told = f"{segment}: {size / middle:.2f} times the usual {what}"
                found[name] = f"{found[name]}; {told}" if name in found else told
    return found


def _csv(rows: list[dict]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = [name for name in ReportRow.__dataclass_fields__ if name != "thumbnail"]
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if row[name] is None else spreadsheet_cell(row[name]) for name in names])
    return text.getvalue()


def _write(folder, name: str, text: str) -> None:
    path = place_in(folder, name)
    if path.is_symlink():
        path.unlink()
    replace_text(path, text, errors="replace")


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
