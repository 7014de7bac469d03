"""Which slices are drawn, as people write it: "12,30,44", "10-20", "5,10-20" or "all"; for the command line and manifests."""

from __future__ import annotations

import re

ALL = "all"  # every slice, also those that hold nothing
_PART = re.compile(r"\s*(\d+)\s*(?:[-:]\s*(\d+)\s*)?", re.ASCII)
_MOST = 100_000  # slices; more are not an image


def drawn_numbers(text: str) -> tuple[int, ...] | str:
    """The numbers that ``text`` names, ascending, each once; or :data:`ALL`.

    :raises ValueError: anything else, with what may be written.
    """
    if text.strip().casefold() == ALL:
        return ALL
    numbers: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if not found or len(part) > 60:
            raise ValueError(
                f"{_shown(text)} are not slices; write numbers counted from 0, e.g. 12,20,31, or a range, 10-20, or all"
            )
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise ValueError(f"{_shown(part.strip())} ends before it begins; write FIRST-LAST, e.g. 10-20")
        if last >= _MOST:
            raise ValueError(f"{_shown(part.strip())} is not a slice of an image; the numbers must be below {_MOST:,}")
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:57]!r}..."
