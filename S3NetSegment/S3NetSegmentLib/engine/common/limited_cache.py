"""What the last answers were made of and the next ones may need."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class LimitedCache(Generic[T]):
    """Keeps what was used last, up to ``limit`` in sizes (bytes, or entries where each has the size 1), at least one."""

    def __init__(self, limit: int):
        self._found: dict[Hashable, tuple[T, int]] = {}
        self._limit = limit

    def get(self, key: Hashable) -> T | None:
        """What was kept under ``key``, or None."""
        if key not in self._found:
            return None
        self._found[key] = self._found.pop(key)  # the last used one is the last to go
        return self._found[key][0]

    def add(self, key: Hashable, found: T, size: int = 1) -> T:
        """Keeps ``found`` and returns it."""
        self._found[key] = found, size
        while sum(size for _, size in self._found.values()) > self._limit and len(self._found) > 1:
            del self._found[next(iter(self._found))]
        return found
