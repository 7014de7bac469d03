"""Batches of the slices of a bank, or of its patches, for each step of a training: a pure function of (seed, step, rank), so that nothing of
it must be saved or shared."""

from __future__ import annotations

import numpy as np

from ...common.errors import InputError
from ...common.tensors import numpy_generator
from .bank import SliceBank

_STREAM = 5_000_000_000


class SliceBatches:
    """Batches of any slices, for training without labels: "image" ``[B, C, side, side]`` and "valid" ``[B, 1, side, side]``, "case" and
    "z" ``[B]``; and the whole numbers "seed", "step", "rank", "processes", from which a task draws its random views."""

    def __init__(self, bank: SliceBank, batch: int, seed: int):
        self._bank, self._seed = bank, seed
        self._sampler = EpochSampler(len(bank), min(batch, len(bank)), seed)

    def __call__(self, step: int, rank: int = 0, processes: int = 1) -> dict:
        slices = self._sampler.items(step, rank, processes)
        case, z = self._bank.cases_at(slices)
        return {
            "image": self._bank.images_at(slices), "valid": self._bank.valid_at(slices), "case": case, "z": z,
            "seed": self._seed, "step": step, "rank": rank, "processes": processes,
        }  # fmt: skip


class TwoStreamBatches:
    """Batches of labelled and unlabelled slices: "labelled" ``[B, C, side, side]`` and "labels" ``[B, side, side]``, -1 in the
    padding; "unlabelled" ``[U, C, side, side]`` and "valid" ``[U, 1, side, side]``, False in the padding; "case" and "z" ``[B]``, "unlabelled_case"
    and "unlabelled_z" ``[U]``; and the numbers of :class:`SliceBatches`. Every labelled slice comes once per epoch.

    Without an unlabelled case the labelled slices serve as unlabelled ones too. In 3D each of them stands for its patch, see
    :meth:`~.bank.SliceBank.places_at`, and all images, labels and masks have an axis of slices before ``side``.

    :param unlabelled: unlabelled slices per batch; 0: none, and none of these entries.
    """

    def __init__(self, bank: SliceBank, batch: int, unlabelled: int, seed: int):
        self._bank, self._seed = bank, seed
        self._drawn = bank.labelled
        if not self._drawn.size:
            raise InputError(
                "no training case is labelled; draw at least one and save it in the cohort's folder labels"
            )
        self._others = bank.unlabelled if bank.unlabelled.size else self._drawn
        self.epoch_steps = -(-len(self._drawn) // batch)
        self._labelled = EpochSampler(len(self._drawn), batch, seed)
        self._unlabelled = EpochSampler(len(self._others), unlabelled, seed, 1) if unlabelled else None

    def __call__(self, step: int, rank: int = 0, processes: int = 1) -> dict:
        bank, drawn = self._bank, self._drawn[self._labelled.items(step, rank, processes)]
        case, z = bank.cases_at(drawn)
        batch = {
            "labelled": bank.images_at(drawn), "labels": bank.labels_at(drawn), "case": case, "z": z,
            "seed": self._seed, "step": step, "rank": rank, "processes": processes,
        }  # fmt: skip
        if self._unlabelled is not None:
            others = self._others[self._unlabelled.items(step, rank, processes)]
            batch["unlabelled"], batch["valid"] = bank.images_at(others), bank.valid_at(others)
            batch["unlabelled_case"], batch["unlabelled_z"] = bank.cases_at(others)
        return batch


class EpochSampler:
    """Items in epochs: every item once in random order, then all again in another order.

    A step takes ``batch`` items for each process, and processes take consecutive parts: two processes with a batch of 4 see
    together what one with a batch of 8 sees.

    :param count: number of items.
    :param stream: tells apart the samplers of one training.
    """

    def __init__(self, count: int, batch: int, seed: int, stream: int = 0):
        if count < 1 or batch < 1:
            raise InputError(f"batches of {batch} from {count} slices are not possible")
        self.count, self.batch, self._seed, self._stream = count, batch, seed, stream
        self._orders: dict[int, np.ndarray] = {}

    def items(self, step: int, rank: int = 0, processes: int = 1) -> np.ndarray:
        """Item numbers of this step, int64 ``[batch]``."""
        first = (step * processes + rank) * self.batch  # in the endless row of epochs
        epoch, place = np.divmod(np.arange(first, first + self.batch), self.count)
        return np.array([self._order(int(e))[p] for e, p in zip(epoch, place, strict=True)])

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            kept = list(self._orders.items())[-2:]
            order = numpy_generator(self._seed, _STREAM + self._stream * 10_000_000 + epoch).permutation(self.count)
            self._orders = {**dict(kept), epoch: order}
        return self._orders[epoch]
