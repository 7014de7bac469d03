"""What is drawn, in one frame: the known voxels, and the drawn slices on the working grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...common.limited_cache import LimitedCache
from ..frame import Frame
from .drawing import Drawing


@dataclass(frozen=True, eq=False)
class SoftSlice:
    """What is drawn on one slice of the working grid.

    :param masks: ``[C, h, w]``, class memberships; the background where nothing is known.
    :param known: ``[h, w]``, 0 to 1; 1 everywhere for a complete drawing.
    """

    masks: torch.Tensor
    known: torch.Tensor

    @property
    def complete(self) -> bool:
        """Whether all of the slice is known; up to the rounding of averages over pixels."""
        return bool(self.known.min() > 1 - 1e-4)


class SoftDrawing:
    """What is known in ``frame``. Attributes: ``slices``, the drawn ones (number -> SoftSlice); ``thickness`` of the segments
    in pixels.

    :param known: what is known of all voxels, uint8 ``[Z, H, W]`` (see :mod:`drawing`); holds the drawn slices too.
    :param kept: what earlier answers in this frame left; the voters fill it.
    """

    def __init__(self, frame: Frame, drawing: Drawing, known: np.ndarray, kept: LimitedCache):
        self.frame, self.known, self.kept, self.classes = frame, known, kept, drawing.classes
        self.slices = {z: self._soft(known[z]) for z in drawing.slices}
        self.thickness = drawing.sizes.thickness if np.isfinite(drawing.sizes.thickness) else 3.0

    def complete(self, without: int | None = None) -> list[int]:
        """The slices of which all is known, but for the hidden one."""
        return [z for z, drawn in self.slices.items() if drawn.complete and z != without]

    def between(self, first: int, last: int, without: int | None, beyond: int | None = None) -> tuple[int, int]:
        """From the complete drawn slice at or before ``first`` to that at or after ``last``; where there is none, ``beyond``
        slices further, or (None) to the slices that hold any drawing."""
        complete = self.complete(without)
        others = [z for z in self.slices if z != without]
        low = min([first, *others]) if beyond is None else max(0, first - beyond)
        high = max([last, *others]) if beyond is None else min(self.frame.depth - 1, last + beyond)
        return (
            max((z for z in complete if z <= first), default=low),
            min((z for z in complete if z >= last), default=high),
        )

    def _soft(self, known: np.ndarray) -> SoftSlice:
        """One slice of known values ``[H, W]`` on the working grid."""
        masks = np.stack([np.maximum(known, 1) == c + 1 for c in range(self.classes)])
        both = self.frame.shrunk_masks(np.concatenate((masks, (known > 0)[None])))
        return SoftSlice(both[:-1].contiguous(), both[-1])
