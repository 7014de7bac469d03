"""Fits the ranker's networks to queries, list by list (torch)."""

from __future__ import annotations

import numpy as np
import torch
from queries import Query
from torch.nn import functional

from S3NetSegmentLib.engine.segment.objects.ranked import Ranker
from S3NetSegmentLib.engine.segment.objects.slice_features import NAMES

HIDDEN = 32
LEARNING_RATE, WEIGHT_DECAY, DROPOUT, INPUT_NOISE = 4e-3, 3e-3, 0.1, 0.05
BATCH = 128  # lists
# Beside the expected loss of Dice, a little cross-entropy towards candidates within a few hundredths of the best.
CROSS_ENTROPY_WEIGHT, DICE_TEMPERATURE = 0.15, 0.08


def fit_ranker(
    queries: list[Query], *, networks: int, epochs: int, seed: int, names: tuple[str, ...] = NAMES
) -> Ranker:
    """A :class:`Ranker` of ``networks`` networks fitted to ``queries``; the same on the same machine for one seed.

    :param names: the features in the queries' tables.
    """
    torch.set_num_threads(1)
    table = np.concatenate([q.table for q in queries])
    ranker = Ranker(names, np.median(table, 0), table.std(0) + 1e-3, ())
    data = _Lists(ranker.standardised(table), queries)
    generator = torch.Generator().manual_seed(seed)
    parameters = _start(networks, len(names), generator)
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = -(-len(queries) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for _ in range(epochs):
        for lists in torch.randperm(len(queries), generator=generator).split(BATCH):
            inputs, dice, owner, weight = data.batch(lists.numpy())
            inputs = inputs + INPUT_NOISE * torch.randn(networks, *inputs.shape, generator=generator)
            loss = _loss(_scores(parameters, inputs, generator), dice, owner, weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    arrays = [p.detach().numpy() for p in parameters]
    ranker.layers = [(arrays[i], arrays[i + 1][:, 0]) for i in (0, 2, 4)]
    return ranker


class _Lists:
    """The candidates of all queries one after the other, from which batches of whole lists are taken."""

    def __init__(self, inputs: np.ndarray, queries: list[Query]):
        self._inputs, self._dice = torch.from_numpy(inputs), torch.from_numpy(np.concatenate([q.dice for q in queries]))
        self._length = np.array([len(q.dice) for q in queries])
        self._start = np.cumsum(self._length) - self._length
        weight = np.array([q.weight for q in queries])
        self._weight = torch.from_numpy((weight / weight.mean()).astype(np.float32))

    def batch(self, lists: np.ndarray):
        """Inputs ``[n, F]`` and Dice ``[n]`` of the candidates, the place ``[n]`` of each one's list in the batch, and
        the weights of the lists."""
        length = self._length[lists]
        owner = np.repeat(np.arange(len(lists)), length)
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        rows = torch.from_numpy(self._start[lists][owner] + within)
        return self._inputs[rows], self._dice[rows], torch.from_numpy(owner), self._weight[lists]


def _start(networks: int, inputs: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Weights and biases of three layers for all networks at once."""
    parameters = []
    for fan_in, fan_out in ((inputs, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)):
        weights = torch.randn(networks, fan_in, fan_out, generator=generator) * 0.8 / fan_in**0.5
        parameters += [weights.requires_grad_(), torch.zeros(networks, 1, fan_out, requires_grad=True)]
    return parameters


def _scores(parameters: list[torch.Tensor], inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Scores ``[networks, n]``, with dropout after the first layer."""
    hidden = functional.gelu(inputs @ parameters[0] + parameters[1])
    kept = torch.rand(hidden.shape, generator=generator) >= DROPOUT
    hidden = functional.gelu(hidden * kept / (1 - DROPOUT) @ parameters[2] + parameters[3])
    return (hidden @ parameters[4] + parameters[5])[..., 0]


def _loss(scores: torch.Tensor, dice: torch.Tensor, owner: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Expected loss of Dice against the best candidate when choosing by softmax, plus a share of cross-entropy; mean
    over lists, sum over networks."""
    networks, lists = len(scores), len(weight)
    owners = owner.expand(networks, -1)
    highest = torch.full((networks, lists), -torch.inf).scatter_reduce(1, owners, scores.detach(), "amax")
    shifted = scores - highest.gather(1, owners)
    log_share = shifted - torch.zeros(networks, lists).scatter_add(1, owners, shifted.exp()).log().gather(1, owners)
    best = torch.full((lists,), -1.0).scatter_reduce(0, owner, dice, "amax")
    regret = best - torch.zeros(networks, lists).scatter_add(1, owners, log_share.exp() * dice)
    target = ((dice - best[owner]) / DICE_TEMPERATURE).exp()
    target = target / torch.zeros(lists).scatter_add(0, owner, target)[owner]
    surprise = -torch.zeros(networks, lists).scatter_add(1, owners, target * log_share)
    return ((regret + CROSS_ENTROPY_WEIGHT * surprise) * weight).mean(1).sum()
