"""From regions to objects: candidates, their features, their ranking."""

from .ranked import RankedCandidates
from .slice_objects import SliceObjects
from .volume_objects import VolumeObjects

__all__ = ["RankedCandidates", "SliceObjects", "VolumeObjects"]
