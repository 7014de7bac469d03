"""Few-shot: the list of drawn slices follows what the user draws, undoes and corrects."""

import numpy as np
import pytest
from fake_propagation import FakePropagation


def square(top=10, left=12, size=8, shape=(36, 40)):
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


@pytest.fixture
def panel(open_panel, views):
    panel = open_panel(None, FakePropagation())
    panel.open_few_shot()
    return panel


def test_the_tab_shows_one_use_of_the_panel_at_a_time(open_panel, keep_picture):
    panel = open_panel(None, FakePropagation())
    assert panel.ui.segmentButton.isVisible() and not panel.ui.propagateButton.isVisible()
    panel.open_few_shot()
    assert panel.ui.propagateButton.isVisible() and not panel.ui.segmentButton.isVisible()
    assert panel.panel.editor.widget.isVisible() and panel.ui.volumeSelector.isVisible()
    panel.widget.parent.resize(400, 760)
    panel.settle(0.3)
    keep_picture(panel.widget.parent, "few_shot_fresh")
    panel.open_segment()
    assert panel.ui.segmentButton.isVisible() and not panel.ui.supportCollapsibleButton.isVisible()
    assert not panel.panel.editor.widget.isVisible()


def test_a_drawn_slice_appears_in_the_list_by_itself(panel):
    assert panel.rows() == [] and panel.ui.supportHint.isVisible() and not panel.ui.propagateButton.enabled
    panel.draw("Liver", square(), "z", 4)
    assert panel.rows() == [("axial 4", "Liver", True)]
    panel.draw("Spleen", square(24, 24), "z", 4)
    panel.draw("Liver", square(), "z", 9)
    assert panel.rows() == [("axial 4", "Liver, Spleen", True), ("axial 9", "Liver", True)]
