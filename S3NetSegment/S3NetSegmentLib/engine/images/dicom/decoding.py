"""The pixels of a DICOM file, decoded, and the voxels of a grid of slices. By GDCM (in SimpleITK), or by pydicom for the pixel formats that GDCM gets wrong.

Both were compared on every format that they read (``Testing/engine/images/dicom/test_formats.py``). GDCM scrambles run-length
encoded colours of more than 8 bits, whole numbers of 32 bits, and single bits in odd sizes; and it goes by the colours that the header claims, where the
compressed picture knows better.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...common.errors import InputError, image_warning
from ..formats.header_claims import check_room
from ..formats.itk_file import quiet
from .compression import JPEG, JPEG_2000, JPEG_LOSSY, JPEG_LS, first_picture, has_segments, is_transformed, jpeg_colors
from .elements import UNCOMPRESSED, DamagedDicom, DicomFile, quiet_pydicom
from .grid import Grid
from .headers import MEASURED, first_rescale
from .slices import Slice

_GDCM = "GDCMImageIO"
_RUN_LENGTH = "1.2.840.10008.1.2.5"
_PLAIN = (*UNCOMPRESSED, _RUN_LENGTH)  # what pydicom decodes without another package
_JPEG_XL = tuple(f"1.2.840.10008.1.2.4.11{n}" for n in range(3))  # which pydicom does not know
_DEPTHS = (1, 8, 12, 16, 24, 32, 64)  # bits of a pixel in its place; 12 and 24 in files of the last century
_UNDECODED = ("MPEG", "HEVC", "JPEG XL", "High-Throughput", "JPIP")  # in the names of transfer syntaxes (PS3.6 A)
_WAY = "export it uncompressed or as JPEG 2000 (most archives offer that), or convert it with a DICOM tool"


def check_decodable(path: Path, syntax: str) -> None:
    """Refuses pixels in an encoding that cannot be decoded, with its name and the way out."""
    from pydicom.uid import UID_dictionary

    name = "JPEG XL" if syntax in _JPEG_XL else UID_dictionary.get(syntax, ("",))[0]
    if any(word in name for word in _UNDECODED):
        raise InputError(
            f"DICOM file {str(path)!r} has its pixels as {name} ({syntax}), which cannot be decoded here; {_WAY}"
        )


def decoded(path: Path) -> np.ndarray:
    """All frames of a file, ``[frame, row, column(, color)]``, rescaled as its first frame asks for; colours are RGB, and bright is
    high, but for measured values, which are what was measured.

    :raises InputError: they cannot be decoded, or only wrongly.
    """
    try:
        elements = DicomFile(path)
    except (DamagedDicom, OSError):
        raise _undecodable(path, "") from None
    check_decodable(path, elements.syntax)
    if elements.pixels is None:
        raise _undecodable(path, elements.syntax)
    bits = elements.whole("BitsAllocated")
    if bits not in _DEPTHS:  # GDCM divides by what is left of the bytes, which ends the program
        raise InputError(
            f"DICOM file {str(path)!r} claims pixels of {bits} bits, which cannot be; copy or export it again"
        )
    segments = elements.whole("SamplesPerPixel") * -(-bits // 8)
    if elements.syntax == _RUN_LENGTH and not has_segments(elements, segments):
        raise _undecodable(path, elements.syntax)  # none at all would end the program, too
    if _gdcm_is_wrong(elements):
        return _by_pydicom(elements)
    stated = elements.text("PhotometricInterpretation").upper()
    true = _true_colors(elements, stated)
    if true == stated:
        return _by_gdcm(path, elements)
    import pydicom

    with tempfile.TemporaryDirectory() as folder, quiet_pydicom():
        dataset = pydicom.dcmread(path)
        dataset.PhotometricInterpretation = true
        corrected = Path(folder, "corrected.dcm")
        dataset.save_as(corrected)
        return _by_gdcm(corrected, elements)


def _gdcm_is_wrong(elements: DicomFile) -> bool:
    """Whether GDCM decodes pixels of this format wrongly, or not at all though they are sound."""
    allocated, stored, samples = map(elements.whole, ("BitsAllocated", "BitsStored", "SamplesPerPixel"))
    frames = elements.number("NumberOfFrames") or 1
    if elements.floats or allocated >= 32:
        return True
    if elements.syntax in _PLAIN:
        colors = elements.text("PhotometricInterpretation")
        signed = elements.number("PixelRepresentation") == 1
        if allocated == 1 or (colors == "MONOCHROME1" and signed and stored < allocated):
            return True
        if frames > 1 and elements.number("SpacingBetweenSlices") == 0:  # it refuses a distance of 0 between frames
            return True
        if elements.syntax == _RUN_LENGTH and samples > 1:
            return allocated > 8 or colors.startswith(("YBR_FULL_422", "YBR_PARTIAL"))
        if _bits_below(elements):
            return True
    return elements.syntax in JPEG_LS and samples > 1 and elements.number("PlanarConfiguration") == 1 and frames > 1


def _bits_below(elements: DicomFile) -> int:
    """How many bits lie below those in use (in files of before 1993, and false headers), which GDCM takes for the lowest."""
    allocated, stored, high = map(elements.whole, ("BitsAllocated", "BitsStored", "HighBit"))
    return max(high + 1 - stored, 0) if 0 < stored <= high < allocated else 0


def _true_colors(elements: DicomFile, stated: str) -> str:
    """The photometric interpretation that the pixels have, whatever is ``stated``: that of the compressed picture, and of measured
    values that these are not turned round to be shown. What cannot be told is warned of."""
    if stated == "MONOCHROME1" and elements.text("Modality").upper() in MEASURED:
        return "MONOCHROME2"
    if elements.number("SamplesPerPixel") != 3:
        return stated
    if elements.syntax in JPEG:
        colors = jpeg_colors(first_picture(elements))
        if colors == "YBR" and stated == "RGB" and elements.syntax not in JPEG_LOSSY:
            _warn(elements, "its header says RGB, its lossless JPEG says YCbCr; RGB is taken")
        elif colors == "YBR":
            return stated if stated in ("YBR_FULL", "YBR_FULL_422") else "YBR_FULL_422"
        elif colors == "RGB":
            return "RGB"
    if elements.syntax in JPEG_2000:
        transformed = is_transformed(first_picture(elements))
        if transformed and stated.startswith(("YBR_FULL", "YBR_PARTIAL")):
            return "RGB"  # what its decoder gives
        if transformed is False and stated in ("YBR_RCT", "YBR_ICT"):
            _warn(
                elements, f"its header says {stated}, its JPEG 2000 has no transformed colours; they are taken as RGB"
            )
    return stated


def _warn(elements: DicomFile, text: str) -> None:
    image_warning(f"{str(elements.path)!r}: {text}; check that they are right")


def _by_gdcm(path: Path, elements: DicomFile) -> np.ndarray:
    """What GDCM makes of the file at ``path``, which is that of ``elements`` or a corrected copy of it."""
    try:
        with quiet():
            image = sitk.ReadImage(os.fspath(path), imageIO=_GDCM)
    except RuntimeError:
        if elements.syntax in _PLAIN and elements.number("SamplesPerPixel") == 1:
            return _by_pydicom(elements)  # GDCM refuses frames that all lie in one place
        raise _undecodable(elements.path, elements.syntax) from None
    array = sitk.GetArrayFromImage(image)
    if array.dtype == np.float64:  # rescaled whole numbers, which need no more
        array = array.astype(np.float32)
    return array if image.GetDimension() > 2 else array[None]


def _by_pydicom(elements: DicomFile) -> np.ndarray:
    """As :func:`decoded`, for what GDCM gets wrong."""
    import pydicom

    bits, frames = elements.whole("BitsAllocated"), max(elements.whole("NumberOfFrames", 1), 1)
    if elements.syntax not in _PLAIN and (bits > 16 or elements.syntax not in JPEG_LS):
        raise InputError(
            f"DICOM file {str(elements.path)!r} has pixels of {bits} bits in a compression that no decoder here reads rightly "
            f"({elements.syntax}); {_WAY}"
        )
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(elements.path, force=True)
            if _bits_below(elements):  # else it takes the lowest bits, too
                dataset.BitsStored, dataset.HighBit = bits, bits - 1
            array = dataset.pixel_array
    except MemoryError:
        raise
    except Exception as error:  # pydicom's handlers raise what they like
        if elements.syntax not in _PLAIN:
            raise InputError(
                f"DICOM file {str(elements.path)!r} has colours as planes in JPEG-LS, which needs pylibjpeg and pylibjpeg-libjpeg; "
                f"'pip install' these, or {_WAY}"
            ) from None
        raise _undecodable(elements.path, elements.syntax) from error
    color = elements.number("SamplesPerPixel") == 3
    array = array.reshape(-1, *array.shape[-3 if color else -2 :])[:frames]
    return _rescaled(_stored_bits(array, elements), elements)


def _stored_bits(array: np.ndarray, elements: DicomFile) -> np.ndarray:
    """``array`` without what lies in the unused upper bits, and bright is high."""
    allocated, stored = map(elements.whole, ("BitsAllocated", "BitsStored"))
    if array.dtype.kind == "f":
        return array
    unused = allocated - stored if 0 < stored <= allocated else 0
    if (below := _bits_below(elements)) and not (array & ((1 << below) - 1)).any():
        array = array << (unused - below) >> unused
    elif below and (array << unused >> unused != array).any():
        raise InputError(
            f"DICOM file {str(elements.path)!r} says that its pixels begin at bit {below}, and there are others below; "
            "export it again"
        )
    elif unused:
        array = array << unused >> unused  # keeps the sign
    if _true_colors(elements, elements.text("PhotometricInterpretation").upper()) == "MONOCHROME1":
        array = ~array if array.dtype.kind == "i" else (array.dtype.type(2 ** (allocated - unused) - 1) - array)
    return array


def _rescaled(array: np.ndarray, elements: DicomFile) -> np.ndarray:
    """``array`` by slope and intercept; whole numbers stay whole where these are, as GDCM does it."""
    slope, intercept = first_rescale(elements)
    if (slope, intercept) == (1.0, 0.0):
        return array.astype(np.float32) if array.dtype == np.float64 else array
    if array.dtype.kind in "iu" and array.dtype.itemsize < 8 and slope == int(slope) and intercept == int(intercept):
        scaled = array.astype(np.int64) * int(slope) + int(intercept)
        return scaled if np.abs(scaled).max() > np.iinfo(np.int32).max else scaled.astype(np.int32)
    return (array * slope + intercept).astype(np.float32)


def _undecodable(path: Path, syntax: str) -> InputError:
    kind = f" (transfer syntax {syntax})" if syntax else ""
    return InputError(
        f"DICOM file {str(path)!r} cannot be decoded: it is damaged or of an unusual kind{kind}; copy or export it again"
    )


_ON = 1e-6  # of a step: a slice this near a grid slice is that slice


def voxels_on(grid: Grid) -> np.ndarray:
    """Voxels ``[K, J, I]`` (or RGB) in a type that holds all slices; grid slices between them are interpolated."""
    frames_of = lru_cache(maxsize=1)(decoded)  # a file of several frames is decoded once
    before = _plane(grid.slices[0], frames_of)
    check_room(before.nbytes * grid.depth, grid.slices[0].path.parent)
    out = np.empty((grid.depth, *before.shape), before.dtype)
    for n, (s, place) in enumerate(zip(grid.slices, grid.places, strict=True)):
        plane = _plane(s, frames_of)
        if plane.shape != out.shape[1:]:
            raise InputError(f"the slices of {str(s.path.parent)!r} mix grey and colour; give one file of one kind")
        elif plane.dtype != out.dtype:
            dtype = np.result_type(plane, out)
            out = out.astype(np.float32 if dtype.kind == "f" else dtype, copy=False)
        if n:
            last = grid.places[n - 1]
            for k in range(int(np.floor(last + _ON)) + 1, int(np.ceil(place - _ON))):
                out[k] = _between(before, plane, (k - last) / (place - last), out.dtype)
        if abs(place - round(place)) < _ON:
            out[round(place)] = plane
        before = plane
    return out[..., :3] if out.ndim == 4 else out


def _between(low: np.ndarray, high: np.ndarray, share: float, dtype: np.dtype) -> np.ndarray:
    mixed = low.astype(np.float64) * (1 - share) + high.astype(np.float64) * share
    return np.rint(mixed).astype(dtype) if dtype.kind in "iu" else mixed.astype(dtype)


def _plane(s: Slice, frames_of: Callable[[Path], np.ndarray]) -> np.ndarray:
    """The pixels of ``s``, its values scaled."""
    frames = frames_of(s.path)
    if s.frame >= len(frames):
        raise InputError(f"DICOM file {str(s.path)!r} has {len(frames)} frames, but describes more; export it again")
    plane = frames[s.frame]
    if s.tile is not None:
        row, column = s.tile
        plane = plane[row : row + s.size[1], column : column + s.size[0]]
    factor, offset = s.scale
    return plane if s.scale == (1.0, 0.0) else (plane * factor + offset).astype(np.float32)
