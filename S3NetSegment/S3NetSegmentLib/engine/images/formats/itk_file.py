"""One image file through SimpleITK: geometry from its header, the wanted frame, and errors that a user can act on."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...common.errors import InputError, UnknownFormatError, image_warning
from ..files import damaged
from ..image_warnings import note_transparency
from ..volume import spans_space
from .header_claims import check_held, check_pages, check_size
from .text_header import NOT_PLACED, TextHeader

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_COLOR_AXES = ("RGB-color", "RGBA-color", "3-color", "4-color")
_FRAME_KINDS = ("list", "time")  # of the numbers of a voxel that are frames, each an image
_INTERNAL = re.compile(
    r"\b(?:s?itk::)?\w*(?:IO|Reader|Filter|Factory|Object)?\s*\(0x[0-9a-f]+\):?"  # a class and where it lies in memory
    r"|\b(?:ITK|itk|sitk)(?:::)? ?(?:ERROR|WARNING):?|\bs?itk::\w+(?:::\w+)*:?|\b0x[0-9a-f]+"
    r"|\S+\.(?:cxx|hxx|h|txx):\d+:?|\[nrrd\]|\b_?(?:nrrd|air|biff|METAIO)\w*:|\bRead(?:ImageInformation)?:"
)
_LIBRARY = re.compile(r"\b(?:\w*IO|\w*ITK|nrrd|teem|libtiff|libpng)\b")  # what a library says of itself helps nobody
_NO_SPACE = "axes that do not span space; correct the directions in its header"
_MEANINGS = {  # of parts of ITK's texts
    "determinant is 0": _NO_SPACE, "orthonormal": _NO_SPACE, "spacing": "a voxel size of 0 or none at all; correct its header",
    "unknown pixeltype": "pixels of a kind that cannot be read (grey with transparency?); save it as grey or RGB",
}  # fmt: skip
_DAMAGED = ("fail", "corrupt", "premature", "truncat")  # in what the libraries print and do not raise
_MOST_SAID = 4096  # bytes of it
_ALPHA_FORMATS = ("PNGImageIO", "BMPImageIO")


@contextmanager
def quiet(*, both: bool = False) -> Iterator[list[str]]:
    """Keeps what ITK and its file libraries print to stderr off the screen; their errors are still raised.

    The libraries print from C, so the file descriptor itself is turned away for the moment. What they printed stands in the
    list that it gives, once the block has ended.

    :param both: also stdout, where the JPEG library complains.
    """
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    said: list[str] = []
    saved: dict[int, int] = {}
    sink = None
    try:
        with contextlib.suppress(OSError):  # no stderr at all, as in a windowed application
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            sink = _sink()
            for number in (1, 2) if both else (2,):
                saved[number] = os.dup(number)
                os.dup2(sink.fileno(), number)
        yield said
    finally:
        if both:
            with contextlib.suppress(Exception):  # where there is no such function to be found
                ctypes.CDLL(None).fflush(None)  # C keeps what goes to a file or pipe in a buffer of its own
        for number, descriptor in saved.items():
            os.dup2(descriptor, number)
            os.close(descriptor)
        if sink is not None:
            with contextlib.suppress(OSError):  # nothing can be read back where nothing could be kept
                sink.seek(0)
                said.append(sink.read(_MOST_SAID).decode("utf-8", "replace"))
            sink.close()
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _sink():
    """A file in memory where the system has such; reading an image leaves nothing on the disk."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("said"), "w+b")
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no room for it
        return open(os.devnull, "w+b")


def opened(path: Path, image_io: str = "") -> sitk.ImageFileReader:
    """A reader of ``path`` that has read its header. InputError if ITK cannot make sense of it, or must not."""
    check_pages(path)
    header = TextHeader(path)
    header.check()
    header.warn()
    reader = sitk.ImageFileReader()
    reader.SetFileName(os.fspath(path))
    reader.SetImageIO(image_io)
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise _explained(path, str(error)) from None
    return reader


def read_itk(path: Path, choose_frame: Callable[..., int], image_io: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Voxels ``[K, J, I]`` or ``[K, J, I, 3]`` and the 4x4 voxel-to-RAS matrix of one file.

    :param choose_frame: called with the number of frames, and ``held`` where they are components, see :func:`~..reading.read_image`;
        returns the one to read.
    :param image_io: SimpleITK's name of the file format, "" to find it.
    :raises InputError: not an image, damaged, an unusable geometry or pixel type.
    """
    reader = opened(path, image_io)
    shown = repr(os.fspath(path))
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    matrix = header_matrix(reader, path)
    if _format(reader) == "NiftiImageIO" and min(size[:3]) > 1:  # only ANALYZE comes here
        image_warning(f"{shown}: {NOT_PLACED}")
    further = [n for n in size[3:] if n > 1]
    if len(further) > 1:
        raise InputError(f"{shown} has {len(size)} dimensions {size}; save one 3D or 4D image")
    color, vector_frames = _channels(reader, components, shown)
    kind = _pixel_kind(reader)
    if further and vector_frames > 1:
        raise InputError(f"{shown} has frames of {components} components; save one 3D or 4D image")
    if vector_frames > 1 and kind not in _FRAME_KINDS:
        frame = choose_frame(vector_frames, held=f"components in each voxel{kind and f' ({kind})'}")
    else:
        frame = choose_frame(further[0] if further else vector_frames)
    if len(size) > 3:
        reader.SetExtractSize([*size[:3], *([0] * (len(size) - 3))])
        reader.SetExtractIndex([0, 0, 0, *(frame if n > 1 else 0 for n in size[3:])])
    array = _voxels(reader, path)
    opacity = components > 3 and color and reader.GetImageIO() != "BMPImageIO"  # there it is padding
    if opacity:
        note_transparency(array[..., 3], shown)
    if components > 1:
        array = array[..., :3] if color else np.ascontiguousarray(array[..., frame])
    return array, matrix


def read_components(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All components ``[K, J, I, C]`` of a file as they are (the layers of a ``.seg.nrrd``), and the matrix as in
    :func:`read_itk`."""
    reader = opened(path)
    matrix = header_matrix(reader, path)
    array = _voxels(reader, path)
    return (array if array.ndim == 4 else array[..., None]), matrix


def _voxels(reader: sitk.ImageFileReader, path: Path) -> np.ndarray:
    check_claims(reader, path)
    try:
        with quiet(both=reader.GetImageIO() == "JPEGImageIO") as said:
            array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise MemoryError from None
        raise _explained(path, str(error)) from None
    if any(word in text.lower() for text in said for word in _DAMAGED):
        raise damaged(path)
    return array[None] if len(reader.GetSize()) == 2 else array


def _format(reader: sitk.ImageFileReader) -> str:
    """ITK's name of the format of the file."""
    return reader.GetImageIO() or reader.GetImageIOFromFileName(reader.GetFileName())


def check_claims(reader: sitk.ImageFileReader, path: Path) -> None:
    """Raises InputError or ResourceError if what the header claims cannot be, or does not fit, see
    :func:`~.header_claims.check_size`, or is more than the file holds, see
    :meth:`~.text_header.TextHeader.check_voxels` and :func:`~.header_claims.check_held`."""
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    bits = next((n for n in (8, 16, 32, 64) if f"{n}-bit" in kind), 8)
    voxel = reader.GetNumberOfComponents() * bits // 8
    check_size(path, reader.GetSize(), voxel)
    TextHeader(path).check_voxels(reader.GetSize(), voxel)
    check_held(path, _format(reader), math.prod(reader.GetSize()) * voxel)


def header_matrix(reader: sitk.ImageFileReader, path: Path) -> np.ndarray:
    """4x4 voxel-to-RAS matrix of the header that ``reader`` has read. InputError without voxels, or if the matrix
    cannot be inverted."""
    count = len(reader.GetSize())
    shown = repr(os.fspath(path))
    if count < 2 or 0 in reader.GetSize():
        sizes = " x ".join(map(str, reader.GetSize()))
        raise InputError(f"{shown} has {sizes} voxels; an image needs at least two dimensions with voxels")
    used = min(count, 3)
    spacing = np.ones(3)
    spacing[:used] = reader.GetSpacing()[:used]
    matrix = np.eye(4)
    matrix[:used, :used] = np.reshape(reader.GetDirection(), (count, count))[:used, :used]
    matrix[:3, :3] *= spacing
    matrix[:used, 3] = reader.GetOrigin()[:used]
    if not np.isfinite(matrix).all() or (spacing == 0).any():
        raise InputError(f"{shown} has voxel sizes of {spacing.tolist()} mm; correct its header")
    if not spans_space(matrix):
        raise InputError(f"{shown} has axes that do not span space: {matrix[:3, :3].tolist()}; correct its header")
    return LPS_TO_RAS @ matrix


def _channels(reader: sitk.ImageFileReader, components: int, shown: str) -> tuple[bool, int]:
    """Whether the components of a voxel are colours (or a vector of 3), and how many frames they are otherwise."""
    kind = _pixel_kind(reader)
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"{shown} holds complex numbers, which cannot be segmented; save its magnitude")
    if components == 1 or kind in _FRAME_KINDS:
        return False, components
    if components == 4 and reader.GetImageIO() == "JPEGImageIO":
        raise InputError(f"{shown} has print colours (CMYK); save it as RGB")
    bytes_of_alpha = reader.GetPixelID() == sitk.sitkVectorUInt8
    if kind.endswith("-color") and kind not in _COLOR_AXES:
        raise InputError(f"{shown} has colours of kind {kind.removesuffix('-color')}; save it as RGB")
    with_alpha = components == 4 and (bytes_of_alpha or reader.GetImageIO() in _ALPHA_FORMATS)
    if components == 3 or kind in _COLOR_AXES or with_alpha:
        return True, 1
    if components == 2:
        raise InputError(
            f"{shown} holds vectors of 2 numbers; save one of the two components as an image of its own "
            "(a grey picture with transparency: save it without transparency)"
        )
    return False, components


def _pixel_kind(reader: sitk.ImageFileReader) -> str:
    """What the header of an NRRD calls the numbers of a voxel: "list", "vector", "RGB-color", ...; "" in other formats."""
    return reader.GetMetaData("NRRD_kinds[pixel]") if reader.HasMetaDataKey("NRRD_kinds[pixel]") else ""


def _explained(path: Path, text: str) -> InputError:
    """What an ITK error text means for the user."""
    shown = repr(os.fspath(path))
    if "Unable to determine ImageIO" in text:
        return UnknownFormatError(
            f"{shown} is not an image of a known format, or it is cut off; use NIfTI, NRRD, MHA, a DICOM folder, PNG, "
            "JPEG, BMP or TIFF"
        )
    if kind := re.search(r"\S*matrix", TextHeader(path).fields.get("kinds", "")):
        return InputError(
            f"{shown} holds a matrix in each voxel ({kind[0]}, a tensor of diffusion?), which cannot be segmented; save a number made "
            "of it, e.g. its anisotropy, as an image of its own"
        )
    if meaning := next((meaning for part, meaning in _MEANINGS.items() if part in text.lower()), ""):
        return InputError(f"{shown} has {meaning}")
    reason = plain_reason(text)
    return InputError(
        f"{shown} cannot be read: it is cut off, damaged or of an unusual kind{reason and f' ({reason})'}; copy or export it again"
    )


def plain_reason(text: str) -> str:
    """What a text of an ITK error says, without ITK's classes, addresses in memory and places in its source; "" if nothing."""
    lines = [line for line in map(str.strip, text.splitlines()) if not line.startswith(("Reason:", "Exception thrown"))]
    lines = [_INTERNAL.sub("", line).strip(" :.") for line in lines]
    reason = next((line for line in reversed(lines) if line), "")
    said_before = "cannot be read" in reason or "Error while reading" in reason
    return "" if said_before or _LIBRARY.search(reason) else reason
