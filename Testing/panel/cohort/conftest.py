"""The panel with its tab Cohort open."""

import pytest


@pytest.fixture
def open_cohort(open_panel, views):
    def opener(store):
        panel = open_panel()
        panel.open_cohort(store.folder)
        return panel

    return opener
