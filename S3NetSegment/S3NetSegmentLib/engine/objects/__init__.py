"""From regions to objects: candidates, their features, their ranking."""

from .ranked import RankedCandidates
from .slice_objects import SliceObjects

__all__ = ["RankedCandidates", "SliceObjects"]
