"""Clicks and boxes in the slice views of the panel, and where they lie in the tests' volume."""

from S3NetSegmentLib.engine.segment.prompts import Box

CENTER = (0.0, 0.0, 0.0)  # world position of voxel (20, 18, 6)
CORNERS = ((-8.0, -6.0, 0.0), (8.0, 6.0, 0.0))  # voxels (12, 12) to (28, 24)
BOX_THERE = Box((12, 12, 6), (28, 24, 6))


def drag(panel, view, *positions, **modifiers):
    panel.drag(view, *positions, **modifiers)
    panel.wait(lambda: not panel.panel.controller.running)


def click(panel, view, position, **modifiers):
    panel.view(view).click(position, **modifiers)
    panel.wait(lambda: not panel.panel.controller.running)
