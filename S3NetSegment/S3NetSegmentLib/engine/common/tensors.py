"""Tensors: random numbers of a generator for each purpose, which follow from the seed; sums and area means."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache, reduce

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


def summed(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum of at least one tensor, one after the other."""
    return reduce(operator.add, tensors)


def area_average(maps: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """``maps`` ``[..., H, W]`` as means over the cells of a grid ``[..., h, w]`` of the same extent.

    Exact: a pixel that lies across several cells counts in each by its share. Nothing vanishes, however small it is,
    unlike with nearest or bilinear resizing. (With h > H a cell holds part of one or two pixels.)
    """
    down, along = (
        _overlaps(n, cells).to(maps.device, torch.float32) for n, cells in zip(maps.shape[-2:], shape, strict=True)
    )
    return down @ maps.to(torch.float32) @ along.T


@lru_cache(maxsize=32)
def _overlaps(count: int, cells: int) -> torch.Tensor:
    """Share of each of ``count`` pixels in each of ``cells`` cells, ``[cells, count]``, rows sum to 1."""
    edges = np.arange(cells + 1) * (count / cells)
    pixels = np.arange(count)
    shares = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    return torch.from_numpy(np.maximum(shares, 0) * (cells / count))
