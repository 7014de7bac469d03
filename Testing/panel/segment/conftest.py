"""The panel with a small engine that says what it was asked."""

import pytest
from fake_engine import FakeEngine


@pytest.fixture
def pointing(open_panel):
    """The panel as it opens, with the engine that it asks."""
    engine = FakeEngine()
    panel = open_panel(engine)
    panel.engine = engine
    return panel
