"""Pictures that are tiled from the slices of a volume: Siemens' mosaics and United Imaging's grids (VFRAME).

The tiles are read as slices where the header says how many there are, which way they go and how far apart they are;
otherwise the file is refused: as one large slice it would be wrong.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...common.numbers import finite
from .elements import DicomFile, Elements
from .slices import Content, Slice, axes_of, distance_of, normal_of, position_of

_WORDS = ("MOSAIC", "VFRAME", "GRID")  # in Image Type
_MOST_TILES = 4096
_WAY = "convert it to NIfTI, e.g. with dcm2niix"
_MOST_CSA_TAGS = 1000
_CSA_START = b"SV10"


def _refused(whole: Slice, why: str, only_called: bool = False) -> Content:
    return Content((whole,), f"{why}; {_WAY}", only_called)


def _indivisible(whole: Slice, kind: str) -> Content:
    return _refused(whole, f"{kind}, which its {whole.size[0]} x {whole.size[1]} pixels cannot be divided into")


def tiles_of(elements: DicomFile, kinds: Sequence[str], whole: Slice) -> Content:
    """The slices in the one frame of a file, which ``whole`` describes. ``kinds``: the words of its Image Type."""
    called = next((word for word in _WORDS if word in kinds[2:]), "")
    uih = elements.items("UIHTileSequence")
    csa = siemens_csa(elements, "NumberOfImagesInMosaic", "SliceNormalVector")
    siemens = elements.number("SiemensImagesInMosaic") or next(iter(csa.get("NumberOfImagesInMosaic", ())), None)
    if len(uih) > 1:
        return _grid(elements, whole, uih)
    if siemens is not None and siemens > 1:
        return _mosaic(elements, whole, int(siemens), csa.get("SliceNormalVector", []))
    if siemens == 1 or not called:
        return Content((whole,))
    kind = "a Siemens mosaic" if called == "MOSAIC" else f"called {called}"
    return _refused(whole, f"slices ({kind}), and does not say how many and where they lie", True)


def _grid(elements: DicomFile, whole: Slice, frames: Sequence[Elements]) -> Content:
    """United Imaging's grid: as many columns as the square root of the number of slices, and as many rows as these fill; each
    slice has an item with its place."""
    stated = elements.number("UIHTiles")
    positions = [position_of(item.numbers("ImagePositionPatient")) for item in frames]
    count, columns = len(frames), math.ceil(math.sqrt(len(frames)))
    kind = f"{count} slices (a grid of United Imaging)"
    if stated is not None and int(stated) != count:
        return _refused(whole, f"{int(stated)} slices (a grid of United Imaging), but places {count}")
    if any(p is None for p in positions):
        return _refused(whole, f"{kind}, and does not say where each lies")
    tiles = _taken_apart(whole, count, columns, -(-count // columns))
    if not tiles:
        return _indivisible(whole, kind)
    axes = [axes_of(item.numbers("ImageOrientationPatient")) for item in frames]
    found = [
        replace(t, position=p, axes=t.axes if a is None else a) for t, p, a in zip(tiles, positions, axes, strict=True)
    ]
    return Content(tuple(found))


def _mosaic(elements: DicomFile, whole: Slice, count: int, normal: Sequence[float]) -> Content:
    """Siemens' mosaic: a square of tiles, the last of which may be empty. Its place is that of a single slice of the size of the
    whole picture about the same centre; the slices follow each other along the normal that the CSA header states."""
    kind = f"{count} slices (a Siemens mosaic)"
    step, notes = distance_of(elements.number("SpacingBetweenSlices")), tuple[str, ...]()
    across = normal_of([whole])
    along = float(across @ normal) if len(normal) == 3 else 0.0
    if whole.position is None or abs(abs(along) - 1) > 0.05:
        return _refused(whole, f"{kind}, and does not say which way they follow each other")
    if step is None:
        step = distance_of(elements.number("SliceThickness"))
        notes = (f"the distance of the slices is not stated; their thickness, {step:g} mm, is taken",) if step else ()
    if step is None:
        return _refused(whole, f"{kind}, and does not say how far they lie apart")
    side = math.ceil(math.sqrt(count))
    tiles = _taken_apart(whole, count, side, side)
    if not tiles:
        return _indivisible(whole, kind)
    beside = (np.array(whole.size) - tiles[0].size) / 2 * whole.spacing  # mm along columns and rows
    first = whole.position + whole.axes @ beside
    down = step * math.copysign(1, along) * across
    placed = (replace(t, position=first + n * down, thickness=step) for n, t in enumerate(tiles))
    return Content(tuple(placed), notes=notes)


def _taken_apart(whole: Slice, count: int, columns: int, rows: int) -> list[Slice]:
    """``count`` tiles row by row, each still in the place of ``whole``; [] if its pixels cannot be divided."""
    if count > _MOST_TILES or 0 in whole.size or whole.size[0] % columns or whole.size[1] % rows:
        return []
    size = whole.size[0] // columns, whole.size[1] // rows
    return [
        replace(
            whole, size=size, tile=(n // columns * size[1], n % columns * size[0]), instance=f"{whole.instance} {n}",
            order=(*whole.order, n),
        )
        for n in range(count)
    ]  # fmt: skip


def siemens_csa(elements: Elements, *names: str) -> dict[str, list[float]]:
    """The numbers that the CSA image header has under ``names``; those that are not there are left out.

    The header is a list of named texts (128 bytes about each, then its items), which Siemens published as part of its
    conformance statements; see also nibabel's documentation of it.
    """
    data = elements.raw("SiemensCSAImageHeader")
    found: dict[str, list[float]] = {}
    if not data.startswith(_CSA_START) or len(data) < 16:
        return found
    at = 16
    for _ in range(min(struct.unpack_from("<I", data, 8)[0], _MOST_CSA_TAGS)):
        if at + 84 > len(data):
            break
        name, count = data[at : at + 64].split(b"\0")[0].decode("latin-1"), struct.unpack_from("<i", data, at + 76)[0]
        at, values = at + 84, []
        for _ in range(min(max(count, 0), _MOST_CSA_TAGS)):
            if at + 16 > len(data):
                break
            length = struct.unpack_from("<i", data, at + 4)[0]
            at += 16
            if length < 0 or at + length > len(data):
                return found
            values.append(data[at : at + length].split(b"\0")[0])
            at += -(-length // 4) * 4
        if name in names:
            found[name] = [number for number in (finite(text, None) for text in values) if number is not None]
    return {name: numbers for name, numbers in found.items() if numbers}
