"""Fits the ranker's networks to queries, list by list (torch)."""

from __future__ import annotations

import numpy as np
import torch
from queries import Query
from torch import nn

from S3NetSegmentLib.engine.objects.ranker import Ranker
from S3NetSegmentLib.engine.objects.slice_features import NAMES

HIDDEN = 32
LEARNING_RATE, WEIGHT_DECAY, DROPOUT, INPUT_NOISE = 4e-3, 3e-3, 0.1, 0.05
BATCH = 96
# Beside the expected loss of Dice, a little cross-entropy towards candidates within a few hundredths of the best.
CROSS_ENTROPY_WEIGHT, DICE_TEMPERATURE = 0.15, 0.08


def fit_ranker(queries: list[Query], *, networks: int, epochs: int, seed: int) -> Ranker:
    """A :class:`Ranker` of ``networks`` networks fitted to ``queries``; the same on the same machine for one seed."""
    torch.set_num_threads(1)
    table = np.concatenate([q.table for q in queries])
    centre, scale = np.median(table, 0), table.std(0) + 1e-3
    ranker = Ranker(NAMES, centre, scale, ())
    longest = max(len(q.dice) for q in queries)
    inputs = torch.zeros(len(queries), longest, len(NAMES))
    dice = torch.zeros(len(queries), longest)
    real = torch.zeros(len(queries), longest, dtype=torch.bool)
    for i, query in enumerate(queries):
        n = len(query.dice)
        inputs[i, :n] = torch.from_numpy(ranker.standardised(query.table))
        dice[i, :n] = torch.from_numpy(query.dice)
        real[i, :n] = True
    fitted = [_fit_network(inputs, dice, real, epochs, seed * 1000 + n) for n in range(networks)]
    layers = [
        (
            np.stack([net[i].weight.detach().numpy().T for net in fitted]),
            np.stack([net[i].bias.detach().numpy() for net in fitted]),
        )
        for i in (0, 3, 5)
    ]
    return Ranker(NAMES, centre, scale, layers)


def _fit_network(inputs: torch.Tensor, dice: torch.Tensor, real: torch.Tensor, epochs: int, seed: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(inputs.shape[2], HIDDEN), nn.GELU(), nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 1),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        batches = -(-len(inputs) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
        for _ in range(epochs):
            for rows in torch.randperm(len(inputs), generator=generator).split(BATCH):
                noisy = inputs[rows] + INPUT_NOISE * torch.randn(inputs[rows].shape, generator=generator)
                scores = net(noisy)[..., 0].masked_fill(~real[rows], -30)
                loss = _loss(scores, dice[rows], real[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return net.eval()


def _loss(scores: torch.Tensor, dice: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Expected loss of Dice against the best candidate when choosing by softmax, plus a share of cross-entropy."""
    log_share = scores.log_softmax(1)
    best = dice.masked_fill(~real, -1).max(1).values
    regret = best - (log_share.exp() * dice).sum(1)
    target = ((dice - best[:, None]) / DICE_TEMPERATURE).masked_fill(~real, -30).softmax(1)
    return (regret - CROSS_ENTROPY_WEIGHT * (target * log_share).sum(1)).mean()
