"""The training data of the prompted network: a bank of synthetic scenes, and cut-outs of them with simulated prompts."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from prompted_net import SIDE, point_map
from scenes import scene
from scipy import ndimage

from S3NetSegmentLib.engine.images.colors import lab_from_rgb

BOX_ERROR = 0.07  # standard deviation of each side of a drawn box, as a share of the object's length
MARGIN = 1.6  # side of the cut-out over the longer side of the box
_COLOUR_SHARE = 0.3
_KINDS = {"box": 0.7, "box and points": 0.12, "points": 0.09, "stroke": 0.09}


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
    """One training example: features ``[C, SIDE, SIDE]``, box, inside, outside and truth ``[SIDE, SIDE]`` (float32)."""

    features: torch.Tensor
    box: torch.Tensor
    inside: torch.Tensor
    outside: torch.Tensor
    truth: torch.Tensor


def banked(seed: int, number: int) -> BankedScene:
    """Scene ``number`` of the generator seeded with ``seed``."""
    rng = np.random.default_rng([seed, number])
    made = scene(rng, rng.random() < _COLOUR_SHARE)
    picture = np.round(np.clip(made.picture, 0, 1) * 255).astype(np.uint8)
    return BankedScene(picture, np.packbits(np.stack(made.objects).reshape(len(made.objects), -1), axis=1))


def save_bank(scenes: list[BankedScene], path: Path) -> None:
    path.write_bytes(pickle.dumps([(s.picture, s.objects) for s in scenes], protocol=5))


def load_bank(path: Path) -> list[BankedScene]:
    return [BankedScene(*parts) for parts in pickle.loads(path.read_bytes())]


def shown(banked_scene: BankedScene, rng: np.random.Generator) -> Shown | None:
    """A cut-out around a random object of the scene under a random prompt; None where the object is too small."""
    mask = banked_scene.mask(int(rng.integers(len(banked_scene.objects))))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) < 5 or len(columns) < 5:
        return None
    true_box = np.array([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1], float)
    lengths = np.array([true_box[1] - true_box[0]] * 2 + [true_box[3] - true_box[2]] * 2)
    kind = rng.choice(list(_KINDS), p=list(_KINDS.values()))
    box = true_box + rng.normal(0, BOX_ERROR, 4) * lengths
    theta = _cut_out(rng, box if "box" in kind else true_box + rng.normal(0, 0.15, 4) * lengths, "box" in kind)
    features = _resampled(_features(banked_scene.picture), theta)
    truth = (_resampled(torch.from_numpy(mask[None].astype(np.float32)), theta)[0] > 0.5).float()
    if truth.sum() < 20:
        return None
    drawn = torch.ones(SIDE, SIDE)
    if "box" in kind:
        area = np.zeros(mask.shape, np.float32)
        top, bottom, left, right = np.round(box).astype(int)
        area[max(top, 0) : max(bottom, top + 1), max(left, 0) : max(right, left + 1)] = 1
        drawn = (_resampled(torch.from_numpy(area[None]), theta)[0] > 0.5).float()
    inside, outside = torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)
    if kind == "stroke":
        inside = point_map(_stroke(truth, rng), (SIDE, SIDE))
    elif kind != "box":
        inside = point_map(_points(truth.bool().numpy(), rng, int(rng.integers(1, 4))), (SIDE, SIDE))
        if rng.random() < 0.4:
            outside = point_map(_points(~truth.bool().numpy(), rng, int(rng.integers(1, 3))), (SIDE, SIDE))
    return Shown(_photographed(features, rng), drawn, inside, outside, truth)


def corrected(answer: np.ndarray, truth: np.ndarray) -> tuple[torch.Tensor, bool] | None:
    """A point ``[1, 2]`` in the largest error of ``answer`` (bool) and whether it belongs to the object; None if right."""
    wrong = answer != truth
    parts, count = ndimage.label(wrong)
    if not count:
        return None
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return torch.tensor([[float(row), float(column)]]), bool(truth[row, column])


def _features(picture: np.ndarray) -> torch.Tensor:
    """Features ``[3, h, w]`` of a banked picture; grey has no colour."""
    values = picture.astype(np.float32) / 255
    if values.shape[2] == 3:
        values = lab_from_rgb(values) / np.float32(100)
    else:
        values = np.concatenate((values, np.zeros((*values.shape[:2], 2), np.float32)), 2)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def _cut_out(rng: np.random.Generator, box: np.ndarray, has_box: bool) -> np.ndarray:
    """Matrix ``[2, 3]`` from pixels of the cut-out, -1 to 1, to pixels (x, y) of the picture: turned and mirrored at random."""
    top, bottom, left, right = box
    half = 0.5 * max(bottom - top, right - left, 6) * MARGIN * np.exp(rng.normal(0, 0.12 if has_box else 0.4))
    angle, mirror = rng.integers(4) * np.pi / 2 + (rng.uniform(-0.4, 0.4) if not has_box else 0), rng.choice([-1, 1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([mirror, 1])
    centre = [[(left + right - 1) / 2], [(top + bottom - 1) / 2]]
    return np.concatenate((turn * half, centre), 1)


def _resampled(image: torch.Tensor, theta: np.ndarray) -> torch.Tensor:
    """``image`` ``[C, h, w]`` on the cut-out's grid, smoothed first where the cut-out is coarser."""
    step = float(np.hypot(*theta[:, 0])) * 2 / SIDE
    blocks = max(1, round(step))
    if blocks > 1:
        image = F.avg_pool2d(image[None], blocks, ceil_mode=True, count_include_pad=False)[0]
    size = np.array([image.shape[2], image.shape[1]]) * blocks
    matrix = theta.copy()
    matrix[:, 2] = (2 * matrix[:, 2] + 1) / size - 1
    matrix[:, :2] = 2 * matrix[:, :2] / size[:, None]
    grid = F.affine_grid(torch.from_numpy(matrix[None]).float(), (1, 1, SIDE, SIDE), align_corners=False)
    padding = "border" if image.shape[0] == 3 else "zeros"
    return F.grid_sample(image[None], grid, padding_mode=padding, align_corners=False)[0]


def _photographed(features: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Lightness inverted, bent, shaded, noised or blurred at random."""
    light = features[0].clamp(0, 1)
    if not features[1:].any():
        if rng.random() < 0.3:
            light = 1 - light
        light = light ** float(np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.4:
        ramp = torch.linspace(-0.5, 0.5, SIDE)
        light = light * (1 + rng.uniform(-0.4, 0.4) * ramp[None] + rng.uniform(-0.4, 0.4) * ramp[:, None])
    noise = float(rng.choice([0, 0.02, 0.05, 0.1])) * 3 * float(light.std() + 0.05)
    if noise:
        light = light + torch.from_numpy(rng.standard_normal((SIDE, SIDE), np.float32)) * noise
    if rng.random() < 0.25:
        light = F.avg_pool2d(light[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    return torch.cat((light[None], features[1:]))


def _points(area: np.ndarray, rng: np.random.Generator, count: int) -> torch.Tensor:
    rows, columns = np.nonzero(area)
    chosen = rng.integers(len(rows), size=count) if len(rows) else []
    return torch.tensor([[float(rows[i]), float(columns[i])] for i in chosen]).reshape(-1, 2)


def _stroke(truth: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Points of a straight line between two random points of the object, where it lies inside."""
    ends = _points(truth.bool().numpy(), rng, 2)
    line = ends[:1] + torch.linspace(0, 1, 24)[:, None] * (ends[1:] - ends[:1])
    kept = line[truth[line[:, 0].round().long(), line[:, 1].round().long()] > 0]
    return kept if len(kept) else ends[:1]
