"""TIFF pictures and stacks, read by their own tags through tifffile.

ITK's reader turns what it does not expect (tiles, planes of 16 bits, palettes, several pages) into one picture of 8 bit colours
without a word. Here the tags say what the voxels are, and what comes out of the decoder must be just that.
"""

from __future__ import annotations

import contextlib
import logging
import lzma
import math
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...common.errors import InputError, MissingPackageError, image_warning
from ..files import damaged
from .header_claims import check_pages, check_size
from .itk_file import LPS_TO_RAS, quiet
from .tiff_values import (
    MIN_IS_BLACK,
    MIN_IS_WHITE,
    PALETTE,
    RGB,
    YCBCR,
    arranged,
    as_values,
    calibrated,
    pixel_sizes,
    turned,
)

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COLOURS = {5: "print colours (CMYK)", 8: "CIELab colours", 32803: "the raw pixels of a camera"}
_TO_RGB = (6, 7, 33007, 34892, 50001)  # JPEG and WebP, whose decoders turn YCbCr into RGB
_LZMA = 34925
_UNBOUNDED = (8, 32946, 50013, _LZMA)  # compressions by zlib and lzma
_SOME = 1 << 16  # bytes


def is_tiff(head: bytes) -> bool:
    """Whether a file that starts with ``head`` is a TIFF or BigTIFF file."""
    return head.startswith(_STARTS)


def read_tiff(path: Path, choose_frame: Callable[..., int], numbers: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Voxels ``[K, J, I]`` or ``[K, J, I, 3]`` and the 4x4 voxel-to-RAS matrix of a TIFF file.

    Pages are slices, unless ImageJ, OME or tifffile wrote that they are times or channels, which are frames. Of pictures in
    several sizes the largest is read. Lightness counts from black, bits become 0 and 1, half floats float32.

    :param choose_frame: called with the number of frames and their names, returns the one to read.
    :param numbers: give what is stored, as a label map needs it: places in the palette for colours, and 0 for 0 where 0 is
        shown as white.
    :raises InputError: cut off, damaged, colours or samples that are none of an image, or a description that its pages do not
        bear out.
    :raises MissingPackageError: tifffile is not installed.
    """
    check_pages(path)
    shown = repr(os.fspath(path))
    tifffile = _tifffile(shown)
    with _explained(path) as said, tifffile.TiffFile(path, _multifile=False) as file:
        series = _image(file, shown)
        if said:
            raise InputError(f"{shown} has a description that does not fit its pages; save it again")
        _check_pixels(series.keyframe, shown)
        _check_pages(file, series, path)
        array = _decoded(file, series, path)
        array, names = arranged(array, series.axes)  # [frame, K, J, I, sample]
        sizes = pixel_sizes(file, series, array.shape[1], shown)
        array = turned(array, series.keyframe, shown)
        array, names = as_values(array, names, series.keyframe, shown, numbers)
        array = array if numbers else calibrated(array, file)
    frame = choose_frame(len(array), names)
    array = np.ascontiguousarray(array[frame], array.dtype.newbyteorder("="))
    return array[..., 0] if array.shape[-1] == 1 else array, LPS_TO_RAS @ np.diag([*sizes, 1.0])


def _tifffile(shown: str):
    try:
        import tifffile
    except ImportError:
        raise MissingPackageError(
            f"{shown} is a TIFF file, which needs tifffile; install it with 'pip install tifffile', or save the image as NRRD "
            "or PNG",
            "tifffile",
        ) from None
    return tifffile


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[list[str]]:
    """Turns whatever tifffile and its decoders raise on a bad file into InputError, keeps what tifffile would print off the
    screen, and collects what it says against the file's description."""
    said: list[str] = []

    class Hearing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if record.levelno >= logging.ERROR or any(word in text for word in ("match", "invalid", "corrupted")):
                said.append(text)

    handler = Hearing()
    logger = logging.getLogger("tifffile")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield said
    except (InputError, MemoryError, Warning):
        raise
    except Exception as error:  # of any kind: the decoders raise what comes
        if "allocate" in str(error):
            raise MemoryError from None
        raise InputError(
            f"{str(path)!r} cannot be read: it is cut off, damaged or of an unusual kind; copy or export it again"
        ) from error
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def _image(file, shown: str):
    """The series of pages that is the image: the largest. Others of its size may be a part of it that we do not see."""
    found = [s for s in file.series if s.keyframe.shape and s.keyframe.dtype is not None and not s.keyframe.is_mask]
    if not found:
        raise InputError(f"{shown} holds no picture, or one of an unknown kind of numbers; copy or export it again")
    series = max(found, key=lambda s: math.prod(s.keyframe.shape) * (1 - 0.5 * bool(s.keyframe.is_reduced)))
    page = series.keyframe
    alike = [s for s in found if (s.keyframe.imagewidth, s.keyframe.imagelength) == (page.imagewidth, page.imagelength)]
    if len(alike) > 1:
        raise InputError(
            f"{shown} holds {len(alike)} images of {page.imagewidth} x {page.imagelength} pixels that differ in kind; save the "
            "one to read, or all slices in one kind, in a file of its own"
        )
    others = [s.keyframe for s in found if s is not series and not s.keyframe.is_reduced]
    if others:
        sizes = ", ".join(f"{p.imagewidth} x {p.imagelength}" for p in others[:3])
        image_warning(
            f"{shown} holds pictures of several sizes; the largest is read, {page.imagewidth} x {page.imagelength} pixels, and "
            f"{sizes}{', ...' if len(others) > 3 else ''} left out"
        )
    return series


def _check_pixels(page, shown: str) -> None:
    if isinstance(page.bitspersample, tuple):
        bits = ", ".join(map(str, page.bitspersample))
        raise InputError(f"{shown} has samples of {bits} bits; save it with 8 or 16 bits for each")
    if page.dtype.kind == "c":
        raise InputError(f"{shown} holds complex numbers, which cannot be segmented; save its magnitude")
    kind = int(page.photometric)
    if kind not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, YCBCR):
        raise InputError(f"{shown} has {_COLOURS.get(kind, 'colours of an unusual kind')}; save it as grey or RGB")
    if kind == MIN_IS_WHITE and page.dtype.kind not in "bu":
        raise InputError(f"{shown} counts its lightness from white with numbers that have no end; save it as grey")
    if kind == RGB and page.samplesperpixel < 3:
        raise InputError(f"{shown} claims to be RGB with {page.samplesperpixel} samples; save it as grey or RGB")


def _check_pages(file, series, path: Path) -> None:
    """Refuses a series whose description claims more than its pages hold, and parts that lie outside the file."""
    shown, page = repr(os.fspath(path)), series.keyframe
    check_size(path, series.shape, page.dtype.itemsize)
    if None in (pages := list(series.pages)):
        raise InputError(f"{shown} holds only a part of its pages, others lie in other files; save all in one file")
    needed, left = divmod(math.prod(series.shape), math.prod(page.shape))
    in_a_row = page.is_contiguous and (
        len(file.pages) >= needed or series.kind in ("imagej", "stk") or '"truncated": true' in page.description
    )
    if left or (len(pages) != needed and not (len(pages) == 1 and in_a_row)):
        raise InputError(
            f"{shown} describes {' x '.join(map(str, series.shape))} voxels, and its pages hold others; save it again"
        )
    size, empty, parts = os.path.getsize(path), 0, 0
    row = page.tilewidth * page.tilelength * max(1, page.tiledepth) if page.is_tiled else 0
    plain = row * page.bitspersample // 8 * (page.samplesperpixel if page.planarconfig == 1 else 1)
    for one in pages:
        offsets, counts = np.asarray(one.dataoffsets, np.int64), np.asarray(one.databytecounts, np.int64)
        if len(offsets) != len(counts) or (offsets + counts > size).any():
            raise damaged(path, "pixels are missing")
        full = counts[counts > 0]
        if page.compression == 1 and len(full) and full.min() < plain:
            raise damaged(path, "pixels are missing")
        empty, parts = empty + len(counts) - len(full), parts + len(counts)
    if empty:
        image_warning(f"{shown}: {empty} of its {parts} parts hold nothing and are read as {page.nodata:g}")


def _decoded(file, series, path: Path) -> np.ndarray:
    """The voxels in the shape and type that the tags tell; by ITK where tifffile lacks a decoder and ITK agrees."""
    shown, page = repr(os.fspath(path)), series.keyframe
    if page.compression in _UNBOUNDED:
        try:
            import imagecodecs  # noqa: F401
        except ImportError:
            _check_unpacked(file, series, shown)
    if page.photometric == YCBCR and page.compression not in _TO_RGB:
        array = _by_itk(file, series, path)
        if array is None:
            raise InputError(f"{shown} has colours as luma and chroma (YCbCr); save it as RGB")
        return array
    try:
        array = series.asarray(maxworkers=1)
    except MemoryError:
        raise
    except Exception as error:
        if "imagecodecs" not in str(error):
            raise
        array = _by_itk(file, series, path)
        if array is None:
            name = getattr(page.compression, "name", page.compression)
            raise InputError(
                f"{shown} is packed by {name} with {page.bitspersample} bits, which needs imagecodecs; install it with 'pip "
                "install imagecodecs', or save the image without compression"
            ) from None
    if array.shape != tuple(series.shape) or array.dtype.newbyteorder("=") != page.dtype.newbyteorder("="):
        raise InputError(
            f"{shown}: its tags claim {' x '.join(map(str, series.shape))} voxels of {page.dtype}, and its decoder gave "
            f"{' x '.join(map(str, array.shape))} of {array.dtype}; save it again"
        )
    return array


def _check_unpacked(file, series, shown: str) -> None:
    """Refuses parts that unpack to far more than they should: without imagecodecs tifffile takes memory for all of it."""
    page = series.keyframe
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    most = 2 * rows * columns * max(1, page.tiledepth) * samples * page.dtype.itemsize + _SOME
    unpacker = lzma.LZMADecompressor if page.compression == _LZMA else zlib.decompressobj
    for one in series.pages:
        for offset, count in zip(one.dataoffsets, one.databytecounts, strict=True):
            file.filehandle.seek(offset)
            if len(unpacker().decompress(file.filehandle.read(count), most)) >= most:
                raise InputError(f"{shown} is damaged: its parts unpack to more than its picture; save it again")


def _by_itk(file, series, path: Path) -> np.ndarray | None:
    """What ITK reads, if it is sure to be what the tags tell, else None."""
    page = series.keyframe
    if (
        page.is_tiled
        or page.planarconfig != 1
        or page.photometric not in (MIN_IS_BLACK, RGB, YCBCR)
        or page.predictor not in (1, 2)
        or page.bitspersample not in (8, 16)
        or int(page.tags.valueof("Orientation", 1)) != 1
        or len(file.pages) != len(series.pages)
    ):
        return None
    reader = sitk.ImageFileReader()
    reader.SetFileName(os.fspath(path))
    reader.SetImageIO("TIFFImageIO")
    with quiet():
        array = sitk.GetArrayFromImage(reader.Execute())
    shape = tuple(series.shape)
    if shape[-1] == 3 and array.shape == (*shape[:-1], 4) and (array[..., 3] == 255).all():
        array = array[..., :3]  # ITK adds an opacity to colours that it converts
    return array if array.shape == shape and array.dtype == page.dtype.newbyteorder("=") else None
