"""The numbers of a TIFF file as voxels (axes in order, upright, lightness from black, palettes, transparency, calibration), and how
large these are: by OME, by ImageJ, else by its resolution tags."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np

from ...common.arrays import three
from ...common.errors import InputError, image_warning
from ...common.numbers import finite
from ..image_warnings import note_print_size, note_transparency

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6  # PhotometricInterpretation
_ALPHA = (1, 2)  # kinds of extra samples; 0 is "anything"
_SLICES = "ZIQ"  # names that tifffile gives to axes of slices; all others beside Y, X and S are frames
_AXIS_NAMES = {"T": "time", "C": "channel", "P": "position", "R": "region", "L": "wavelength", "A": "angle"}
_INCH, _CENTIMETRE = 2, 3  # ResolutionUnit; 1 is none
_IN_MM = {
    "m": 1000.0, "cm": 10.0, "mm": 1.0, "µm": 1e-3, "um": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3,
    "nm": 1e-6, "pm": 1e-9, "inch": 25.4, "in": 25.4,
}  # fmt: skip
Sizes = tuple[float, float, float]


def arranged(array: np.ndarray, axes: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """``array`` as [frame, K, J, I, sample], and the names of the frames."""
    axes = axes.upper()
    picture = [axes.rindex(name) for name in "YXS" if name in axes]  # rows, columns, perhaps samples
    rest = [n for n in range(len(axes)) if n not in picture]
    slices = [n for n in rest if axes[n] in _SLICES]
    depth = [n for n in slices if axes[n] == "Z"][:1] or slices[-1:]
    frames = [n for n in rest if n not in depth]
    counts, sizes = ([array.shape[n] for n in order] for order in (frames, [*depth, *picture]))
    array = array.transpose(*frames, *depth, *picture).reshape(
        math.prod(counts), *([] if depth else [1]), *sizes, *([] if "S" in axes else [1])
    )
    words = [_AXIS_NAMES.get(axes[n], "image") for n in frames]
    parts = ([f"{w} {n}" for w, n, c in zip(words, at, counts, strict=True) if c > 1] for at in np.ndindex(*counts))
    return array, tuple(map(", ".join, parts))


def turned(array: np.ndarray, page, shown: str) -> np.ndarray:
    """``array`` [frame, K, J, I, sample] mirrored as the tag Orientation tells, rows and columns never swapped: so ITK and Slicer
    lay it, on whose pixels an answer must lie."""
    orientation = int(page.tags.valueof("Orientation", 1))
    if orientation in (5, 6, 7, 8):
        image_warning(
            f"{shown} says that it is to be turned (Orientation {orientation}); its rows stay rows, as Slicer shows it"
        )
    rows, columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return array[:, :, :: -1 if rows else 1, :: -1 if columns else 1]


def as_values(
    array: np.ndarray, names: tuple[str, ...], page, shown: str, numbers: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """``array`` [frame, K, J, I, sample] as grey values or colours; samples that are neither become frames."""
    kind, extra = int(page.photometric), [int(e) for e in page.extrasamples]
    if array.shape[-1] > 1 and extra and extra[-1] in _ALPHA:
        note_transparency(array[..., -1], shown)
        array = array[..., :-1]
    if kind in (RGB, YCBCR):
        _note_samples(page, array.shape[-1], shown)
        return array[..., :3], names
    if array.shape[-1] == 2:
        raise InputError(f"{shown} holds vectors of 2 numbers; save one of the two components as an image of its own")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if kind == PALETTE and array.shape[-1] == 1:
        if not numbers:
            return _coloured(array[..., 0], page.colormap), names
        image_warning(f"{shown}: the places in its palette are taken as labels")
    if kind == MIN_IS_WHITE:
        if not numbers:
            array = np.subtract(2**page.bitspersample - 1, array, dtype=array.dtype)
        else:
            image_warning(f"{shown} shows 0 as white; its numbers are taken as labels, 0 for nothing")
    if array.shape[-1] > 1:  # neither grey nor colours: images on top of each other
        names = tuple(", ".join(filter(None, (n, f"sample {s}"))) for n in names for s in range(array.shape[-1]))
        array = np.moveaxis(array, -1, 1).reshape(len(names), *array.shape[1:4], 1)
    return array, names


def _note_samples(page, count: int, shown: str) -> None:
    """Tells of samples beside the three colours, and of colours that may be none: tifffile calls three slices of 8 or 16 bits
    red, green and blue where nobody says what they are."""
    if count > 3:
        image_warning(f"{shown} has {count - 3} samples beside red, green and blue; they are left out")
    if page.planarconfig == 2 and str(page.software).startswith("tifffile"):
        image_warning(
            f"{shown} calls its three planes red, green and blue; if they are slices, save them with photometric='minisblack'"
        )


def calibrated(array: np.ndarray, file) -> np.ndarray:
    """The values that ImageJ shows for ``array``: a straight line of what is stored, in whole numbers where it is whole."""
    facts = file.imagej_metadata if file.is_imagej else None
    start, step = (facts or {}).get("c0"), (facts or {}).get("c1")
    if not facts or facts.get("cf") != 0 or not isinstance(start, int | float) or not isinstance(step, int | float):
        return array
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 2 and start == int(start) and step == int(step):
        return array.astype(np.int32) * int(step) + int(start)
    return (array * np.float64(step) + start).astype(np.float32)


def _coloured(places: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """RGB, 8 bits, of ``places`` in the ``palette`` [3, n] of 16 bits (some programs write 8 bits there)."""
    palette = np.asarray(palette)
    return (palette if palette.max() < 256 else palette >> 8).astype(np.uint8).T[places]


def pixel_sizes(file, series, depth: int, shown: str) -> Sizes:
    """Size of a voxel along (i, j, k) in mm. As ITK and so Slicer, 1 mm where nothing is said; what OME and ImageJ tell, which
    Slicer does not read, is taken, and said; so is what nobody tells of the ``depth`` slices."""
    told = _of_ome(file, series) or _of_imagej(file, series)
    page = series.keyframe
    by_tags = *_of_tags(page), 1.0
    if depth > 1 and not (told and told[2]):
        what = "the distance of its slices" if told or by_tags[:2] != (1, 1) else "the size of its voxels"
        image_warning(
            f"{shown} does not tell {what}, which is taken as {told[0] if told else 1:.4g} mm; volumes are not real"
        )
    if told is None:
        if depth == 1 and by_tags[:2] != (1, 1) and int(page.tags.valueof("ResolutionUnit", 1)) == _INCH:
            note_print_size(by_tags[0], shown)
        return by_tags
    told = told[0], told[1], told[2] or told[0]
    if not all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(told, by_tags, strict=True)):
        sizes = " x ".join(f"{s:.4g}" for s in told)
        image_warning(
            f"{shown}: its voxels of {sizes} mm are those that its description tells; Slicer shows it with "
            f"{' x '.join(f'{s:.4g}' for s in by_tags)} mm"
        )
    return told


def _of_tags(page) -> tuple[float, float]:
    mm = {_INCH: 25.4, _CENTIMETRE: 10.0}.get(int(page.tags.valueof("ResolutionUnit", 1)))
    x, y = (_ratio(page, f"{axis}Resolution") for axis in "XY")
    found = (mm / x, mm / y) if mm and x and y else (1.0, 1.0)
    return found if max(found) > 1 + 1e-6 or min(found) < 1 - 1e-6 else (1.0, 1.0)


def _of_imagej(file, series) -> Sizes | None:
    """The third is 0 where it is not told, as of OME."""
    if not file.is_imagej or series.kind != "imagej":
        return None
    facts = file.imagej_metadata or {}
    mm = _IN_MM.get(str(facts.get("unit", "")).replace("\\u00B5", "µ").replace("μ", "µ").lower())
    x, y = (_ratio(series.keyframe, f"{axis}Resolution") for axis in "XY")
    if mm is None or not x or not y:
        return None
    return mm / x, mm / y, mm * _positive(facts.get("spacing"))


def _of_ome(file, series) -> Sizes | None:
    if not file.is_ome or series.kind != "ome":
        return None
    images = [e for e in ElementTree.fromstring(file.ome_metadata).iter() if e.tag.rpartition("}")[2] == "Pixels"]
    place = next(n for n, one in enumerate(file.series) if one is series)
    if place >= len(images):
        return None
    found = []
    for axis in "XYZ":
        mm = _IN_MM.get(images[place].get(f"PhysicalSize{axis}Unit", "µm").replace("μ", "µ"))
        found.append(_positive(images[place].get(f"PhysicalSize{axis}")) * (mm or 0.0))
    return three(found) if found[0] and found[1] else None


def _ratio(page, name: str) -> float:
    value = page.tags.valueof(name)
    try:
        return _positive(value[0] / value[1])
    except (TypeError, IndexError, ZeroDivisionError):
        return 0.0


def _positive(value) -> float:
    """``value`` if it is a number above 0, else 0."""
    return max(0.0, finite(value, 0.0))
