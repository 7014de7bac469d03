"""The pose of an image: where its slices, rows and columns run to in the patient, and coarsely what stands where among them. An image
that lies obliquely where those of a training did not, or whose header tells a wrong orientation, shows a network what it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from ...images.resample import axis_weights
from .layout import VolumeSlices

_BLOCKS, _FEWEST = 12, 4  # along each axis; voxels along an axis below which nothing is told
_LEVELS = 31.0  # of a standard deviation
# Degrees that an image may be turned further than those of the training; correlation that it must gain when it is turned in
# itself, and must then have, before that is said. Measured by Testing/benchmarks/training/model_likeness.py.
_TILT, _GAIN, _ALIKE = 20.0, 0.12, 0.7
_SAME = 0.02  # so little more correlation is none
_AXES = ("slices", "rows", "columns")
_WAYS = tuple((axes, runs) for axes in permutations(range(3)) for runs in product((1, -1), repeat=3))


@dataclass(frozen=True)
class ImagePose:
    """The pose of one image.

    :param directions: where its slices, rows and columns run to, unit vectors (R, A, S), one after the other.
    :param blocks: the means of 12 x 12 x 12 equal parts (slice, row, column) in 31sts of their standard deviation, int8; b"" of a
        constant image, or one that is too thin.
    """

    directions: tuple[float, ...]
    blocks: bytes = b""

    @classmethod
    def of(cls, slices: VolumeSlices, sample: np.ndarray) -> ImagePose:
        """:param sample: intensities ``[slices, rows, columns]`` of the whole volume of ``slices``, in equal steps."""
        directions = tuple(round(float(v), 4) for v in slices.directions.ravel())
        if min(sample.shape) < _FEWEST:
            return cls(directions)
        means = sample.astype(np.float32)
        for axis, count in enumerate(sample.shape):
            means = np.moveaxis(np.tensordot(axis_weights(count, _BLOCKS), means, (1, axis)), 0, axis)
        return cls(directions, _as_bytes(means))


@dataclass(frozen=True)
class TrainingPose:
    """The poses of the images of a training.

    :param usual: their mean. :param tilt: degrees by which one of them was turned against it, at most.
    :param gain: correlation with the mean that one of them gains, at most, when it is turned in itself.
    """

    usual: ImagePose
    tilt: float
    gain: float

    @classmethod
    def of(cls, poses: Sequence[ImagePose]) -> TrainingPose:
        directions = np.mean([np.reshape(pose.directions, (3, 3)) for pose in poses], 0)
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-6)
        whole = all(pose.blocks for pose in poses)
        blocks = _as_bytes(np.mean([_values(pose.blocks) for pose in poses], 0)) if whole else b""
        usual = ImagePose(tuple(round(float(v), 4) for v in directions.ravel()), blocks)
        plain = cls(usual, 0.0, 0.0)
        tilt = max(plain._angle(pose) for pose in poses)
        turns = [plain._turned(pose) for pose in poses] if blocks else []
        return cls(usual, round(tilt, 1), round(max((after - before for before, after, _ in turns), default=0.0), 3))

    @classmethod
    def from_dict(cls, content: Mapping) -> TrainingPose:
        """Of :meth:`as_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        directions, blocks = tuple(map(float, content["directions"])), bytes.fromhex(content["blocks"])
        numbers = (*directions, tilt := float(content["tilt"]), gain := float(content["gain"]))
        if len(directions) != 9 or len(blocks) not in (0, _BLOCKS**3) or not np.isfinite(numbers).all():
            raise ValueError("its record of how the training images lay is incomplete")
        return cls(ImagePose(directions, blocks), tilt, gain)

    def as_dict(self) -> dict:
        """Plain values."""
        return {
            "directions": list(self.usual.directions), "tilt": self.tilt, "blocks": self.usual.blocks.hex(), "gain": self.gain,
        }  # fmt: skip

    def differences(self, pose: ImagePose) -> list[str]:
        """By what an image of this pose is unlike all those of the training, each in a few words."""
        found = []
        if (angle := self._angle(pose)) > self.tilt + _TILT:
            found.append(f"it lies turned by {angle:.0f}° against them")
        if self.usual.blocks and pose.blocks:
            before, after, (axes, runs) = self._turned(pose)
            if after - before > self.gain + _GAIN and after > _ALIKE:
                reversed_ = " and ".join(name for name, run in zip(_AXES, runs, strict=True) if run < 0)
                how = f"the order of its {reversed_} reversed" if axes == (0, 1, 2) else "its axes exchanged"
                found.append(
                    f"it is more like them with {how} (correlation {after:.2f} against {before:.2f}), as if its header told a wrong "
                    "orientation"
                )
        return found

    def _angle(self, pose: ImagePose) -> float:
        """By how many degrees slices, rows or columns run elsewhere than usually, at most."""
        along = (np.reshape(pose.directions, (3, 3)) * np.reshape(self.usual.directions, (3, 3))).sum(1)
        return float(np.degrees(np.arccos(np.clip(along.min(), -1, 1))))

    def _turned(self, pose: ImagePose) -> tuple[float, float, tuple[tuple[int, ...], tuple[int, ...]]]:
        """The correlation with the usual image as it is and turned in itself so that it is highest, and how that is."""
        usual, own = _values(self.usual.blocks), _values(pose.blocks)
        each = [float((own.transpose(axes)[:: runs[0], :: runs[1], :: runs[2]] * usual).mean()) for axes, runs in _WAYS]
        best = next(n for n, value in enumerate(each) if value > max(each) - _SAME)  # axes in their order come first
        return each[0], each[best], _WAYS[best]


def _as_bytes(means: np.ndarray) -> bytes:
    spread = float(means.std())
    if spread <= 1e-6:
        return b""
    return np.clip(np.rint(_LEVELS * (means - means.mean()) / spread), -127, 127).astype(np.int8).tobytes()


def _values(blocks: bytes) -> np.ndarray:
    """Of mean 0 and spread 1, ``[12, 12, 12]``."""
    values = np.frombuffer(blocks, np.int8).reshape((_BLOCKS,) * 3).astype(np.float32)
    values -= values.mean()
    return values / max(float(values.std()), 1e-6)
