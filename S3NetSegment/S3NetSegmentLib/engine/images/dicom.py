"""DICOM: the series in a folder, and one series as a volume with the geometry that its slices state.

Positions and orientations are taken from the slices themselves (Image Position and Image Orientation, PS3.3 C.7.6.2):
tilted gantries give a sheared grid, which a series reader that goes by the first slice would straighten.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import ImageWarning, InputError
from .header_claims import check_room, check_size
from .itk_file import LPS_TO_RAS, opened, quiet, read_itk

_IO = "GDCMImageIO"
_SAME_PLACE = 1e-2  # mm: slices nearer than this lie in one place


@dataclass(frozen=True)
class Slice:
    """What the header of one DICOM file says."""

    path: Path
    series: str
    description: str
    modality: str
    instance: str
    size: tuple[int, int]
    frames: int
    spacing: tuple[float, float]
    axes: np.ndarray  # [3, 2], directions of row and column index, LPS
    position: np.ndarray | None  # LPS, mm; None if the file states none
    order: tuple[float, ...]  # temporal position, trigger time, acquisition, instance number
    thickness: float

    @property
    def group(self) -> tuple:
        """What slices of one volume share."""
        return (self.series, self.size, *np.round(self.axes, 3).ravel(), *np.round(self.spacing, 4))


def is_dicom(path: Path, head: bytes) -> bool:
    """Whether a file with the first bytes ``head`` is DICOM."""
    if head[128:132] == b"DICM":
        return True
    # Old files have no preamble: they begin with a group 2 or 8 element.
    return head[:2] in (b"\x02\x00", b"\x08\x00") and head[2:4] != b"\x00\x00" and _slice_of(path) is not None


def read_dicom(path: Path, choose_frame: Callable[[int], int]) -> tuple[np.ndarray, np.ndarray, str]:
    """A DICOM series as voxels ``[K, J, I]`` (or RGB), 4x4 voxel-to-RAS matrix and description.

    :param path: a folder with one series, or any file of the wanted series in its folder.
    :param choose_frame: called with the number of frames (time points), returns the one to read.
    :raises InputError: no DICOM, several series in the folder, or slices that do not make a volume.

    Tilt, missing, uneven or doubled slices are reported as :class:`ImageWarning`.
    """
    if path.is_dir():
        slices = _only_series(path, _slices_in(path))
        if len({s.group for s in slices}) > 1:
            raise InputError(
                f"the DICOM series in {str(path)!r} has slices of {len({s.group for s in slices})} different sizes or "
                "orientations (a localizer?); give one of its files to use the slices that fit it"
            )
    else:
        chosen = _slice_of(path)
        if chosen is None:
            raise InputError(f"DICOM file {str(path)!r} holds no image or is cut off; choose a file of an image series")
        slices = [chosen]
        if chosen.frames == 1:
            slices = [s for s in _slices_in(path.parent) if s.group == chosen.group and s.frames == 1] or slices
    name = slices[0].description or path.name
    if any(s.frames > 1 for s in slices):
        if len(slices) > 1:
            raise InputError(
                f"the DICOM series in {str(path)!r} has {len(slices)} files of several frames each; give one of them"
            )
        array, matrix = read_itk(slices[0].path, choose_frame, _IO)
        return array, matrix, name
    slices = _without_copies(slices, path)
    slices, matrix = _arranged(slices, path, choose_frame)
    return _voxels(slices), matrix, name


def _slices_in(folder: Path) -> list[Slice]:
    found, unreadable = [], []
    for entry in sorted(folder.iterdir()):
        if not entry.is_file() or entry.name.startswith(".") or entry.name.upper() == "DICOMDIR":
            continue
        with open(entry, "rb") as file:
            head = file.read(132)
        if head[128:] == b"DICM" or head[:2] in (b"\x02\x00", b"\x08\x00"):
            header = _slice_of(entry)
            if header is not None:
                found.append(header)
            elif head[128:] == b"DICM":
                unreadable.append(entry.name)
    if found and unreadable:
        names = ", ".join(unreadable[:4]) + (", ..." if len(unreadable) > 4 else "")
        _warn(folder, f"{len(unreadable)} DICOM files hold no image or are cut off and were left out: {names}")
    return found


def _slice_of(path: Path) -> Slice | None:
    """The header of one file, None if it is not a DICOM image."""
    try:
        reader = opened(path, _IO)
    except InputError:
        return None

    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    def number(tag: str, default: float = 0.0) -> float:
        try:
            return float(text(tag).split("\\")[0])
        except ValueError:
            return default

    size = reader.GetSize()
    if 0 in size or not text("0020|000e"):
        return None
    return Slice(
        path, text("0020|000e"), _readable(text("0008|103e")), text("0008|0060"), text("0008|0018"), tuple(size[:2]),
        size[2] if len(size) > 2 else 1, tuple(reader.GetSpacing()[:2]),
        np.reshape(reader.GetDirection(), (3, 3))[:, :2],
        np.array(reader.GetOrigin()[:3]) if text("0020|0032") else None,
        tuple(number(tag) for tag in ("0020|0100", "0018|1060", "0020|0012", "0020|0013")),
        number("0018|0088") or number("0018|0050") or 1.0,
    )  # fmt: skip


def _readable(text: str) -> str:
    """``text`` as characters: what could not be decoded is left out."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "ignore")
    return "".join(c for c in text if c.isprintable()).strip()


def _only_series(folder: Path, slices: list[Slice]) -> list[Slice]:
    if not slices:
        inside = sorted(p.name for p in folder.iterdir() if p.is_dir())
        hint = f"; choose one of its folders: {', '.join(inside[:8])}" if inside else "; choose the folder of a series"
        raise InputError(f"folder {str(folder)!r} holds no DICOM images{hint}, or give an image file")
    series: dict[str, list[Slice]] = {}
    for s in slices:
        series.setdefault(s.series, []).append(s)
    if len(series) > 1:
        listed = "; ".join(
            f"{group[0].description or 'no description'} ({group[0].modality or 'unknown modality'}, {len(group)} files, "
            f"e.g. {group[0].path.name})"
            for group in list(series.values())[:12]
        )
        raise InputError(
            f"folder {str(folder)!r} holds {len(series)} DICOM series: {listed}. Give one file of the series you want, or "
            "a sub-folder with that series alone"
        )
    return slices


def _without_copies(slices: list[Slice], path: Path) -> list[Slice]:
    """Drops files that are copies of another one (the same instance)."""
    kept = {s.instance or str(s.path): s for s in reversed(slices)}
    if len(kept) < len(slices):
        _warn(path, f"{len(slices) - len(kept)} of {len(slices)} files are copies of other files and were left out")
    return list(reversed(kept.values()))


def _arranged(slices: list[Slice], path: Path, choose_frame) -> tuple[list[Slice], np.ndarray]:
    """The slices of one frame in order of place, and their voxel-to-RAS matrix."""
    first = slices[0]
    matrix = np.eye(4)
    matrix[:3, :2] = first.axes * first.spacing
    normal = np.cross(first.axes[:, 0], first.axes[:, 1])
    if len(slices) > 1 and any(s.position is None for s in slices):
        _warn(path, "the files do not state where they lie; they are stacked in the order of their numbers")
        choose_frame(1)
        matrix[:3, 2] = normal * first.thickness
        return sorted(slices, key=lambda s: (s.order, s.path.name)), LPS_TO_RAS @ matrix
    places = _places(slices, normal)
    frames = len(places[0]) if len({len(p) for p in places}) == 1 else 1
    frame = choose_frame(frames)
    doubled = sum(len(p) for p in places) - frames * len(places)
    if doubled:
        _warn(path, f"{doubled} slices lie in the place of another one; the first of each place is used")
    chosen = [p[frame] for p in places]
    matrix[:3, 2] = normal * first.thickness
    if chosen[0].position is not None:
        matrix[:3, 3] = chosen[0].position
    if len(chosen) > 1:
        matrix[:3, 2] = (chosen[-1].position - chosen[0].position) / (len(chosen) - 1)
        _check_steps(chosen, normal, matrix[:3, 2], path)
    return chosen, LPS_TO_RAS @ matrix


def _places(slices: list[Slice], normal: np.ndarray) -> list[list[Slice]]:
    """Slices grouped by place along ``normal``, in that order; in one place by time."""
    along = {id(s): 0.0 if s.position is None else float(s.position @ normal) for s in slices}
    places: list[list[Slice]] = []
    for s in sorted(slices, key=lambda s: along[id(s)]):
        if places and along[id(s)] - along[id(places[-1][0])] < _SAME_PLACE:
            places[-1].append(s)
        else:
            places.append([s])
    return [sorted(p, key=lambda s: (s.order, s.path.name)) for p in places]


def _check_steps(chosen: list[Slice], normal: np.ndarray, step: np.ndarray, path: Path) -> None:
    """Warns of tilt and of missing or uneven slices."""
    tilt = np.degrees(np.arccos(np.clip(abs(step @ normal) / np.linalg.norm(step), 0, 1)))
    if tilt > 0.2:
        _warn(
            path,
            f"the slices are shifted against each other (gantry tilt {tilt:.1f} degrees); the grid is kept sheared",
        )
    steps = np.diff([s.position @ normal for s in chosen])
    usual = float(np.median(steps))
    missing = int(np.maximum(np.round(steps / usual) - 1, 0).sum())
    if missing:
        gap = int(np.argmax(steps))
        _warn(
            path,
            f"{missing} of {len(chosen) + missing} slices seem to be missing (largest gap {steps[gap]:.2f} mm after slice "
            f"{gap}, usually {usual:.2f} mm); the {len(chosen)} slices are spread evenly, so places are approximate",
        )
    elif steps.max() - steps.min() > 0.02 * usual + _SAME_PLACE:
        _warn(
            path,
            f"the slices lie {steps.min():.2f} to {steps.max():.2f} mm apart; they are spread evenly, so places are "
            "approximate",
        )


def _voxels(slices: list[Slice]) -> np.ndarray:
    """The voxels of ``slices`` in that order, in a type that holds all of them (rescaled values may differ in type)."""
    planes, out = [], None
    check_room(2 * sum(s.size[0] * s.size[1] for s in slices), slices[0].path.parent)
    for s in slices:
        check_size(s.path, s.size, 1)
        try:
            with quiet():
                image = sitk.ReadImage(os.fspath(s.path), imageIO=_IO)
        except RuntimeError:
            raise InputError(f"DICOM file {str(s.path)!r} is cut off or damaged; copy or export it again") from None
        plane = sitk.GetArrayFromImage(image)
        planes.append(plane[0] if image.GetDimension() == 3 else plane)
    dtype = np.result_type(*planes)
    out = np.empty((len(planes), *planes[0].shape), dtype)
    for k in range(len(planes)):
        out[k], planes[k] = planes[k], None  # frees each plane once it is copied
    return out[..., :3] if out.ndim == 4 else out


def _warn(path: Path, text: str) -> None:
    warnings.warn(f"{str(path)!r}: {text}", ImageWarning, stacklevel=2)
