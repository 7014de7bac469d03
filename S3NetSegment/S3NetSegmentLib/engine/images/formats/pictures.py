"""PNG, JPEG and BMP pictures: what ITK would fill up, turn into colours or pass over is refused, read by Pillow, or reported."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...common.errors import InputError, image_warning
from ..files import file_head
from ..image_warnings import note_print_size
from .itk_file import check_claims, header_matrix, opened, read_itk

# First bytes of the picture formats, with SimpleITK's names for them: the content counts, not the file name.
_STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNGImageIO",
    b"\xff\xd8\xff": "JPEGImageIO",
    b"BM": "BMPImageIO",
}
_EXIF_ORIENTATION, _UPRIGHT = 274, 1
_BMP_HEADER, _BMP_BITS = 40, (8, 24, 32)  # bytes of the usual header, and bits of a pixel that ITK reads


def is_picture(head: bytes) -> bool:
    """Whether a file that starts with ``head`` is a PNG, JPEG or BMP picture."""
    return head.startswith(tuple(_STARTS))


def read_picture(path: Path, choose_frame: Callable[..., int], numbers: bool) -> tuple[np.ndarray, np.ndarray]:
    """Voxels ``[1, J, I]`` or ``[1, J, I, 3]`` and the 4x4 voxel-to-RAS matrix of a picture.

    :param numbers: give the places in a palette, as a label map needs them, and no colours.
    :raises InputError: cut off or damaged, or of a kind that cannot be read rightly.
    """
    shown, head = repr(os.fspath(path)), file_head(path)
    image_io = next(name for start, name in _STARTS.items() if head.startswith(start))
    _check_whole(path, image_io)
    partial = image_io == "PNGImageIO" and _uses_part_of_its_bits(path)
    if not (partial or numbers) or image_io == "JPEGImageIO":
        array, matrix = read_itk(path, choose_frame, image_io)
        _note_turn(path, shown)
        if (pixel := abs(matrix[0, 0])) != 1:
            note_print_size(pixel, shown)
        return array, matrix
    reader = opened(path, image_io)
    check_claims(reader, path)
    places = _by_pillow(path, partial, image_io)
    if places is None:
        return read_itk(path, choose_frame, image_io)
    choose_frame(1)
    return places[None], header_matrix(reader, path)


def _step(path: Path) -> int:
    """How far apart Pillow and ITK lay the grey values of a PNG file that stores them in less than 8 bits."""
    return 255 // (2 ** file_head(path)[24] - 1)


def _by_pillow(path: Path, partial: bool, image_io: str) -> np.ndarray | None:
    """The places in the palette, or the grey values as they are stored (in a PNG of less than 8 bits spread over 0 to 255 by
    other readers: a mask of one bit holds 1); None for a picture with neither."""
    import PIL.Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its size was checked
        try:
            with PIL.Image.open(path) as picture:
                mode = picture.mode
                stored = partial or mode == "P" or (image_io == "PNGImageIO" and mode in ("1", "L"))
                places = np.array(picture) if stored else None
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError):
            raise InputError(
                f"{str(path)!r} cannot be read: it is cut off, damaged or too large; copy or export it again"
            ) from None
    if partial and mode not in ("P", "L", "I;16"):
        raise InputError(
            f"{str(path)!r} says that only a part of its bits counts (sBIT), which is read wrongly in colours; save it again "
            "without that"
        )
    if mode == "P" and not partial:
        image_warning(f"{str(path)!r}: the places in its palette are taken as labels")
    if places is None or partial or mode == "P":
        return places
    return places.astype(np.uint8) // (1 if mode == "1" else _step(path))


def _uses_part_of_its_bits(path: Path) -> bool:
    """Whether a PNG file has a chunk sBIT that claims fewer bits than are stored: ITK shifts the others out."""
    with open(path, "rb") as file:
        depth, at = b"", 8
        while True:
            file.seek(at)
            head = file.read(8)
            length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"IDAT")
            if kind in (b"IDAT", b"IEND"):
                return False
            if kind == b"IHDR":
                depth = file.read(9)[8:9]
            if kind == b"sBIT":
                return any(bits < (depth or b"\0")[0] for bits in file.read(min(length, 4)))
            at += 12 + length


def _note_turn(path: Path, shown: str) -> None:
    import PIL.Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its size, of its EXIF
        try:
            with PIL.Image.open(path) as picture:
                turned = picture.getexif().get(_EXIF_ORIENTATION, _UPRIGHT) != _UPRIGHT
        except Exception:  # of any kind: a damaged EXIF is not a reason to refuse the picture
            return
    if turned:
        image_warning(
            f"{shown} says that it is to be turned (EXIF); it is read as it lies in the file, as Slicer shows it"
        )


def _check_whole(path: Path, image_io: str) -> None:
    """Refuses JPEG and BMP files that are cut off: ITK fills up what is missing and says nothing."""
    whole = True
    if image_io == "JPEGImageIO":
        content = path.read_bytes()
        # In the compressed data ff is always followed by 00 or a restart mark, so both marks are real ones.
        whole = content.rfind(b"\xff\xd9") > content.rfind(b"\xff\xda") > 0
    elif image_io == "BMPImageIO":
        head = file_head(path)[:54]
        if whole := len(head) == 54:
            offset, size, width, height, _, bits, packing = struct.unpack_from("<iiiihhi", head, 10)
            if size >= _BMP_HEADER and bits not in _BMP_BITS:
                each = "1 bit" if bits == 1 else f"{bits} bits"
                raise InputError(
                    f"{str(path)!r} is a BMP picture of {each} for each pixel, of which only those of {', '.join(map(str, _BMP_BITS))} bits can "
                    "be read; save it as PNG"
                )
            row = (abs(width) * bits + 31) // 32 * 4
            whole = packing != 0 or os.path.getsize(path) >= offset + row * abs(height)
    if not whole:
        raise InputError(f"{str(path)!r} is cut off: part of the picture is missing; copy or export it again")
