"""Hostile inputs: damaged files of every kind that is read. Each must be read, or refused with the engine's own errors, soon,
within bounded memory, and without a file appearing anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import tifffile
from batch_cases import write_disk, write_drawn_ball
from dicom_files import (
    described_segment,
    enhanced_elements,
    functional_groups,
    plane_groups,
    segmentation_elements,
    write_dicom,
)
from image_files import write_dicom_series

from S3NetSegmentLib.engine import InputError, ResourceError
from S3NetSegmentLib.engine.batch.manifest import read_manifest
from S3NetSegmentLib.engine.batch.output_names import checked_output, place_in
from S3NetSegmentLib.engine.batch.records import read_record
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image

SECONDS = 20  # for one input
MEMORY = 3 << 30  # bytes of data of the whole process
EVIL = b"".join(
    (
        b"\xff",
        b"\x00",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"\x80\x00\x00\x00",
        b"999999999",
        b"-1",
        b"nan",
        b"1e308",
    )
)
TEXTS = (
    "../",
    "..\\",
    "/etc/passwd",
    "C:\\",
    "\0",
    "\n",
    '"',
    "'",
    ",",
    ";",
    "{",
    "[",
    "nan",
    "-1",
    "1e999",
    "9" * 30,
    "CON",
    "\u202e",
    "é",
)


class Hang(BaseException):
    """An input that took too long; nothing may catch it."""


class Evil:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def run(count: int, seed: int) -> list[str]:
    """Tries ``count`` inputs; prints how many of which kind; returns what went wrong."""
    bound_memory()
    failures: list[str] = []
    tried: Counter = Counter()
    refused: Counter = Counter()
    began, slowest = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        targets = _targets(folder)
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            kind = sorted(targets)[number % len(targets)]
            tried[kind] += 1
            before, started = _names(folder), time.monotonic()
            try:
                with time_limit(SECONDS), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    targets[kind](rng)
            except (InputError, ResourceError):
                refused[kind] += 1
            except (Hang, Exception) as error:
                failures.append(f"fuzz --seed {seed}, input {number} ({kind}): {type(error).__name__}: {error}"[:400])
            slowest = max(slowest, time.monotonic() - started)
            new = _names(folder) - before
            if new:
                failures.append(f"fuzz --seed {seed}, input {number} ({kind}): it wrote {sorted(new)[:3]}")
    for kind in sorted(tried):
        print(f"fuzz  {kind:<12} {tried[kind]:>6,} inputs, {refused[kind]:>6,} refused, the others read")
    print(
        f"fuzz  {count:,} inputs in {time.monotonic() - began:.0f} s, the slowest {slowest:.1f} s, {len(failures)} failures"
    )
    return failures


def _targets(folder: Path) -> dict[str, Callable]:
    """Kind of input -> function that makes one with a random generator and has it read."""
    sound = _sound_files(folder)
    work = folder / "work"
    work.mkdir()

    def file_target(kind: str, read: Callable) -> Callable:
        path = work / sound[kind].name
        path.write_bytes(b"")

        def target(rng):
            path.write_bytes(damaged(sound[kind].read_bytes(), rng))
            read(path)

        return target

    targets = {
        kind: file_target(kind, read_image)
        for kind in ("nifti", "nifti_gz", "nrrd", "mha", "png", "jpeg", "bmp", "tiff", "dicom", "dicom_frames")
    }
    targets |= {kind: file_target(kind, read_segmentation) for kind in ("seg_nrrd", "dicom_seg")}
    targets |= {
        kind: file_target(kind, lambda p: _checked_manifest(p, folder)) for kind in ("manifest_csv", "manifest_json")
    }
    with contextlib.suppress(ImportError):
        from S3NetSegmentLib.engine.training.model.model_file import load_model

        targets["model"] = file_target("model", load_model)
        evil = work / "evil.pt"
        evil.write_bytes(b"")

        def evil_model(rng):
            evil.write_bytes(pickle.dumps({"format": Evil(str(folder / "owned"))}))
            load_model(evil)

        targets["evil_model"] = evil_model
    (folder / "out" / "records").mkdir(parents=True)
    record = folder / "out" / "records" / "a.json"
    record.write_bytes(b"")

    def record_target(rng):
        record.write_bytes(damaged(sound["record"].read_bytes(), rng))
        read_record(folder / "out", "a")

    return targets | {"record": record_target, "output_name": lambda rng: _name_target(rng, folder)}


def _checked_manifest(path: Path, folder: Path) -> None:
    for case in read_manifest(path, folder / "results"):
        for name in case.outputs().values():
            if not os.path.realpath(place_in(folder / "results", name)).startswith(str(folder / "results") + os.sep):
                raise AssertionError(f"{name!r} leads out of the folder")


def _name_target(rng: np.random.Generator, folder: Path) -> None:
    parts = [*TEXTS, "a", "b.nii.gz", ".", "..", "/", "records", "report", " "]
    name = "".join(rng.choice(parts, rng.integers(1, 6)))
    try:
        accepted = checked_output(name)
    except ValueError as error:
        raise InputError(str(error)) from None
    path = place_in(folder / "results", accepted)
    if not str(path).startswith(str(folder / "results") + os.sep) or ".." in path.parts:
        raise AssertionError(f"{name!r} leads out of the folder")


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """``content`` with a few random damages: flipped bytes, cut ends, doubled and removed parts, hostile numbers and texts."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        if not data:
            break
        # Headers decide most; half of the damages are near the beginning.
        place = int(rng.integers(0, min(len(data), 400) if rng.random() < 0.5 else len(data)))
        kind = rng.integers(0, 6)
        if kind == 0:
            data[place] ^= int(rng.integers(1, 256))
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            del data[place : place + int(rng.integers(1, 64))]
        elif kind == 3:
            data[place:place] = data[place : place + int(rng.integers(1, 200))]
        elif kind == 4:
            start = int(rng.integers(0, len(EVIL) - 1))
            part = EVIL[start : start + int(rng.integers(1, 9))]
            data[place : place + len(part)] = part
        else:
            data[place:place] = str(rng.choice(TEXTS)).encode()
    return bytes(data)


def _sound_files(folder: Path) -> dict[str, Path]:
    """One sound file of each kind."""
    sound = folder / "sound"
    sound.mkdir()
    write_drawn_ball(sound)
    write_disk(sound / "a.png")
    image = sitk.ReadImage(str(sound / "ball.nii.gz"))
    for name in ("b.nii", "b.nrrd", "b.mha"):
        sitk.WriteImage(image, str(sound / name))
    grey = sitk.ReadImage(str(sound / "a.png"))
    for name in ("a.jpg", "a.bmp"):
        sitk.WriteImage(grey, str(sound / name))
    tifffile.imwrite(
        sound / "a.tif", np.zeros((3, 40, 50), np.uint16), tile=(16, 16), photometric="minisblack", compression="zlib"
    )
    series = write_dicom_series(sound / "series", np.zeros((1, 8, 8), np.int16), np.eye(4))
    voxels = np.random.default_rng(0).integers(0, 2, (4, 6, 7))
    frames = [
        functional_groups((0, 0, 2 * k), {0x00209111: ("SQ", [{0x00209128: ("UL", 1)}])}, slope=k + 1) for k in range(4)
    ]
    write_dicom(sound / "frames.dcm", enhanced_elements(voxels.astype(np.uint16), frames))
    planes = [plane_groups((0, 0, 2 * k), 1) for k in range(4)]
    write_dicom(sound / "seg.dcm", segmentation_elements(voxels, planes, [described_segment(1, "Liver")]))
    rows = [{"image": "../sound/a.png", "pixels": [[28, 24]], "output": "x/a", "settings": {"work_size": 64}}]
    (sound / "m.json").write_text(json.dumps(rows))
    (sound / "m.csv").write_text(
        'image,method,pixels,support,drawn,output,settings\n../sound/a.png,segment,"28,24",,,a,work_size=64\n'
        '../sound/ball.nii.gz,few-shot,,../sound/drawn.seg.nrrd,"4,8",x/b.nii.gz,target=compact\n'
    )
    facts = {
        "schema": 1,
        "name": "a",
        "status": "done",
        "settings_hash": "0",
        "inputs": {"image": {"path": "a"}},
        "outputs": {},
    }
    facts |= {
        "segments": [{"name": "O", "voxels": 1, "volume_ml": 0.1}],
        "notes": [],
        "seconds": {},
        "error": "",
        "method": "segment",
    }
    (sound / "r.json").write_text(json.dumps(facts | {"thumbnail": "", "confidence": 0.5, "memory_mb": 1}))
    files = {
        "nifti": "b.nii", "nifti_gz": "ball.nii.gz", "nrrd": "b.nrrd", "mha": "b.mha", "png": "a.png", "jpeg": "a.jpg",
        "bmp": "a.bmp", "tiff": "a.tif", "seg_nrrd": "drawn.seg.nrrd", "manifest_json": "m.json", "manifest_csv": "m.csv", "record": "r.json",
        "dicom_frames": "frames.dcm", "dicom_seg": "seg.dcm",
    }  # fmt: skip
    found = {kind: sound / name for kind, name in files.items()} | {"dicom": series[0]}
    with contextlib.suppress(ImportError):
        found["model"] = _sound_model(sound / "model.pt")
    return found


def _sound_model(path: Path) -> Path:
    from S3NetSegmentLib.engine.nets.unet import TwoStreamUNet, seeded
    from S3NetSegmentLib.engine.training.cohort.label_classes import LabelClass
    from S3NetSegmentLib.engine.training.model.model_file import Model, describe_network, network_tensors, save_model
    from S3NetSegmentLib.engine.training.slices.layout import SliceLayout

    network = seeded(lambda: TwoStreamUNet(2, 1, (4, 8)), 0)
    described = describe_network(network), network_tensors(network)
    classes = (LabelClass("Ring", 1, (1.0, 0.5, 0.0), ""),)
    return save_model(Model("segmenter", *described, SliceLayout("axial", 1.0, 48), classes=classes), path)


def _names(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@contextlib.contextmanager
def time_limit(seconds: int):
    """Raises Hang in the block after ``seconds`` of processor time, or ten times as much by the clock on the wall (a busy machine
    is no hang), where the system has alarms; again each second, since Python drops what is raised in a destructor."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(*_):
        raise Hang(f"longer than {seconds} s")

    before = {number: signal.signal(number, late) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, seconds, 1)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def bound_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
