"""The columns of a manifest: those of every case, and those that the tasks declare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..tasks.apply import ApplyTask
from ..tasks.few_shot import FewShotTask
from ..tasks.fields import columns_of
from ..tasks.forms import DEVICE, label, one_of, switch, whole, words
from ..tasks.segment import SegmentTask

TASKS = {"segment": SegmentTask, "few-shot": FewShotTask, "apply": ApplyTask}
METHODS = tuple(TASKS)


@dataclass(frozen=True)
class Column:
    """One column.

    :param read: a cell's text or JSON value -> value; ValueError says what is wrong.
    :param methods: for which methods it has a meaning.
    """

    help: str
    read: Callable
    methods: tuple[str, ...] = METHODS


def _of_tasks() -> dict[str, Column]:
    found: dict[str, Column] = {}
    for method, task_class in TASKS.items():
        for name, field in columns_of(task_class).items():
            known = found.get(name)
            found[name] = Column(field.help, field.form.read, (*(known.methods if known else ()), method))
    return found


COLUMNS = {
    "image": Column("the image: a file, or a folder with a DICOM series", words),
    "series": Column("number, UID or description of the DICOM series, if the folder holds several", label),
    "method": Column("segment, few-shot or apply; segment without this column", one_of(*METHODS)),
    "output": Column(
        "name of the result inside the output folder; without an ending .seg.nrrd, with .dcm DICOM SEG; without it the image's",
        words,
    ),
    "frame": Column("frame of a 4D image, counted from 0", whole(0)),
    **_of_tasks(),
    "device": Column("auto, cpu, cuda, cuda:N or mps; without it what --device says", DEVICE.read),
    "confidence": Column("true: also write NAME_confidence.nii.gz", switch),
}
PATH_COLUMNS = ("image", "support", "support_image", "labels", "model")
