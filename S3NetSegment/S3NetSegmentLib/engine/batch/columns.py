"""The columns of a manifest: those of every case, and those that the tasks declare."""

from __future__ import annotations

from dataclasses import dataclass

from ..tasks.few_shot import FewShotTask
from ..tasks.fields import columns_of
from ..tasks.forms import DEVICE, PATH, SWITCH, TEXT, Form, choice, frame, label
from ..tasks.segment import ApplyTask, SegmentTask

TASKS = {"segment": SegmentTask, "few-shot": FewShotTask, "apply": ApplyTask}
METHODS = tuple(TASKS)


@dataclass(frozen=True)
class Column:
    """One column.

    :param form: how a cell is written.
    :param methods: for which methods it has a meaning.
    """

    help: str
    form: Form
    methods: tuple[str, ...] = METHODS


def _of_tasks() -> dict[str, Column]:
    found: dict[str, Column] = {}
    for method, task_class in TASKS.items():
        for name, field in columns_of(task_class).items():
            known, text = found.get(name), field.column_help
            if known and known.help != text:  # each method has its own
                text = f"{', '.join(known.methods)}: {known.help}. {method}: {text}"
            found[name] = Column(text, field.form, (*(known.methods if known else ()), method))
    return found


COLUMNS = {
    "image": Column("the image: a file, or a folder with a DICOM series", PATH),
    "series": Column("number, UID or description of the DICOM series, if the folder holds several", Form(label)),
    "method": Column("segment, few-shot or apply; segment without this column", choice(*METHODS)),
    "output": Column(
        "name of the result inside the output folder; without an ending .seg.nrrd (.nii.gz of all frames), with .dcm DICOM SEG; without it the image's",
        TEXT,
    ),
    "frame": Column(
        "frame of a 4D image, counted from 0; all: each by itself, in a 4D label map (segment and apply)", Form(frame)
    ),
    **_of_tasks(),
    "device": Column("auto, cpu, cuda, cuda:N or mps; without it what --device says", DEVICE),
    "confidence": Column("true: also write NAME_confidence.nii.gz", SWITCH),
}


def column_name(text: str) -> str:
    """The column that people mean by ``text``: "Not points", "not-points"."""
    return text.strip().lower().replace("-", "_").replace(" ", "_")
