"""``Affine2d``: affine transformations of slices in millimetres, drawn, inverted, composed and applied.

One convention everywhere: a matrix maps a point of the *output* to the point of the *input* that is shown there, in
millimetres from the image centre, as (x, y) = (along columns, along rows); sampling is ``align_corners=False``. In
millimetres a rotation stays a rotation on anisotropic pixels: in pixels it is S^-1 A S with the spacing S.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .errors import InputError

Spacing = tuple[float, float]  # millimetres between (rows, columns)


@dataclass(frozen=True, eq=False)
class Affine2d:
    """``N`` affine transformations of the plane; one (N = 1) serves a whole batch of images.

    :param matrix: ``[N, 2, 3]`` or ``[2, 3]``, output to input, millimetres from the image centre, (x, y).
    """

    matrix: np.ndarray

    def __post_init__(self):
        matrix = np.array(self.matrix, dtype=np.float64)
        matrix = matrix[None] if matrix.ndim == 2 else matrix
        if matrix.ndim != 3 or matrix.shape[1:] != (2, 3) or len(matrix) == 0:
            raise InputError(f"an affine transformation needs matrices [N, 2, 3]; got shape {matrix.shape}")
        if not np.isfinite(matrix).all() or (np.abs(np.linalg.det(matrix[:, :, :2])) < 1e-9).any():
            raise InputError("an affine transformation must be finite and have an inverse; its matrix does not")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    def __len__(self) -> int:
        return len(self.matrix)

    @classmethod
    def identity(cls) -> Affine2d:
        return cls(np.eye(2, 3))

    @classmethod
    def quarter_turn(cls) -> Affine2d:
        """A turn by 90 degrees: on a square of square pixels each pixel of the result is one of the image."""
        return cls(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]))

    @classmethod
    def random(
        cls,
        generator: torch.Generator,
        extent_mm: tuple[float, float],
        count: int = 1,
        *,
        rotation: float = 180.0,
        scaling: float = 0.2,
        shear: float = 0.15,
        shift: float = 0.1,
        flip: bool = True,
    ) -> Affine2d:
        """``count`` transformations drawn from ``generator`` (on the CPU), every range symmetric and uniform.

        :param extent_mm: size of the image (rows, columns) in mm; needed for the shift.
        :param rotation: largest angle, degrees.
        :param scaling: largest logarithm of the scale (0.2: 0.82 to 1.22).
        :param shear: largest shear (x moves by shear times y).
        :param shift: largest translation, as a share of half the extent.
        :param flip: whether half of them mirror the image.
        """
        draws = torch.rand(count, 6, generator=generator, dtype=torch.float64).numpy()
        angle, log_scale, slant, right, down = (2 * draws[:, :5] - 1).T
        angle = angle * math.radians(rotation)
        scale = np.exp(log_scale * scaling)
        mirror = np.where(flip & (draws[:, 5] < 0.5), -1.0, 1.0)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
        lean = np.zeros((count, 2, 2))
        lean[:, 0, 0], lean[:, 0, 1], lean[:, 1, 1] = mirror, slant * shear, 1.0
        matrix = np.empty((count, 2, 3))
        matrix[:, :, :2] = scale[:, None, None] * (turn @ lean)
        matrix[:, 0, 2] = right * shift * extent_mm[1] / 2
        matrix[:, 1, 2] = down * shift * extent_mm[0] / 2
        return cls(matrix)

    def inverse(self) -> Affine2d:
        """The transformations that undo these."""
        linear = np.linalg.inv(self.matrix[:, :, :2])
        return Affine2d(np.concatenate((linear, -linear @ self.matrix[:, :, 2:]), 2))

    def warp(
        self, images: torch.Tensor, spacing: Spacing, *, padding: str = "zeros", mode: str = "bilinear"
    ) -> torch.Tensor:
        """``images`` ``[N, ..., H, W]`` (float) as these transformations show them, on the same grid; differentiable. All channels
        and slices of an image are moved alike.

        :param spacing: mm between (rows, columns).
        :param padding: what lies outside the image: "zeros", "border" or "reflection".
        :param mode: "bilinear" or "nearest".
        """
        grid = self._grid(len(images), images.shape[-2:], spacing, images)
        planes = images.flatten(1, -3)
        return F.grid_sample(planes, grid, mode=mode, padding_mode=padding, align_corners=False).view(images.shape)

    def warp_labels(self, labels: torch.Tensor, spacing: Spacing, *, outside: int = 0) -> torch.Tensor:
        """Integer ``labels`` ``[N, ..., H, W]`` (below 2^24) by the nearest pixel; ``outside`` where the image ends."""
        values = labels.to(torch.float32)[:, None].flatten(1, -3)
        moved = self.warp(torch.cat((values, torch.ones_like(values[:, :1])), 1), spacing, mode="nearest")
        filled = torch.full_like(values, outside)
        return torch.where(moved[:, -1:] > 0.5, moved[:, :-1], filled).round().to(labels.dtype).view(labels.shape)

    def validity(self, shape: Sequence[int], spacing: Spacing, device=None) -> torch.Tensor:
        """Which pixels of the output show something of the input and nothing from outside it: bool ``[N, 1, H, W]``,
        found by warping a mask of ones."""
        ones = torch.ones(len(self), 1, *shape, device=device)
        return self.warp(ones, spacing) > 0.99

    def correspond(self, other: Affine2d, shape: Sequence[int], spacing: Spacing) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel of the view made with these transformations lies in the view made with ``other``.

        :return: positions ``[N, H, W, 2]`` as fractional pixel indices (row, column), and bool ``[N, H, W]``: whether
            that position is inside the view and what it shows comes from inside the image, in both views.
        """
        height, width = shape
        rows = (np.arange(height) - (height - 1) / 2) * spacing[0]
        columns = (np.arange(width) - (width - 1) / 2) * spacing[1]
        points = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
        sources = points @ self.matrix[:, :, :2].transpose(0, 2, 1) + self.matrix[:, None, :, 2]
        back = other.inverse().matrix
        targets = sources @ back[:, :, :2].transpose(0, 2, 1) + back[:, None, :, 2]
        half = np.array([width * spacing[1], height * spacing[0]]) / 2
        valid = (np.abs(sources) <= half + 1e-9).all(2) & (np.abs(targets) <= half + 1e-9).all(2)
        index = targets[..., ::-1] / np.asarray(spacing) + (np.array([height, width]) - 1) / 2
        return index.reshape(-1, height, width, 2), valid.reshape(-1, height, width)

    def _grid(self, count: int, shape, spacing: Spacing, like: torch.Tensor) -> torch.Tensor:
        """Sampling grid ``[count, H, W, 2]`` in the normalised coordinates of ``grid_sample``."""
        if len(self) not in (1, count):
            raise InputError(f"{len(self)} affine transformations cannot be applied to {count} images")
        half = np.array([shape[1] * spacing[1], shape[0] * spacing[0]], dtype=np.float64) / 2
        theta = self.matrix / half[:, None]
        theta[:, :, :2] = theta[:, :, :2] * half
        moved = torch.as_tensor(theta, dtype=like.dtype).to(like.device).expand(count, 2, 3)
        return F.affine_grid(moved, [count, 1, *shape], align_corners=False)


def random_ranges(settings) -> dict:
    """The ranges of :meth:`Affine2d.random` among the settings of a record."""
    return {name: getattr(settings, name) for name in ("rotation", "scaling", "shear", "shift", "flip")}
