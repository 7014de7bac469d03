"""How much memory a case will need, told from the header of its image alone, before anything runs.

The method's own need grows with the number of voxels; the figures are measured by ``Testing/benchmarks/batch_memory.py`` and
rounded up. They are for a CPU; on a graphics card more of it lies there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

import SimpleITK as sitk

from ..common.errors import InputError
from ..images.formats.itk_file import opened
from ..images.image_warnings import collected_image_warnings
from .case import Case

# What a process holds before its image, MB; bytes for each voxel of the image; more of them where confidence is written.
_NEEDS = {"segment": (640, 7, 4), "few-shot": (640, 26, 1), "apply": (440, 7, 2)}
_DICOM_VOXEL = 2  # bytes, where only the size of the files is looked at


def needed_memory_mb(case: Case) -> int | None:
    """Most memory that ``case`` will need at once, MB, roughly; None where its image tells no size."""
    voxels, size = _voxels(case.image)
    if not voxels:
        return None
    base, each, sure = _NEEDS[case.method]
    return round(base + voxels * (each + size + sure * case.confidence) / (1 << 20))


def needs_of(cases: Iterable[Case], seconds: float = 3.0) -> dict[str, int]:
    """The need of each of ``cases`` that can be told, by name; of very many those with the largest files.

    :param seconds: no further header is read after so long.
    """
    until, found = time.monotonic() + seconds, {}
    for case in sorted(cases, key=lambda case: -_file_size(case.image)):
        need = needed_memory_mb(case)
        if need is not None:
            found[case.name] = need
        if time.monotonic() > until:
            break
    return found


def memory_note(cases: Iterable[Case], needs: Mapping[str, int], bound_mb: int | None, jobs: int) -> str:
    """What to say where cases need more than a process may have, "" otherwise.

    :param bound_mb: what each of ``jobs`` processes may have.
    """
    large = [case for case in cases if bound_mb is not None and needs.get(case.name, 0) > bound_mb]
    if not large or bound_mb is None:
        return ""
    worst = max(large, key=lambda case: needs[case.name])
    most = bound_mb * jobs // needs[worst.name]
    remedy = f"use --jobs {most}" if most >= 1 else "name fewer slices, or take a machine with more memory"
    others = f" and {len(large) - 1} other cases" if len(large) > 1 else ""
    return f"{worst.row}{others} may need {needs[worst.name]:,} MB, a process has {bound_mb:,}; {remedy}"


def _voxels(image: str) -> tuple[int, int]:
    """Number of voxels and bytes of each."""
    try:
        if os.path.isdir(image):
            with os.scandir(image) as entries:
                return sum(e.stat().st_size for e in entries if e.is_file()) // _DICOM_VOXEL, _DICOM_VOXEL
        with collected_image_warnings():  # they are told when the image is read
            reader = opened(Path(image))
    except (InputError, OSError):
        return 0, 0
    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelIDValue()))
    return prod(reader.GetSize()[:3]), int(bits[1] if bits else 32) // 8 * reader.GetNumberOfComponents()


def _file_size(image: str) -> int:
    try:
        return os.path.getsize(image)
    except OSError:
        return 0
