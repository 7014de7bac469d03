"""From regions to objects: candidates, their features, their ranking."""

from .ranked import RankedCandidates
from .slice_objects import SliceObjects
from .volume_objects import VolumeObjects, objects_of_volume

__all__ = ["RankedCandidates", "SliceObjects", "VolumeObjects", "objects_of_volume"]
