"""How a model was made, as its file and its segments tell."""

from __future__ import annotations

import torch

from ... import __version__
from .configuration import Configuration
from .preparation import PreparedCohort


def provenance(method: str, configuration: Configuration, data: PreparedCohort, step: int, **more) -> dict:
    """Plain values. No names of cases are among them."""
    settings = configuration.cohort
    folds = {"folds": settings.folds, "fold": settings.fold} if settings.folds else {}
    return {
        "version": __version__, "torch": str(torch.__version__), "method": method, "preset": configuration.preset,
        "steps": step, "settings": configuration.as_dict(), "seed": configuration.trainer.seed,
        "split": {"validation": settings.validation, "test": settings.test, "listed": bool(data.cohort.listed_splits), **folds},
        **data.counts(), **more,
    }  # fmt: skip
