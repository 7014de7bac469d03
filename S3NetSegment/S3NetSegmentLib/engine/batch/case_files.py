"""How a case reads images and writes segmentations: here with the engine's own readers and writers."""

from __future__ import annotations

from pathlib import Path

from ..images import Segmentation, Volume
from ..images.reading import read_image
from ..images.writing import write_segmentation


class CaseFiles:
    """Slicer brings its own, which does the same through its scene."""

    def read_image(self, path: str, frame: int | None = None, series: str | None = None) -> Volume:
        """The image at ``path``; raises as :func:`read_image`."""
        return read_image(path, frame, series)

    def write_segmentation(self, segmentation: Segmentation, path: Path, volume: Volume) -> None:
        """Writes a ``.seg.nrrd`` that belongs to ``volume``; raises as :func:`write_segmentation`."""
        write_segmentation(segmentation, path)
