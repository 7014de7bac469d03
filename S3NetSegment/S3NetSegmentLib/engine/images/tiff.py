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
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import ImageWarning, InputError, MissingPackageError
from .header_claims import check_header, check_size
from .itk_file import LPS_TO_RAS, quiet
from .tiff_sizes import pixel_sizes

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_COLOURS = {5: "print colours (CMYK)", 8: "CIELab colours", 32803: "the raw pixels of a camera"}
_TO_RGB = (6, 7, 33007, 34892, 50001)  # JPEG and WebP, whose decoders turn YCbCr into RGB
_LZMA = 34925
_UNBOUNDED = (8, 32946, 50013, _LZMA)  # compressions by zlib and lzma
_SOME = 1 << 16  # bytes
_ALPHA = (1, 2)  # kinds of extra samples; 0 is "anything"
_SLICES = "ZIQ"  # names that tifffile gives to axes of slices; all others beside Y, X and S are frames
_AXIS_NAMES = {"T": "time", "C": "channel", "P": "position", "R": "region", "L": "wavelength", "A": "angle"}


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
    check_header(path)
    shown = repr(os.fspath(path))
    tifffile = _tifffile(shown)
    with _explained(path) as said, tifffile.TiffFile(path, _multifile=False) as file:
        series = _image(file, shown)
        if said:
            raise InputError(f"{shown} has a description that does not fit its pages; save it again")
        _check_pixels(series.keyframe, shown)
        _check_pages(file, series, path)
        array = _decoded(file, series, path)
        sizes = pixel_sizes(file, series, shown)
        array, names = _arranged(array, series.axes)  # [frame, K, J, I, sample]
        array = _turned(array, series.keyframe)
        array, names = _as_values(array, names, series.keyframe, shown, numbers)
        array = array if numbers else _calibrated(array, file)
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

    def hear(record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR or any(word in text for word in ("match", "invalid", "corrupted")):
            said.append(text)

    handler = logging.Handler()
    handler.emit = hear
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
        warnings.warn(
            f"{shown} holds pictures of several sizes; the largest is read, {page.imagewidth} x {page.imagelength} pixels, and "
            f"{sizes}{', ...' if len(others) > 3 else ''} left out",
            ImageWarning,
            4,
        )
    return series


def _check_pixels(page, shown: str) -> None:
    """Refuses numbers and colours that are none of an image."""
    if isinstance(page.bitspersample, tuple):
        bits = ", ".join(map(str, page.bitspersample))
        raise InputError(f"{shown} has samples of {bits} bits; save it with 8 or 16 bits for each")
    if page.dtype.kind == "c":
        raise InputError(f"{shown} holds complex numbers, which cannot be segmented; save its magnitude")
    kind = int(page.photometric)
    if kind not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR):
        raise InputError(f"{shown} has {_COLOURS.get(kind, 'colours of an unusual kind')}; save it as grey or RGB")
    if kind == _MIN_IS_WHITE and page.dtype.kind not in "bu":
        raise InputError(f"{shown} counts its lightness from white with numbers that have no end; save it as grey")
    if kind == _RGB and page.samplesperpixel < 3:
        raise InputError(f"{shown} claims to be RGB with {page.samplesperpixel} samples; save it as grey or RGB")


def _check_pages(file, series, path: Path) -> None:
    """Refuses a series whose description tells of more than its pages hold, and parts that lie outside the file."""
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
            raise InputError(f"{shown} is cut off or damaged: pixels are missing; copy or export it again")
        full = counts[counts > 0]
        if page.compression == 1 and len(full) and full.min() < plain:
            raise InputError(f"{shown} is cut off or damaged: pixels are missing; copy or export it again")
        empty, parts = empty + len(counts) - len(full), parts + len(counts)
    if empty:
        warnings.warn(
            f"{shown}: {empty} of its {parts} parts hold nothing and are read as {page.nodata:g}", ImageWarning, 4
        )


def _decoded(file, series, path: Path) -> np.ndarray:
    """The voxels in the shape and type that the tags tell; by ITK where tifffile lacks a decoder and ITK agrees."""
    shown, page = repr(os.fspath(path)), series.keyframe
    if page.compression in _UNBOUNDED and not _has_imagecodecs():
        _check_unpacked(file, series, shown)
    if page.photometric == _YCBCR and page.compression not in _TO_RGB:
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
            f"{shown}: its tags tell of {' x '.join(map(str, series.shape))} voxels of {page.dtype}, and its decoder gave "
            f"{' x '.join(map(str, array.shape))} of {array.dtype}; save it again"
        )
    return array


def _has_imagecodecs() -> bool:
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        return False
    return True


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
        or page.photometric not in (_MIN_IS_BLACK, _RGB, _YCBCR)
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


def _arranged(array: np.ndarray, axes: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """``array`` as [frame, K, J, I, sample], and the names of the frames."""
    axes = axes.upper()
    places = {name: axes.rindex(name) for name in "YXS" if name in axes}
    rest = [n for n in range(len(axes)) if n not in places.values()]
    slices = [n for n in rest if axes[n] in _SLICES]
    depth = next((n for n in slices if axes[n] == "Z"), slices[-1] if slices else None)
    frames = [n for n in rest if n != depth]
    order = [
        *frames,
        *([depth] if depth is not None else []),
        places["Y"],
        places["X"],
        *[places[s] for s in "S" if s in places],
    ]
    array = array.transpose(order)
    counts = array.shape[: len(frames)]
    array = array.reshape(
        math.prod(counts),
        array.shape[len(frames)] if depth is not None else 1,
        array.shape[len(frames) + (depth is not None)],
        array.shape[len(frames) + (depth is not None) + 1],
        -1,
    )
    words = [_AXIS_NAMES.get(axes[n], "image") for n in frames]
    names = [
        ", ".join(f"{word} {n}" for word, n, count in zip(words, place, counts, strict=True) if count > 1)
        for place in np.ndindex(*counts)
    ]
    return array, tuple(names)


def _turned(array: np.ndarray, page) -> np.ndarray:
    """``array`` [frame, K, J, I, sample] upright, as the tag Orientation tells."""
    orientation = int(page.tags.valueof("Orientation", 1))
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(2, 3)
    rows, columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return array[:, :, :: -1 if rows else 1, :: -1 if columns else 1]


def _as_values(
    array: np.ndarray, names: tuple[str, ...], page, shown: str, numbers: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """``array`` [frame, K, J, I, sample] as grey values or colours; samples that are neither become frames."""
    kind, extra = int(page.photometric), [int(e) for e in page.extrasamples]
    if array.shape[-1] > 1 and extra and extra[-1] in _ALPHA:
        array = _without_alpha(array, shown)
    if kind in (_RGB, _YCBCR):
        _note_samples(page, array.shape[-1], shown)
        return array[..., :3], names
    if array.shape[-1] == 2:
        raise InputError(f"{shown} holds vectors of 2 numbers; save one of the two components as an image of its own")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if kind == _PALETTE and array.shape[-1] == 1:
        if not numbers:
            return _coloured(array[..., 0], page.colormap), names
        warnings.warn(f"{shown}: the places in its palette are taken as labels", ImageWarning, 5)
    if kind == _MIN_IS_WHITE:
        if not numbers:
            array = np.subtract(2**page.bitspersample - 1, array, dtype=array.dtype)
        else:
            warnings.warn(f"{shown} shows 0 as white; its numbers are taken as labels, 0 for nothing", ImageWarning, 5)
    if array.shape[-1] > 1:  # neither grey nor colours: images on top of each other
        names = tuple(", ".join(filter(None, (n, f"sample {s}"))) for n in names for s in range(array.shape[-1]))
        array = np.moveaxis(array, -1, 1).reshape(len(names), *array.shape[1:4], 1)
    return array, names


def _without_alpha(array: np.ndarray, shown: str) -> np.ndarray:
    alpha = array[..., -1]
    if alpha.min() != alpha.max():
        warnings.warn(f"{shown} is transparent in places; its transparency is left out", ImageWarning, 6)
    return array[..., :-1]


def _note_samples(page, count: int, shown: str) -> None:
    """Tells of samples beside the three colours, and of colours that may be none: tifffile calls three slices of 8 or 16 bits
    red, green and blue where nobody says what they are."""
    if count > 3:
        warnings.warn(f"{shown} has {count - 3} samples beside red, green and blue; they are left out", ImageWarning, 6)
    if page.planarconfig == 2 and str(page.software).startswith("tifffile"):
        warnings.warn(
            f"{shown} calls its three planes red, green and blue; if they are slices, save them with photometric='minisblack'",
            ImageWarning,
            6,
        )


def _calibrated(array: np.ndarray, file) -> np.ndarray:
    """The values that ImageJ shows for ``array``: a straight line of what is stored, in whole numbers where it is whole."""
    facts = file.imagej_metadata if file.is_imagej else None
    start, step = (facts or {}).get("c0"), (facts or {}).get("c1")
    if not facts or facts.get("cf") != 0 or not all(isinstance(v, int | float) for v in (start, step)):
        return array
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 2 and start == int(start) and step == int(step):
        return array.astype(np.int32) * int(step) + int(start)
    return (array * np.float64(step) + start).astype(np.float32)


def _coloured(places: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """RGB, 8 bits, of ``places`` in the ``palette`` [3, n] of 16 bits (some programs write 8 bits there)."""
    palette = np.asarray(palette)
    return (palette if palette.max() < 256 else palette >> 8).astype(np.uint8).T[places]
