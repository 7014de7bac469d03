"""Which slices are in which step: a pure function of (seed, step, rank), so that nothing of it must be saved or shared."""

from __future__ import annotations

import numpy as np

from ..common.errors import InputError
from ..common.randomness import numpy_generator

_STREAM = 5_000_000_000


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

    def positions(self, step: int, rank: int = 0, processes: int = 1) -> np.ndarray:
        """Where in the endless row of epochs the items of this step lie, int64 ``[batch]``."""
        first = (step * processes + rank) * self.batch
        return np.arange(first, first + self.batch)

    def items(self, step: int, rank: int = 0, processes: int = 1) -> np.ndarray:
        """Item numbers of this step, int64 ``[batch]``."""
        epoch, place = np.divmod(self.positions(step, rank, processes), self.count)
        return np.array([self._order(int(e))[p] for e, p in zip(epoch, place, strict=True)])

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            kept = list(self._orders.items())[-2:]
            order = numpy_generator(self._seed, _STREAM + self._stream * 10_000_000 + epoch).permutation(self.count)
            self._orders = {**dict(kept), epoch: order}
        return self._orders[epoch]
