"""How large the voxels of a TIFF file are: by OME, by ImageJ, else by its resolution tags."""

from __future__ import annotations

import math
import warnings
from xml.etree import ElementTree

from ...common.errors import ImageWarning

_INCH, _CENTIMETRE = 2, 3  # ResolutionUnit; 1 is none
_IN_MM = {
    "m": 1000.0, "cm": 10.0, "mm": 1.0, "µm": 1e-3, "um": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3,
    "nm": 1e-6, "pm": 1e-9, "inch": 25.4, "in": 25.4,
}  # fmt: skip
Sizes = tuple[float, float, float]


def pixel_sizes(file, series, shown: str) -> Sizes:
    """Size of a voxel along (i, j, k) in mm. As ITK and so Slicer, 1 mm where nothing is told; what OME and ImageJ tell, which
    Slicer does not read, is taken, and said."""
    told = _of_ome(file, series) or _of_imagej(file, series)
    by_tags = _of_tags(series.keyframe)
    if told is None:
        return by_tags
    if not all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(told, by_tags, strict=True)):
        sizes = " x ".join(f"{s:.4g}" for s in told)
        warnings.warn(
            f"{shown}: its voxels of {sizes} mm are those that its description tells; Slicer shows it with "
            f"{' x '.join(f'{s:.4g}' for s in by_tags)} mm",
            ImageWarning,
            4,
        )
    return told


def _of_tags(page) -> Sizes:
    mm = {_INCH: 25.4, _CENTIMETRE: 10.0}.get(int(page.tags.valueof("ResolutionUnit", 1)))
    if mm is None:
        return 1.0, 1.0, 1.0
    x, y = (_ratio(page, f"{axis}Resolution") for axis in "XY")
    return (mm / x, mm / y, 1.0) if x and y else (1.0, 1.0, 1.0)


def _of_imagej(file, series) -> Sizes | None:
    if not file.is_imagej or series.kind != "imagej":
        return None
    facts = file.imagej_metadata or {}
    mm = _IN_MM.get(str(facts.get("unit", "")).replace("\\u00B5", "µ").replace("μ", "µ").lower())
    x, y = (_ratio(series.keyframe, f"{axis}Resolution") for axis in "XY")
    if mm is None or not x or not y:
        return None
    return mm / x, mm / y, mm * _positive(facts.get("spacing"), 1.0 / x)


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
        size = _positive(images[place].get(f"PhysicalSize{axis}"), 0.0)
        found.append(size * mm if mm else 0.0)
    if not found[0] or not found[1]:
        return None
    return found[0], found[1], found[2] or found[0]


def _ratio(page, name: str) -> float:
    value = page.tags.valueof(name)
    try:
        return _positive(value[0] / value[1], 0.0)
    except (TypeError, IndexError, ZeroDivisionError):
        return 0.0


def _positive(value, otherwise: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return otherwise
    return number if math.isfinite(number) and number > 0 else otherwise
