"""What the tests of segmentation nodes compare."""

from __future__ import annotations

from S3NetSegmentLib.scene.segmentation.reading import segment_mask

SHAPE = (14, 16, 18)


def ids_of(node):
    return list(node.GetSegmentation().GetSegmentIDs())


def state(node, grid):
    """Everything of the segments that must come back: order, names, colours and voxels."""
    segmentation = node.GetSegmentation()
    return [
        (i, segmentation.GetSegment(i).GetName(), segmentation.GetSegment(i).GetColor(), segment_mask(node, i, grid).tobytes())
        for i in ids_of(node)
    ]  # fmt: skip
