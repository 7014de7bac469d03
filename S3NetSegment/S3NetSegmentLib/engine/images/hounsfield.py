"""Whether the values of an image are Hounsfield units, by what is known of it and by their distribution."""

from __future__ import annotations

import numpy as np

_UNKNOWN = ("", "OT", "SC")  # DICOM modalities that say nothing about the values: other, secondary capture
_OFFSET = 1024.0  # of CT that is kept without a sign
_BETWEEN = (-650.0, -250.0)  # gas and tissue
_NOISE = -150.0  # of air in such CT: it and overshoots of interpolation pass below 0
_LOWEST, _HIGHEST = -1100.0, 3200.0  # of what is measured; below lies padding, above metal


def hounsfield_offset(values: np.ndarray, modality: str = "", masked: bool = False) -> float | None:
    """What must be subtracted from ``values`` so that they are Hounsfield units (0 or 1024); None if they are none.

    :param values: float64, sorted, without padding.
    :param modality: of DICOM, "" if unknown. Other than CT: never Hounsfield units. CT: always, if the values can be such
        units. Unknown: where the distribution has the shape of a CT's.
    :param masked: whether there was padding of a value that is none of air or beyond.
    """
    modality = modality.strip().upper()
    if modality != "CT" and modality not in _UNKNOWN:
        return None
    if _looks_like_ct(_without_padding_amid(values)):
        return 0.0
    if values[len(values) // 50] > _NOISE and _looks_like_ct(values - _OFFSET, strict=modality != "CT"):
        return _OFFSET
    return 0.0 if modality == "CT" and _possible(values, masked) else None


def _without_padding_amid(values: np.ndarray) -> np.ndarray:
    """``values`` without the one that most of those between gas and tissue have: padding that no gap sets off."""
    first, last = np.searchsorted(values, _BETWEEN)
    starts = first + np.flatnonzero(np.diff(values[first:last], prepend=-np.inf))
    counts = np.diff(starts, append=last)
    if not starts.size or 2 * counts.max() < last - first:
        return values
    at = starts[counts.argmax()]
    return np.delete(values, slice(at, at + counts.max()))


def _possible(values: np.ndarray, masked: bool) -> bool:
    """Whether values of a CT can be Hounsfield units: not a window of it (0 to 255, 0 to 1), nor raw values."""
    low, middle, high = values[[len(values) // 100, len(values) // 2, -1 - len(values) // 100]]
    if low < _LOWEST or middle > _HIGHEST or high - low < 20:
        return False
    if low < -5:
        return True
    cut_off = np.searchsorted(values, values[0], "right") > 0.01 * len(values)  # at the end of a window
    return bool(middle < 300 and not cut_off and not masked)


def _looks_like_ct(values: np.ndarray, strict: bool = False) -> bool:
    """Whether ``values`` are distributed like Hounsfield units: gas at -1000, soft tissue about 0, and little between them.

    :param strict: for units with an offset, as other images have no negative values either: air around the body and bone, too.
    """

    def count(low: float, high: float) -> int:
        return int(np.searchsorted(values, high) - np.searchsorted(values, low))

    measured = count(_LOWEST, _HIGHEST)
    if measured < 0.995 * (len(values) - count(-np.inf, _LOWEST)) or measured < 0.5 * len(values):
        return False
    gas, near_air = count(_LOWEST, -500), count(_LOWEST, -850)
    body, soft, between = count(_BETWEEN[0], _HIGHEST), count(-150, 200), count(*_BETWEEN)
    if gas < 0.001 * measured or near_air < 0.25 * gas or soft < max(0.45 * body, 0.05 * measured):
        return False
    # of each, per Hounsfield unit
    valley, tissue, air = between / 400, soft / 350, near_air / 250
    if valley > 0.5 * tissue or (gas > 0.1 * measured and valley > 0.75 * air):
        return False
    return not strict or _has_air_and_bone(count, body, soft, valley, tissue, measured)


def _has_air_and_bone(count, body: int, soft: int, valley: float, tissue: float, measured: int) -> bool:
    air = count(-1030, -900)
    return bool(
        air > 0.01 * measured and air > 0.5 * count(_LOWEST, -850) and soft > 0.55 * body and valley < 0.25 * tissue
        and count(300, _HIGHEST) > 0.0005 * measured
    )  # fmt: skip
