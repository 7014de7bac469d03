"""One training from its task: settings, cohort, what it starts from, and the run itself."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..common.errors import InputError
from ..common.progress import Steps, as_part_of
from ..nets.weights import WeightsStore
from ..tasks.train import FinetuneTask, PretrainTask, TrainTask
from .cohort import read_cohort
from .configuration import AlpnetConfiguration, FinetuningConfiguration, IdealConfiguration, configuration_of
from .finetune import finetune
from .model_file import load_model
from .pretrain import pretrain
from .processes import Processes
from .run_folder import RunFolder
from .split import split_cohort
from .trainer import TrainingResult


def train(
    task: TrainTask,
    folder: RunFolder,
    *,
    resume: bool = False,
    device: torch.device | str = "cpu",
    processes: Processes | None = None,
    begun: Callable[[str], object] = lambda name: None,
    stop: Callable[[], bool] | None = None,
) -> Steps[TrainingResult]:
    """Trains what ``task`` asks for; the model and its log are in ``folder``.

    :param resume: go on from the state in ``folder``, with the settings that it was begun with and those that the task changes;
        where there is none, begin.
    :param begun: called with the name of the run when all that it needs has been read.
    :param stop: see :class:`~.trainer.Trainer`.
    :raises InputError: wrong settings, an unusable cohort or start, or a state of another kind of run.
    """
    configuration = configuration_of(task, _kept(task, folder) if resume else None)
    if isinstance(task, FinetuneTask) and isinstance(configuration, FinetuningConfiguration):
        init = load_model(task.init) if task.init else None
        cohort = yield from as_part_of(
            read_cohort(task.cohort, skip_bad=task.skip_bad, names_file=task.labels), 0, 0.01
        )
        split = configuration.cohort
        split_cohort(  # which refuses what is not possible before the folder is made
            cohort, seed=configuration.trainer.seed, validation=split.validation, test=split.test, folds=split.folds, fold=split.fold
        )  # fmt: skip
        begun("s3net finetune")
        return (
            yield from finetune(
                cohort, configuration, folder, init=init, resume=resume, device=device, processes=processes,
                skip_bad=task.skip_bad, stop=stop,
            )
        )  # fmt: skip
    assert isinstance(task, PretrainTask) and isinstance(configuration, IdealConfiguration | AlpnetConfiguration)
    encoder = WeightsStore().load(task.encoder, precision="float32", device=device) if task.encoder else None
    cohort = yield from as_part_of(read_cohort(task.cohort, skip_bad=task.skip_bad), 0, 0.01)
    begun(f"s3net pretrain --method {'alpnet' if isinstance(configuration, AlpnetConfiguration) else 'ideal'}")
    return (
        yield from pretrain(
            cohort, configuration, folder, encoder=encoder, resume=resume, device=device, processes=processes,
            skip_bad=task.skip_bad, stop=stop,
        )
    )  # fmt: skip


def _kept(task: TrainTask, folder: RunFolder) -> dict | None:
    """Settings and identity of the run in ``folder``; None if there is no state. Raises InputError if it is of another command."""
    if not folder.has_state:
        return None
    state = folder.read_state()
    kept = {**state["settings"], **state["identity"]}
    if not str(kept.get("method", "")).startswith(task.command):
        raise InputError(
            f"{str(folder.path)!r} holds a run of {kept.get('method')!r}; go on with that command, or choose another folder"
        )
    return kept
