"""A model of what is accepted: trained within a time, scored on accepted cases that are held out in turn, and used for those
segments only that it finds better there than Few-shot does.

Every run has a folder of its own in ``model``; the file ``model/current.json`` names the one that is used and is written last.
A run that is killed leaves the former model in use.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..common.arrays import dice
from ..common.errors import InputError, ResourceError
from ..common.progress import Step, Steps, as_part_of
from ..images import Segmentation, Volume
from ..images.formats.seg_nrrd import read_segmentation
from ..images.image_warnings import collected_image_warnings
from ..images.reading import read_alone
from ..training.model.places import MODEL
from .accepting import cohort_segments
from .choosing import nearest_accepted
from .proposing import SUPPORTS, ReadCases, supports_of
from .segment_names import CohortSegments
from .store import ACCEPTED, CohortStore, now

if TYPE_CHECKING:
    from ..apply import ModelSegmenter

FOLDER, CURRENT = "model", "model/current.json"
_FINAL = "final"  # of a run: the model that is trained on all accepted cases
LEAST_CASES = 6  # accepted ones that a model is trained on
_FOLDS = 3  # times that some of them are held out
# Held-out cases on which Few-shot is measured, at most; fewer where they take longer than their part of the time.
_SCORED = 6
_GAIN = 0.01  # Dice by which the model must be better


@dataclass(frozen=True)
class Trained:
    """What a training came to: mean Dice of each segment on held-out cases, 0 to 1, of the model and of Few-shot.

    :param used: names of the segments that the model is used for.
    """

    cases: int
    model: Mapping[str, float]
    few_shot: Mapping[str, float]
    used: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelState:
    """What is known of the model of a cohort, from its records alone.

    :param trained: what its training came to; None: there is none yet.
    :param lacking: accepted cases that a (first) training still needs. ``since``: cases accepted after the model was trained.
    :param in_training: a process trains one now, here or on another computer that shares the folder.
    """

    trained: Trained | None
    lacking: int
    since: int
    in_training: bool


def model_state(store: CohortStore) -> ModelState:
    """The state of the model now; no image is read, and torch is not needed. InputError for a folder that cannot be opened."""
    current, accepted = store.read(CURRENT), store.accepted()
    cases = {name for name in current.get("cases") or () if isinstance(name, str)}
    used = tuple(name for name in current.get("used") or () if isinstance(name, str))
    trained = Trained(len(cases), _scores(current, "model"), _scores(current, "few_shot"), used) if cases else None
    lacking = max(0, LEAST_CASES - len(accepted))
    return ModelState(trained, lacking, len(set(accepted) - cases), store.model_is_in_training())


def _scores(record: Mapping, name: str) -> dict[str, float]:
    found = record.get(name)
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float)} if isinstance(found, dict) else {}


def train(store: CohortStore, minutes: float = 10.0, *, device: str = "auto", steps: int = 0) -> Steps[Trained]:
    """Trains on all accepted cases, and as often on a part of them, to know how good that is. Takes about ``minutes``.

    :param steps: of each training, at most; 0: as many as there is time for.
    :raises InputError: fewer than :data:`LEAST_CASES` accepted cases that can be used, or another training that runs now.
    """
    from ..few_shot.method import FewShot, load_encoder  # late: refusals need no torch

    with store.model_lock():
        names, notes = _usable(store)
        if len(names) < LEAST_CASES:
            raise InputError(
                f"{len(names)} accepted cases can be trained on, and a model needs {LEAST_CASES}; accept "
                f"{LEAST_CASES - len(names)} more" + (f" ({notes[0]})" if notes else "")
            )
        _tidy(store)  # what a training left that was killed
        run, read = f"{FOLDER}/{secrets.token_hex(4)}", ReadCases()
        try:
            segments = cohort_segments(store)
            make = partial(FewShot, encoder=load_encoder("auto", device), device=device)  # as proposals are made
            found, few_shot = [], []
            share = 1 / (_FOLDS + 2)
            for fold in range(_FOLDS):
                held = names[fold::_FOLDS]
                rest = [name for name in names if name not in held]
                work = _fitted(store, f"{run}/fold{fold}", rest, minutes * share, device, steps)
                segmenter = yield from as_part_of(work, fold * share, (fold + 0.8) * share)
                for name in held:
                    found.append((yield from _model_dice(store, segmenter, name, segments)))
                until = time.monotonic() + 60 * minutes * share / _FOLDS
                for number, name in enumerate(held[: _SCORED // _FOLDS]):
                    if number and time.monotonic() > until:
                        break  # one of each part at least
                    few_shot.append((yield from _few_shot_dice(store, name, rest, segments, read, make)))
                    yield Step((fold + 0.9) * share, "Measuring Few-shot")
            work = _fitted(store, f"{run}/{_FINAL}", names, minutes * share, device, steps)
            yield from as_part_of(work, 1 - share, 1.0)
            scores, others = _means(found, segments), _means(few_shot, segments)
            used = tuple(n for n in segments.names if scores.get(n, 0) > others.get(n, 0) + _GAIN)
            store.write(
                CURRENT,
                {"run": run, "when": now(), "cases": names, "model": scores, "few_shot": others, "used": list(used)},
            )
        finally:
            _tidy(store)
        return Trained(len(names), scores, others, used, tuple(notes))


def _tidy(store: CohortStore) -> None:
    """Removes all runs but the one that is used, and of that all but its final model."""
    used = store.work / str(store.read(CURRENT).get("run", "")) / _FINAL
    for folder in (*(store.work / FOLDER).glob("*/"), *used.parent.glob("fold*/")):
        if folder.is_dir() and folder != used.parent:
            shutil.rmtree(folder, ignore_errors=True)


def found_by_model(store: CohortStore, volume: Volume, segments: CohortSegments, device: str = "auto"):
    """What the current model finds in ``volume`` of the segments that it is used for: ({name: mask}, expected Dice by name), as a
    generator of progress; ({}, {}) without a model, or with one that cannot be read."""
    from ..apply import ModelSegmenter
    from ..training.model.model_file import load_model

    current = store.read(CURRENT)
    used = [n for n in current.get("used") or () if isinstance(n, str) and segments.find(n) is not None]
    path = store.work / str(current.get("run", "")) / _FINAL / MODEL
    if not used or not path.is_file():
        return {}, {}
    try:
        model = load_model(path, "segmenter")
    except InputError:
        return {}, {}
    answer = yield from ModelSegmenter(model, device).segment(volume, short_steps=True)
    masks, expected = {}, {}
    for number, one in enumerate(model.classes, 1):
        if one.name in used:
            masks[one.name] = answer.labels == number
            expected[one.name] = float(current.get("model", {}).get(one.name, np.nan))
    return masks, expected


def _usable(store: CohortStore) -> tuple[list[str], list[str]]:
    """Accepted cases whose image is there and is the one that was segmented, each image once; and notes on the others."""
    names, notes, images = [], [], store.found().images
    # Content of an image -> its first case: a second one would be trained on where the first is held out.
    known: dict[str, str] = {}
    for name in store.accepted():
        if name not in images:
            continue
        try:
            content = store.accepted_image_facts(name, images[name])["sha256"]
        except (InputError, ResourceError) as error:
            notes.append(f"case {name!r} is not trained on: {error}")
            continue
        if (first := known.setdefault(content, name)) != name:
            notes.append(f"case {name!r} is not trained on: it has the same image as case {first!r}")
            continue
        names.append(name)
    return names, notes


def _fitted(
    store: CohortStore, run: str, names: Sequence[str], minutes: float, device: str, steps: int
) -> Steps[ModelSegmenter]:
    """The segmenter that is trained on the cases with these names, in the folder ``run``."""
    from ..apply import ModelSegmenter
    from ..common.device import choose_device
    from ..training.cohort.folder import Case, Cohort, grid_of
    from ..training.cohort.label_classes import LabelClass
    from ..training.configuration import finetuning_configuration
    from ..training.finetune import finetune
    from ..training.model.model_file import load_model
    from ..training.trainer.run_folder import RunFolder

    segments = cohort_segments(store)
    classes = tuple(LabelClass(s.name, s.value, s.color, s.terminology) for s in segments.segments)
    images, cases = store.found().images, []
    for name in names:
        label = store.segmentation_path(ACCEPTED, name)
        cases.append(Case(name, images[name], label, name, grid_of(images[name])))
        yield Step(0.0, "Reading the accepted cases")
    cohort = Cohort(store.folder, tuple(cases), classes, listed_splits={"train": tuple(names)})
    settings = finetuning_configuration("tiny").replaced(minutes=minutes, validation=0.0)
    settings = settings.replaced(steps=steps) if steps else settings
    folder = RunFolder(store.work / run)
    folder.take()
    try:
        yield from finetune(cohort, settings, folder, device=choose_device(device))
    finally:
        folder.give_back()
    return ModelSegmenter(load_model(folder.path / MODEL, "segmenter"), device)


def _volume_of(store: CohortStore, name: str) -> Volume:
    with collected_image_warnings():  # reported when the case was proposed
        return read_alone(store.image_of(name))


def _model_dice(
    store: CohortStore, segmenter: ModelSegmenter, name: str, segments: CohortSegments
) -> Steps[dict[str, float]]:
    answer = yield from segmenter.segment(_volume_of(store, name))
    masks = {c.name: answer.labels == n for n, c in enumerate(segmenter.models.classes, 1)}
    return _dice(masks, read_segmentation(store.segmentation_path(ACCEPTED, name)), segments)


def _few_shot_dice(
    store: CohortStore, name: str, rest: Sequence[str], segments: CohortSegments, read: ReadCases, make: Callable
) -> Steps[dict[str, float]]:
    """Of what ``make(volume)``, a :class:`FewShot`, would propose from the cases ``rest``."""
    volume = _volume_of(store, name)
    near = yield from nearest_accepted(store, name, volume, SUPPORTS, rest)
    items, _, _ = supports_of(store, near, segments, read)
    few_shot = make(volume)
    few_shot.set_support(items)
    answer = yield from few_shot.propagate()
    masks = {s.name: np.logical_or.reduce([labels == s.value for labels in answer.layers]) for s in segments.segments}
    return _dice(masks, read_segmentation(store.segmentation_path(ACCEPTED, name)), segments)


def _dice(masks: Mapping[str, np.ndarray], true: Segmentation, segments: CohortSegments) -> dict[str, float]:
    """Dice of each segment that either side has."""
    scores: dict[str, float] = {}
    for segment in true.segments:
        home = segments.find(segment.name)
        a, b = masks.get(home.name if home else segment.name), true.mask(segment)
        a = np.zeros_like(b) if a is None else a
        if a.any() or b.any():
            scores[segment.name] = dice(a, b)
    return scores


def _means(found: Sequence[Mapping[str, float]], segments: CohortSegments) -> dict[str, float]:
    means = {}
    for name in segments.names:
        values = [one[name] for one in found if name in one]
        if values:
            means[name] = round(float(np.mean(values)), 4)
    return means
