"""What a batch still has to do: cases are finished if their record says so and speaks of the present inputs and settings."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..common.errors import InputError, ResourceError
from ..images.dicom.series import is_dicom
from ..images.files import file_head, suffix_of
from ..images.formats.seg_nrrd import read_segmentation
from ..images.reading import count_frames, read_image
from .case import Case
from .output_names import DICOM_SEG, place_in
from .records import encoder_digest, input_facts, read_record, same_content, settings_hash

DONE, FAILED = "done", "failed"


@dataclass
class Plan:
    """The cases of a batch in order.

    :param todo: what has to be computed.
    :param reasons: for each of them by name, why.
    :param finished: records of what is finished, by name.
    :param edited: names of finished cases whose segmentation somebody has changed since; they are kept as they are.
    """

    cases: list[Case]
    todo: list[Case] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    finished: dict[str, dict] = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)


def make_plan(cases: Iterable[Case], folder: str | os.PathLike, resume: bool) -> Plan:
    """What has to be done of ``cases``; without ``resume`` all of them."""
    plan, digests = Plan(list(cases)), {}
    for case in plan.cases:
        reason, record = "asked for", None
        if resume:
            key = (case.method, case.encoder)
            if key not in digests:
                digests[key] = encoder_digest(case)
            record = read_record(folder, case.name)
            reason = why_not_finished(case, record, folder, digests[key])
        if reason or record is None:
            plan.todo.append(case)
            plan.reasons[case.name] = reason
        else:
            plan.finished[case.name] = record
            if any(_output_state(record, entry["name"], folder) == "edited" for entry in record["outputs"].values()):
                plan.edited.append(case.name)
    return plan


def why_not_finished(case: Case, record: dict | None, folder: str | os.PathLike, encoder: str = "") -> str:
    """Why ``case`` has to be computed, "" if ``record`` shows that it need not be."""
    if record is None:
        return "not done yet"
    if record["status"] != DONE:
        return "failed before"
    if record["settings_hash"] != settings_hash(case, encoder):
        return "other settings or version"
    missing = [name for name in case.outputs().values() if _output_state(record, name, folder) == "missing"]
    if missing:
        return f"{missing[0]} is missing or cut off"
    try:
        facts = input_facts(case, record["inputs"])
    except (InputError, ResourceError):
        return "an input cannot be read"
    return "" if same_content(facts, record["inputs"]) else "an input has changed"


def _output_state(record: dict, name: str, folder: str | os.PathLike) -> str:
    """ "whole", "edited" (by somebody, later) or "missing" (also: cut off, or a link that leads away)."""
    known = next((e for e in record["outputs"].values() if isinstance(e, dict) and e.get("name") == name), None)
    try:
        path = place_in(folder, name)
        facts = os.stat(path)
    except (OSError, InputError):
        return "missing"
    if known is None or not facts.st_size:
        return "missing"
    if facts.st_size == known.get("bytes"):
        return "whole"
    # A time of change before that of the record does not prove damage: clocks are set back.
    return "edited" if facts.st_mtime_ns != known.get("mtime_ns") and _is_readable(path) else "missing"


def _is_readable(path: Path) -> bool:
    """Whether a result is a whole file of its kind; a copy that was broken off is not what somebody has edited."""
    try:
        if suffix_of(path) == DICOM_SEG:
            return is_dicom(path, file_head(path))
        if suffix_of(path) == ".seg.nrrd":
            read_segmentation(path)
        else:
            frames = count_frames(path)
            # Of several the last: a file that was cut off lacks it.
            read_image(path, frames - 1 if frames > 1 else None)
    except (InputError, ResourceError):
        return False
    return True
