"""The engine: images in, segmentations out. Knows nothing of Slicer, Qt or MRML.

Importing it does not import torch; the methods do, when they are first used.
"""

from .errors import InputError, ResourceError
from .images import Extent, Segment, Segmentation, Volume
from .progress import Step, Steps, drain
from .settings import SegmentSettings, preset

__all__ = [
    "Extent", "InputError", "ResourceError", "Segment", "SegmentSettings", "Segmentation", "Step", "Steps", "Volume",
    "drain", "preset",
]  # fmt: skip
