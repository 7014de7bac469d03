"""How a batch in Slicer reads images and writes segmentations: through Slicer's own readers, nodes and writers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import slicer

from ..engine import InputError, ResourceError, Segmentation, Volume
from ..engine.batch.case_files import CaseFiles
from ..engine.images.dicom.series import is_dicom
from ..engine.images.files import file_head
from ..engine.images.reading import read_image
from .segments import write_segmentation
from .transforms import matrix_from_array
from .volumes import volume_from_node


class SceneFiles(CaseFiles):
    """Reads what Slicer reads, also formats that only Slicer (or one of its extensions) knows. DICOM series and
    single frames of 4D images are read as on the command line. The nodes stay in the scene until :meth:`clear`."""

    def __init__(self):
        self._nodes = []  # (Volume, its node)

    def clear(self) -> None:
        """Forgets the volumes and empties the scene."""
        self._nodes.clear()
        slicer.mrmlScene.Clear()

    def read_image(self, path: str, frame: int | None = None, series: str | None = None) -> Volume:
        if frame is not None or os.path.isdir(path) or _is_dicom(path):
            volume = read_image(path, frame=frame, series=series)
            node = _node_of(volume)
        else:
            node = _loaded(path)
            volume = volume_from_node(node)
        self._nodes.append((volume, node))
        return volume

    def write_segmentation(self, segmentation: Segmentation, path: Path, volume: Volume) -> None:
        node = next(node for known, node in self._nodes if known is volume)
        segmentation_node, _ = write_segmentation(segmentation, node, name=volume.name)
        if not slicer.util.saveNode(segmentation_node, str(path)) or not path.is_file():
            raise ResourceError(f"Slicer could not write {path.name!r}; is the disk full or write-protected?")


def _is_dicom(path: str) -> bool:
    """Whether ``path`` is a DICOM file; of one slice Slicer would read that slice alone."""
    return os.path.isfile(path) and os.path.getsize(path) > 0 and is_dicom(Path(path), file_head(Path(path)))


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


def _node_of(volume: Volume):
    """A node that shows ``volume``."""
    class_name = "vtkMRMLVectorVolumeNode" if volume.is_rgb else "vtkMRMLScalarVolumeNode"
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    node = slicer.util.addVolumeFromArray(np.ascontiguousarray(array), name=volume.name, nodeClassName=class_name)
    node.SetIJKToRASMatrix(matrix_from_array(volume.ijk_to_ras))
    return node
