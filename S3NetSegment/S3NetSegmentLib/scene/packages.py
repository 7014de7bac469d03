"""Python packages that Slicer does not bring along, asked for once, when they are first needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import slicer

from ..engine.common.errors import InputError, MissingPackageError

_WANTED = Path(__file__).resolve().parents[2] / "Resources" / "requirements_in_slicer.txt"
_Answer = TypeVar("_Answer")


def with_packages(work: Callable[[], _Answer]) -> _Answer:
    """The answer of ``work``; where it lacks a package the user is asked to have it installed, and ``work`` done again.

    InputError with the way out where nobody can be asked (a script without a window), or Slicer is too old, or the user
    declines.
    """
    try:
        return work()
    except MissingPackageError as error:
        _install(error)
    return work()


def _install(error: MissingPackageError) -> None:
    by_hand = f"in Slicer's Python console: slicer.util.pip_install({error.package!r})"
    try:
        packaging = importlib.import_module("slicer.packaging")  # Slicer 5.12
    except ImportError:
        packaging = None
    if packaging is None or slicer.util.mainWindow() is None:
        raise InputError(f"{error}; {by_hand}") from None
    wanted = [r for r in packaging.load_requirements(_WANTED) if r.name == error.package]
    try:
        packaging.pip_ensure(wanted, requester="S3Net Segment")
    except RuntimeError as refused:
        raise InputError(f"{error.package} was not installed ({refused}); {by_hand}") from None
    importlib.invalidate_caches()
