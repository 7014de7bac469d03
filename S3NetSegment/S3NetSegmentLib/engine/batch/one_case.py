"""One case from its files to its files: what every worker does, on this machine, on a cluster and in Slicer.

Results are made in a folder of their own beside their place and put there by renames; the record comes last. So whatever
stops the process, a case without a record is not finished, and one with a record is whole.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import io
import os
import platform
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from ... import __version__
from ..common.errors import InputError, ResourceError
from ..common.progress import Step, run_to_end
from ..few_shot.run import carry_drawings, read_drawings
from ..images import Segmentation, Volume
from ..images.dicom.seg_writing import write_dicom_seg
from ..images.files import SEGMENTATION_FORMATS, check_output_path, flush_to_disk, rename_over, suffix_of
from ..images.formats.encoding import write_png_pixels
from ..images.image_warnings import collected_image_warnings
from ..images.overlay import draw_overlay
from ..images.reading import count_frames
from ..images.writing import write_frames, write_image, write_png, write_segmentation
from ..results import frame_label_maps, frame_progress
from ..segment.run import segment_image
from ..tasks.few_shot import FewShotTask
from ..tasks.forms import ALL_FRAMES
from ..tasks.segment import ApplyTask, SegmentTask
from ..training.cohort.channels import channel_files
from ..training.model.places import model_files
from .case import Case, CaseFiles, CaseResult, joined, shrunk
from .machine import forget_peak_memory, peak_memory_mb
from .output_names import DICOM_SEG, is_current, place_in
from .records import (
    encoder_digest,
    forget,
    input_facts,
    same_content,
    settings_hash,
    staging_folder,
    write_record,
)
from .resume import DONE, FAILED

PICTURE, THUMBNAIL = 512, 176  # pixels of the long side
_ONE_AT_A_TIME = threading.Lock()


def run_case(
    case: Case,
    folder: str | os.PathLike,
    device: str = "auto",
    on_step: Callable[[Step], None] | None = None,
    files: CaseFiles | None = None,
    attempt: int = 1,
    wanted: Callable[[], bool] | None = None,
) -> dict:
    """Does ``case`` and writes its results and its record into ``folder``; returns the record.

    Never raises for what is wrong with the case: that is in the record (``status`` "failed", ``error``).

    :param attempt: counted from 1; above 1 after a worker was lost.
    :param wanted: asked before anything is written; if the answer is no, nothing is.
    """
    clock = time.perf_counter()
    record, device = new_record(case, attempt), case.device or device
    forget_peak_memory()
    try:
        with collected_image_warnings() as warned:
            _check_wanted(wanted)
            forget(folder, case.name)  # from here on nothing of an earlier run counts
            _make(case, folder, device, on_step, files or CaseFiles(), record, wanted)
        record["notes"] = list(dict.fromkeys([*warned, *record["notes"]]))
        record["status"] = DONE
    except _Unwanted as error:
        return {**record, "error": str(error)}
    except (InputError, ResourceError) as error:
        record["error"] = str(error)
    except MemoryError:
        record["error"] = "the memory is full; use fewer jobs at once (--jobs), fewer slices or smaller work sizes"
    except OSError as error:
        record["error"] = f"{error.filename or case.output}: {error.strerror or error}; check the disk and the network"
    except Exception as error:
        record["error"] = f"{type(error).__name__}: {error} (a defect; please report it)"
        record["traceback"] = traceback.format_exc(limit=-12)
    record["seconds"]["total"] = round(time.perf_counter() - clock, 3)
    record["memory_mb"] = peak_memory_mb()
    record["finished"] = _now()
    return saved(folder, record) if wanted is None or wanted() else record


def run_alone(case: dict, folder: str, device: str, run: str) -> dict:
    """:func:`run_case` for what :meth:`Case.as_plain` gave, one at a time in this process: workers of a cluster may have several
    threads, but warnings and the number of torch threads belong to the whole process.

    :param run: the batch that asks, see :func:`announced`; once it has ended nothing more is written.
    """
    with _ONE_AT_A_TIME:
        return run_case(Case.from_plain(case), folder, device, wanted=lambda: is_current(folder, run))


def new_record(case: Case, attempt: int = 1) -> dict:
    """A record of ``case`` on which nothing has been done; ``status`` "failed"."""
    return {
        "name": case.name, "row": case.row, "status": FAILED, "error": "", "method": case.method, "image": case.image,
        "version": __version__, "settings_hash": "", "inputs": {}, "outputs": {}, "segments": [], "confidence": None,
        "settings": list(getattr(case.task, "settings", ())), "seed": getattr(case.task, "seed", None), "device": "", "notes": [], "seconds": {}, "memory_mb": None,
        "attempt": attempt, "host": platform.node(), "started": _now(), "finished": "", "thumbnail": "",
    }  # fmt: skip


def saved(folder: str | os.PathLike, record: dict) -> dict:
    """Writes ``record``; if that is impossible the returned one says so and is failed."""
    try:
        write_record(folder, record)
    except (InputError, ResourceError) as error:
        told = f"{record['error']}; and " if record["error"] else ""
        return {**record, "status": FAILED, "error": f"{told}the record could not be written: {error}"}
    return record


def lost_record(case: Case, folder: str | os.PathLike, error: str, attempt: int = 1) -> dict:
    """The record, written, of a case whose worker is gone, so that somebody else has to say what became of it."""
    record = new_record(case, attempt)
    return saved(folder, {**record, "error": error, "finished": record["started"]})


class _Unwanted(Exception):
    """The batch that asked for a case has ended."""


def _check_wanted(wanted: Callable[[], bool] | None) -> None:
    if wanted is not None and not wanted():
        raise _Unwanted("the batch that asked for this case has ended; nothing was written")


def _make(case: Case, folder, device: str, on_step, files: CaseFiles, record: dict, wanted) -> None:
    times = _Times(record["seconds"])
    before = input_facts(case)
    record["inputs"], record["settings_hash"] = before, settings_hash(case, encoder_digest(case))
    times.end("hashing")
    method = {"segment": _segment, "few-shot": _few_shot, "apply": _apply}[case.method]
    frames, results = _frames_of(case), []
    for number, frame in enumerate(frames):
        volume = files.read_image(frame.image, frame.frame_number, frame.series)
        check_output_path(place_in(folder, case.output), (*SEGMENTATION_FORMATS, DICOM_SEG), volume=volume)
        times.end("reading")
        shown = frame_progress(on_step, number, len(frames)) if on_step and len(frames) > 1 else on_step
        results.append(method(frame, volume, device, shown, files))
        times.end("method")
    result = results[0] if len(results) == 1 else joined(results)
    sure = result.confidence
    record |= {
        **result.described(), "confidence": None if sure is None or not np.isfinite(sure) else round(float(sure), 4), "device": result.device,
        "seed": result.seed, "settings": [f"{n}={v}" for n, v in result.settings.items()], "notes": result.notes,
        "thumbnail": _thumbnail(result.picture),
    }  # fmt: skip
    if not same_content(input_facts(case, before), before):
        raise InputError("an input was changed while it was being used; run the batch again with --resume")
    _check_wanted(wanted)
    record["outputs"] = _written(case, folder, volume, result, files)
    times.end("writing")


def _frames_of(case: Case) -> list[Case]:
    """``case`` for each frame that it asks for; an image with one frame is that image."""
    if case.frame != ALL_FRAMES:
        return [case]
    count = count_frames(case.image, case.series)
    return [dataclasses.replace(case, frame=number if count > 1 else None) for number in range(count)]


class _Times:
    def __init__(self, seconds: dict):
        self._seconds, self._since = seconds, time.perf_counter()

    def end(self, name: str) -> None:
        now = time.perf_counter()
        self._seconds[name] = round(self._seconds.get(name, 0.0) + now - self._since, 3)
        self._since = now


def _segment(case: Case, volume: Volume, device: str, on_step, files: CaseFiles) -> CaseResult:
    assert isinstance(case.task, SegmentTask)
    outcome = run_to_end(segment_image(volume, case.task, device), on_step)
    sure = run_to_end(outcome.confidence_steps(), on_step) if case.confidence else None
    regions = outcome.regions
    return CaseResult(
        outcome.segmentation, outcome.agreement(), sure, outcome.picture(PICTURE), regions.device, regions.settings.seed,
        regions.settings.changed(), list(outcome.notes),
    )  # fmt: skip


def _few_shot(case: Case, volume: Volume, device: str, on_step, files: CaseFiles) -> CaseResult:
    assert isinstance(case.task, FewShotTask)
    reading = read_drawings(volume, case.task, lambda path: files.read_image(path, None), device)
    support = run_to_end(reading, on_step)
    outcome = run_to_end(carry_drawings(volume, case.task, support, device, _encoder), on_step)
    flat, told = (None, []) if suffix_of(case.output) in (".seg.nrrd", DICOM_SEG) else outcome.label_map()
    return CaseResult(
        outcome.segmentation, outcome.expected_dice(), outcome.confidence if case.confidence else None,
        outcome.picture(PICTURE), outcome.device, outcome.settings.seed, outcome.settings.changed(), [*outcome.notes, *told],
        flat,
    )  # fmt: skip


def _apply(case: Case, volume: Volume, device: str, on_step, files: CaseFiles) -> CaseResult:
    from ..apply import as_segmentation, model_tags

    assert isinstance(case.task, ApplyTask)
    models, flips = model_files(case.task.model), case.task.flips
    segmenter = _segmenter(models, tuple(map(_changed, models)), device, flips)
    paths = channel_files(case.image, segmenter.models.channels)[1:]
    volumes = (volume, *(files.read_image(str(path), case.frame_number) for path in paths))
    answer = run_to_end(segmenter.segment(volumes, confidence=True), on_step)
    tags = model_tags(segmenter.models, answer.device, volume.name, flips=flips)
    segmentation = as_segmentation(segmenter.models, answer.labels, volume, tags)
    found = answer.labels > 0
    sure = float(answer.confidence[found].mean(dtype=np.float64)) if found.any() else None
    sure_map = Volume(answer.confidence, volume.ijk_to_ras, "confidence") if case.confidence else None
    picture = draw_overlay(volume, segmentation, axis="auto", size=PICTURE)
    return CaseResult(
        segmentation, sure, sure_map, picture, answer.device, 0, {"flips": True} if flips else {}, list(answer.notes)
    )


@lru_cache(maxsize=1)  # a worker mostly does one kind of case
def _segmenter(files: tuple[Path, ...], changed: tuple, device: str, flips: bool):
    from ..apply import ModelSegmenter
    from ..training.model.ensemble import load_ensemble

    return ModelSegmenter(load_ensemble(files), device, flips=flips)


def _changed(file: Path) -> tuple:
    """What changes with the content of ``file``: a copy can keep the time of the file that it replaces, but not all of these."""
    facts = os.stat(file)
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _encoder(name: str, device: str):
    changed = os.stat(name).st_mtime_ns if os.path.isfile(name) else 0
    return _loaded_encoder(name, changed, device)


@lru_cache(maxsize=1)
def _loaded_encoder(name: str, changed: int, device: str):
    from ..few_shot.voters.encoders import load_encoder

    return load_encoder(name, device)


def _written(case: Case, folder, volume: Volume, result: CaseResult, files: CaseFiles) -> dict:
    """Writes all results and puts them in their places; what -> name, bytes and time of change."""
    staging, outputs = staging_folder(folder, case), {}
    try:
        made = {what: staging / Path(name).name for what, name in case.outputs().items()}
        if result.frames:
            write_frames(frame_label_maps([frame.segmentation for frame in result.frames]), made["segmentation"])
        else:
            _write_segmentation(case, result.label_map or result.segmentation, made["segmentation"], volume, files)
        write_png(result.picture, made["overlay"])
        sure = [frame.confidence_map for frame in result.frames or (result,) if frame.confidence_map is not None]
        if sure and result.frames:
            write_frames(sure, made["confidence"])
        elif sure:
            write_image(sure[0], made["confidence"])
        for path in made.values():
            with open(path, "rb+") as file:
                flush_to_disk(file)
        for what, name in case.outputs().items():
            place = place_in(folder, name)  # asked again: a link may have been put there meanwhile
            rename_over(made[what], place)  # also replaces a link itself instead of following it
            facts = os.stat(place)
            outputs[what] = {"name": name, "bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return outputs


def _write_segmentation(case: Case, segmentation: Segmentation, path: Path, volume: Volume, files: CaseFiles) -> None:
    if suffix_of(path) == ".seg.nrrd":
        files.write_segmentation(segmentation, path, volume)
    elif suffix_of(path) == DICOM_SEG:
        write_dicom_seg(segmentation, case.image, path, frame=case.frame_number, series=case.series)
    elif case.method == "few-shot":  # label maps keep the values of the drawing
        write_image(Volume(segmentation.layers[0], segmentation.ijk_to_ras, "labels"), path)
    else:
        write_segmentation(segmentation, path)


def _thumbnail(picture: np.ndarray) -> str:
    """A small picture as a data address for the report."""
    small = shrunk(picture, THUMBNAIL)
    small &= 0xF8  # five bits of each colour: a third less to store, and hardly seen at this size
    file = io.BytesIO()
    write_png_pixels(file, small)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
