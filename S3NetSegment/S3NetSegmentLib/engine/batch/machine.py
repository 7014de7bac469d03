"""What this machine has: cores, graphics cards; how workers share them and its memory; what a process has needed, and a case will."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import SimpleITK as sitk

from ..common.device import available_memory_mb
from ..common.errors import InputError
from ..images.formats.itk_file import opened
from ..images.image_warnings import collected_image_warnings
from .case import Case

_KEPT_FREE = 0.9  # of the memory that is available now, workers get this share
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
# What a process holds before its image, MB; bytes for each voxel of the image; more of them where confidence is written.
_NEEDS = {"segment": (640, 7, 4), "few-shot": (640, 26, 1), "apply": (440, 7, 2)}
_DICOM_VOXEL = 2  # bytes, where only the size of the files is looked at


@dataclass(frozen=True)
class WorkerShare:
    """What one of ``jobs`` workers may use.

    :param memory_mb: most memory for its data; None: no bound can be set on this system.
    :param card: which NVIDIA card it sees, None: all (or none).
    :param card_share: part of that card's memory, 0 to 1.
    :param device: where it sees all cards, what "auto" and "cuda" mean for it.
    """

    threads: int
    memory_mb: int | None = None
    card: str | None = None
    card_share: float = 1.0
    device: str | None = None


def shares(jobs: int, device: str = "auto", all_cards: bool = False) -> list[WorkerShare]:
    """The share of each of ``jobs`` workers: threads = cores / jobs (fewer where OMP_NUM_THREADS says so), memory = what is
    available / jobs, cards in turn.

    :param all_cards: every worker must see all cards, since cases name theirs; otherwise each sees its own alone, which
        also holds for libraries that take the first one they see.
    """
    threads = max(1, cores() // jobs)
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdigit() and int(named) > 0:
        threads = min(threads, int(named))
    available = available_memory_mb()
    memory = None if available is None else max(512, int(_KEPT_FREE * available / jobs))
    cards = nvidia_cards() if device in ("auto", "cuda") else []
    if not cards:
        return [WorkerShare(threads, memory)] * jobs
    on_card = [len(range(n, jobs, len(cards))) for n in range(len(cards))]
    found = []
    for n in range(jobs):
        number = n % len(cards)
        card, own = (None, f"cuda:{number}") if all_cards else (cards[number], None)
        found.append(WorkerShare(threads, memory, card, 1.0 / max(1, on_card[number]), own))
    return found


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def nvidia_cards() -> list[str]:
    """Numbers of the NVIDIA cards that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    names = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return sorted((name for name in names if name.isdigit()), key=int) or _listed_cards()


def _listed_cards() -> list[str]:
    """The cards as NVIDIA's tool lists them: on Windows and in its Linux there are no device files."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        command = [tool, "--query-gpu=index", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip().isdigit()] if done.returncode == 0 else []


def limit_memory(megabytes: int | None) -> None:
    """Makes memory beyond ``megabytes`` an error (MemoryError) of this process, where the system can (Linux)."""
    if megabytes is None:
        return
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = megabytes << 20
        if most != resource.RLIM_INFINITY:
            wanted = min(wanted, most)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))
    except (ImportError, ValueError, OSError, AttributeError):
        pass


def forget_peak_memory() -> None:
    """Lets :func:`peak_memory_mb` count from now on, where the system can (Linux); otherwise from the process's start."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb() -> int | None:
    """Most memory that this process has held at once, None where the system does not say (Windows)."""
    with contextlib.suppress(OSError):
        if stated := re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii")):
            return int(stated[1]) // 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def needed_memory_mb(case: Case) -> int | None:
    """Most memory that ``case`` will need at once, MB, roughly; None where its image gives no size."""
    voxels, size = _voxels(case.image)
    if not voxels:
        return None
    base, each, sure = _NEEDS[case.method]
    return round(base + voxels * (each + size + sure * case.confidence) / (1 << 20))


def needs_of(cases: Iterable[Case], seconds: float = 3.0) -> dict[str, int]:
    """The need of each of ``cases`` that can be estimated, by name; of very many those with the largest files.

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
        with collected_image_warnings():  # they are reported when the image is read
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
