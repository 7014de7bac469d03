"""The training data of the prompted network: a bank of synthetic scenes, and cut-outs of them with simulated boxes."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scenes import scene
from scipy import ndimage
from shape_scenes import shape_scene

from S3NetSegmentLib.engine.images.colors import lab_from_rgb
from S3NetSegmentLib.engine.segment.objects.box_network import MARGIN, SIDE, CutOut, network_input
from S3NetSegmentLib.engine.segment.objects.box_part import MOST_ROOM, SIDE_ERROR

_SHAPES_SHARE = 0.5  # of the scenes; the others are those of the ranker
_SIDES = (112, 192)  # pixels of a scene of shapes
_COLOUR_SHARE = 0.45  # of the others
# Share of the cut-outs that a scanner has recorded with few pixels, and how many along a side of the box: from, to.
_COARSE = (0.5, 10, 60)
_SHORTEST, _LEAST_LONGEST = 3, 6  # pixels of an object along its sides; smaller ones are not shown
_LEAST_SHOWN = 40  # pixels of it in the cut-out
_LEAST_CONTRAST, _BAND = 0.3, 3  # of an object that one can see; pixels on both sides of its outline
PART = 500  # scenes of a file of the bank


@dataclass(frozen=True)
class BankedScene:
    """A scene, small: picture uint8 ``[side, side, C]`` and objects as packed bits."""

    picture: np.ndarray
    objects: np.ndarray

    def mask(self, number: int) -> np.ndarray:
        side = len(self.picture)
        return np.unpackbits(self.objects[number], count=side * side).reshape(side, side).astype(bool)


@dataclass(frozen=True)
class Shown:
    """One training example: what the network sees ``[5, SIDE, SIDE]``, and truth ``[SIDE, SIDE]`` (float32)."""

    inputs: torch.Tensor
    truth: torch.Tensor


def banked(seed: int, number: int) -> BankedScene:
    """Scene ``number`` of the generator seeded with ``seed``."""
    rng = np.random.default_rng([seed, number])
    if rng.random() < _SHAPES_SHARE:
        side = int(rng.integers(*_SIDES))
        image, objects = np.zeros((1, 1, 1)), []
        while not objects or image.std() < 0.02:
            image, objects = shape_scene(rng, side)
    else:
        made = scene(rng, rng.random() < _COLOUR_SHARE)
        image, objects = made.picture, made.objects
    picture = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return BankedScene(picture, np.packbits(np.stack(objects).reshape(len(objects), -1), axis=1))


def fill_bank(folder: Path, scenes: int, seed: int) -> None:
    """Makes what is missing of a bank of ``scenes``; several processes may do so at the same time, each another file.

    What a process that was killed had claimed stays claimed: delete its file ``*.claimed``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(-(-scenes // PART)):
        path, claim = folder / f"{part:04d}.bank", folder / f"{part:04d}.claimed"
        if path.exists():
            continue
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            continue
        made = [banked(seed, number) for number in range(part * PART, (part + 1) * PART)]
        claim.write_bytes(pickle.dumps([(s.picture, s.objects) for s in made], protocol=5))
        claim.rename(path)


class Bank:
    """The scenes of a folder that :func:`fill_bank` fills; :meth:`refresh` reads what has come."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._parts: dict[str, list[BankedScene]] = {}
        self.refresh()

    def refresh(self) -> None:
        for path in sorted(self._folder.glob("*.bank")):
            if path.name not in self._parts:
                self._parts[path.name] = [BankedScene(*parts) for parts in pickle.loads(path.read_bytes())]

    @property
    def held_out(self) -> list[BankedScene]:
        """The first file, which is only looked at."""
        return self._parts["0000.bank"]

    def draw(self, rng: np.random.Generator) -> BankedScene:
        """A scene of the other files."""
        parts = list(self._parts.values())[1:]
        return parts[int(rng.integers(len(parts)))][int(rng.integers(PART))]


def shown(banked_scene: BankedScene, rng: np.random.Generator, loose: float) -> Shown | None:
    """A cut-out around a random object of the scene and the box that a hand draws around it; None where it is too small.

    :param loose: share of boxes that leave room on all sides.
    """
    mask = banked_scene.mask(int(rng.integers(len(banked_scene.objects))))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if min(len(rows), len(columns)) < _SHORTEST or max(len(rows), len(columns)) < _LEAST_LONGEST:
        return None
    true_edges = np.array([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1], float)
    lengths = np.repeat(true_edges[1::2] - true_edges[::2], 2)
    error = rng.normal(0, SIDE_ERROR, 4)
    if rng.random() < loose:  # who does not know how large a thing is leaves room around it
        error += rng.uniform(0, MOST_ROOM) * np.array((-1, 1, -1, 1))
    edges = true_edges + error * lengths
    edges = np.clip(edges, 0, np.repeat(mask.shape, 2))  # nobody can draw beyond the picture
    cut = CutOut.around(edges)
    truth = (cut.of(mask[..., None].astype(np.float32)) > 0.5) & cut.box((0, len(mask), 0, len(mask)))
    if np.count_nonzero(truth) < _LEAST_SHOWN:
        return None
    features = cut.of(_features(banked_scene.picture))
    if _contrast(features[0], truth[0]) < _LEAST_CONTRAST:
        return None
    parts = features, truth, cut.box(edges)[None]
    turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
    features, truth, box = (
        np.ascontiguousarray(np.rot90(part[:, ::-1] if mirrored else part, turns, (1, 2))) for part in parts
    )
    inputs = network_input(_photographed(torch.from_numpy(features), rng).numpy(), box[0])
    return Shown(torch.from_numpy(inputs), torch.from_numpy(truth[0].astype(np.float32)))


def _contrast(light: np.ndarray, truth: np.ndarray) -> float:
    """How far the lightness along the outline differs between inside and outside, in standard deviations of both."""
    bands = (
        truth & ~ndimage.binary_erosion(truth, iterations=_BAND),
        ndimage.binary_dilation(truth, iterations=_BAND) & ~truth,
    )
    inside, outside = (light[band] if band.any() else light.ravel() for band in bands)
    return abs(float(inside.mean() - outside.mean())) / (np.sqrt((inside.var() + outside.var()) / 2) + 1e-3)


def _features(picture: np.ndarray) -> np.ndarray:
    """Features ``[h, w, 3]`` of a banked picture; grey has no colour."""
    values = picture.astype(np.float32) / 255
    if values.shape[2] == 3:
        return lab_from_rgb(values) / np.float32(100)
    return np.concatenate((values, np.zeros((*values.shape[:2], 2), np.float32)), 2)


def _photographed(features: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Lightness inverted, bent, shaded, noised or blurred at random; half of them recorded with few pixels."""
    light, colour = features[:1].clamp(0, 1), features[1:]
    if not colour.any():
        if rng.random() < 0.3:
            light = 1 - light
        light = light ** float(np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.4:
        ramp = torch.linspace(-0.5, 0.5, SIDE)
        light = light * (1 + rng.uniform(-0.4, 0.4) * ramp[None] + rng.uniform(-0.4, 0.4) * ramp[:, None])
    share, fewest, most = _COARSE
    pixels = round(MARGIN * np.exp(rng.uniform(np.log(fewest), np.log(most)))) if rng.random() < share else SIDE
    recorded = torch.cat((light, colour))[None]
    if pixels < SIDE:
        recorded = F.interpolate(recorded, (pixels, pixels), mode="area")
    noise = float(rng.choice([0, 0.02, 0.05, 0.1])) * 3 * float(light.std() + 0.05)
    if noise:
        recorded[:, 0] += torch.from_numpy(rng.standard_normal(recorded.shape[2:], np.float32)) * noise
    if pixels < SIDE:
        recorded = F.interpolate(recorded, (SIDE, SIDE), mode="bilinear")
    if rng.random() < 0.25:
        recorded[:, 0] = F.avg_pool2d(recorded[:, :1], 3, 1, 1, count_include_pad=False)[:, 0]
    return recorded[0]
