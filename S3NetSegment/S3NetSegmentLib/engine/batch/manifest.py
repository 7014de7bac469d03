"""Reads a manifest, CSV or JSON or a folder of images, into cases; everything wrong in it is said at once, by row."""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InputError
from ..few_shot.drawn_numbers import ALL
from ..images.dicom.seg_writing import check_dicom_seg
from ..images.dicom.series import is_dicom
from ..images.files import file_head, stem_of, suffix_of
from .case import Case
from .columns import COLUMNS, PATH_COLUMNS
from .output_names import DICOM_SEG, checked_output, place_in, same_file_key

IMAGE_ENDINGS = (
    ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm",
)  # fmt: skip
_LARGEST = 64 << 20  # bytes
_MOST_CASES = 1_000_000


class ManifestError(InputError):
    """A manifest that cannot be run. ``problems``: one text for each thing that is wrong."""

    def __init__(self, path, problems: list[str]):
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"manifest {os.fspath(path)!r}: {problems[0]}{more}")
        self.problems = problems


def read_manifest(
    path: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    pattern: str | None = None,
    defaults: Mapping[str, str] | None = None,
) -> list[Case]:
    """The cases of the manifest at ``path``, all checked: nothing has to be computed to know that they can begin.

    :param path: a ``.csv`` or ``.json`` file, or a folder of images. A JSON file is a list of objects, or
        ``{"defaults": {...}, "cases": [...]}``. Paths in it are relative to its own folder.
    :param folder: where the results will go; it need not exist.
    :param pattern: for a folder, which of its files are meant, e.g. ``"*.nii.gz"`` or ``"**/*.nrrd"``; None: all images
        directly in it.
    :param defaults: column -> value for rows that do not say it; paths here are relative to the working directory.
    :raises ManifestError: with everything that is wrong, by row.
    """
    path = Path(path)
    given = _checked_defaults(path, defaults or {})
    if path.is_dir():
        rows, base = _folder_rows(path, Path(folder), pattern), path
    else:
        if pattern is not None:
            raise InputError(f"a pattern ({pattern!r}) is for a folder of images, but {str(path)!r} is a file")
        rows, base = _file_rows(path), path.parent
    problems, cases = [], []
    for row, values in rows:
        found = _case(row, {**given, **values}, base, problems)
        if found is not None:
            cases.append(found)
    problems += _clashes(cases, folder)
    if problems:
        raise ManifestError(path, problems)
    if not cases:
        raise ManifestError(path, ["it holds no case; write one row for each image"])
    return cases


# -- rows


def _file_rows(path: Path) -> list[tuple[str, dict]]:
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
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=header_line.count)  # column names hold none of them
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header, rows, problems = None, [], []
    try:
        for cells in reader:
            row = f"row {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip().lower().replace("-", "_").replace(" ", "_") for cell in cells]
                _check_header(path, header)
            elif len(cells) > len(header):
                problems.append(
                    f"{row}: {len(cells)} cells, but {len(header)} columns; put cells that hold {delimiter!r} in quotes"
                )
            else:
                rows.append((row, {n: c.strip() for n, c in zip(header, cells, strict=False) if c.strip()}))
    except csv.Error as error:
        problems.append(f"row {reader.line_num}: {error}; check the quotes")
    if problems:
        raise ManifestError(path, problems)
    return rows


def _check_header(path: Path, header: list[str]) -> None:
    problems = [p for name in dict.fromkeys(header) if (p := _name_problem(name))]
    doubled = sorted({name for name in header if header.count(name) > 1})
    problems += [f"column {name!r} is there {header.count(name)} times; keep one" for name in doubled]
    if problems:
        raise ManifestError(path, [f"row 1: {problem}" for problem in problems])


def _name_problem(name: str) -> str | None:
    if name in COLUMNS:
        return None
    near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.6)
    meant = f"; do you mean {near[0]!r}?" if near else ""
    return f"column {name[:60]!r} is not known{meant} (columns: {', '.join(COLUMNS)})"


def _json_rows(path: Path, text: str) -> list[tuple[str, dict]]:
    def unique(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"a name is given twice among {', '.join(repr(n) for n, _ in pairs)[:200]}")
        return found

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise ManifestError(path, ["it is nested too deeply; write a list of objects"]) from None
    except ValueError as error:
        raise ManifestError(path, [f"it is not JSON: {error}"]) from None
    shared = {}
    if isinstance(content, dict):
        unknown = sorted(set(content) - {"defaults", "cases"})
        if unknown or "cases" not in content:
            raise ManifestError(path, ['it must be a list of objects, or {"defaults": {...}, "cases": [...]}'])
        shared, content = content.get("defaults", {}), content["cases"]
    if not isinstance(content, list) or not isinstance(shared, dict):
        raise ManifestError(path, ['it must be a list of objects, or {"defaults": {...}, "cases": [...]}'])
    rows, problems = [], []
    for number, entry in enumerate(content, 1):
        row = f"case {number}"
        if not isinstance(entry, dict):
            problems.append(f"{row}: it is no object with names and values")
            continue
        values = {name.strip().lower().replace("-", "_"): v for name, v in {**shared, **entry}.items()}
        wrong = [p for name in values if (p := _name_problem(name))]
        problems += [f"{row}: {p}" for p in wrong]
        rows.append((row, {n: v for n, v in values.items() if v is not None and v != ""}))
    if problems:
        raise ManifestError(path, problems)
    return rows


def _folder_rows(path: Path, results: Path, pattern: str | None) -> list[tuple[str, dict]]:
    """One row for each image in the folder, without results of earlier batches."""
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
        rows.append((name, {"image": os.path.abspath(file), "output": f"{name}.seg.nrrd"}))
    if not rows:
        what = f"matches {pattern!r}" if pattern else f"is an image ({' '.join(IMAGE_ENDINGS)})"
        raise ManifestError(
            path, [f"nothing in the folder {what}; give another folder or pattern, or write a manifest"]
        )
    return rows


# -- one case


def _checked_defaults(path: Path, defaults: Mapping[str, str]) -> dict:
    problems = [p for name in defaults if (p := _name_problem(name))]
    if problems:
        raise ManifestError(path, [f"defaults: {p}" for p in problems])
    found = dict(defaults)
    for name in PATH_COLUMNS:
        if isinstance(found.get(name), str):
            parts = [p.strip() for p in found[name].split(";")]
            found[name] = ";".join(os.path.abspath(p) if p else "" for p in parts)
    return found


def _case(row: str, values: dict, base: Path, problems: list[str]) -> Case | None:
    """The case of one row; what is wrong is added to ``problems``."""
    wrong, fields = [], {}
    for name, value in values.items():
        try:
            fields[name] = COLUMNS[name].read(value)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    method = fields.get("method", "segment")
    for name in fields:
        if method not in COLUMNS[name].methods:
            others = " and ".join(COLUMNS[name].methods)
            wrong.append(f"{name}: it is for method {others}, but this row's method is {method}; leave it empty")
    if "image" not in values:
        wrong.append("image: it is missing; name the image file or DICOM folder")
    if not wrong:
        wrong += _paths(fields, base)
        wrong += _contradictions(fields, method)
    if not wrong:
        try:
            fields["output"] = checked_output(fields.get("output") or _default_output(fields["image"]))
        except ValueError as error:
            wrong.append(f"output: {error}")
    if not wrong and suffix_of(fields["output"]) == DICOM_SEG:
        wrong += _dicom_seg_problems(fields["image"])
    if not wrong and "series" in fields and not _is_dicom(fields["image"]):
        wrong.append(f"series: {fields['series']!r} is for DICOM, but the image is none; leave it empty")
    case = None if wrong else Case(row, **fields)
    if case is not None:
        try:
            if method == "segment":
                case.segment_task().settings()
            elif method == "few-shot":
                settings = case.few_shot_task().settings()
                if settings.method == "alpnet" and case.encoder == "default":
                    wrong.append("encoder: method alpnet needs one; name it, e.g. dinov2-vits14-reg4")
        except InputError as error:
            wrong.append(str(error))
    problems += [f"{row}: {text}" for text in wrong]
    return None if wrong else case


def _dicom_seg_problems(image: str) -> list[str]:
    try:
        check_dicom_seg()
        if not _is_dicom(image):
            return [
                "output: a .dcm output (DICOM SEG) refers to DICOM slices, but the image is no DICOM; choose .seg.nrrd"
            ]
    except InputError as error:
        return [f"output: {error}"]
    return []


def _is_dicom(image: str) -> bool:
    return os.path.isdir(image) or is_dicom(Path(image), file_head(Path(image)))


def _default_output(image: str) -> str:
    return f"{stem_of(image) if not os.path.isdir(image) else Path(image).name}.seg.nrrd"


def _paths(fields: dict, base: Path) -> list[str]:
    """Makes the paths of ``fields`` absolute; says which are not there."""
    wrong = []

    def place(name: str, text: str) -> str:
        full = os.path.abspath(base / text)
        try:
            exists = os.path.exists(full)
        except (OSError, ValueError):
            exists = False
        if not exists:
            wrong.append(f"{name}: there is no file or folder {text!r} (looked for {full!r}); check the path")
        return full

    for name in ("image", "model"):
        if name in fields:
            fields[name] = place(name, fields[name])
    if "support" in fields:
        count = len(fields["support"])
        for name in ("support_image", "drawn"):
            values = fields.get(name, (None,))
            if len(values) not in (1, count):
                wrong.append(
                    f"{name}: {len(values)} entries for {count} drawings; write one for each, separated by ';'"
                )
                return wrong
            fields[name] = tuple(values) * (count if len(values) == 1 else 1)
        fields["support"] = tuple(place("support", text) for text in fields["support"])
        fields["support_image"] = tuple(t and place("support_image", t) for t in fields["support_image"])
    encoder = fields.get("encoder", "auto")
    if os.path.dirname(encoder) or Path(encoder).suffix:
        fields["encoder"] = place("encoder", encoder)
    return wrong


def _contradictions(fields: dict, method: str) -> list[str]:
    wrong = []
    inside = fields.get("points") or fields.get("pixels")
    if method == "few-shot" and not fields.get("support"):
        wrong.append("support: it is missing; name the file with the drawing")
    if (ALL, None) in zip(fields.get("drawn", ()), fields.get("support_image", ()), strict=False):
        wrong.append(
            "drawn: all is for a drawing of another image (support_image); with all slices of the image itself drawn "
            "nothing is left to find: leave it empty (the slices that hold labels), or name the drawn slices"
        )
    if method == "apply" and not fields.get("model"):
        wrong.append("model: it is missing; name the model file")
    if (fields.get("not_points") or fields.get("not_pixels")) and not inside:
        wrong.append("not_points: points outside need points or pixels inside the object")
    if "radius" in fields and not inside:
        wrong.append("radius: it needs points or pixels")
    if inside and ("regions" in fields or fields.get("regions_only")):
        wrong.append("regions: they have no meaning with points, which give one object; leave one of them out")
    return wrong


# -- all cases together


def _clashes(cases: Iterable[Case], folder: str | os.PathLike) -> list[str]:
    """Results of two cases in one file, in the place of an input, or outside the folder."""
    problems, owner, folders = [], {}, {}
    inputs = {os.path.realpath(path) for case in cases for path in case.inputs().values()}
    input_folders = tuple(path + os.sep for path in inputs if os.path.isdir(path))
    for case in cases:
        for name in case.outputs().values():
            key = same_file_key(name)
            other = owner.setdefault(key, case.row)
            if other != case.row or key in folders:
                other = folders.get(key, other)
                problems.append(f"{case.row}: output: {name!r} is also written by {other}; give them different outputs")
                break
            try:
                target = str(place_in(folder, name))
            except InputError as error:
                problems.append(f"{case.row}: output: {error}")
                break
            if os.path.realpath(target) in inputs or target.startswith(input_folders):
                problems.append(
                    f"{case.row}: output: {name!r} lies in the place of an input; choose another folder or name"
                )
                break
        else:
            parts = same_file_key(case.output).split("/")
            for n in range(1, len(parts)):
                above = "/".join(parts[:n])
                folders.setdefault(above, case.row)
                if above in owner:
                    problems.append(f"{case.row}: output: {above!r} is a file of {owner[above]}; choose another folder")
    return problems
