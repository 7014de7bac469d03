"""Numbers in files and texts, which may be none. Needs no package: the records of tasks load without any."""

from __future__ import annotations

import math
from typing import Any, TypeVar

T = TypeVar("T")


def finite(value: Any, otherwise: T) -> float | T:
    """``value``, also a text, as a number; ``otherwise`` where it is none, or is not finite."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise
    return number if math.isfinite(number) else otherwise
