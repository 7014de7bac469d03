"""The scene tests run on the real MRML of slicer-core; without it they are skipped, and say so."""

from __future__ import annotations

import headless_slicer
import numpy as np
import pytest


class _SkippedModule(pytest.Module):
    """A test file that is not imported, since its imports would fail, but reported as skipped."""

    def collect(self):
        pytest.skip(headless_slicer.WHY_NOT, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    if headless_slicer.AVAILABLE:
        return None
    return _SkippedModule.from_parent(parent, path=module_path)


@pytest.fixture
def app():
    """The headless application with an empty scene."""
    app = headless_slicer.start()
    app.new_scene()
    yield app
    app.new_scene()


@pytest.fixture
def rng():
    return np.random.default_rng(20)
