"""How much memory there is."""

from __future__ import annotations

import re
from pathlib import Path


def available_memory_mb() -> int | None:
    """Memory that can be had now without swapping, bounded by the limit of a container; None if the system does not tell."""
    found = []
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        if stated := re.search(r"MemAvailable:\s+(\d+) kB", text):
            found.append(int(stated[1]) // 1024)
    except (OSError, ValueError):
        pass
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            numbers = [int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")) for name in (limit, used)]
            found.append((numbers[0] - numbers[1]) >> 20)
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
    return max(0, min(found)) if found else None
