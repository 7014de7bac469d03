"""The panel with the real engine behind it: a shipped image, a click, a segment that fits the expert's."""

import pytest
import slicer
from paths import SAMPLE_DATA


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture
def brain(scene):
    """``(volume node, tumour [K, J, I])`` of the shipped MR volume."""
    import numpy as np

    from S3NetSegmentLib.engine.images.reading import read_image
    from S3NetSegmentLib.scene.volumes import matrix_from_array

    image, labels = (read_image(SAMPLE_DATA / f"mr_brain_tumour{end}.nii.gz") for end in ("", "_labels"))
    node = slicer.util.addVolumeFromArray(np.array(image.array), name="MR brain tumour")
    node.SetIJKToRASMatrix(matrix_from_array(image.ijk_to_ras))
    return node, labels.array > 0


@pytest.fixture
def panel(brain, open_panel, views):
    node, tumour = brain
    number = int(tumour.sum(axis=(1, 2)).argmax())
    panel = open_panel()
    panel.ui.volumeSelector.setCurrentNode(node)
    for view in (views.axial, views.sagittal, views.coronal):
        composite = panel.headless.slice_logic(view).GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(node.GetID())
    panel.center = center_of(node, tumour, number)
    views.axial.SetSliceOffset(panel.center[2])
    panel.wait(lambda: panel.ui.sliceText.text == f"Left: axial slice {number}")
    panel.tumour = tumour
    return panel


def center_of(node, tumour, number):
    """World position of the innermost voxel of the tumour in a slice."""
    import numpy as np
    from scipy import ndimage

    from S3NetSegmentLib.scene.volumes import volume_from_node

    depth = ndimage.distance_transform_edt(np.pad(tumour[number], 1))[1:-1, 1:-1]
    j, i = np.unravel_index(depth.argmax(), depth.shape)
    return tuple(float(v) for v in volume_from_node(node).ras_of((i, j, number)))


def test_one_point_in_the_shown_slice_finds_the_tumour(panel, keep_picture):
    panel.place("inside", panel.center)
    panel.segment()
    assert panel.names() == ["Object"], panel.message
    mask = panel.mask()
    number = int(panel.tumour.sum(axis=(1, 2)).argmax())
    assert not mask[:number].any() and not mask[number + 1 :].any()
    assert dice(mask[number], panel.tumour[number]) > 0.7
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "panel_real_slice")


def test_one_point_in_the_whole_volume_finds_the_tumour(panel, keep_picture):
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.place("inside", panel.center)
    panel.click(panel.ui.segmentButton)
    panel.wait(lambda: not panel.panel.controller.running, seconds=120)
    assert panel.names() == ["Object"], panel.message
    assert dice(panel.mask(), panel.tumour) > 0.5
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "panel_real_volume")


def test_the_slice_of_a_picture_is_divided_into_regions_without_a_point(panel):
    panel.segment()
    regions = [name for name in panel.names() if name.startswith("Region")]
    assert len(regions) == len(set(regions)) >= 2
    panel.ui.granularitySlider.value = panel.ui.granularitySlider.maximum
    assert len(panel.names()) > len(regions)


@pytest.fixture
def abdomen(scene, open_panel, views):
    """The panel on the shipped CT, its view on a slice with much liver; ``corners`` of the box around the liver there."""
    import numpy as np

    from S3NetSegmentLib.engine.images.reading import read_image
    from S3NetSegmentLib.scene.volumes import matrix_from_array, volume_from_node

    image, labels = (read_image(SAMPLE_DATA / f"ct_abdomen{end}.nii.gz") for end in ("", "_labels"))
    node = slicer.util.addVolumeFromArray(np.array(image.array), name="CT abdomen")
    node.SetIJKToRASMatrix(matrix_from_array(image.ijk_to_ras))
    panel = open_panel()
    panel.ui.volumeSelector.setCurrentNode(node)
    panel.headless.slice_logic(views.axial).GetSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    panel.headless.slice_logic(views.axial).FitSliceToBackground()
    liver = labels.array == 1
    panel.number = int(liver.sum(axis=(1, 2)).argmax())
    panel.liver = liver[panel.number]
    rows, columns = np.nonzero(panel.liver)
    volume = volume_from_node(node)
    panel.corners = [
        tuple(float(v) for v in volume.ras_of((i, j, panel.number)))
        for i, j in ((columns.min(), rows.min()), (columns.max(), rows.max()))
    ]
    views.axial.JumpSliceByOffsetting(*panel.corners[0])
    panel.axial = views.axial
    return panel


def test_a_box_dragged_around_the_liver_finds_it_in_the_slice(abdomen, keep_picture):
    panel = abdomen
    panel.drag(panel.axial, *panel.corners)
    panel.wait(lambda: not panel.panel.controller.running)
    assert panel.names() == ["Object"], panel.message
    mask = panel.mask()
    assert dice(mask[panel.number], panel.liver) > 0.8
    assert mask.any(axis=(1, 2)).sum() == 1 and panel.prompts() == [("Box", f"axial {panel.number}")]
    panel.settle(0.1)
    keep_picture(panel.widget.parent, "panel_real_box")


def test_the_panel_says_why_it_answered_so_and_forgets_it_with_the_next_answer(panel, keep_picture):
    button, why = panel.ui.whyButton, panel.panel.segment.why
    panel.ui.advancedCollapsibleButton.collapsed = False
    assert not button.enabled and "Segment an object first" in button.toolTip
    panel.place("inside", panel.center)
    panel.segment()
    panel.wait(lambda: button.enabled)
    assert "scores" in button.toolTip
    button.click()
    panel.wait(lambda: why.window is not None or panel.message)
    assert why.window is not None, panel.message
    steps = panel.panel.controller.result.answer.granularity_steps
    assert "chosen" in why.text and f"of {steps}" in why.text and "proposed by" in why.text
    keep_picture(why.window, "panel_why")
    panel.ui.granularitySlider.value = 0 if panel.panel.node.granularity else 1
    panel.settle(0.1)
    assert why.window is None


def test_three_clicks_from_the_sample_data_to_the_first_good_segmentation(open_panel, views):
    """Choose the sample, click into the liver, press Segment."""
    import numpy as np

    from S3NetSegmentLib.engine.images.reading import read_image
    from S3NetSegmentLib.scene.volumes import node_of

    panel = open_panel()
    node = node_of(read_image(SAMPLE_DATA / "ct_abdomen.nii.gz"))  # click 1: as Sample Data loads it
    liver = read_image(SAMPLE_DATA / "ct_abdomen_labels.nii.gz").array == 1
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    panel.ui.volumeSelector.setCurrentNode(node)
    number = int(liver.sum(axis=(1, 2)).argmax())
    center = center_of(node, liver, number)
    views.axial.JumpSliceByOffsetting(*center)
    assert panel.ui.pointButton.checked  # nothing has to be switched on first
    panel.view(views.axial).click(center)  # click 2
    panel.wait(lambda: not panel.panel.controller.running)
    panel.segment()  # click 3
    assert panel.names() == ["Object"], panel.message
    assert dice(panel.mask()[number], liver[number]) > 0.8
    assert np.count_nonzero(panel.mask().any(axis=(1, 2))) == 1
