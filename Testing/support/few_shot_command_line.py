"""A scene, its drawing in files, and ``s3net few-shot`` run on them."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from S3NetSegmentLib.cli import main
from S3NetSegmentLib.engine import InputError, Segment, Volume
from S3NetSegmentLib.engine.few_shot.drawings.support_files import read_support
from S3NetSegmentLib.engine.images.writing import write_image

TERMINOLOGY = (
    "Segmentation category and type~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~Anatomic codes~^^~^^"
)


SEGMENTS = [
    Segment("Leber", (1.0, 0.5, 0.0), 3, terminology=TERMINOLOGY, tags={"Segmentation.Status": "inprogress"}),
    Segment("tube ü", (0.0, 0.25, 1.0), 7),
]


def scene(shift=0.0, seed=1):
    """A volume of 14 slices of 3 mm with a bright ball and a dark tube, and their labels (3 and 7)."""
    k, j, i = np.mgrid[:14, :36, :40]
    ball = ((k - 7) * 3.0) ** 2 + (j - 17 - shift) ** 2 + (i - 25) ** 2 < 11**2
    tube = (j - 18) ** 2 + (i - 7 - 0.2 * k) ** 2 < 4**2
    array = np.where(ball, 300, np.where(tube, 20, 120)) + np.random.default_rng(seed).normal(0, 12, ball.shape)
    matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    matrix[:3, 3] = (50, 40, -70)
    return Volume(array.astype(np.int16), matrix, "scene"), np.where(ball, 3, np.where(tube, 7, 0)).astype(np.uint8)


IMAGE, TRUTH = scene()


DRAWN = (5, 9)


QUICK = "--set appearance_steps=60 --set work_voxels=20000 --set leave_one_out=false".split()


def only(labels, slices, axis=0):
    out = np.zeros_like(labels)
    index = (slice(None),) * axis + (list(slices),)
    out[index] = labels[index]
    return out


def write_labels(labels, name, matrix=IMAGE.ijk_to_ras):
    write_image(Volume(labels, matrix, "labels"), name)


def run(text, capsys):
    """The command in this process; its summary."""
    texts = ["few-shot", *text.split(), *QUICK, "--quiet", "--json"]
    arguments = main.build_parser().parse_args(texts)
    arguments.check(arguments)
    assert main.run(arguments) == 0
    return json.loads(capsys.readouterr().out)


def support_of(text):
    """The support that the command would use."""
    arguments = main.build_parser().parse_args(["few-shot", "ct.nii.gz", "-o", "out.nrrd", *text.split()])
    arguments.check(arguments)
    task = arguments.task
    return read_support(list(task.files), IMAGE, task.axis, list(task.segments), complete=not task.partial)


def contents(support):
    """What is drawn, comparable."""
    return [(s.axis, s.index, s.labels.tolist(), s.complete) for s in support.drawings]


def refused(text):
    """What the command says when it refuses its arguments or input."""
    arguments = main.build_parser().parse_args(["few-shot", *text.split(), "--quiet"])
    arguments.check(arguments)
    with pytest.raises(InputError) as caught:
        main.run(arguments)
    assert not os.path.exists("out.seg.nrrd") and not os.path.exists("out.nrrd")
    return str(caught.value)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def undrawn(labels, drawn=DRAWN):
    return np.delete(labels, list(drawn), axis=0)


def write_oblique_drawing(path):
    """The ball's middle slice as if it had been drawn on a plane that leans by 0.2; returns its centre."""
    turn = np.array([[np.cos(0.2), 0, np.sin(0.2)], [0, 1, 0], [-np.sin(0.2), 0, np.cos(0.2)]])
    matrix = IMAGE.ijk_to_ras.copy()
    matrix[:3, :3] = turn @ matrix[:3, :3]
    centre = IMAGE.ras_of((25, 17, 7))
    matrix[:3, 3] = centre - matrix[:3, :3] @ (25, 17, 7)
    write_labels(only(TRUTH, (7,)), path, matrix)
    return centre
