"""The kinds of hostile files: how one is made, and what of the engine reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import hostile_images
import numpy as np
from batch_cases import write_drawn_ball
from hostile_contents import altered, hostile_json, repacked
from image_files import write_dicom_series
from model_files import write_model

_IMAGES = {
    "nifti": (hostile_images.nifti, "a.nii"), "nifti_gz": (hostile_images.nifti, "a.nii.gz"),
    "nrrd": (hostile_images.nrrd, "a.nrrd"), "nhdr": (hostile_images.nrrd, "a.nhdr"),
    "mha": (hostile_images.meta, "a.mha"), "mhd": (hostile_images.meta, "a.mhd"), "png": (hostile_images.png, "a.png"),
    "tiff": (hostile_images.tiff, "a.tif"), "bmp": (hostile_images.bmp, "a.bmp"),
}  # fmt: skip


def kinds(folder: Path) -> dict[str, Callable]:
    """Kind -> function that makes a file in a folder with a random generator and returns what reads it; it takes sound files
    from ``folder``, where they are written first."""
    import torch

    from S3NetSegmentLib.engine.images.reading import read_image

    write_drawn_ball(folder)
    write_model(folder / "model.pt")
    (series,) = write_dicom_series(folder / "series", np.zeros((1, 8, 8), np.int16), np.eye(4))
    ball, model = read_image(folder / "ball.nii.gz"), torch.load(folder / "model.pt", weights_only=True)
    images = {**_IMAGES, "dicom": (hostile_images.dicom_file(series.read_bytes()), "a.dcm")}
    return {
        **{kind: _image(make, name) for kind, (make, name) in images.items()},
        "seg_nrrd": lambda work, rng: _segmentation(work, rng, ball),
        "model": lambda work, rng: _model(work, rng, model),
        "weights": _weights,
        "run": _run_folder,
        "cohort": lambda work, rng: _cohort(work, rng, folder / "ball.nii.gz"),
        "manifest": _manifest,
    }


def _image(make: Callable, name: str) -> Callable:
    from S3NetSegmentLib.engine.images.reading import read_image

    def kind(work: Path, rng):
        path = work / name
        make(path, rng)
        return lambda: read_image(path)

    return kind


def _segmentation(work: Path, rng, ball):
    from S3NetSegmentLib.engine.common.progress import run_to_end
    from S3NetSegmentLib.engine.few_shot.run import read_drawings
    from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
    from S3NetSegmentLib.engine.tasks.few_shot import FewShotTask

    path = work / "a.seg.nrrd"
    hostile_images.seg_nrrd(path, rng)

    def read():
        read_segmentation(path)
        run_to_end(read_drawings(ball, FewShotTask((str(path),))))

    return read


def _model(work: Path, rng, content: dict):
    import torch

    from S3NetSegmentLib.engine.training.model.model_file import is_model_file, load_encoder_file, load_model

    path = work / "model.pt"
    torch.save(altered(content, rng), path)
    if rng.random() < 0.3:
        repacked(path, rng)

    def read():
        is_model_file(path)
        if rng.random() < 0.5:
            load_encoder_file(path)
        load_model(path).build()

    return read


def _weights(work: Path, rng):
    import torch

    from S3NetSegmentLib.engine.nets.weights.checkpoint import recognise_file

    path = work / "w.pth"
    tensors = {"pos_embed": torch.zeros(1).expand(1, 1370, int(rng.choice([384, 10**9])))}
    torch.save(tensors | {f"t{n}": torch.zeros(1) for n in range(rng.integers(0, 50))}, path)
    if rng.random() < 0.5:
        repacked(path, rng)
    return lambda: recognise_file(path)


def _run_folder(work: Path, rng):
    import torch

    from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder

    state = {
        "format": "S3NetSegment training state", "version": 1, "settings": {}, "identity": {}, "step": 1, "steps": 2, "plan_from": [0, 0.0],
        "seconds": 0.0, "stale": 0, "validation_due": False, "best": None, "notes": [], "task": {}, "optimisation": {},
    }  # fmt: skip
    torch.save(altered(state, rng), work / "state.pt")
    for name in ("status.json", "log.jsonl"):
        (work / name).write_bytes(hostile_json(rng))

    def read():
        folder = RunFolder(work)
        folder.is_running()
        list(folder.entries())
        folder.read_state()

    return read


def _cohort(work: Path, rng, image: Path):
    from S3NetSegmentLib.engine import run_to_end
    from S3NetSegmentLib.engine.training.cohort.folder import read_cohort

    (work / "images").mkdir()
    (work / "images" / "a.nii.gz").write_bytes(image.read_bytes())
    if rng.random() < 0.2:
        os.mkfifo(work / "images" / "b.nrrd")
    names = ["a", 1, None, ["a"], {"a": 1}, "x" * 1000, "../a", "\0"]
    wrong = {
        "patients": {str(rng.choice(["a", "b"])): names[rng.integers(8)]},
        "splits": {
            str(rng.choice(["train", "test", "x"])): [names[rng.integers(8)]] * int(rng.choice([1, 2, 100_000]))
        },
        "classes": [
            {
                "name": names[rng.integers(8)],
                "value": int(rng.choice([0, 1, 70_000])),
                "color": names[rng.integers(8)],
            }
        ]
        * int(rng.choice([1, 300, 100_000])),
    }
    chosen = {name: value for name, value in wrong.items() if rng.random() < 0.6}
    text = json.dumps(chosen).encode() if rng.random() < 0.8 else hostile_json(rng)
    (work / "cohort.json").write_bytes(text)
    return lambda: run_to_end(read_cohort(work))


def _manifest(work: Path, rng):
    from S3NetSegmentLib.engine.batch.manifest import read_manifest

    (work / "a.png").write_bytes(b"x")
    if rng.random() < 0.5:
        rows = b"image,output\n" + b"".join(b"a.png,o%d\n" % n for n in range(rng.choice([1, 5000])))
        (work / "m.csv").write_bytes(
            rows + bytes(rng.choice([b'"', b"," * 10**6, b"a" * 10**6, b"../x,../../y\n", b""]))
        )
        return lambda: read_manifest(work / "m.csv", work / "out")
    (work / "m.json").write_bytes(hostile_json(rng))
    return lambda: read_manifest(work / "m.json", work / "out")
