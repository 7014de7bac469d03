"""A drawing of two segments, an answer to it and its preview."""

from __future__ import annotations

import headless_slicer
import numpy as np
import pytest

if headless_slicer.AVAILABLE:  # otherwise the tests of this folder are skipped
    import mrml
    from few_shot_previews import DRAWN, SHAPE

    from S3NetSegmentLib.scene.answers.preview import FewShotPreview
    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node


@pytest.fixture
def image(app, rng):
    return mrml.add_volume(rng.integers(0, 99, SHAPE).astype(np.int16), mrml.random_grid(rng), name="CT")


@pytest.fixture
def grid(image):
    return volume_from_node(image)


@pytest.fixture
def answer():
    """Labels 1 and 2 on all slices."""
    labels = mrml.ball(SHAPE, (5, 5, 5), 4).astype(np.uint8)
    labels[mrml.ball(SHAPE, (5, 8, 10), 3)] = 2
    return labels


@pytest.fixture
def drawing(image, grid):
    """(node, ids): "Liver" and "Lesion" drawn on slices 3 and 6, in another way than the answer has them."""
    node = create_segmentation(image, "mine")
    masks = []
    for center in ((5, 5, 4), (5, 8, 11)):
        mask = mrml.ball(SHAPE, center, 3)
        mask[[n for n in range(SHAPE[0]) if n not in (3, 6)]] = False
        masks.append(mask)
    with segment_edit(node, image) as edit:
        ids = [edit.add_segment(mrml.segment(n, c, terminology=t), m, grid) for n, c, t, m in zip(("Liver", "Lesion"), ((0.8, 0.1, 0.2), (0.1, 0.6, 0.3)), ("a~b^c~d^e~f~|~^~^~|~~^^^~", ""), masks, strict=True)]  # fmt: skip
    return node, ids


@pytest.fixture
def preview(drawing, image):
    node, ids = drawing
    return FewShotPreview(node, image, {1: ids[0], 2: ids[1]}, DRAWN)


@pytest.fixture
def accepted(preview, answer):
    preview.show(answer, "z")
    return preview.accept()
