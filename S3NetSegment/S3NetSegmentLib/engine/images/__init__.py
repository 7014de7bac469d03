"""Images in physical space: volumes, extents, segmentations, reading and writing. No torch here."""

from .segmentation import Segment, Segmentation
from .volume import Extent, Volume

__all__ = ["Extent", "Segment", "Segmentation", "Volume"]
