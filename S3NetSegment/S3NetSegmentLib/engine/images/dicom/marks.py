"""What tells slices in one place apart: time, echo, b-value, kind of image and the like, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .elements import Elements
from .vendors import private_tag, siemens_csa


def classic_marks(elements: Elements) -> dict[str, float | str]:
    """The marks of a classic slice."""
    marks: dict[str, float | str | None] = {
        "temporal position": elements.number("TemporalPositionIdentifier"),
        "b value": _b_value(elements),
        "echo time": elements.number("EchoTime"),
        "inversion time": elements.number("InversionTime"),
        "image type": _kind_text(elements.texts("ImageType")),
        "tube voltage": elements.number("KVP"),
        "kernel": elements.text("ConvolutionKernel"),
        "frame time": elements.number("FrameReferenceTime"),
        "trigger time": elements.number("TriggerTime"),
        "acquisition": elements.number("AcquisitionNumber"),
        "gradient": _direction(elements.numbers("DiffusionGradientOrientation")),
    }
    return {name: _rounded(value) for name, value in marks.items() if value not in (None, "")}


def enhanced_marks(group: Callable[[str, str], Elements]) -> dict[str, float | str]:
    """The marks of a frame of an enhanced file. ``group``: the functional group of a sequence that has a keyword."""

    def number(sequence: str, keyword: str) -> float | None:
        return group(sequence, keyword).number(keyword)

    gradient = group("MRDiffusionSequence", "DiffusionGradientDirectionSequence").item(
        "DiffusionGradientDirectionSequence"
    )
    types = (_kind_text(group(f"{m}ImageFrameTypeSequence", "FrameType").texts("FrameType")) for m in ("MR", "CT"))
    marks = {
        "temporal position": number("FrameContentSequence", "TemporalPositionIndex"),
        "b value": number("MRDiffusionSequence", "DiffusionBValue"),
        "echo time": number("MREchoSequence", "EffectiveEchoTime"),
        "inversion time": number("MRModifierSequence", "InversionTimes"),
        "image type": next(filter(None, types), ""),
        "trigger time": number("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
        "stack": group("FrameContentSequence", "StackID").text("StackID"),
        "acquisition": number("FrameContentSequence", "FrameAcquisitionNumber"),
        "gradient": _direction(gradient.numbers("DiffusionGradientOrientation")),
    }
    return {name: _rounded(value) for name, value in marks.items() if value not in (None, "")}


def _b_value(elements: Elements) -> float | None:
    """The diffusion b-value in s/mm2, also where Siemens, GE, Philips and United Imaging keep it in private elements."""
    value = elements.number("DiffusionBValue")
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
