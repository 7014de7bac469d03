"""Random numbers: every stochastic step draws from a generator of its own that follows from the seed."""

from __future__ import annotations

import numpy as np
import torch


def torch_generator(seed: int, stream: int) -> torch.Generator:
    """The random numbers of one purpose (``stream``) under ``seed``. Always on the CPU, so that every device sees the
    same numbers; the global random state is neither read nor changed."""
    state = np.random.SeedSequence((seed, stream)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def numpy_generator(seed: int, stream: int) -> np.random.Generator:
    """The same for numpy."""
    return np.random.default_rng((seed, stream))
