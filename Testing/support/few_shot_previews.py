"""What the tests of a preview compare."""

from __future__ import annotations

import mrml
import numpy as np
import slicer

from S3NetSegmentLib.scene.drawings.support_set import SupportSlice
from S3NetSegmentLib.scene.segmentation.reading import segment_mask
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit

SHAPE = (10, 12, 14)


DRAWN = [SupportSlice("z", 3), SupportSlice("z", 6)]


def masks(node, grid, ids):
    return [segment_mask(node, i, grid) for i in ids]


def nodes():
    return {slicer.mrmlScene.GetNthNode(n).GetID() for n in range(slicer.mrmlScene.GetNumberOfNodes())}


def shown(preview, image):
    return [mrml.exported(preview.node, i, image) for i in preview.node.GetSegmentation().GetSegmentIDs()]


def paint(node, image, grid, segment_id, mask, remove=False):
    with segment_edit(node, image) as edit:
        (edit.remove if remove else edit.add)(segment_id, mask, grid)


def stroke(*index, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[index] = True
    return mask
