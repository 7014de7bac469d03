"""What this machine has: cores, graphics cards; how workers share them and its memory; and what a process has needed."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..memory import available_memory_mb

_KEPT_FREE = 0.9  # of the memory that is available now, workers get this share
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


@dataclass(frozen=True)
class WorkerShare:
    """What one of ``jobs`` workers may use.

    :param memory_mb: most memory for its data; None: no bound can be set on this system.
    :param card: which NVIDIA card it sees, None: all (or none).
    :param card_share: part of that card's memory, 0 to 1.
    """

    threads: int
    memory_mb: int | None = None
    card: str | None = None
    card_share: float = 1.0


def shares(jobs: int, device: str = "auto") -> list[WorkerShare]:
    """The share of each of ``jobs`` workers: threads = cores / jobs (fewer where OMP_NUM_THREADS says so), memory = what is
    available / jobs, cards in turn."""
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
    return [
        WorkerShare(threads, memory, cards[n % len(cards)], 1.0 / max(1, on_card[n % len(cards)])) for n in range(jobs)
    ]


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
    devices = Path("/dev").glob("nvidia[0-9]*") if os.name != "nt" else ()
    return sorted((path.name.removeprefix("nvidia") for path in devices), key=int)


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
    """Most memory that this process has held at once, None where the system does not tell (Windows)."""
    with contextlib.suppress(OSError, TypeError):
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))[1]) // 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))
