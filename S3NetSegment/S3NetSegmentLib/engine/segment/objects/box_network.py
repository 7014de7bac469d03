"""The prompted network: a picture and a box around something in it -> how likely each sample belongs to what is meant.

A small U-Net that was trained on synthetic scenes (``Testing/training/train_prompted.py``, where its architecture stands in PyTorch's
terms) and is computed here with numpy alone. It is shown a cut-out around the box that is always brought to the
same shape, so that it knows nothing of how large or long things are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

WEIGHTS = Path(__file__).with_name("box_network.npz")
SIDE = 96  # samples of the cut-out along both sides
MARGIN = 1.5  # its side over that of the box
_SHORTEST = 4.0  # samples: of a smaller box more of the surroundings is shown
_MOST_STRETCHED = 5.0
_MIDDLES = (2 * np.arange(SIDE) + 1) / SIDE - 1  # of the cut-out's samples
_GROUPS = 8  # of the normalisations
_CLIP = 4.0


class BoxNetwork:
    """:param weights: arrays by the names of PyTorch's ``state_dict``."""

    def __init__(self, weights: dict[str, np.ndarray], about: dict | None = None):
        self.weights = {name: np.asarray(array, np.float32) for name, array in weights.items()}
        self._levels = len({name.split(".")[1] for name in self.weights if name.startswith("down.")})
        self.about = about or {}

    @classmethod
    def load(cls, path: Path) -> BoxNetwork:
        with np.load(path, allow_pickle=False) as file:
            weights = {name: file[name] for name in file.files if name != "about"}
            return cls(weights, json.loads(str(file["about"])))

    def answer(self, features: np.ndarray, edges: Sequence[float]) -> BoxAnswer:
        """How likely each sample around a box belongs to the object in it.

        :param features: float ``[h, w, C]`` of the whole slice: grey, or Lab; see ``IntensityScale.apply``.
        :param edges: top, bottom, left and right of the box in samples, counted from the outer corner of the slice.
        """
        cut = CutOut.around(edges)
        logits = self.logits(network_input(cut.of(features), cut.box(edges)))
        return BoxAnswer(cut, 1 / (1 + np.exp(-logits)))

    def logits(self, x: np.ndarray) -> np.ndarray:
        """:param x: float32 ``[5, SIDE, SIDE]``, see :func:`network_input`. Returns ``[SIDE, SIDE]``."""
        x = np.maximum(self._convolved(x, "stem", stride=2), 0)
        skipped = []
        for level in range(self._levels):
            x = self._stage(x if level == 0 else _halved(x), f"down.{level}")
            skipped.append(x)
        skipped.pop()
        for level in range(self._levels - 1):
            x = self._stage(np.concatenate((x.repeat(2, 1).repeat(2, 2), skipped.pop())), f"up.{level}")
        four = self._convolved(x, "head")
        _, height, width = four.shape
        return four.reshape(2, 2, height, width).transpose(2, 0, 3, 1).reshape(2 * height, 2 * width)

    def _stage(self, x: np.ndarray, name: str) -> np.ndarray:
        for convolution in (0, 3):
            x = self._convolved(x, f"{name}.{convolution}")
            grouped = x.reshape(_GROUPS, -1)
            centred = grouped - grouped.mean(1, keepdims=True)
            centred /= np.sqrt(np.square(centred).mean(1, keepdims=True) + 1e-5)
            scale, shift = (self.weights[f"{name}.{convolution + 1}.{part}"] for part in ("weight", "bias"))
            x = np.maximum(centred.reshape(x.shape) * scale[:, None, None] + shift[:, None, None], 0)
        return x

    def _convolved(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        weight = self.weights[f"{name}.weight"]
        side = weight.shape[2]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        height, width = x.shape[1] // stride, x.shape[2] // stride
        windows = np.empty((x.shape[0], side * side, height, width), np.float32)
        for place in range(side * side):
            row, column = divmod(place, side)
            windows[:, place] = padded[
                :, row : row + stride * height : stride, column : column + stride * width : stride
            ]
        out = (weight.reshape(len(weight), -1) @ windows.reshape(-1, height * width)).reshape(-1, height, width)
        bias = self.weights.get(f"{name}.bias")
        return out if bias is None else out + bias[:, None, None]


@dataclass(frozen=True)
class BoxAnswer:
    """What the network says of a box: ``probability`` float32 ``[SIDE, SIDE]``, 0 to 1, in the cut-out."""

    cut: CutOut
    probability: np.ndarray

    def at(self, rows: slice, columns: slice) -> np.ndarray:
        """The probability at the samples of ``rows`` and ``columns`` of the slice, 0 outside the cut-out."""
        return self.cut.back(self.probability, rows, columns)


@dataclass(frozen=True)
class CutOut:
    """The part of a slice that the network is shown: a box and its surroundings, stretched so that each box is a square as large
    as all others, unless it is very long.

    :param centre: of the box, row and column in samples of the slice. ``half``: half the sides of the part, in the same.
    """

    centre: np.ndarray
    half: np.ndarray

    @classmethod
    def around(cls, edges: Sequence[float]) -> CutOut:
        """:param edges: top, bottom, left and right of the box in samples, counted from the outer corner of the slice."""
        low, high = np.asarray(edges, float).reshape(2, 2).T
        lengths = high - low
        return cls(
            (low + high - 1) / 2, 0.5 * MARGIN * np.maximum(lengths, max(_SHORTEST, lengths.max() / _MOST_STRETCHED))
        )

    def of(self, features: np.ndarray) -> np.ndarray:
        """Features ``[h, w, C]`` of the slice in the cut-out, float32 ``[C, SIDE, SIDE]``; beyond the slice its border goes on."""
        down, across = (self._weights(axis, length) for axis, length in enumerate(features.shape[:2]))
        return np.stack([down @ channel @ across.T for channel in np.moveaxis(features, 2, 0)])

    def box(self, edges: Sequence[float]) -> np.ndarray:
        """The part between ``edges`` in the cut-out, bool ``[SIDE, SIDE]``."""
        rows, columns = self.centre[:, None] + 0.5 + self.half[:, None] * _MIDDLES
        top, bottom, left, right = edges
        return ((rows > top) & (rows < bottom))[:, None] & ((columns > left) & (columns < right))[None]

    def back(self, answer: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """``answer`` ``[SIDE, SIDE]`` at the samples of ``rows`` and ``columns`` of the slice; 0 outside the cut-out."""
        places = [
            ((np.arange(part.start, part.stop, part.step or 1) - at) / half + 1) * SIDE / 2 - 0.5
            for part, at, half in zip((rows, columns), self.centre, self.half, strict=True)
        ]
        return ndimage.map_coordinates(
            answer, np.meshgrid(*places, indexing="ij"), np.float32, order=1, mode="constant"
        )

    def _weights(self, axis: int, length: int) -> np.ndarray:
        """What each sample of the cut-out takes of those of the slice along an axis, ``[SIDE, length]``: linear, and smoothed where
        the cut-out is coarser."""
        places = np.clip(self.centre[axis] + self.half[axis] * _MIDDLES, 0, length - 1)
        reach = max(1.0, 2 * self.half[axis] / SIDE)
        weights = np.maximum(0, 1 - np.abs(np.arange(length) - places[:, None]) / reach)
        return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def network_input(features: np.ndarray, box: np.ndarray) -> np.ndarray:
    """What the network sees, float32 ``[5, h, w]``: lightness against the cut-out and against the box, colour, and the box.

    :param features: ``[C, h, w]``, grey (0 to 1) or Lab / 100. ``box``: bool ``[h, w]``.
    """
    light, weight = features[0], box.astype(np.float32)
    deviation = light.std(ddof=1) + 1e-3
    count = max(weight.sum(), 1)
    there = (light * weight).sum() / count
    spread = np.sqrt((np.square(light - there) * weight).sum() / count)
    own = np.clip((light - there) / (spread + 1e-2), -_CLIP, _CLIP) / 2
    colour = np.zeros((2, *light.shape), np.float32)
    if len(features) == 3:
        colour = (features[1:] - features[1:].mean((1, 2), keepdims=True)) / deviation
    maps = ((light - light.mean()) / deviation)[None], own[None], np.clip(colour, -_CLIP, _CLIP), 2 * weight[None] - 1
    return np.concatenate(maps).astype(np.float32)


def _halved(x: np.ndarray) -> np.ndarray:
    channels, height, width = x.shape
    return x.reshape(channels, height // 2, 2, width // 2, 2).mean((2, 4))


@lru_cache(maxsize=1)
def default_box_network() -> BoxNetwork:
    """The network that ships with the engine."""
    return BoxNetwork.load(WEIGHTS)
