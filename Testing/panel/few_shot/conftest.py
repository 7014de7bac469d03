"""The panel, and a script, with drawn slices."""

import numpy as np
import pytest
import slicer
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


@pytest.fixture
def drawing(volume_node):
    """A segmentation whose segment "Ball" is drawn on slices 4 and 8, from another hand than the image's own ball."""
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation

    node = create_segmentation(volume_node, "drawn")
    segment_id = node.GetSegmentation().AddEmptySegment("ball", "Ball")
    k, j, i = np.mgrid[:12, :36, :40]
    mask = ((i - 20) ** 2 + (j - 18) ** 2 < 40) & np.isin(k, (4, 8))
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment_id, volume_node)
    return node


@pytest.fixture
def few_shot_engine(module, monkeypatch):
    import S3NetSegmentLib.engine.few_shot.method as real

    engine = FakePropagation()
    monkeypatch.setattr(real, "FewShot", engine)
    monkeypatch.setattr(real, "load_encoder", lambda name, device: None)
    return engine
