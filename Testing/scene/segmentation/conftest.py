"""A volume and a segmentation of two overlapping segments."""

from __future__ import annotations

import headless_slicer
import numpy as np
import pytest

if headless_slicer.AVAILABLE:  # otherwise the tests of this folder are skipped
    import mrml
    from segment_states import SHAPE

    from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
    from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
    from S3NetSegmentLib.scene.volumes import volume_from_node


@pytest.fixture
def image(app, rng):
    return mrml.add_volume(rng.integers(0, 99, SHAPE).astype(np.int16), mrml.random_grid(rng))


@pytest.fixture
def grid(image):
    return volume_from_node(image)


@pytest.fixture
def two_segments(image, grid):
    """A segmentation with two overlapping segments: (node, id a, mask a, id b, mask b)."""
    node = create_segmentation(image)
    a, b = mrml.ball(SHAPE, (6, 7, 8), 4), mrml.ball(SHAPE, (8, 8, 9), 4)
    with segment_edit(node, image) as edit:
        ids = [edit.add_segment(mrml.segment(n), m, grid) for n, m in (("A", a), ("B", b))]
    return node, ids[0], a, ids[1], b
