"""Images in physical space: volumes, extents, segmentations, reading and writing. No torch here."""

from .segmentation import Segment, Segmentation
from .volume import AXES, Extent, Volume

__all__ = ["AXES", "Extent", "Segment", "Segmentation", "Volume"]
