"""Fine-tuning on a cohort with few labels: a segmenter from a pre-trained encoder, or from nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..common.errors import InputError
from ..common.progress import Step, Steps, as_part_of
from ..images.overlay import draw_overlay, montage
from ..images.segmentation import Segment, Segmentation
from ..images.volume import Volume
from ..nets.unet import CHANNELS, UNetEncoder, UNetFeatures
from .cohort.folder import Cohort
from .cohort.label_classes import LabelClass
from .configuration import FinetuningConfiguration
from .ideal.finetuning import IdealFinetuning
from .model.model_file import Model, describe_network, load_model, network_tensors, save_model
from .model.places import MODEL
from .preparation import PREPARED, PreparedCohort, prepare_cohort, provenance
from .slices.bank import SliceBank
from .slices.batches import TwoStreamBatches
from .slices.layout import SliceLayout
from .slices.likeness import TrainingLook
from .trainer.processes import Processes
from .trainer.run_folder import PICTURES, RunFolder
from .trainer.trainer import Trainer, TrainingResult

_BATCH = 16


def finetune(
    cohort: Cohort,
    configuration: FinetuningConfiguration,
    folder: RunFolder,
    *,
    init: Model | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    processes: Processes | None = None,
    skip_bad: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Steps[TrainingResult]:
    """Trains a segmenter for the classes of ``cohort`` and writes the best (without validation: the last) to ``folder`` as
    ``model.pt``.

    :param configuration: of :func:`~.configuration.finetuning_configuration`.
    :param init: a model whose U-Net encoder, and whose decoders if they are pre-trained, are the start; its slice layout is kept.
    :param stop: see :class:`~.trainer.trainer.Trainer`.
    :param resume: go on from the state in ``folder``; ``init`` is not needed then.
    :raises InputError: no labelled case, or an ``init`` with another kind of network.
    """
    if not cohort.labelled:
        raise InputError(
            f"no case of cohort {str(cohort.folder)!r} is labelled; draw at least one, save it as labels/<case>.seg.nrrd, or run "
            "s3net pretrain, which needs no labels"
        )
    if not cohort.classes:
        raise InputError(f"the label files of cohort {str(cohort.folder)!r} hold nothing; draw in at least one of them")
    if resume and folder.has_state:
        start = start_kept(folder.read_facts()["identity"].get("init"))
    elif init is not None:
        start, configuration = start_from(init), with_network_of(init, configuration)
    else:
        start = Start()
    settings, batches = configuration.trainer, configuration.batches
    data = yield from as_part_of(
        prepare_cohort(
            cohort, configuration.cohort, seed=settings.seed, with_labels=True, layout=start.layout, device=device,
            folder=Path(folder.path), skip_bad=skip_bad,
        ), 0, PREPARED,
    )  # fmt: skip
    task = IdealFinetuning(
        len(cohort.classes) + 1, configuration.task, in_channels=data.layout.inputs, **start.weights, seed=settings.seed,
        across=data.layout.across(len(CHANNELS[configuration.task.network])),
    ).to(device)  # fmt: skip
    labelled, unlabelled = batches.patches(data.layout.depth)
    needs_unlabelled = configuration.task.unlabelled_weight > 0 or configuration.task.spatial_weight > 0
    outcome = _Outcome(task, configuration, data, start, folder)
    trainer = Trainer(
        task,
        TwoStreamBatches(data.train, labelled, unlabelled if needs_unlabelled else 0, settings.seed),
        settings, device=device, folder=folder, processes=processes, stop=stop,
        validate=None if data.held is None else partial(outcome.measured, data.held), keep_best=outcome.keep,
        identity={**configuration.identity("finetune", data.identity), "init": start.as_dict()},
    )  # fmt: skip
    if resume:
        trainer.resume()
    for sentence in (*data.notes, *start.leaks(data)):
        trainer.note(sentence)
    result = yield from as_part_of(trainer.run(), PREPARED, 1)
    if processes is None or processes.writes:
        _doubt(result, folder, trainer)
    return dataclasses.replace(result, notes=tuple(trainer.notes))


@dataclass(eq=False)
class _Outcome:
    """What comes of a segmenter while it is trained: measures and pictures in its run's folder, and the model file."""

    task: IdealFinetuning
    configuration: FinetuningConfiguration
    data: PreparedCohort
    start: Start
    folder: RunFolder

    def measured(self, held: SliceBank, step: int) -> Steps[dict]:
        """How good it is on the validation cases."""
        measures = yield from validate(self.task.predictor(), held, self.data.cohort.classes)
        self._draw(step)
        return measures

    def keep(self, step: int, measures: dict) -> None:
        """Writes the model file; ``measures`` are {} without validation."""
        network, data, start = self.task.predictor(), self.data, self.start
        held = data.held
        save_model(Model(
            "segmenter", describe_network(network), network_tensors(network), data.layout, data.cohort.classes,
            provenance("finetune, IDEAL", self.configuration, data, step, initialised=start.layout is not None),
            tuple(sorted({*data.train.hashes.values(), *start.cases})),
            tuple(sorted(held.hashes.values())) if held else (),
            {"step": step, "cases": len(held.names), **measures} if held and measures else {},
            looks=TrainingLook.of(data.train.looks),
        ), self.folder.path / MODEL)  # fmt: skip
        if not measures:
            self._draw(step)

    def _draw(self, step: int) -> None:
        data = self.data
        picture = sample_picture(self.task.predictor(), data.held or data.train, data.cohort.classes)
        self.folder.write_picture(f"{PICTURES}/step_{step:06d}.png", picture)


def _doubt(result: TrainingResult, folder: RunFolder, trainer: Trainer) -> None:
    """Notes in the log of the run where the model that it leaves did badly."""
    path = Path(folder.path) / MODEL
    if result.reason != "stopped" and result.best_score is not None and path.exists():
        for sentence in load_model(path).doubts():
            trainer.note(sentence)


@dataclass(frozen=True, eq=False)
class Start:
    """Where a run comes from; by itself: from nothing.

    :param weights: by the part of the network that they are for; {} for a run that goes on, which has its own.
    :param layout: of the slices that the model was trained on; None: there is no model.
    :param cases: :func:`~.cohort.folder.image_hash` of every image that it was trained on.
    """

    weights: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    layout: SliceLayout | None = None
    cases: tuple[str, ...] = ()

    def as_dict(self) -> dict | None:
        """Plain values for the state of the run, without the weights; None where there is no model."""
        return None if self.layout is None else {"layout": self.layout.as_dict(), "cases": sorted(self.cases)}

    def leaks(self, data: PreparedCohort) -> list[str]:
        """A sentence for the user if the model has seen images that ``data`` holds out."""
        seen = len(set(data.held.hashes.values()) & set(self.cases)) if data.held is not None else 0
        if data.held is None or not seen:
            return []
        sentence = (
            f"the model to start from has seen {seen} of {len(data.held.names)} validation images (without their labels): the "
            "validation scores flatter the model"
        )
        return [sentence]


def start_kept(facts: Mapping | None) -> Start:
    """That of a run that goes on, from :meth:`Start.as_dict`."""
    return Start(layout=SliceLayout(**facts["layout"]), cases=tuple(facts["cases"])) if facts else Start()


def start_from(init: Model) -> Start:
    """That of a new run. Raises InputError if ``init`` holds another kind of network."""
    network = init.build()
    encoder = network if isinstance(network, UNetEncoder) else getattr(network, "encoder", None)
    if not isinstance(encoder, UNetEncoder):
        raise InputError(
            f"the model to start from holds a {init.network.get('name')}; fine-tuning starts from a U-Net encoder, as "
            "s3net pretrain makes it"
        )
    weights = {"encoder": encoder.state_dict()}
    if isinstance(network, UNetFeatures):
        weights["decoders"] = network.decoders.state_dict()
    return Start(weights, init.layout, init.training_cases)


def with_network_of(init: Model, configuration: FinetuningConfiguration) -> FinetuningConfiguration:
    """``configuration`` with the size and normalisation of the network to start from. Raises InputError for an unknown size."""
    network = init.network
    size = next((name for name, channels in CHANNELS.items() if list(channels) == list(network["channels"])), None)
    if size is None:
        raise InputError(f"the encoder to start from has {network['channels']} channels, which is not a known size")
    return configuration.replaced(network=size, normalization=network["normalization"])


def validate(network: nn.Module, bank: SliceBank, classes: Sequence[LabelClass]) -> Steps[dict]:
    """Dice of each class over whole cases, on prepared slices or patches: {"score": mean, "dice <class>": mean over cases}.

    A class that neither the network nor the labels have in a case is left out there; 0 if that is so everywhere.
    """
    count = len(classes) + 1
    both, ours, theirs = (np.zeros((len(bank.names), count), np.int64) for _ in range(3))
    covering, batch, counted = bank.covering(), max(1, _BATCH // bank.layout.depth), np.zeros(len(bank), bool)
    for first in range(0, len(covering), batch):
        slices = covering[first : first + batch]
        yield Step(first / len(covering), f"slice {slices[0] + 1} of {len(bank)}")
        truth = bank.labels_at(slices)
        found = _found(network, bank, slices)
        fresh = np.stack([_not_counted(places, counted) for places in bank.places_at(slices)])
        known = (truth >= 0) & torch.from_numpy(fresh).to(truth.device).view(*truth.shape[:-2], 1, 1)
        cases = torch.from_numpy(bank.case[slices]).to(truth.device)
        cases = cases.view(-1, *(1,) * (truth.ndim - 1)).expand_as(truth)
        for table, chosen in ((both, known & (found == truth)), (ours, known), (theirs, known)):
            values = truth if table is theirs else found
            index = (cases * count + values)[chosen]
            table += torch.bincount(index, minlength=both.size).cpu().numpy().reshape(both.shape)
    total = (ours + theirs)[:, 1:]
    dice = np.where(total > 0, 2 * both[:, 1:] / np.maximum(total, 1), np.nan)
    means = {c.name: _mean(dice[:, n]) for n, c in enumerate(classes)}
    return {"score": _mean(dice), **{f"dice {name}": value for name, value in means.items()}}


def _not_counted(places: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Which of the slices at ``places`` (-1: none) were not ``counted`` yet; now they are."""
    fresh = (places >= 0) & ~counted[places]
    counted[places[fresh]] = True
    return fresh


def sample_picture(network: nn.Module, bank: SliceBank, classes: Sequence[LabelClass], *, count: int = 4) -> np.ndarray:
    """Slices of up to ``count`` cases, the one with most labels of each (the middle one without): where there are labels
    the drawn ones above, and what the network finds below; uint8 ``[H, W, 3]``."""
    numbers: list[int] = []
    for case in range(min(count, len(bank.names))):
        slices = np.flatnonzero(bank.case == case)
        drawn = slices[bank.label_rows[slices] >= 0]
        if drawn.size:
            amounts = [int((bank.drawn_at(np.array([s])) > 0).sum()) for s in drawn]
            numbers.append(int(drawn[int(np.argmax(amounts))]))
        else:
            numbers.append(int(slices[len(slices) // 2]))
    chosen = np.array(numbers)
    found = _found(network, bank, chosen)
    if bank.layout.is_3d:  # of each patch the slice that was chosen
        found = found[range(len(chosen)), np.argmax(bank.places_at(chosen) == chosen[:, None], 1)]
    masks = found.masked_fill(~bank.inside(chosen), 0).cpu().numpy().astype(np.uint8)
    images = bank.shown_at(chosen)
    rows = []
    if (bank.label_rows[chosen] >= 0).all():
        rows.append(bank.drawn_at(chosen).clamp_min(0).cpu().numpy().astype(np.uint8))
    rows.append(masks)
    return montage(
        [_drawn(image, labels, classes) for row in rows for image, labels in zip(images, row, strict=True)], len(chosen)
    )


def _drawn(image: np.ndarray, labels: np.ndarray, classes: Sequence[LabelClass]) -> np.ndarray:
    segments = [Segment(c.name, c.color, n) for n, c in enumerate(classes, 1)]
    turned = np.diag((-1.0, -1, 1, 1))  # left to the right, posterior down
    volume = Volume(image[None], turned)
    return draw_overlay(volume, Segmentation([labels[None]], segments, turned), index=0, size=256, outline=1)


@torch.no_grad()
def _found(network: nn.Module, bank: SliceBank, slices: np.ndarray) -> torch.Tensor:
    training = network.training
    network.eval()
    found = network(bank.images_at(slices)).argmax(1)
    network.train(training)
    return found


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else 0.0
