"""Several channels of a case in files of their own, named as nnU-Net's users name them: ``<case>_0000``, ``<case>_0001``, ..."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...common.errors import InputError
from ...images import Volume
from ...images.files import stem_of

_NUMBERED = re.compile(r"(.+)_(\d{4})")


def channels_by_case(
    images: Mapping[str, Path], labels: Collection[str], count: int | None = None
) -> dict[str, tuple[Path, ...]]:
    """The files of each case's channels, in their order.

    Names that end with ``_0000`` and so on are channels where ``count`` is given, where a label file has the name of a case
    without the number, or where all cases have the same two or more channels from 0000 on; else they are cases of their own.

    :param images: files by name. :param labels: the names of the label files. :param count: how many channels each case has.
    :raises InputError: a case that lacks a channel, or has no number.
    """
    numbered = {name: _NUMBERED.fullmatch(name) for name in images}
    found: dict[str, dict[int, Path]] = {}
    for name, parts in numbered.items():
        if parts:
            found.setdefault(parts[1], {})[int(parts[2])] = images[name]
    if not _are_channels(found, numbered, labels, count):
        if count is not None and count > 1:
            raise InputError(
                f"cohort.json lists {count} channels, but no image is named CASE_0000, CASE_0001, ...; rename them"
            )
        return {name: (path,) for name, path in images.items()}
    unnumbered = sorted(name for name, parts in numbered.items() if not parts)
    if unnumbered:
        raise InputError(
            f"image {images[unnumbered[0]].name!r} has no number of a channel, but others have; name it {unnumbered[0]}_0000"
        )
    wanted = range(count or 1 + max(number for files in found.values() for number in files))
    for case, files in found.items():
        lacking = next((number for number in wanted if number not in files), None)
        if lacking is not None:
            raise InputError(
                f"case {case!r} lacks channel {lacking:04d}, which other cases have (there must be {len(wanted)} of each); add "
                f"{case}_{lacking:04d}, or take the case out"
            )
        if len(files) > len(wanted):
            raise InputError(
                f"case {case!r} has {len(files)} channels, but cohort.json lists {len(wanted)}; remove the others"
            )
    return {case: tuple(files[number] for number in wanted) for case, files in sorted(found.items())}


def channel_files(path: str | os.PathLike, count: int) -> tuple[Path, ...]:
    """The files of the ``count`` channels of the image of which ``path`` is the first.

    :raises InputError: a name that is not that of a first channel, or a channel that is not there.
    """
    path = Path(path)
    if count == 1:
        return (path,)
    parts = _NUMBERED.fullmatch(stem_of(path))
    if path.is_dir() or parts is None or int(parts[2]) != 0:
        raise InputError(
            f"the model looks at {count} channels of each case; give the first file, named CASE_0000 (not {path.name!r}), and put "
            f"the others up to CASE_{count - 1:04d} beside it"
        )
    return tuple(path if number == 0 else _beside(path, parts[1], number) for number in range(count))


def further_channels(path: str | os.PathLike) -> tuple[Path, ...]:
    """The files of further channels that lie beside the first one at ``path``; () where its name is not that of a first channel."""
    path = Path(path)
    found: list[Path] = []
    parts = _NUMBERED.fullmatch(stem_of(path))
    if parts is not None and int(parts[2]) == 0 and not path.is_dir():
        try:
            while True:
                found.append(_beside(path, parts[1], len(found) + 1))
        except InputError:
            pass
    return tuple(found)


def check_one_grid(images: Sequence[Volume]) -> None:
    """Raises InputError if the channels of a case do not have the same voxels in the same places."""
    first = images[0]
    for number, other in enumerate(images[1:], 1):
        near = 0.05 * min(first.spacing)
        if other.size != first.size or np.abs(other.ijk_to_ras - first.ijk_to_ras).max() > near:
            raise InputError(
                f"channel {number:04d} ({_grid(other)}) does not lie on the grid of channel 0000 ({_grid(first)}); resample it on "
                "that image"
            )


def _grid(volume: Volume) -> str:
    size, spacing = " x ".join(map(str, volume.size)), " x ".join(f"{s:.3g}" for s in volume.spacing)
    return f"{size} voxels of {spacing} mm from {','.join(f'{v:.4g}' for v in volume.ras_of((0, 0, 0)))}"


def _beside(first: Path, case: str, number: int) -> Path:
    name = f"{case}_{number:04d}"
    same = first.with_name(name + first.name[len(stem_of(first)) :])
    if same.exists():
        return same
    folder = first.parent
    named = [n for n in os.listdir(folder) if n.startswith(name) and stem_of(n) == name] if folder.is_dir() else []
    others = sorted(path for n in named if (path := folder / n).is_file())  # few: a folder may hold thousands of cases
    if not others:
        raise InputError(
            f"channel {number:04d} of case {case!r} is missing: there is no {same.name!r} beside {first.name!r}"
        )
    return others[0]


def _are_channels(found: Mapping[str, dict], numbered: Mapping, labels: Collection[str], count: int | None) -> bool:
    if not found:
        return False
    if count is not None or any(case in labels for case in found):
        return True
    if any(name in labels for name, parts in numbered.items() if parts) or not all(numbered.values()):
        return False  # labels of the names with their numbers, or other names beside them
    sets = [sorted(files) for files in found.values()]
    return len(sets[0]) > 1 and len(sets) > 1 and all(numbers == list(range(len(sets[0]))) for numbers in sets)
