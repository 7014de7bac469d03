"""Reading images of any supported kind into :class:`Volume`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..common.errors import InputError, ResourceError, image_warning
from .dicom.reading import read_dicom
from .dicom.series import is_dicom
from .files import file_head, not_there, refuse_devices, stem_of, suffix_of
from .formats.itk_file import read_itk
from .formats.nifti import is_nifti, read_nifti
from .formats.pictures import is_picture, read_picture
from .formats.tiff import is_tiff, read_tiff
from .volume import Volume


class ImageFormat(NamedTuple):
    """A kind of image file.

    :param endings: of the names that such files usually have.
    :param is_it: ``(path, first bytes)`` -> whether the file at ``path`` is one: the content counts, not the name.
    :param read: ``(path, choose_frame, numbers)`` -> voxels ``[K, J, I]`` or ``[K, J, I, 3]``, the 4x4 voxel-to-RAS matrix, and, where
        there are any, :attr:`Volume.other_matrices`. ``choose_frame(count)`` gives the number of the frame that is wanted and is
        called once, before voxels are read; it may be given what the frames are called, and ``held``, what they are where they are
        no frames. ``numbers``: see :func:`read_label_map`.
    """

    endings: tuple[str, ...]
    is_it: Callable[[Path, bytes], bool]
    read: Callable[[Path, Callable[..., int], bool], tuple]


# Beside DICOM, which may be a folder. The first that knows the content reads the file; ITK's other formats come last.
FORMATS = (
    ImageFormat((".nii", ".nii.gz"), is_nifti, lambda path, choose, _: read_nifti(path, choose)),
    ImageFormat((".tif", ".tiff"), lambda _, head: is_tiff(head), read_tiff),
    ImageFormat((".png", ".jpg", ".jpeg", ".bmp"), lambda _, head: is_picture(head), read_picture),
    ImageFormat((".nrrd", ".nhdr"), lambda _, head: head.startswith(b"NRRD"), lambda path, choose, _: read_itk(path, choose, "NrrdImageIO")),
    ImageFormat((".mha", ".mhd"), lambda *_: True, lambda path, choose, _: read_itk(path, choose)),
)  # fmt: skip
IMAGE_ENDINGS = (*(ending for kind in FORMATS for ending in kind.endings), ".dcm")
_FRAMES = "frames"
_LARGEST = 100.0  # mm: larger voxels show nothing of a body
# Voxels and longest side, in mm, of a body whose size is given in metres, and of one in micrometres. A TIFF states its unit.
_FINEST, _SHORTEST, _LONGEST = 0.02, 1.0, 3000.0


def read_image(path: str | os.PathLike, frame: int | None = None, series: str | None = None) -> Volume:
    """The image at ``path``, in the patient space that Slicer would show it in.

    :param path: a NIfTI, NRRD, MHA/MHD, PNG, JPEG, BMP or TIFF file, a folder with DICOM files (or with folders of them, as
        on a disc), a DICOMDIR, or a DICOM file (then the series that it belongs to, as far as it lies in the same folder).
    :param frame: which frame of a time series or of a list of images, counted from 0. Must be given if there are
        several; also echoes, b-values, phases and repeated acquisitions of a DICOM series are frames.
    :param series: number, UID or description of the DICOM series. Must be given if a folder holds several.
    :returns: grey ``[K, J, I]`` or, for colours and vectors of 3, ``[K, J, I, 3]``. A 2D image has K = 1 and lies
        as Slicer lays it: first index to the patient's left, second to posterior. Voxel type as in the file, float
        where the file asks for rescaling.
    :raises InputError: nothing there, not an image, cut off, complex or 2-component voxels, no usable geometry, or
        several frames and none chosen.
    :raises ResourceError: the image does not fit into memory.

    What is usable but should be known (tilted, missing or doubled DICOM slices, odd NIfTI matrices) is issued as a
    Python warning of class :class:`ImageWarning`.
    """
    return _read_checked(path, frame, series, numbers=False)


def read_alone(path: str | os.PathLike, read: Callable = read_image):
    """What ``read`` finds at ``path``, where nobody can choose a frame or a series of it, as among many files: its errors name the
    file, and say what to do in place of that."""
    try:
        return read(path)
    except _SeveralFrames as error:
        raise InputError(error.without_choice) from None
    except InputError as error:
        shown = os.fspath(path)
        if "--series" in str(error):
            raise InputError(f"{shown!r} holds several DICOM series; leave only the one that you mean there") from None
        raise error if shown in str(error) else InputError(f"{shown!r}: {error}") from None


def count_frames(path: str | os.PathLike, series: str | None = None) -> int:
    """How many frames :func:`read_image` would find at ``path``. Raises as it does."""
    path = checked_path(path)

    def count_only(count: int, names: tuple[str, ...] = (), held: str = _FRAMES) -> int:
        raise _Counted(count)

    try:
        _read(path, count_only, series, False)
    except _Counted as found:
        return found.args[0]
    return 1


class _SeveralFrames(InputError):
    """A file of ``count`` frames, none of which was chosen. ``without_choice``: the text where none can be."""

    def __init__(self, path: Path, count: int, held: str, how: str = ""):
        what, one = (f"is 4D ({count} {held})", "frame") if held == _FRAMES else (f"has {count} {held}", "component")
        self.without_choice = f"{str(path)!r} {what}; save the {one} that you mean as a 3D file of its own"
        super().__init__(f"{str(path)!r} has {count} {held}; {how}" if how else self.without_choice)


class _Counted(Exception):
    """The number of frames, its argument, is known, and nothing else is wanted."""


def read_label_map(path: str | os.PathLike) -> Volume:
    """As :func:`read_image`, for files of labels: a picture with a palette gives its places in the palette and no colours, and
    a TIFF that shows 0 as white the numbers that are stored. InputError for several frames, of which none can be chosen."""
    return _read_checked(path, None, None, numbers=True)


def _read_checked(path: str | os.PathLike, frame: int | None, series: str | None, numbers: bool) -> Volume:
    path = checked_path(path)
    if frame is not None and (isinstance(frame, bool) or not isinstance(frame, int | np.integer) or frame < 0):
        raise InputError(f"frame is {frame!r}; it must be a whole number, 0 for the first frame")

    def choose_frame(count: int, names: tuple[str, ...] = (), held: str = _FRAMES) -> int:
        if numbers and count > 1:
            raise _SeveralFrames(path, count, held)
        return _chosen_frame(path, frame, count, names, held)

    try:
        volume = _read(path, choose_frame, series, numbers)
    except MemoryError:
        raise ResourceError(
            f"{str(path)!r} does not fit into memory; close other programs, or save a part of the image or one frame"
        ) from None
    sizes = " x ".join(f"{size:.4g}" for size in volume.spacing)
    longest = max(n * size for n, size in zip(volume.size, volume.spacing, strict=True))
    if max(volume.spacing) > _LARGEST or (longest > _LONGEST and min(volume.size) > 1):
        image_warning(
            f"{str(path)!r}: its voxels are {sizes} mm large, and volumes are reported accordingly; correct its header if they are not"
        )
    elif (
        max(volume.spacing) < _FINEST
        and longest < _SHORTEST
        and not is_tiff(file_head(path) if path.is_file() else b"")
    ):
        image_warning(
            f"{str(path)!r}: its voxels are {sizes} mm small, the whole image is {longest:.2g} mm long, and volumes are reported "
            "accordingly; correct its header if its numbers are metres"
        )
    return volume


def checked_path(path: str | os.PathLike) -> Path:
    """``path`` if a file or folder lies there; InputError otherwise."""
    text = os.fspath(path)
    if not text or "\0" in text:
        raise InputError(f"image path is {text!r}; give the path of an image file or DICOM folder")
    path = Path(text)
    try:
        refuse_devices(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise not_there(text) from None
        raise InputError(f"{text!r} cannot be opened ({error.strerror}); check the path and its permissions") from None
    return path


def _read(path: Path, choose_frame: Callable[..., int], series: str | None, numbers: bool) -> Volume:
    """What lies at ``path``, found by its content."""
    if path.is_dir():
        return Volume(*read_dicom(path, choose_frame, series))
    head = file_head(path)
    if is_dicom(path, head):
        return Volume(*read_dicom(path, choose_frame, series))
    if series is not None:
        raise InputError(f"series is {series!r}, but {str(path)!r} is no DICOM; leave the series out")
    if head[:2] == b"\x1f\x8b" and suffix_of(path) == ".nii.gz" and not is_nifti(path, head):
        raise InputError(f"{str(path)!r} is not a NIfTI image, or it is cut off; copy or export it again")
    kind = next(kind for kind in FORMATS if kind.is_it(path, head))
    array, matrix, *others = kind.read(path, choose_frame, numbers)
    return Volume(array, matrix, stem_of(path), other_matrices=others[0] if others else ())


def _chosen_frame(path: Path, frame: int | None, count: int, names: tuple[str, ...], held: str) -> int:
    if frame is None:
        if count > 1:
            listed = "; ".join(f"{n}: {name}" for n, name in enumerate(names[:12]) if name)
            listed = f": {listed}{'; ...' if count > 12 else ''}" if listed else ""
            how = f"choose one with --frame T (0 to {count - 1}; in Python frame=T)"
            raise _SeveralFrames(path, count, held, f"{how}{listed}")
        return 0
    if frame >= count:
        has = f"{count} {held}, 0 to {count - 1}" if count > 1 else "one frame, 0"
        raise InputError(f"frame is {frame}, but {str(path)!r} has {has}")
    return int(frame)
