"""What the text header of an NRRD or MetaImage file says and ITK, and so Slicer, passes over: told, or refused where the voxels
would be others."""

from __future__ import annotations

import math
import os
import re
import warnings
from pathlib import Path

from ...common.errors import ImageWarning, InputError
from .header_claims import text_header

_PATIENT_SPACES = re.compile(r"(left|right)-(anterior|posterior)-(superior|inferior)|[lr][ap][si]", re.I)
_MILLIMETRES = {"mm", "millimeter", "millimetre", "millimeters", "millimetres", "", "none", "???"}
_BYTES = {
    "char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "long": 4, "ulong": 4, "long_long": 8,
    "ulong_long": 8, "float": 4, "double": 8,
}  # fmt: skip


def note_header(path: Path) -> None:
    """Issues ImageWarning for units, spaces and scales in the header of ``path`` that are not followed; InputError where the
    file holds at least twice the voxels that its header tells of. Files of other formats pass."""
    header = text_header(path).decode("utf-8", "replace")
    if not header:
        return
    lines = (re.match(r"\s*([^:=#][^:=]*?)\s*[:=](?!=)\s*(.*?)\s*$", line) for line in header.splitlines())
    fields = {m[1].lower(): m[2] for m in lines if m}
    shown = repr(os.fspath(path))
    notes = _nrrd_notes(fields) if header.startswith("NRRD") else _meta_notes(fields, path)
    for note in notes:
        warnings.warn(f"{shown}: {note}", ImageWarning, 3)


def _nrrd_notes(fields: dict[str, str]) -> list[str]:
    notes = []
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) | set(
        re.findall(r'"([^"]*)"', fields.get("units", "") if "spacings" in fields else "")
    )
    if others := sorted(u for u in units if u.strip().lower() not in _MILLIMETRES):
        notes.append(
            f"its sizes are in {', '.join(others)} and taken as mm, as Slicer does; correct them in its header"
        )
    space = fields.get("space", "").strip('"')
    if space and not _PATIENT_SPACES.fullmatch(space):
        notes.append(
            f"its space {space!r} is none of a patient; it is taken as left-posterior-superior, as Slicer does"
        )
    return notes


def _meta_notes(fields: dict[str, str], path: Path) -> list[str]:
    notes = []
    scale = [
        _number(fields.get(f"elementtointensityfunction{name}"), usual)
        for name, usual in (("slope", 1.0), ("offset", 0.0))
    ]
    if scale != [1.0, 0.0]:
        notes.append(
            f"its header asks for values times {scale[0]:g} plus {scale[1]:g}, which is not done, as in Slicer; the values are "
            "those of the file"
        )
    size = _BYTES.get(fields.get("elementtype", "").lower().removeprefix("met_").removesuffix("_array"))
    plain = fields.get("elementdatafile") == "LOCAL" and fields.get("compresseddata", "False").lower() != "true"
    counts = re.findall(r"\d+", fields.get("dimsize", ""))
    if size and plain and counts:
        told = math.prod(map(int, counts)) * size * max(1, int(_number(fields.get("elementnumberofchannels"), 1)))
        held = os.path.getsize(path) - len(text_header(path)) - 1
        if told and held >= 2 * told:
            raise InputError(
                f"{str(path)!r} holds {held:,} bytes of voxels, and its header tells of {told:,} (numbers of {size} bytes); correct "
                "ElementType or DimSize in its header"
            )
    return notes


def _number(text: str | None, otherwise: float) -> float:
    try:
        number = float(text or "")
    except ValueError:
        return otherwise
    return number if math.isfinite(number) else otherwise
