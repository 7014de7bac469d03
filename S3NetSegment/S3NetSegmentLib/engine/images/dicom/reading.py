"""One DICOM series as a volume, with the geometry that its slices state (Image Position and Orientation, PS3.3 C.7.6.2).

A tilted gantry gives a sheared grid, which a series reader that goes by the first slice would straighten; missing slices
are filled in instead of moving all others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ...common.errors import ImageWarning, InputError, image_warning
from .decoding import check_decodable, voxels_on
from .grid import Grid, grid_of, stacked
from .series import Series, chosen_series, is_directory_file, series_of
from .slices import VECTORS, ImageFile, Slice, normal_of
from .volumes import SAME_PLACE, check_one_grid, places_of, volumes_of

# Marks of images of one place.
_REPEATED = ("temporal position", "trigger time", "frame time", "frame", "b value", "echo time", *VECTORS.values())


def read_dicom(
    path: Path, choose_frame: Callable[..., int], series: str | None = None
) -> tuple[np.ndarray, np.ndarray, str, str]:
    """A DICOM series as voxels ``[K, J, I]`` (or RGB), 4x4 voxel-to-RAS matrix, description and modality ("CT", "MR", ...).

    :param path: a folder (also of a whole disc), a DICOMDIR, or any file of the wanted series in its folder.
    :param choose_frame: called with the number of frames (time points, echoes, b-values, ...) and their names, returns the
        one to read.
    :param series: number, UID or description of the series, where a folder holds several.
    :raises InputError: no DICOM, several series and none chosen, or slices that do not make a volume.

    What is read but should be known (tilt, missing, uneven or doubled slices, damaged files) is an :class:`ImageWarning`.
    """
    chosen = _chosen(path, series)
    grid = _grid(chosen, path, choose_frame)
    return voxels_on(grid), grid.ijk_to_ras, chosen.description or path.name, chosen.modality


def read_grid(path: Path, choose_frame: Callable[..., int], series: str | None = None) -> Grid:
    """The slices that :func:`read_dicom` reads and where they lie, without their voxels. Raises as it."""
    chosen = _chosen(path, series)
    if any(file.stacked for file in chosen.files):
        raise InputError(f"the frames of {str(path)!r} do not state where they lie; choose .seg.nrrd")
    if any(s.tile is not None for s in chosen.slices):
        raise InputError(
            f"the slices of {str(path)!r} are tiled into pictures, and a DICOM SEG cannot refer to a part of one; choose .seg.nrrd"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)  # said when the image was read
        return _grid(chosen, path, choose_frame)


def _chosen(path: Path, wanted: str | None) -> Series:
    if path.is_dir() or is_directory_file(path):
        series, found = chosen_series(path if path.is_dir() else path.parent, wanted)
    elif wanted is not None:
        raise InputError(
            f"series is {wanted!r}, but {str(path)!r} is a file, which stands for its own series; leave one of the two out"
        )
    else:
        series, found = series_of(path)
    tiled = next((file for file in series.files if file.content.tiled), None)
    if tiled is not None and not _placed_one_by_one(series):
        raise InputError(f"DICOM file {str(tiled.path)!r} holds pictures that are tiled from {tiled.content.tiled}")
    stacks = sum(file.stacked for file in series.files)
    if 0 < stacks < len(series.files):
        raise InputError(
            f"the DICOM series in {str(path)!r} mixes files of several frames ({stacks}) with single slices "
            f"({len(series.files) - stacks}); give one of its files"
        )
    if stacks > 1:
        raise InputError(
            f"the DICOM series in {str(path)!r} has {stacks} files of several frames each; give one of them"
        )
    if found.damaged:
        names = ", ".join(found.damaged[:4]) + (", ..." if len(found.damaged) > 4 else "")
        _warn(path, f"{len(found.damaged)} DICOM files are cut off or damaged and were left out: {names}")
    if found.left_out:
        _warn(path, f"left out beside the series: {', '.join(found.left_out)}")
    return series


def _placed_one_by_one(series: Series) -> bool:
    """Whether files that are called tiled, and say nothing else of tiles, are single slices: each has a place of its own, at least
    half a slice from the next. (The places of true tiles differ by what the head moved between two pictures.)"""
    slices = series.slices
    if not all(file.content.only_called or not file.content.tiled for file in series.files) or len(slices) < 2:
        return False
    if any(s.position is None or not s.fits(slices[0]) for s in slices):
        return False
    along = np.array([place[0].position for place in places_of(slices)]) @ normal_of(slices)
    return len(along) > 1 and float(np.diff(along).min()) >= 0.5 * min(s.thickness for s in slices)


def _grid(series: Series, path: Path, choose_frame: Callable[..., int]) -> Grid:
    """The slices of the chosen frame on their grid."""
    shown, warn = repr(str(path)), partial(_warn, path)
    files = _without_localizers(series.files, warn)
    files = _without_copies(sorted(files, key=lambda file: file.path != path), warn)  # the one that was named counts
    _note_facts(files, warn)
    for syntax, file in {f.syntax: f for f in files}.items():
        check_decodable(file.path, syntax)
    slices = check_one_grid(_placed([s for f in files for s in f.slices], warn), shown)
    if slices[0].position is None:
        choose_frame(1, ())
        return stacked(sorted(slices, key=lambda s: (s.number is None, s.number or 0, s.order, s.path.name, s.frame)))
    volumes = volumes_of(slices, warn)
    number = choose_frame(len(volumes), tuple(v.label for v in volumes))
    return grid_of(volumes[number].slices, shown, warn)


def _without_localizers(files: Sequence[ImageFile], warn: Callable[[str], None]) -> list[ImageFile]:
    rest = [f for f in files if not f.localizer]
    if rest and len(rest) < len(files):
        warn(f"{len(files) - len(rest)} localizer images in the series were left out")
    return rest or list(files)


def _without_copies(files: list[ImageFile], warn: Callable[[str], None]) -> list[ImageFile]:
    """Drops files that are copies of another one: the same instance in the same place. (Bad anonymisers give all slices one
    instance; those stay.)"""
    kept: dict[tuple, ImageFile] = {}
    for file in files:
        first = file.slices[0]
        place = None if first.position is None else tuple(np.round(first.position, 3))
        kept.setdefault((first.instance or file.path, place, first.number, file.frames), file)
    if len(kept) < len(files):
        warn(f"{len(files) - len(kept)} of {len(files)} files are copies of other files and were left out")
    return list(kept.values())


def _placed(slices: list[Slice], warn: Callable[[str], None]) -> list[Slice]:
    """``slices`` with their places, or all without if the files do not tell them."""
    if len(slices) == 1:
        return slices
    placed = [s for s in slices if s.position is not None]
    if placed and len(placed) < len(slices):
        several = len({s.path for s in slices}) < len(slices)
        lost = (s for s in slices if s.position is None)
        names = ", ".join(f"frame {s.frame} of {s.path.name}" if several else s.path.name for s in lost)[:80]
        warn(
            f"{len(slices) - len(placed)} of {len(slices)} slices do not state where they lie and were left out: {names}"
        )
    if placed and (
        np.ptp(np.array([s.position for s in placed]), axis=0).max() >= SAME_PLACE
        or any(len({s.marks.get(m) for s in placed}) > 1 for m in _REPEATED)
    ):
        return placed
    slices = placed or slices
    located = {s.location for s in slices}
    if None not in located and len(located) == len(slices):
        warn("the files do not state where they lie; they are placed by their slice locations, the origin is unknown")
        normal = normal_of(slices)
        return [replace(s, position=normal * s.location) for s in slices]
    why = "all state the same place" if placed else "do not state where they lie"
    warn(f"the files {why}; they are stacked in the order of their numbers, {slices[0].thickness:g} mm apart")
    return [replace(s, position=None) for s in slices]


def _note_facts(files: list[ImageFile], warn: Callable[[str], None]) -> None:
    unknown = {what for f in files for what in f.unknown}
    if "voxel size" in unknown:
        warn(
            "the files do not state the size of their pixels, which are taken as 1 mm; lengths and volumes are not real"
        )
    if len({f.frame_of_reference for f in files if f.frame_of_reference}) > 1:
        warn("the places of its files are stated in several frames of reference, and need not fit each other")
    if any(f.at_detector for f in files):
        warn("the pixel size is that at the detector; objects are smaller by the magnification")
    for note in dict.fromkeys(note for f in files for note in f.notes):
        warn(note)
    if "orientation" in unknown and sum(len(f.slices) for f in files) > 1:
        warn("the files do not state the orientation of their slices, which are taken as axial")


def _warn(path: Path, text: str) -> None:
    image_warning(f"{str(path)!r}: {text}")
