"""How good a segmenter is on held-out slices while it is trained, and pictures of what it finds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ..common.progress import Step, Steps
from ..images.overlay import draw_overlay, montage
from ..images.segmentation import Segment, Segmentation
from ..images.volume import Volume
from .label_classes import LabelClass
from .slice_bank import SliceBank

_BATCH = 16


def validate(network: nn.Module, bank: SliceBank, classes: Sequence[LabelClass]) -> Steps[dict]:
    """Dice of each class over whole cases, on prepared slices: {"score": mean, "dice <class>": mean over cases}.

    A class that neither the network nor the labels have in a case is left out there; 0 if that is so everywhere.
    """
    count = len(classes) + 1
    both, ours, theirs = (np.zeros((len(bank.names), count), np.int64) for _ in range(3))
    for first in range(0, len(bank), _BATCH):
        yield Step(first / len(bank), f"slice {first + 1} of {len(bank)}")
        slices = np.arange(first, min(len(bank), first + _BATCH))
        truth = bank.labels_at(slices)
        found = _found(network, bank, slices)
        known = truth >= 0
        cases = torch.from_numpy(bank.case[slices]).to(truth.device)[:, None, None].expand_as(truth)
        for table, chosen in ((both, known & (found == truth)), (ours, known), (theirs, known)):
            values = truth if table is theirs else found
            index = (cases * count + values)[chosen]
            table += torch.bincount(index, minlength=both.size).cpu().numpy().reshape(both.shape)
    total = (ours + theirs)[:, 1:]
    dice = np.where(total > 0, 2 * both[:, 1:] / np.maximum(total, 1), np.nan)
    means = {c.name: _mean(dice[:, n]) for n, c in enumerate(classes)}
    return {"score": _mean(dice), **{f"dice {name}": value for name, value in means.items()}}


def sample_picture(network: nn.Module, bank: SliceBank, classes: Sequence[LabelClass], *, count: int = 4) -> np.ndarray:
    """Slices of up to ``count`` cases, the one with most labels of each (the middle one without): where there are labels
    the drawn ones above, and what the network finds below; uint8 ``[H, W, 3]``."""
    numbers: list[int] = []
    for case in range(min(count, len(bank.names))):
        slices = np.flatnonzero(bank.case == case)
        drawn = slices[bank.label_rows[slices] >= 0]
        if drawn.size:
            amounts = [int((bank.labels_at(np.array([s])) > 0).sum()) for s in drawn]
            numbers.append(int(drawn[int(np.argmax(amounts))]))
        else:
            numbers.append(int(slices[len(slices) // 2]))
    chosen = np.array(numbers)
    found = _found(network, bank, chosen).masked_fill(~bank.valid_at(chosen)[:, 0], 0).cpu().numpy().astype(np.uint8)
    images = bank.shown_at(chosen)
    rows = []
    if (bank.label_rows[chosen] >= 0).all():
        rows.append(bank.labels_at(chosen).clamp_min(0).cpu().numpy().astype(np.uint8))
    rows.append(found)
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
