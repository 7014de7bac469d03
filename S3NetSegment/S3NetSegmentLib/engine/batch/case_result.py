"""What a method made of a case, or of each frame of it, as the files and the record need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..images import Segmentation, Volume
from ..images.overlay import montage
from ..images.resample import resized
from ..results import described, frame_notes, frame_sizes

_SHOWN, _COLUMNS = 9, 3  # frames in the picture of a case


@dataclass
class CaseResult:
    """The result of a case.

    :param label_map: the segmentation in one layer, for label maps; None: as it is.
    :param frames: the results of all frames of a 4D image; (): this is the only one. The other fields then sum them up.
    """

    segmentation: Segmentation
    confidence: float | None
    confidence_map: Volume | None
    picture: np.ndarray
    device: str
    seed: int
    settings: dict
    notes: list[str]
    label_map: Segmentation | None = None
    frames: tuple[CaseResult, ...] = ()

    def described(self) -> dict:
        """What the record says of the segments, see :func:`~..results.described` and, of several frames,
        :func:`~..frames.frame_sizes`; and of each frame."""
        if not self.frames:
            return {"segments": described(self.segmentation)}
        each = [described(frame.segmentation) for frame in self.frames]
        return {"segments": frame_sizes(each), "frames": each}


def joined(frames: Sequence[CaseResult]) -> CaseResult:
    """The result of a 4D image from those of its frames; the picture shows some of them."""
    first = frames[0]
    sure = [frame.confidence for frame in frames if frame.confidence is not None]
    shown = np.linspace(0, len(frames) - 1, min(_SHOWN, len(frames))).round().astype(int)
    pictures = [shrunk(frames[n].picture, max(frames[n].picture.shape[:2]) // _COLUMNS) for n in shown]
    return CaseResult(
        first.segmentation, float(np.mean(sure)) if sure else None, None, montage(pictures, _COLUMNS), frames[-1].device,
        first.seed, first.settings, frame_notes([frame.notes for frame in frames]), frames=tuple(frames),
    )  # fmt: skip


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """``picture`` with ``side`` pixels along its longer side."""
    scale = side / max(picture.shape[:2])
    shape = [max(round(n * scale), 1) for n in picture.shape[:2]]
    return np.rint(np.clip(resized(picture, shape), 0, 255)).astype(np.uint8)
