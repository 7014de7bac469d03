"""How a batch in Slicer reads images and writes segmentations: images become nodes, Slicer writes what they hold."""

from __future__ import annotations

import os
from pathlib import Path

import slicer

from ..engine import InputError, ResourceError, Segmentation, Volume
from ..engine.batch.case_files import CaseFiles
from ..engine.common.errors import UnknownFormatError
from ..engine.images.reading import read_image
from .packages import with_packages
from .segmentation.reading import write_segmentation
from .volumes import node_of, volume_from_node


class SceneFiles(CaseFiles):
    """Reads what ``s3net`` reads as ``s3net`` does, and leaves formats that it does not know to Slicer and its extensions.

    Slicer's own readers would take the first of several frames without asking, straighten tilted grids, and turn the slices
    of mirrored ones round: the slice numbers and voxels of a manifest would mean others. The nodes stay in the scene until
    :meth:`clear`.
    """

    def __init__(self):
        self._nodes = []  # (Volume, its node)

    def clear(self) -> None:
        """Forgets the volumes and empties the scene."""
        self._nodes.clear()
        slicer.mrmlScene.Clear()

    def read_image(self, path: str, frame: int | None = None, series: str | None = None) -> Volume:
        try:
            volume = with_packages(lambda: read_image(path, frame=frame, series=series))
            node = node_of(volume)
        except UnknownFormatError:
            if frame is not None or series is not None:
                raise
            node = _loaded(path)
            volume = volume_from_node(node)
        self._nodes.append((volume, node))
        return volume

    def write_segmentation(self, segmentation: Segmentation, path: Path, volume: Volume) -> None:
        node = next(node for known, node in self._nodes if known is volume)
        segmentation_node, _ = write_segmentation(segmentation, node, name=volume.name)
        if not slicer.util.saveNode(segmentation_node, str(path)) or not path.is_file():
            raise ResourceError(f"Slicer could not write {path.name!r}; is the disk full or write-protected?")


def _loaded(path: str):
    """The volume node of a file. InputError if Slicer cannot read it."""
    if not os.path.isfile(path):
        raise InputError(f"there is no file or folder {path!r}; check the path")
    try:
        node = slicer.util.loadVolume(path, properties={"singleFile": True, "show": False})
    except RuntimeError as error:
        raise InputError(f"Slicer cannot read {path!r} as a volume ({' '.join(str(error).split())[:200]})") from None
    if node is None:
        raise InputError(f"Slicer cannot read {path!r} as a volume; check that it is an image")
    return node
