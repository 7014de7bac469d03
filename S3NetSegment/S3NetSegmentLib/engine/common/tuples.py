"""Pairs and triples of values that come one after the other, so that their number is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def two(values: Iterable[T]) -> tuple[T, T]:
    """The two ``values``; ValueError where there are not two."""
    first, second = values
    return first, second


def three(values: Iterable[T]) -> tuple[T, T, T]:
    """The three ``values``; ValueError where there are not three."""
    first, second, third = values
    return first, second, third
