"""The scene bridge: MRML nodes to engine types and back. Knows vtk and slicer; no Qt, no torch.

The one place that knows MRML's traps: parent transforms, oblique views, shared label map layers, undo states.
"""
