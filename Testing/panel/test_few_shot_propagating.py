"""Few-shot from the button to the accepted segments, by clicks."""

import numpy as np
import pytest
import slicer
from fake_propagation import FakePropagation

SLICES = 12  # of the volume


def square(top=10, left=12, size=8, shape=(36, 40)):
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


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


def preview_node():
    nodes = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "preview" in n.GetName()]
    return nodes[0] if nodes else None


def test_propagate_shows_a_preview_and_accept_writes_it(open_drawn, keep_picture):
    panel = open_drawn()
    keep_picture(panel.widget.parent, "few_shot_drawn")
    before = {name: panel.mask(name) for name in ("Liver", "Spleen")}
    panel.propagate()
    assert preview_node() is not None and "Nothing is written yet" in panel.ui.answerText.text
    assert all((panel.mask(name) == mask).all() for name, mask in before.items())
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "few_shot_preview")
    panel.click(panel.ui.acceptButton)
    assert preview_node() is None and panel.names() == ["Segment_1", "Liver", "Spleen"]
    liver = panel.mask("Liver")
    assert liver.any(axis=(1, 2)).all() and (liver[4] == before["Liver"][4]).all()
    assert (liver[8] == before["Liver"][8]).all() and not panel.mask("Segment_1").any()
    assert "Accepted" in panel.ui.answerText.text and not panel.ui.acceptButton.isVisible()
    keep_picture(panel.widget.parent, "few_shot_accepted")
