"""Writing segmentations, confidence maps and pictures: complete or not at all (see :func:`files.replacing`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from .files import IMAGE_FORMATS, check_output_path, replacing, suffix_of
from .formats.encoding import write_mha, write_nrrd, write_png_pixels
from .formats.nifti import write_nifti
from .formats.seg_nrrd import encode_segmentation
from .segmentation import LARGEST_LABEL, Segmentation
from .volume import Volume

FRAME_FORMATS = (".nii.gz", ".nii", ".nrrd")  # that can hold several frames


def write_segmentation(segmentation: Segmentation, path: str | os.PathLike) -> Path:
    """Writes ``segmentation`` in the format that ``path`` ends with.

    - ``.seg.nrrd``: Slicer's segmentation file, with names, colours, terminology, tags and overlaps.
    - ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha``: label map with the values of the segments (1, 2, ... in their order where two
      share one); where segments overlap, the later one.
    - ``.png``: the same as an 8 or 16 bit grey picture, of 2D images.

    :returns: the path.
    :raises InputError: unknown format, a picture of a 3D image, or a place that cannot be written.
    :raises ResourceError: the disk is full. An older file is kept in every case.
    """
    path = check_output_path(path)
    if suffix_of(path) == ".seg.nrrd":
        with replacing(path) as temporary, open(temporary, "wb") as file:
            encode_segmentation(file, segmentation)
    elif len(segmentation.segments) > LARGEST_LABEL:
        raise InputError(
            f"{len(segmentation.segments)} segments do not fit a label map ({LARGEST_LABEL}); write .seg.nrrd"
        )
    else:
        _write_voxels([segmentation.flattened(own_values=True)], segmentation.ijk_to_ras, path)
    return path


def write_image(volume: Volume, path: str | os.PathLike) -> Path:
    """Writes a grey ``volume``, e.g. a confidence map, as ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha`` or ``.png``.

    Bool is written as 0 and 1. A PNG takes uint8 and uint16 as they are; other types must run from 0 to 1 and become
    0 to 255 (bool: 0 and 255). Raises as :func:`write_segmentation`, and InputError for colour volumes.
    """
    path = check_output_path(path, IMAGE_FORMATS)
    array = volume.array
    if volume.is_rgb:
        raise InputError(f"image {volume.name!r} is in colour; only grey images can be written (pictures: write_png)")
    if suffix_of(path) == ".png" and array.dtype not in (np.uint8, np.uint16):
        array = np.rint(np.clip(np.nan_to_num(array.astype(np.float32)), 0, 1) * 255).astype(np.uint8)
    _write_voxels([array], volume.ijk_to_ras, path)
    return path


def write_frames(frames: Sequence[Volume], path: str | os.PathLike) -> Path:
    """Writes grey volumes of one grid and type as the frames of one image, in a format of :data:`FRAME_FORMATS`. Raises as
    :func:`write_image`."""
    path = check_output_path(path, FRAME_FORMATS)
    _write_voxels([frame.array for frame in frames], frames[0].ijk_to_ras, path)
    return path


def write_png(array: np.ndarray, path: str | os.PathLike) -> Path:
    """Writes a picture, uint8 ``[H, W]`` (grey) or ``[H, W, 3]`` (RGB), as PNG. Raises as :func:`write_segmentation`."""
    path = check_output_path(path, (".png",))
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or 0 in array.shape:
        raise InputError(f"a picture must be uint8 [H, W] or [H, W, 3]; got {array.dtype} {array.shape}")
    with replacing(path) as temporary, open(temporary, "wb") as file:
        write_png_pixels(file, array)
    return path


def _storable(array: np.ndarray) -> np.ndarray:
    """``array`` with voxels of a type that the file formats here know."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype == np.float16 or array.dtype.itemsize > 8:
        return array.astype(np.float32 if array.dtype.itemsize == 2 else np.float64)
    return array


def _write_voxels(frames: list[np.ndarray], ijk_to_ras: np.ndarray, path: Path) -> None:
    """Writes frames ``[K, J, I]``; more than one into a format of :data:`FRAME_FORMATS`."""
    suffix, frames = suffix_of(path), [_storable(array) for array in frames]
    first = frames[0]
    if suffix == ".png" and len(first) != 1:
        raise InputError(
            f"output file {path.name!r} is a flat picture, but the image has {len(first)} slices; choose .seg.nrrd, .nii.gz, "
            ".nrrd or .mha"
        )
    with replacing(path) as temporary, open(temporary, "wb") as file:
        if suffix in (".nii", ".nii.gz"):
            array = first if len(frames) == 1 else np.stack(frames)
            write_nifti(file, array, ijk_to_ras, compressed=suffix == ".nii.gz")
        elif suffix == ".mha":
            write_mha(file, first, ijk_to_ras)
        elif suffix == ".png":
            write_png_pixels(file, first[0])
        else:
            write_nrrd(file, frames, ijk_to_ras)
