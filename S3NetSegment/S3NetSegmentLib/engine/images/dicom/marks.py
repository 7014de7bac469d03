"""What tells slices in one place apart: time, echo, b-value, kind of image and the like, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .elements import Elements
from .vendors import private_tag, siemens_csa


def classic_marks(elements: Elements) -> dict[str, float | str]:
    """The marks of a classic slice."""
    marks: dict[str, float | str | None] = {
        "temporal position": elements.number(0x00200100),
        "b value": _b_value(elements),
        "echo time": elements.number(0x00180081),
        "inversion time": elements.number(0x00180082),
        "image type": _kind_text(elements.texts(0x00080008)),
        "tube voltage": elements.number(0x00180060),
        "kernel": elements.text(0x00181210),
        "frame time": elements.number(0x00541300),
        "trigger time": elements.number(0x00181060),
        "acquisition": elements.number(0x00200012),
        "gradient": _direction(elements.numbers(0x00189089)),
    }
    return {name: _rounded(value) for name, value in marks.items() if value not in (None, "")}


def enhanced_marks(group: Callable[[int, int], Elements]) -> dict[str, float | str]:
    """The marks of a frame of an enhanced file. ``group``: sequence and tag -> the group of that sequence with that tag."""
    diffusion, gradient = group(0x00189117, 0x00189087), group(0x00189117, 0x00189076)
    marks = {
        "temporal position": group(0x00209111, 0x00209128).number(0x00209128),
        "b value": diffusion.number(0x00189087),
        "echo time": group(0x00189114, 0x00189082).number(0x00189082),
        "inversion time": group(0x00189115, 0x00189079).number(0x00189079),
        "image type": next(
            (t for s in (0x00189226, 0x00189329) if (t := _kind_text(group(s, 0x00089007).texts(0x00089007)))), ""
        ),
        "trigger time": group(0x00189118, 0x00209153).number(0x00209153),
        "stack": group(0x00209111, 0x00209056).text(0x00209056),
        "acquisition": group(0x00209111, 0x00209156).number(0x00209156),
        "gradient": _direction(gradient.item(0x00189076).numbers(0x00189089)),
    }
    return {name: _rounded(value) for name, value in marks.items() if value not in (None, "")}


def _b_value(elements: Elements) -> float | None:
    """The diffusion b-value in s/mm2, also where Siemens, GE, Philips and United Imaging keep it in private elements."""
    value = elements.number(0x00189087)
    if value is None:
        value = _text_number(elements.raw(private_tag(elements, 0x0019, "SIEMENS MR HEADER", 0x0C)))
    if value is None:
        value = next(iter(siemens_csa(elements, "B_value").get("B_value", ())), None)
    if value is None:
        value = _text_number(elements.raw(private_tag(elements, 0x0043, "GEMS_PARM", 0x39)))
        value = value if value is None else value % 1e9  # GE adds a flag of 1e9
    if value is None:
        value = elements.number(private_tag(elements, 0x2001, "Philips Imaging", 0x03))
    if value is None:
        value = elements.number(private_tag(elements, 0x0065, "Image Private Header", 0x09))  # United Imaging
    return value


def _direction(values: Sequence[float]) -> str:
    return ",".join(f"{v:.2f}" for v in values[:3]) if len(values) >= 3 else ""


def _kind_text(values: Sequence[str]) -> str:
    return "/".join(values[2:])


def _rounded(value: float | str) -> float | str:
    return value if isinstance(value, str) else round(value, 2)


def _text_number(raw: bytes) -> float | None:
    try:
        return float(raw.decode("latin-1").strip(" \0").split("\\")[0])
    except ValueError:
        return None
