"""What the images of a training looked like, and whether another image is like them: a model finds nothing, or anything, in
images of another kind, and nothing in its answer shows that."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...common.arrays import three
from ...images.intensity import IntensityScale
from .layout import VolumeSlices
from .pose import ImagePose, TrainingPose

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SAMPLES = 200_000  # voxels looked at for the quantiles
# How far outside the range of the training images an image still counts as like them: factors, and a difference on the scale
# from 0 to 1. Measured by Testing/benchmarks/training/model_likeness.py.
_PIXEL, _THICKNESS, _WIDTH, _HEIGHT, _INTENSITY = 1.4, 2.0, 1.4, 2.0, 0.15
_FINE, _BLOCK = 5.0, 128  # mm; voxels along each axis, from the middle of the image, in which relief is measured
_RELIEF = 0.1  # of either sign: less is none
_CUT = 0.03  # of the rows: so many more of a single value may lie at the border
_LOOKED_AT = 16  # pixels along each axis by which most planes are known to hold several values
_PLANES = ("slices", "rows", "columns")
_ONE = {"ct": "a CT", "grey": "an MR or another grey image", "rgb": "an image in colour"}
_MANY = {"ct": "CT", "grey": "MR or other grey images", "rgb": "images in colour"}


Triple = tuple[float, float, float]


@dataclass(frozen=True)
class ImageLook:
    """What one image looks like to a network.

    :param kind: of :class:`~...images.intensity.IntensityScale`.
    :param pixel, thickness: mm in and across the slices; ``thickness`` 0 for a single slice.
    :param width, height: mm of the field of view, in the slices (the root of their area) and across them.
    :param quantiles: :data:`QUANTILES` of its intensities on the scale from 0 to 1.
    :param relief: skewness of what is finer than 5 mm: above 0 where light things stand out, below where dark ones do. It turns
        its sign with an inverted image, also where the quantiles hardly change. 0: not known.
    :param cut, gaps: share of the slices, rows and columns that hold a single value, at the border and amid others.
    :param pose: None: not known.
    """

    kind: str
    pixel: float
    thickness: float
    width: float
    height: float
    quantiles: tuple[float, ...]
    relief: float = 0.0
    cut: Triple = (0.0, 0.0, 0.0)
    gaps: Triple = (0.0, 0.0, 0.0)
    pose: ImagePose | None = None


@dataclass(frozen=True)
class TrainingLook:
    """What the images of a training looked like.

    :param kinds: number of images of each kind.
    :param pixel, thickness, width, height: smallest and largest value, see :class:`ImageLook`.
    :param quantiles: the same of each of :data:`QUANTILES`. ``relief``: smallest, median and largest relief. ``cut``, ``gaps``:
        largest of each; None: not known. ``pose``: None: not known.
    """

    kinds: Mapping[str, int]
    pixel: tuple[float, float]
    thickness: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]
    quantiles: tuple[tuple[float, float], ...]
    relief: Triple = (0.0, 0.0, 0.0)
    cut: Triple | None = None
    gaps: Triple | None = None
    pose: TrainingPose | None = None

    @classmethod
    def of(cls, looks: Sequence[ImageLook]) -> TrainingLook | None:
        """Of the images of a training; None without any."""
        if not looks:
            return None
        ranges = {name: _range([getattr(look, name) for look in looks]) for name in _SIZES}
        quantiles = tuple(_range(values) for values in zip(*(look.quantiles for look in looks), strict=True))
        relief = three(round(float(v), 4) for v in np.quantile([look.relief for look in looks], (0, 0.5, 1)))
        cut, gaps = (
            three(map(max, zip(*part, strict=True))) for part in ([k.cut for k in looks], [k.gaps for k in looks])
        )
        kinds = dict(Counter(look.kind for look in looks))
        known = [look.pose for look in looks if look.pose is not None]
        pose = TrainingPose.of(known) if len(known) == len(looks) else None
        return cls(kinds, **ranges, quantiles=quantiles, relief=relief, cut=cut, gaps=gaps, pose=pose)

    @classmethod
    def from_dict(cls, content: Mapping) -> TrainingLook:
        """Of :meth:`as_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        kinds = {str(kind): int(count) for kind, count in content["kinds"].items()}
        quantiles = tuple(_checked(pair) for pair in content["quantiles"])
        if not kinds or len(quantiles) != len(QUANTILES):
            raise ValueError("its record of the training images is incomplete")
        relief = three(float(v) for v in content.get("relief", (0, 0, 0)))  # models of before have none
        cut, gaps = (three(map(float, content[name])) if name in content else None for name in ("cut", "gaps"))
        sizes = {name: _checked(content[name]) for name in _SIZES}
        pose = TrainingPose.from_dict(content["pose"]) if "pose" in content else None
        return cls(kinds, **sizes, quantiles=quantiles, relief=relief, cut=cut, gaps=gaps, pose=pose)

    def as_dict(self) -> dict:
        """Plain values; mm and intensities from 0 to 1."""
        sizes = {name: list(getattr(self, name)) for name in _SIZES}
        return {
            "images": self.images,
            "kinds": dict(self.kinds),
            **sizes,
            "quantiles": [list(q) for q in self.quantiles],
            "relief": list(self.relief),
            **{name: list(value) for name, value in (("cut", self.cut), ("gaps", self.gaps)) if value is not None},
            **({} if self.pose is None else {"pose": self.pose.as_dict()}),
        }

    @property
    def images(self) -> int:
        return sum(self.kinds.values())

    def differences(self, look: ImageLook) -> list[str]:
        """By what an image is unlike all those of the training, each in a few words; [] if it is like them."""
        found = []
        if look.kind not in self.kinds:
            known = " and ".join(_MANY.get(kind, kind) for kind in self.kinds)
            found.append(f"it is {_ONE[look.kind]}, they were {known}")
        for name, (factor, text) in _SIZES.items():
            value, (low, high) = getattr(look, name), getattr(self, name)
            if value > 0 and high > 0 and not low / factor <= value <= high * factor:
                found.append(text.format(f"{value:.3g}", _shown(low, high)))
        away = [max(low - q, q - high) for q, (low, high) in zip(look.quantiles, self.quantiles, strict=True)]
        worst = int(np.argmax(away))
        if away[worst] > _INTENSITY:
            q, (low, high) = look.quantiles[worst], self.quantiles[worst]
            found.append(
                f"its intensities are spread differently ({QUANTILES[worst]:.0%} of its voxels are darker than {q:.2f} on a "
                f"scale from 0 to 1, theirs than {low:.2f} to {high:.2f})"
            )
        low, usual, high = self.relief
        if usual * look.relief < 0 and min(abs(usual), abs(look.relief)) > _RELIEF and not low <= look.relief <= high:
            one, other = ("dark", "light") if look.relief < 0 else ("light", "dark")
            found.append(
                f"{one} things stand out in it, {other} ones in them, as if it were inverted or of another contrast"
            )
        return (
            found
            + self._blank(look)
            + ([] if self.pose is None or look.pose is None else self.pose.differences(look.pose))
        )

    def _blank(self, look: ImageLook) -> list[str]:
        """Slices, rows and columns of a single value where the training had none or far fewer, in words."""
        found = []
        for n, planes in enumerate(_PLANES):
            if self.gaps is not None and look.gaps[n] > 1.5 * self.gaps[n]:
                found.append(
                    f"{look.gaps[n]:.1%} of its {planes} hold a single value amid others, as where something was blanked out, of "
                    f"theirs {self.gaps[n]:.1%}"
                )
            if self.cut is not None and look.cut[n] > 1.5 * self.cut[n] + _CUT:
                found.append(
                    f"{look.cut[n]:.0%} of its {planes} hold a single value at the border, as where the field of view ends, of "
                    f"theirs at most {self.cut[n]:.0%}"
                )
        return found

    def warning(self, look: ImageLook) -> str | None:
        """A sentence for the user if the image is unlike those of the training, else None."""
        found = self.differences(look)
        if not found:
            return None
        images = "the image" if self.images == 1 else f"the {self.images} images"
        return f"this image is unlike {images} that the model was trained on: {'; '.join(found)}. Check the answer"


_SIZES = {
    "pixel": (_PIXEL, "its pixels are {} mm wide, theirs {}"),
    "thickness": (_THICKNESS, "its slices lie {} mm apart, theirs {}"),
    "width": (_WIDTH, "its slices are {} mm wide, theirs {}"),
    "height": (_HEIGHT, "its slices cover {} mm, theirs {}"),
}


def look_of(slices: VolumeSlices) -> ImageLook:
    """What the volume of ``slices`` (of several channels the first) looks like on its intensity scale."""
    scale = slices.scale
    thickness, *in_slice = slices.spacing
    width = math.sqrt(math.prod(n * s for n, s in zip(slices.native, in_slice, strict=True)))
    array = slices.volume.array
    stride = max(1, math.ceil((math.prod(array.shape[:3]) / _SAMPLES) ** (1 / 3)))
    sample = scale.apply(array[tuple(slice(None, None, stride if n > 4 * stride else 1) for n in array.shape[:3])])
    quantiles = np.quantile(sample[..., 0], QUANTILES)
    many = slices.native_count > 1
    return ImageLook(
        scale.kind, math.sqrt(math.prod(in_slice)), thickness if many else 0.0, width,
        thickness * slices.native_count if many else 0.0, tuple(round(float(q), 4) for q in quantiles),
        _relief_of(array, scale, slices.volume.spacing[::-1]), *_single_valued(slices.oriented(array)),
        ImagePose.of(slices, slices.oriented(sample)[..., 0]),
    )  # fmt: skip


def _single_valued(array: np.ndarray) -> tuple[Triple, Triple]:
    """Share of the slices, rows and columns of ``array`` ``[slices, rows, columns, ...]`` that hold a single value: at the border, and
    amid others."""
    cut, gaps = [], []
    for axis, count in enumerate(array.shape[:3]):
        planes = np.moveaxis(array, axis, 0) if count > 1 else ()
        single = np.array([_is_single(plane) for plane in planes], bool)
        several = np.flatnonzero(~single)
        inside = single[several[0] : several[-1] + 1] if len(several) else single
        cut.append(round((len(single) - len(inside)) / count, 4))
        gaps.append(round(int(inside.sum()) / count, 4))
    return three(cut), three(gaps)


def _is_single(plane: np.ndarray) -> bool:
    """Whether all pixels of ``plane`` ``[rows, columns, ...]`` are alike. A few of them tell of nearly every one that is not."""
    few = plane[tuple(slice(None, None, max(1, n // _LOOKED_AT)) for n in plane.shape[:2])]
    return all(bool((pixels == pixels[0, 0]).all()) for pixels in (few, plane))


def _relief_of(array: np.ndarray, scale: IntensityScale, spacing: Sequence[float]) -> float:
    """The relief of voxels ``[K, J, I, ...]``, ``spacing`` mm apart, see :class:`ImageLook`."""
    middle = tuple(slice((n - min(n, _BLOCK)) // 2, (n + min(n, _BLOCK)) // 2) for n in array.shape[:3])
    part = scale.apply(array[middle])[..., 0]
    fine = part - ndimage.gaussian_filter(part, [_FINE / s for s in spacing])
    fine -= fine.mean()
    spread = float(fine.std())
    return round(float(np.mean((fine / spread) ** 3)), 4) if spread > 0 else 0.0


def _range(values: Sequence[float]) -> tuple[float, float]:
    return round(float(min(values)), 4), round(float(max(values)), 4)


def _checked(pair) -> tuple[float, float]:
    low, high = map(float, pair)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"its record of the training images holds {low:g} to {high:g}")
    return low, high


def _shown(low: float, high: float) -> str:
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
