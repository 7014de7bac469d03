"""Workers on this machine: processes, each with one case at a time. A worker that dies loses its case, not the batch.
Why not a library's pool: Resources/Documentation/architecture.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from ..common.errors import ResourceError
from ..common.progress import Step
from .case import Case
from .machine import THREADS, WorkerShare, limit_memory, shares
from .one_case import CaseFiles, lost_record, run_case

ATTEMPTS = 2  # a case whose worker died is tried once more
_PR_SET_PDEATHSIG = 1  # of Linux's prctl
_PAUSE = 0.5  # seconds between two messages about the progress of one case
_LOST = (
    "the worker process {why}, {attempts} times. Often the memory was not enough: use fewer jobs (--jobs), fewer slices, or a "
    "machine with more memory"
)


@dataclass(frozen=True)
class Event:
    """Something happened to ``case``: "started", "step" (``step``), "lost" (its worker died; it is tried again), or
    "finished" (``record``)."""

    kind: str
    case: Case
    record: dict | None = None
    step: Step | None = None


class InThisProcess:
    """Does the cases one after the other in this process: for Slicer, and for tests."""

    def __init__(self, folder: str | os.PathLike, device: str = "auto", files: CaseFiles | None = None):
        self._folder, self._device, self._files = folder, device, files
        self._stopping = False

    def events(self, cases: Iterable[Case]) -> Iterator[Event]:
        for case in cases:
            if self._stopping:
                return
            yield Event("started", case)
            yield Event("finished", case, run_case(case, self._folder, self._device, files=self._files))

    def stop_giving(self) -> None:
        self._stopping = True


class Processes:
    """``jobs`` processes on this machine. Closing the iterator of :meth:`events` ends them at once.

    :param all_cards: see :func:`~.machine.shares`; needed where a case names one of several graphics cards.

    Attributes: shares (the WorkerShare of each).
    """

    def __init__(self, folder: str | os.PathLike, jobs: int = 1, device: str = "auto", all_cards: bool = False):
        self._folder, self._device, self._stopping = os.fspath(folder), device, False
        self.shares = shares(jobs, device, all_cards)

    def events(self, cases: Iterable[Case]) -> Iterator[Event]:
        """Does ``cases``; yields what happens.

        :raises ResourceError: processes cannot be started here.
        """
        waiting = deque(cases)
        attempts: dict[str, int] = {}
        count = min(len(self.shares), len(waiting))
        workers: list[_Worker] = []
        failures = 0  # workers that died before their first case
        try:
            workers += [_Worker(self._folder, self._device, share) for share in self.shares[:count]]
            while True:
                if self._stopping:
                    waiting.clear()
                for worker in workers:
                    if worker.ready and worker.case is None and waiting:
                        given = waiting.popleft()
                        attempts[given.name] = attempts.get(given.name, 0) + 1
                        worker.give(given, attempts[given.name])
                        yield Event("started", given)
                if not waiting and all(worker.case is None for worker in workers):
                    return
                heard = connection.wait([w.pipe for w in workers] + [w.process.sentinel for w in workers])
                for worker in [w for w in workers if w.pipe in heard or w.process.sentinel in heard]:
                    kind, content = worker.news()
                    case = worker.case
                    if kind == "ready":
                        failures = 0
                    elif kind == "step" and case is not None:
                        yield Event("step", case, step=Step(*content))
                    elif kind == "finished" and case is not None:
                        worker.case = None
                        yield Event("finished", case, content)
                    elif kind == "died":
                        why = worker.how_it_died()
                        workers.remove(worker)
                        worker.end()
                        failures += not worker.ready
                        if failures > 2:
                            raise ResourceError(f"no worker can be started on this machine: {why}")
                        if case is not None and attempts[case.name] < ATTEMPTS:
                            waiting.appendleft(case)
                            yield Event("lost", case)
                        elif case is not None:
                            error = _LOST.format(why=why, attempts=attempts[case.name])
                            yield Event("finished", case, lost_record(case, self._folder, error, attempts[case.name]))
                        if waiting:
                            workers.append(_Worker(self._folder, self._device, worker.share))
        finally:
            for worker in workers:
                worker.end()

    def stop_giving(self) -> None:
        self._stopping = True


class _Worker:
    def __init__(self, folder: str, device: str, share: WorkerShare):
        context = multiprocessing.get_context("spawn")  # a forked process would inherit threads and a used card
        self.share, self.ready = share, False
        self.case: Case | None = None
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, folder, device, share), daemon=True)
        with _environment(share):
            try:
                self.process.start()
            except OSError as error:
                raise ResourceError(f"no worker process can be started: {error.strerror or error}") from None
        other.close()

    def give(self, case: Case, attempt: int) -> None:
        self.case = case
        with contextlib.suppress(OSError):  # it has just died, which is seen next
            self.pipe.send((case, attempt))

    def news(self) -> tuple[str, Any]:
        try:
            kind, content = self.pipe.recv() if self.pipe.poll() else ("died", None)
        except (EOFError, OSError):
            return "died", None
        self.ready = self.ready or kind == "ready"
        return kind, content

    def how_it_died(self) -> str:
        self.process.join(60)  # it has let go of its pipe; on a busy machine the rest of its end takes a while
        code = self.process.exitcode
        if code is not None and code < 0:
            name = next((s.name for s in signal.Signals if s == -code), "a real-time signal")
            return f"was killed (signal {-code}, {name})"
        return f"ended by itself (exit code {code})"

    def end(self) -> None:
        self.process.kill()
        self.process.join(10)
        self.pipe.close()


@contextlib.contextmanager
def _environment(share: WorkerShare):
    """The variables that libraries read when a new process loads them."""
    values = dict.fromkeys(THREADS, str(share.threads))
    if share.card is not None:
        values["CUDA_VISIBLE_DEVICES"] = share.card
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _work(pipe, folder: str, device: str, share: WorkerShare) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the batch decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # On Linux the system itself kills the worker when the batch dies, also in the middle of a long call into a library.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if share.card is None and share.device is None and not device.startswith("cuda"):
        limit_memory(share.memory_mb)  # CUDA reserves far more address space than it uses
    elif share.card_share < 1:
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(share.card_share, torch.device(share.device or "cuda:0"))
    last = 0.0

    def send(kind: str, content: object) -> None:
        try:
            pipe.send((kind, content))
        except OSError:  # the batch is gone, and its case with it: no failure of the case
            os._exit(1)

    def tell(step: Step) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PAUSE:
            last = now
            send("step", (step.fraction, step.message))

    send("ready", None)
    while True:
        try:
            case, attempt = pipe.recv()
        except (EOFError, OSError):
            return
        send("finished", run_case(case, folder, own_device(case.device or device, share), tell, attempt=attempt))


def own_device(asked: str, share: WorkerShare) -> str:
    """Which device ``asked`` means for a worker with ``share``."""
    if share.device is None or asked not in ("auto", "cuda"):
        return asked
    if asked == "auto":
        import torch

        return share.device if torch.cuda.is_available() else asked
    return share.device


def _end_with_parent() -> None:
    """A batch that was killed can stop nobody; its workers must not go on writing beside the next one."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
