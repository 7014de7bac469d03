"""Test-time training (TTT): the encoder is trained on each slice and what was found in it, and then the slice is answered again.

Source: the released program of arXiv 2403.03273, which does so with two random views of the slice, one the support and one the query,
and the losses of its training. There the weights are put back after a slice in name only; here each slice begins with those of
the encoder, so that its answer does not hang on the slices before it.
"""

from __future__ import annotations

import copy
import dataclasses

import torch

from ...common.errors import InputError
from ...common.progress import Step, Steps
from ...common.tensors import torch_generator
from ...nets.encoder import Encoder, add_lora
from ...training.alpnet import AlpnetTask, ViewRanges, alpnet_preset, episode
from ...training.trainer.optimisation import make_optimizer

_RANK = 4  # of the adapters that are trained in a transformer, as published; other networks are trained as a whole
_ADAPTERS, _SLICES = 4_000_000, 4_100_000  # streams of random numbers; that of slice n is _SLICES + n


class SelfTraining:
    """Trains a copy of ``network`` on one slice at a time.

    :param steps: of SGD for each slice, with the rate, momentum and decay of the published training.
    :param side: of the square views, pixels. :param grid: cells along their sides on which features are compared.
    """

    def __init__(self, network: Encoder, steps: int, side: int, grid: int, seed: int):
        self._network, self._steps, self._seed = copy.deepcopy(network), steps, seed
        try:
            add_lora(self._network, _RANK, torch_generator(seed, _ADAPTERS))
        except InputError:  # it is no transformer
            self._network.requires_grad_(True)
        self._trained = [p for p in self._network.parameters() if p.requires_grad]
        self._before = [p.detach().clone() for p in self._trained]
        settings, self._trainer = alpnet_preset("paper")
        self._settings = dataclasses.replace(settings, side=side, grid=max(grid, settings.prototype_grid))

    def trained(self, image: torch.Tensor, classes: torch.Tensor, number: int) -> Steps[Encoder | None]:
        """The network after its training on a slice, until the next one is asked for; None where there is nothing to learn:
        no segment was found, or the weights would not be finite. Each step takes one of the segments that were found.

        :param image: float ``[C, H, W]``, as the encoder takes it. :param classes: ``[H, W]``, what was found, 0 the background.
        :param number: of the slice, on which its random views depend.
        """
        with torch.no_grad():
            for weights, before in zip(self._trained, self._before, strict=True):
                weights.copy_(before)
        found = torch.unique(classes[classes > 0]).tolist()
        if not found:
            return None
        task = AlpnetTask(self._network, self._settings)
        optimizer = make_optimizer(task, self._trainer)
        generator, device = torch_generator(self._seed, _SLICES + number), self._trained[0].device
        for step in range(self._steps):
            wanted = found[int(torch.randint(len(found), (1,), generator=generator))]
            views = episode(image, classes == wanted, ViewRanges(), self._settings.side, generator)
            losses = task({name: view[None].to(device) for name, view in views.items()})
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
            yield Step((step + 1) / self._steps, "Training on a slice and what was found in it")
        return self._network if all(bool(torch.isfinite(p).all()) for p in self._trained) else None
