"""The rows of a manifest, CSV, JSON or a folder of images, as they are written: names of columns and raw values."""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
from pathlib import Path

from ..common.delimited_text import lines_and_delimiter
from ..common.errors import InputError
from ..common.json_file import without_repeats
from ..images.files import file_head, suffix_of
from ..images.reading import IMAGE_ENDINGS
from .columns import COLUMNS, column_name

_LARGEST = 64 << 20  # bytes
_MOST_CASES = 1_000_000


class ManifestError(InputError):
    """A manifest that cannot be run. ``problems``: one text for each thing that is wrong."""

    def __init__(self, path, problems: list[str]):
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"manifest {os.fspath(path)!r}: {problems[0]}{more}")
        self.problems = problems


def file_rows(path: Path) -> list[tuple[str, dict]]:
    """Each row of a CSV or JSON file: how to name it, and column -> value of what it says.

    :raises ManifestError: no such file, unknown columns.
    """
    head = file_head(path)
    if os.path.getsize(path) > _LARGEST:
        raise ManifestError(path, [f"it is larger than {_LARGEST >> 20} MB; is it the manifest? Split it into several"])
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(path, ["it is not UTF-8 text; save it as CSV UTF-8, or as JSON"]) from None
    if "\0" in text:
        raise ManifestError(path, ["it is not a text file; write CSV or JSON"])
    is_json = suffix_of(path) == ".json" or (suffix_of(path) != ".csv" and head.lstrip()[:1] in (b"[", b"{"))
    rows = _json_rows(path, text) if is_json else _csv_rows(path, text)
    if len(rows) > _MOST_CASES:
        raise ManifestError(path, [f"it has {len(rows):,} rows; split it into files of at most {_MOST_CASES:,}"])
    return rows


def _csv_rows(path: Path, text: str) -> list[tuple[str, dict]]:
    lines, delimiter = lines_and_delimiter(text)  # column names hold none of them
    reader = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=delimiter, strict=True)
    header, rows, problems = None, [], []
    try:
        for cells in reader:
            row = f"row {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [column_name(cell) for cell in cells]
                _check_header(path, header)
            elif len(cells) != len(header):
                problems.append(
                    f"{row}: {len(cells)} cells, but {len(header)} columns; put cells that hold {delimiter!r} in quotes, and leave none out"
                )
            else:
                rows.append((row, {n: c.strip() for n, c in zip(header, cells, strict=False) if c.strip()}))
    except csv.Error as error:
        problems.append(f"row {reader.line_num}: {error}; check the quotes")
    if problems:
        raise ManifestError(path, problems)
    return rows


def _check_header(path: Path, header: list[str]) -> None:
    problems = [p for name in dict.fromkeys(header) if (p := name_problem(name))]
    doubled = sorted({name for name in header if header.count(name) > 1})
    problems += [f"column {name!r} is there {header.count(name)} times; keep one" for name in doubled]
    if problems:
        raise ManifestError(path, [f"row 1: {problem}" for problem in problems])


def name_problem(name: str) -> str | None:
    """What is wrong with the name of a column."""
    if name in COLUMNS:
        return None
    near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.6)
    meant = f"; do you mean {near[0]!r}?" if near else ""
    return f"column {name[:60]!r} is not known{meant} (columns: {', '.join(COLUMNS)})"


def _json_rows(path: Path, text: str) -> list[tuple[str, dict]]:
    try:
        content = json.loads(text, object_pairs_hook=without_repeats)
    except RecursionError:
        raise ManifestError(path, ["it is nested too deeply; write a list of objects"]) from None
    except ValueError as error:
        raise ManifestError(path, [f"it is not JSON: {error}"]) from None
    shared = {}
    if isinstance(content, dict) and set(content) <= {"defaults", "cases"}:
        shared, content = content.get("defaults", {}), content.get("cases")
    if not isinstance(content, list) or not isinstance(shared, dict):
        raise ManifestError(path, ['it must be a list of objects, or {"defaults": {...}, "cases": [...]}'])
    rows, problems = [], []
    for number, entry in enumerate(content, 1):
        row = f"case {number}"
        if not isinstance(entry, dict):
            problems.append(f"{row}: it is not an object with names and values")
            continue
        values = {column_name(name): v for name, v in {**shared, **entry}.items()}
        wrong = [p for name in values if (p := name_problem(name))]
        problems += [f"{row}: {p}" for p in wrong]
        rows.append((row, {n: v for n, v in values.items() if v is not None and v != ""}))
    if problems:
        raise ManifestError(path, problems)
    return rows


def folder_rows(path: Path, results: Path, pattern: str | None, ending: str) -> list[tuple[str, dict]]:
    """One row for each image in the folder, without results of earlier batches; their results end with ``ending``."""
    if pattern is not None and (Path(pattern).is_absolute() or ".." in Path(pattern).parts or not pattern.strip()):
        raise InputError(f"pattern is {pattern!r}; write one for files inside the folder, e.g. *.nii.gz or **/*.nrrd")
    try:
        found = sorted(path.glob(pattern or "*"))
    except (ValueError, NotImplementedError) as error:
        raise InputError(f"pattern {pattern!r} cannot be used ({error}); write e.g. *.nii.gz") from None
    own = os.path.realpath(results)
    rows = []
    for file in found:
        inside = os.path.realpath(file)
        if inside == own or inside.startswith(own + os.sep) or file.name.startswith("."):
            continue
        if pattern is None if file.is_dir() else suffix_of(file) not in IMAGE_ENDINGS:
            continue  # a folder is a DICOM series only where the pattern asks for it
        name = file.relative_to(path).as_posix()
        if suffix_of(name) and not file.is_dir():
            name = name[: -len(suffix_of(name))]
        rows.append((name, {"image": os.path.abspath(file), "output": f"{name}{ending}"}))
    if not rows:
        what = f"matches {pattern!r}" if pattern else f"is an image ({' '.join(IMAGE_ENDINGS)})"
        raise ManifestError(
            path, [f"nothing in the folder {what}; give another folder or pattern, or write a manifest"]
        )
    return rows
