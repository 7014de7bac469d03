"""How good a model is on labelled cases of a cohort that it has not been trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from .apply import ModelSegmenter
from .common.errors import InputError
from .common.progress import Steps, as_part_of
from .images.image_warnings import grouped_warnings
from .images.overlay import best_slice, draw_overlay, montage
from .images.segmentation import Segment, Segmentation, name_key
from .images.volume import Volume
from .metrics import SegmentScore, score_masks, summarise
from .training.cohort.folder import Case, Cohort, image_hash
from .training.cohort.label_classes import LabelClass
from .training.model.ensemble import Ensemble
from .training.model.model_file import Model
from .training.preparation import split_cohort

EVALUATED = ("test", "validation", "train", "unseen", "all")
_PICTURES = 3


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of a model.

    :param scores: for each case by name, the scores of its structures in the model's order.
    :param pictures: of the worst cases by name, worst first: drawn labels at the left, the model's at the right, uint8
        ``[H, W, 3]``.
    :param notes: sentences that the user should read.
    """

    split: str
    scores: Mapping[str, list[SegmentScore]]
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, dict]:
        """Means over the cases of each structure, see :func:`~..metrics.summarise`; and of all under ""."""
        names = list(dict.fromkeys(s.name for scores in self.scores.values() for s in scores))
        each = {n: summarise(s for scores in self.scores.values() for s in scores if s.name == n) for n in names}
        return {**each, "": summarise(s for scores in self.scores.values() for s in scores)}


def evaluate(
    model: Ensemble | Model,
    cohort: Cohort,
    split: str = "test",
    *,
    seen_allowed: bool = False,
    device: str | torch.device = "auto",
    flips: bool = False,
) -> Steps[Evaluation]:
    """Applies ``model`` to the labelled cases of a split of ``cohort`` and compares, on the images' own grids.

    :param model: or several, whose answers are averaged; a case that one of them has been trained on counts as seen.
    :param split: "test", "validation", "train": as cohort.json lists them, else as the training split this cohort; "unseen":
        all labelled cases whose image neither trained the model nor chose its state; "all".
    :param seen_allowed: also score cases that the model was trained on. ``flips``: see :class:`~.apply.ModelSegmenter`.
    :raises InputError: no such case, a case that was trained on (unless allowed), or no common structure.
    """
    if split not in EVALUATED:
        raise InputError(f"split is {split!r}; it must be one of {', '.join(EVALUATED)}")
    pairs, notes = _common_classes(model, cohort)
    cases = _cases_of(model, cohort, split)
    segmenter = ModelSegmenter(model, device, flips=flips)
    trained, checked = set(model.training_cases), set(model.validation_cases)
    scores, worst, seen, choosing = {}, [], [], []
    first: dict[str, str] = {}  # content of an image -> the case that has it
    warned: list[str] = []
    for number, case in enumerate(cases):
        volumes = case.read_channels(warned)
        volume, digest = volumes[0], image_hash(*volumes)
        if split == "unseen" and digest in trained | checked:
            continue
        choosing += [case.name] if digest in checked else []
        if (twin := first.setdefault(digest, case.name)) != case.name:
            notes.append(f"cases {twin!r} and {case.name!r} have the same image, which counts twice")
        if digest in trained:
            if not seen_allowed:
                raise InputError(
                    f"the model was trained on the image of case {case.name!r}: a score there says nothing about new patients. Choose "
                    "other cases (--split unseen), or insist with --seen-cases"
                )
            seen.append(case.name)
        answer = yield from as_part_of(segmenter.segment(volumes), number / len(cases), (number + 1) / len(cases))
        truth = case.read_labels(cohort.classes, volume)
        scores[case.name] = [
            score_masks(found.name, answer.labels == at, truth == number, volume.ijk_to_ras)
            for at, (found, number) in pairs.items()
        ]
        notes += [n for n in answer.notes if n not in notes]
        dice = [s.dice for s in scores[case.name] if s.state != "absent"]
        if dice:
            worst.append((float(np.mean(dice)), case.name, _pair(volume, truth, answer.labels, pairs)))
            worst = sorted(worst, key=lambda w: w[:2])[:_PICTURES]
    if not scores:
        raise InputError(
            f"all {len(cases)} labelled cases of cohort {str(cohort.folder)!r} trained the model or chose its state: nothing is left to judge it by"
        )
    notes += grouped_warnings(warned)
    if choosing:
        notes.insert(
            0,
            f"{len(choosing)} of these {len(scores)} cases chose the state of the model: their scores flatter it a little",
        )
    if seen:
        notes.insert(0, f"the model was trained on {len(seen)} of these {len(scores)} cases: their scores flatter it")
    return Evaluation(split, scores, {name: picture for _, name, picture in worst}, tuple(notes))


def _cases_of(model: Ensemble | Model, cohort: Cohort, split: str) -> tuple[Case, ...]:
    if not cohort.labelled:
        raise InputError(f"no case of cohort {str(cohort.folder)!r} is labelled: there is nothing to compare with")
    if split in ("all", "unseen"):
        return cohort.labelled
    made = model.provenance.get("split", {})
    parts = split_cohort(
        cohort, seed=int(model.provenance.get("seed", 0)), validation=float(made.get("validation", 0)),
        test=float(made.get("test", 0)), folds=int(made.get("folds", 0)), fold=int(made.get("fold", 0)),
    )  # fmt: skip
    cases = tuple(c for c in getattr(parts, split) if c.label is not None)
    if not cases:
        again = "" if split == "train" else f", train with --set {split}=0.2"
        raise InputError(
            f"cohort {str(cohort.folder)!r} has no {split} cases; list them in cohort.json{again}, or evaluate all labelled cases "
            "that the model has not seen with --split unseen"
        )
    return cases


def _common_classes(model: Ensemble | Model, cohort: Cohort) -> tuple[dict[int, tuple[LabelClass, int]], list[str]]:
    """For each of the model's labels its class and its number in the cohort; and what the user should know of it.

    Classes are paired by name, and by label value where one side has no names: labels of a plain label map.
    """
    by_name = {name_key(c.name): n for n, c in enumerate(cohort.classes, 1)}
    pairs = {n: (c, by_name[name_key(c.name)]) for n, c in enumerate(model.classes, 1) if name_key(c.name) in by_name}
    notes = []
    if any(all(c.is_unnamed for c in side) for side in (model.classes, cohort.classes)):
        by_value = {c.value: n for n, c in enumerate(cohort.classes, 1)}
        pairs = {n: (c, by_value[c.value]) for n, c in enumerate(model.classes, 1) if c.value in by_value}
        told = [
            f"{c.value} = {(c if not c.is_unnamed else cohort.classes[number - 1]).name}"
            for c, number in pairs.values()
        ]
        if not all(c.is_unnamed for c in (*model.classes, *cohort.classes)):
            notes.append(f"the labels of one side have no names, so they were paired by value: {', '.join(told)}")
        pairs = {n: (cohort.classes[number - 1] if c.is_unnamed else c, number) for n, (c, number) in pairs.items()}
    if not pairs:
        sides = [", ".join(c.name for c in side) for side in (model.classes, cohort.classes)]
        raise InputError(
            f"the model finds {sides[0]}, but the cohort has {sides[1]}; name the classes alike in cohort.json, or give label "
            "maps their names with --labels"
        )
    others = [c.name for n, c in enumerate(model.classes, 1) if n not in pairs]
    others += [c.name for n, c in enumerate(cohort.classes, 1) if n not in {number for _, number in pairs.values()}]
    return pairs, [*notes, *([f"not scored, since only one side knows them: {', '.join(others)}"] if others else [])]


def _pair(volume: Volume, truth: np.ndarray, labels: np.ndarray, pairs) -> np.ndarray:
    """The slice with most drawn labels, as drawn and as found."""
    drawn = Segmentation([truth], [Segment(c.name, c.color, n) for c, n in pairs.values()], volume.ijk_to_ras)
    found = Segmentation([labels], [Segment(c.name, c.color, at) for at, (c, _) in pairs.items()], volume.ijk_to_ras)
    axis = volume.slice_axis()
    index = best_slice(volume, drawn, axis)
    return montage([draw_overlay(volume, s, axis=axis, index=index, size=384) for s in (drawn, found)], 2)
