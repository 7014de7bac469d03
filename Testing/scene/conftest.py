"""The scene tests run on the real MRML of slicer-core; without it they are skipped, and say so."""

from __future__ import annotations

import headless_slicer
import numpy as np
import pytest

collect_ignore_glob = [] if headless_slicer.AVAILABLE else ["test_*.py"]


def pytest_report_header(config):
    return None if headless_slicer.AVAILABLE else f"scene tests skipped: {headless_slicer.WHY_NOT}"


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
