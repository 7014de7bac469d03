"""``PretrainTask`` and ``FinetuneTask``: what is asked of a training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .fields import asked, command_line
from .forms import COMPUTING, DEVICE, MINUTES, PATH, SEED, SETTINGS, SWITCH, TEXT, Form, choice, whole

HOW_LONG = "how long"


@dataclass(frozen=True)
class TrainTask:
    """What every training is asked; which of its subclasses it is says what is trained."""

    command: ClassVar[str]

    cohort: str = asked("", "the cohort folder: images/, labels/, optional cohort.json", PATH, option="", column="")
    preset: str = ""  # of each subclass
    minutes: float | None = asked(
        None, "time for the whole run; the steps that fit into it are planned", MINUTES, column="", group=HOW_LONG
    )
    steps: int | None = asked(None, "optimisation steps", Form(whole(1, 100_000_000), "N"), column="", group=HOW_LONG)
    settings: tuple[str, ...] = asked(
        (), "change a setting, e.g. --set learning_rate=0.002; may be repeated. 's3net settings' lists them all", SETTINGS,
        option="--set", column="", group=COMPUTING,
    )  # fmt: skip
    seed: int | None = asked(None, "random seed", SEED, column="", group=COMPUTING)
    device: str = asked(
        "auto", "auto (the default) takes CUDA if there is one, else the Apple GPU, else the CPU; also cuda:1 and the like",
        DEVICE, column="", group=COMPUTING,
    )  # fmt: skip
    skip_bad: bool = asked(False, "leave out cases that cannot be read, and say so", SWITCH, column="", group=COMPUTING)

    @property
    def changes(self) -> dict[str, float]:
        """The settings that have fields of their own here, where they are given."""
        given = {"minutes": self.minutes, "steps": self.steps, "seed": self.seed}
        return {name: value for name, value in given.items() if value is not None}

    def contradictions(self, called: Callable[[str], str]) -> list[str]:
        """What is missing or cannot be asked together; see :meth:`SegmentTask.contradictions`."""
        return [] if self.cohort else [f"{called('cohort')}: it is missing; name the cohort folder"]

    def arguments(self) -> list[str]:
        """What ``s3net`` is given, without the run's folder."""
        return [self.command, self.cohort, *command_line(self)]


@dataclass(frozen=True)
class PretrainTask(TrainTask):
    """An encoder from images without labels."""

    command = "pretrain"

    preset: str = asked(
        "default", "default; tiny: a small network, for a CPU; paper: as published", choice("default", "paper", "tiny"), column=""
    )  # fmt: skip
    method: str = asked("ideal", "see above; default ideal", choice("ideal", "alpnet"), column="")
    encoder: str | None = asked(
        None, "alpnet: DINOv2 weights to train (with adapters) instead of a U-Net",
        dataclasses.replace(TEXT, metavar="NAME|FILE"), column="",
    )  # fmt: skip

    def contradictions(self, called: Callable[[str], str]) -> list[str]:
        wrong = super().contradictions(called)
        if self.encoder and self.method != "alpnet":
            wrong.append(f"{called('encoder')} is for {called('method')} alpnet; ideal trains its own U-Net")
        return wrong


@dataclass(frozen=True)
class FinetuneTask(TrainTask):
    """A segmentation model from few labelled cases."""

    command = "finetune"

    preset: str = asked("plus", "see above; default plus", choice("plus", "paper", "tiny"), column="")
    init: str | None = asked(
        None, "start from the encoder in this model file of 's3net pretrain'", dataclasses.replace(PATH, metavar="MODEL"), column=""
    )  # fmt: skip
    folds: int | None = asked(
        None, "cross-validation: K models, each validated on its part of the labelled patients, in RUN/fold_1 to RUN/fold_K, which "
        "'s3net apply RUN' averages; the minutes are for all of them", Form(whole(2, 100), "K"), column="",
    )  # fmt: skip
    labels: str | None = asked(
        None, "names of the values of the cohort's label maps, instead of classes in cohort.json: lines VALUE,NAME[,R,G,B] (CSV), "
        "a .ctbl of Slicer, a label file of ITK-SNAP, or JSON", PATH, column="",
    )  # fmt: skip


def of_fold(task: FinetuneTask, fold: int) -> FinetuneTask:
    """``task`` for the run of one fold, from 1, which has its share of the minutes."""
    count = task.folds or 1
    settings = (*task.settings, f"folds={count}", f"fold={fold}")
    return dataclasses.replace(task, folds=None, settings=settings, minutes=task.minutes and task.minutes / count)


TRAININGS: dict[str, type[TrainTask]] = {task.command: task for task in (PretrainTask, FinetuneTask)}


def task_facts(task: TrainTask) -> dict[str, Any]:
    """``task`` as JSON can hold it."""
    return {"command": task.command, **dataclasses.asdict(task)}


def task_of_facts(facts: Mapping[str, Any]) -> TrainTask:
    """The inverse of :func:`task_facts`. Raises TypeError, KeyError or ValueError for anything else."""
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items()}
    return TRAININGS[values.pop("command")](**values)
