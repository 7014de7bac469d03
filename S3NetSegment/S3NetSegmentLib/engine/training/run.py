"""One training from its task: settings, cohort, what it starts from, and the run itself; pre-training without labels (IDEAL's
dense contrast, or ALPNet's episodes) in full."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch

from ..common.errors import InputError
from ..common.progress import Steps, as_part_of
from ..common.tensors import torch_generator
from ..nets.dinov2 import Dinov2Encoder
from ..nets.encoder import Encoder, add_lora, remove_lora
from ..nets.unet import CHANNELS, UNetEncoder, seeded
from ..nets.weights import WeightsStore
from ..tasks.train import FinetuneTask, PretrainTask, TrainTask
from .alpnet import AlpnetTask, EpisodeBatches
from .cohort.folder import Cohort, read_cohort
from .configuration import AlpnetConfiguration, FinetuningConfiguration, IdealConfiguration, configuration_of
from .finetune import finetune
from .ideal.pretraining import IdealPretraining
from .model.model_file import Model, OneLevel, describe_network, load_model, network_tensors, save_model
from .model.places import MODEL
from .preparation import PREPARED, PreparedCohort, prepare_cohort, provenance, split_cohort
from .settings import CohortSettings
from .slices.bank import SliceBank
from .slices.batches import SliceBatches
from .slices.likeness import TrainingLook
from .trainer.processes import Processes
from .trainer.run_folder import RunFolder
from .trainer.trainer import Trainer, TrainingResult

_LORA_STREAM = 6_000_000


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
    :param stop: see :class:`~.trainer.trainer.Trainer`.
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


def pretrain(
    cohort: Cohort,
    configuration: IdealConfiguration | AlpnetConfiguration,
    folder: RunFolder,
    *,
    encoder: Encoder | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    processes: Processes | None = None,
    skip_bad: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Steps[TrainingResult]:
    """Trains an encoder on all training images of ``cohort`` and writes it to ``folder`` as ``model.pt``.

    :param configuration: of :func:`~.configuration.pretraining_configuration`; which of the two it is says how the encoder learns.
    :param encoder: for ALPNet: a DINOv2 encoder in float32 to train instead of a U-Net.
    :param stop: see :class:`~.trainer.trainer.Trainer`.
    :param resume: go on from the state in ``folder``.
    """
    trainer_settings, settings = configuration.trainer, configuration.cohort
    if settings.dimensions == 3:
        raise InputError(
            "setting dimensions is 3, but pre-training is there for slices alone; leave it out, or fine-tune in 3D from nothing "
            "(s3net finetune --set dimensions=3)"
        )
    if isinstance(configuration, AlpnetConfiguration):
        settings = _grey_and_alone(cohort, settings)
    data = yield from as_part_of(
        prepare_cohort(
            cohort, settings, seed=trainer_settings.seed, with_labels=False, device=device,
            folder=Path(folder.path), skip_bad=skip_bad,
        ), 0, PREPARED,
    )  # fmt: skip
    if isinstance(configuration, AlpnetConfiguration):
        method, (task, batches, made) = "alpnet", _alpnet(data, configuration, encoder, device)
    elif encoder is not None:
        raise InputError("an encoder can be given for the method alpnet only; ideal trains its U-Net")
    else:
        method, (task, batches, made) = "ideal", _ideal(data, configuration)

    def keep_best(step: int, measures: dict) -> None:
        save_model(
            dataclasses.replace(
                made(), layout=data.layout, training_cases=tuple(sorted(data.train.hashes.values())),
                provenance=provenance(f"pretrain, {method}", configuration, data, step), looks=TrainingLook.of(data.train.looks),
            ), folder.path / MODEL,
        )  # fmt: skip

    trainer = Trainer(
        task.to(device), batches, trainer_settings, device=device, folder=folder, processes=processes, stop=stop, keep_best=keep_best,
        identity=configuration.identity(f"pretrain {method}", data.identity),
    )  # fmt: skip
    if resume:
        trainer.resume()
    for sentence in data.notes:
        trainer.note(sentence)
    return (yield from as_part_of(trainer.run(), PREPARED, 1))


def _ideal(data: PreparedCohort, configuration: IdealConfiguration):
    settings, seed = configuration.task, configuration.trainer.seed
    task = IdealPretraining(settings, in_channels=data.layout.inputs, seed=seed)
    batches = SliceBatches(data.train, configuration.batches.batch, seed)

    def made() -> Model:
        network = task.predictor()
        level = settings.level if settings.decoder_weight <= 0 else settings.decoder_level
        return Model("encoder", describe_network(network), network_tensors(network), data.layout, level=level)

    return task, batches, made


def _alpnet(data: PreparedCohort, configuration: AlpnetConfiguration, encoder: Encoder | None, device):
    settings, chosen, seed = configuration.task, configuration.encoder, configuration.trainer.seed
    level = -1
    if encoder is None:
        level = chosen.level
        channels = CHANNELS[chosen.network]
        if not -len(channels) <= level < len(channels):
            raise InputError(
                f"setting level is {level}; the network {chosen.network} has the levels 0 to {len(channels) - 1}"
            )
        network: Encoder = seeded(lambda: UNetEncoder(1, channels, dropout=False), seed)
        trained: Encoder = OneLevel(network, level)
    else:
        network = trained = encoder
        if chosen.lora:
            add_lora(encoder, chosen.lora, torch_generator(seed, _LORA_STREAM))
        else:
            encoder.requires_grad_(True)
    task = AlpnetTask(trained, settings)
    batches = EpisodeBatches(_BareSlices(data.train), settings, seed, device)

    def made() -> Model:
        if isinstance(network, Dinov2Encoder) and chosen.lora:
            remove_lora(network, merge=True)  # training is over: the adapters become part of the weights
        return Model(
            "encoder", describe_network(network), network_tensors(network), data.layout, level=level,
            temperature=settings.temperature,
        )  # fmt: skip

    return task, batches, made


def _grey_and_alone(cohort: Cohort, settings: CohortSettings) -> CohortSettings:
    """``settings`` for slices of one grey channel, which ALPNet and few-shot look at. Raises InputError where that is not wanted."""
    if cohort.channels > 1 or settings.neighbours:
        raise InputError(
            "the method alpnet learns from one grey slice at a time, as few-shot shows them: leave the setting neighbours at 0, and "
            f"give a cohort of one channel (this one has {cohort.channels})"
        )
    return dataclasses.replace(settings, colour="lightness")


class _BareSlices:
    """The slices of a bank without their padding, grey 0 to 1, as they are asked for."""

    def __init__(self, bank: SliceBank):
        self._bank = bank

    def __len__(self) -> int:
        return len(self._bank)

    def __getitem__(self, index: int):
        top, left, height, width = self._bank.boxes[index]
        plane = self._bank.images[index, 0]
        plane = plane.cpu().numpy() if isinstance(plane, torch.Tensor) else plane
        return plane[top : top + height, left : left + width].astype("float32") / 255
