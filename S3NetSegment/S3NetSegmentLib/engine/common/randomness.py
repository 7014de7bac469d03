"""Random numbers: every stochastic step draws from a generator of its own that follows from the seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

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


@contextmanager
def torch_random_numbers(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, those parts of torch that read the global random state (first weights of layers, dropout) draw numbers that
    follow from ``seed``; afterwards the global state, on the CPU and on ``device``, is as before."""
    device = torch.device(device)
    where = (device,) if device.type == "cuda" else ()  # other accelerators have one device
    accelerator = None if device.type == "cpu" else torch.get_device_module(device)
    before = torch.get_rng_state()
    before_there = accelerator.get_rng_state(*where) if accelerator else None
    try:
        torch.default_generator.manual_seed(seed)
        if accelerator:
            with torch.cuda.device(device) if where else nullcontext():
                accelerator.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(before)
        if accelerator:
            accelerator.set_rng_state(before_there, *where)
