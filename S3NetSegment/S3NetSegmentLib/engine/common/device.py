"""What this machine computes with: the device (``auto`` = CUDA, else MPS, else CPU), its memory and threads, how work falls
back when the memory is full, and loading torch without stopping a window. torch is imported late."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .errors import InputError, ResourceError
from .progress import Step, Steps

if TYPE_CHECKING:
    import torch


DEVICES = ("auto", "cpu", "cuda", "mps")
T = TypeVar("T")
P = ParamSpec("P")
_ENGINE = __name__.rsplit(".", 2)[0]
_WAIT = 0.025  # seconds between two steps
_LIBRARY = {"linux": "libtorch_python.so", "darwin": "libtorch_python.dylib"}  # it brings all others along


def choose_device(name: str = "auto"):
    """The ``torch.device`` for ``name`` (one of :data:`DEVICES`, or "cuda:1" and the like).

    Raises InputError if the name is unknown or that device is not usable here, with the reason.
    """
    import torch

    kind = str(name).split(":")[0]
    if kind not in DEVICES:
        raise InputError(f"device is {name!r}; it must be one of {', '.join(DEVICES)}")
    if kind == "auto":
        if _cuda_problem() is None:
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if kind == "cuda":
        problem = _cuda_problem()
        if problem:
            raise InputError(f"device cuda cannot be used: {problem}; use --device cpu or auto")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("device mps cannot be used: this is not a Mac with Metal support; use --device cpu or auto")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device is {name!r}: {error}") from None
    if kind == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise InputError(f"device {name} does not exist: there are {torch.cuda.device_count()} CUDA devices")
    return device


def _cuda_problem() -> str | None:
    """Why CUDA cannot be used here, or None. A card too new for this torch is only found out by running a kernel."""
    import torch

    if not torch.version.cuda and not getattr(torch.version, "hip", None):
        return "this torch was built for CPU only"
    if not torch.cuda.is_available():
        return "no usable NVIDIA card and driver was found"
    try:
        (torch.ones(8, device="cuda") * 2).sum().item()
    except RuntimeError as error:
        return f"the card does not run this torch ({str(error).splitlines()[0]})"
    return None


def describe_device() -> str:
    """One true line about torch and the device that ``auto`` would use, for the panel and the reports."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    device = choose_device("auto")
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        return f"torch {torch.__version__}, CUDA {torch.version.cuda}, {name} ({free / 2**30:.1f} of {total / 2**30:.1f} GB free)"
    if device.type == "mps":
        return f"torch {torch.__version__}, Apple GPU (Metal)"
    return f"torch {torch.__version__}, CPU with {torch.get_num_threads()} threads ({_cuda_problem()})"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the memory of the device (or of the machine) is full."""
    import torch

    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "alloc_failed")  # the last: of cuBLAS and cuDNN
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


@contextmanager
def one_thread_if(small: bool) -> Iterator[None]:
    """One torch thread inside, if ``small``: on small maps several threads wait for each other longer than they compute,
    above all on a busy machine. The user's number of threads is back afterwards."""
    import torch

    threads = torch.get_num_threads()
    if small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small:
            torch.set_num_threads(threads)


def one_threaded(work: Callable[P, Steps[T]]) -> Callable[P, Steps[T]]:
    """A generator of progress steps of which each is computed in one torch thread; between them the user's number stands.

    For long work of many small operations: after each that torch shares among threads the others keep a processor busy for
    milliseconds, waiting for the next. One such operation between two others is enough to double the time of both.
    """

    @wraps(work)
    def steps(*arguments: P.args, **named: P.kwargs) -> Steps[T]:
        running = work(*arguments, **named)
        while True:
            with one_thread_if(True):
                try:
                    step = next(running)
                except StopIteration as end:
                    return end.value
            yield step

    return steps


def available_memory_mb() -> int | None:
    """Memory that can be had now without swapping, bounded by the limit of a container; None if the system does not tell."""
    found = []
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        if stated := re.search(r"MemAvailable:\s+(\d+) kB", text):
            found.append(int(stated[1]) // 1024)
    except (OSError, ValueError):
        pass
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            numbers = [int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")) for name in (limit, used)]
            found.append((numbers[0] - numbers[1]) >> 20)
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
    return max(0, min(found)) if found else None


class BatchFallback:
    """The batch size and the device of a piece of work, which shrink as far as its memory demands.

    :param device: where to begin.
    :param batch: the largest batch size.
    :param notes: sentences for the user are appended here.
    :param what: what is computed, for these sentences.
    """

    def __init__(self, device: torch.device, batch: int, notes: list[str], what: str):
        self.device = device
        self.batch = max(1, int(batch))
        self._notes = notes
        self._what = what

    def run(self, work: Callable[[torch.device, int], T]) -> T:
        """``work(device, batch)``, again with less after each failure for lack of memory (or for an operation that the
        device lacks). Raises ResourceError when one item is too much for the CPU."""
        while True:
            try:
                return work(self.device, self.batch)
            except (RuntimeError, MemoryError) as error:
                problem = error
            # outside the handler, so that the failed work's tensors are free before the next try
            self._reduce(problem)
            del problem

    def _reduce(self, error: BaseException) -> None:
        import torch

        full = is_out_of_memory(error)
        on_cpu = self.device.type == "cpu"
        if not full and (on_cpu or not _is_missing_operation(error)):
            raise error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if full and self.batch > 1:
            self.batch = math.ceil(self.batch / 2)
            self._note(f"The memory of {self._place()} was full; {self._what} continued in smaller parts.")
        elif not on_cpu:
            reason = "was full" if full else "cannot do every operation"
            name = f"The memory of {self._place()}" if full else self._place().capitalize()
            self._note(f"{name} {reason}; {self._what} continued on the CPU, which takes longer.")
            self.device = torch.device("cpu")
        else:
            raise ResourceError(
                f"The memory of this machine is full: {self._what} failed even one slice at a time. Close other programs, "
                "choose fewer slices or set a smaller work_size, fit_size or channels"
            ) from error

    def _place(self) -> str:
        return "this machine" if self.device.type == "cpu" else f"the graphics device ({self.device.type})"

    def _note(self, sentence: str) -> None:
        if sentence not in self._notes:
            self._notes.append(sentence)


def _is_missing_operation(error: BaseException) -> bool:
    return isinstance(error, NotImplementedError) or "not implemented for" in str(error) or "MPS: " in str(error)


class _Loading(threading.Thread):
    """Imports the modules ``names``. ``problem`` is what that raised, or None."""

    def __init__(self, names: list[str]):
        super().__init__(name="loading torch")
        self._names = names
        self.problem: Exception | None = None

    def run(self) -> None:
        with contextlib.suppress(Exception):  # import then loads them, and says what is wrong
            _open_libraries()
        try:
            with _for_good():
                for name in self._names:
                    importlib.import_module(name)
        except Exception as error:
            self.problem = error


@contextmanager
def _for_good() -> Iterator[None]:
    """What is made meanwhile stays as long as the program does, and is never searched for garbage. torch makes half a million
    objects; to go through them all stops every thread for a tenth of a second, several times while they are made, and later
    in the middle of the user's work."""
    gc.collect()  # what is garbage now would stay, too
    wanted = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if wanted:
            gc.enable()


_loading: _Loading | None = None


def torch_loaded(*parts: str) -> Steps[None]:
    """Imports torch, as a generator of progress steps; nothing is to be done where it is there already.

    A thread does it, and each step waits for it a moment: Slicer's Python threads do not run while its window waits.

    :param parts: modules of the engine that are needed then, e.g. "few_shot.method".
    :raises Exception: what importing torch raises, e.g. ModuleNotFoundError.
    """
    global _loading
    names = ["torch", *(f"{_ENGINE}.{part}" for part in parts)]
    while _loading is not None or any(name not in sys.modules for name in names):
        if _loading is None:
            _loading = _Loading(names)
            _loading.start()
        loading = _loading
        while loading.is_alive():
            yield Step(0.0, "Loading PyTorch")
            loading.join(_WAIT)
        _loading = None
        if loading.problem is not None:
            raise loading.problem


def _open_libraries() -> None:
    """Opens torch's libraries. The import does that with Python locked, half a second in which no other thread runs; a call
    of the system's own function does not lock it."""
    spec = importlib.util.find_spec("torch")
    name = _LIBRARY.get(sys.platform)
    if spec is None or spec.origin is None or name is None:
        return
    path = Path(spec.origin).parent / "lib" / name
    if path.is_file():
        dlopen = ctypes.CDLL(None).dlopen
        dlopen.restype, dlopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
        dlopen(os.fsencode(path), os.RTLD_LAZY)
