"""Few-shot with the real engine behind the panel: three drawn slices of the shipped CT give its organs."""

import numpy as np
import pytest
import slicer
from paths import SAMPLE_DATA

ORGANS = {"liver": 1, "spleen": 2, "right kidney": 3, "left kidney": 4, "aorta": 5}
DRAWN = (16, 30, 44)
LEAST_DICE = 0.8  # on the slices that were not drawn; it was 0.86 to 0.97


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


@pytest.fixture
def abdomen(scene):
    """``(volume node, labels [K, J, I])`` of the shipped CT."""
    from S3NetSegmentLib.engine.images.reading import read_image
    from S3NetSegmentLib.scene.volumes import matrix_from_array

    image, labels = (read_image(SAMPLE_DATA / f"ct_abdomen{end}.nii.gz") for end in ("", "_labels"))
    node = slicer.util.addVolumeFromArray(np.array(image.array), name="CT abdomen")
    node.SetIJKToRASMatrix(matrix_from_array(image.ijk_to_ras))
    return node, labels.array


def test_three_drawn_slices_of_the_ct_give_the_organs(abdomen, open_panel, views, keep_picture):
    pytest.importorskip("torch")
    node, labels = abdomen
    panel = open_panel()
    panel.widget.parent.resize(400, 980)
    panel.ui.volumeSelector.setCurrentNode(node)
    for view in (views.axial, views.sagittal, views.coronal):
        panel.headless.slice_logic(view).GetSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    panel.open_few_shot()
    for number in DRAWN:
        for name, value in ORGANS.items():
            if (labels[number] == value).any():
                panel.draw(name, labels[number] == value, "z", number)
    assert [row[0] for row in panel.rows()] == [f"axial {n}" for n in DRAWN]
    panel.look_at_slice(views.axial, 23)
    panel.click(panel.ui.propagateButton)
    controller = panel.panel.few_shot.controller
    panel.wait(lambda: controller.result is not None, seconds=120)
    assert controller.running and controller.result.preview.answer.numbers == [23]  # the shown slice comes first
    panel.wait(lambda: not controller.running, seconds=300)
    assert panel.ui.acceptButton.isVisible(), panel.message
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "few_shot_real")
    panel.click(panel.ui.acceptButton)
    undrawn = np.setdiff1d(np.arange(len(labels)), DRAWN)
    for name, value in ORGANS.items():
        assert dice(panel.mask(name)[undrawn], labels[undrawn] == value) > LEAST_DICE, name
        for number in DRAWN:
            assert (panel.mask(name)[number] == (labels[number] == value)).all()
