"""Folders of small patients for the tests of the loop through a cohort."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from few_shot_phantoms import organs

from S3NetSegmentLib.engine import InputError, Segment, Segmentation, Volume
from S3NetSegmentLib.engine.cohort_loop.accepting import accept, undo
from S3NetSegmentLib.engine.cohort_loop.store import CohortStore
from S3NetSegmentLib.engine.images.writing import write_image

NAMES = ("Liver", "Spleen")
COLORS = ((0.9, 0.2, 0.1), (0.1, 0.4, 0.9))
SIZE = (26, 24, 10)


def patient(number: int, **options) -> tuple[Volume, np.ndarray]:
    """A small patient and its labels, 1 and 2."""
    place = {
        "seed": number,
        "size": SIZE,
        "spacing": (2.3, 2.3, 6.0),
        "shift": (1.5 * number, -number, number),
        "grow": 1 + 0.02 * number,
    }
    return organs(**{**place, **options})


def drawn(volume: Volume, labels: np.ndarray, names=NAMES, values=(1, 2)) -> Segmentation:
    """``labels`` 1 and 2 as segments with these names and values."""
    layer = np.zeros_like(labels)
    segments = []
    for number, (name, value, color) in enumerate(zip(names, values, COLORS, strict=True), 1):
        layer[labels == number] = value
        segments.append(Segment(name, color, value))
    return Segmentation([layer], segments, volume.ijk_to_ras)


def write_patients(folder: Path, *names: str, suffix=".nii.gz", **options) -> Path:
    """The images of the patients with these names; the first one is ``patient(0)``, and so on."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        write_image(patient(number, **options)[0], folder / f"{name}{suffix}")
    return folder


def accept_when_all_are_ready(folder: Path, case: str, half: bool, barrier) -> None:
    """For a process of its own: accepts patient 0, or ``half`` of it, once all wait at ``barrier``; prints what it was told."""
    volume, labels = patient(0)
    labels = half_of(labels) if half else labels
    barrier.wait()
    try:
        accept(CohortStore(folder), case, drawn(volume, labels))
        print("accepted")
    except InputError as error:
        print(error)


def killed_at(moment: int, folder: Path, what: str) -> None:
    """For a process of its own, which kills itself at the ``moment``-th time, from 1, that it touches what the cohort keeps: ``what``
    is "accept" (patient 0), "replace" (by half of it) or "undo". Prints what it was about to do."""
    touches, times = {"open", "os.rename", "os.remove", "os.mkdir", "shutil.copyfile"}, itertools.count(1)

    def hook(event, arguments):
        path = os.fspath(arguments[0]) if arguments and isinstance(arguments[0], str | os.PathLike) else ""
        if event in touches and "s3net-cohort" in path and next(times) == moment:
            os.write(1, event.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    volume, labels = patient(0)
    store, real = CohortStore(folder), os.fsync
    sys.addaudithook(hook)
    os.fsync = lambda file: (hook("open", ["s3net-cohort"]), real(file))  # amid what is written
    if what == "undo":
        undo(store, "anna")
    else:
        accept(
            store, "anna", drawn(volume, half_of(labels) if what == "replace" else labels), replace=what == "replace"
        )


def half_of(labels: np.ndarray) -> np.ndarray:
    """What lies in the first columns alone."""
    return np.where(np.arange(labels.shape[2]) < labels.shape[2] // 2, labels, 0)


def accepted_cohort(folder: Path, names: Sequence[str], count: int) -> CohortStore:
    """The patients with these names, the first ``count`` of them accepted."""
    store = CohortStore(write_patients(folder, *names))
    for number, name in enumerate(names[:count]):
        accept(store, name, drawn(*patient(number)))
    return store
