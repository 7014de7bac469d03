"""The panel with drawn slices."""

import pytest
from fake_propagation import FakePropagation
from few_shot_drawings import square


@pytest.fixture
def open_drawn(open_panel, views):
    """Opens the panel with two segments drawn on axial slice 4 and one on slice 8."""

    def opener(engine=None):
        panel = open_panel(None, engine or FakePropagation())
        panel.open_few_shot()
        panel.widget.parent.resize(400, 900)
        panel.draw("Liver", square(), "z", 4)
        panel.draw("Spleen", square(24, 24), "z", 4)
        panel.draw("Liver", square(12, 14), "z", 8)
        return panel

    return opener
